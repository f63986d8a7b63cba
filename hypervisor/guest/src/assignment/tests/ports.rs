//! Emulated functions that have ports and lines: an IDE controller in compatibility mode, and one
//! with a BAR and INTA#.

use super::bench::{CONVENTIONAL, IDE, IDE_IMAGE, LINE_GSI};
use super::*;
use crate::exits::port::move_string;
use crate::interpreter::{Interpreted, Interpreter};
use access::GuestMemory;
use access::fake_processor::StillProcessor;
use access::vcpu::{PortAccess, RCX, RDI, RDX, RSI};
use spec::ata::status;
use spec::ide::{command as ata, register};
use spec::pci_config::BAR0;

/// First port of the primary channel.
const CHANNEL: u16 = 0x1f0;

fn enable(guest: &Guest, slot: Slot, what: u16) {
    config_write(guest, slot, COMMAND, Width::Word, what.into());
}

fn put(guest: &Guest, port: u16, value: u8) -> bool {
    guest.port_write(0, port, Width::Byte, value.into())
}

fn get(guest: &Guest, port: u16) -> u8 {
    guest.port_read(0, port, Width::Byte).0 as u8
}

/// Has a sector read by PIO. Whether vCPU 0 has to look at its interrupts then.
fn read_sector(guest: &Guest, base: u16, sector: u8) -> bool {
    for (at, value) in [(register::COUNT, 1), (register::LBA_LOW, sector), (register::DEVICE, 0xe0)] {
        put(guest, base + at as u16, value);
    }
    put(guest, base + register::STATUS as u16, ata::READ_SECTORS)
}

/// Opens a pin of the IOAPIC to a vector of vCPU 0.
fn open_pin(guest: &Guest, pin: u8, vector: u32) {
    guest.with_chipset(0, |chipset, effects, _| {
        for (half, value) in [(1, 0), (0, vector)] {
            chipset.ioapic_write(0, 0x10 + 2 * u32::from(pin) + half, effects);
            chipset.ioapic_write(0x10, value, effects);
        }
    });
}

fn mail(guest: &Guest) -> (Vec<u8>, Vec<u8>) {
    let Some(mail) = guest.mailboxes[0].take() else { return Default::default() };
    let level = crate::mailbox::vectors(mail.level.unwrap_or_default()).collect();
    (crate::mailbox::vectors(mail.edge).collect(), level)
}

#[test]
fn ports_without_a_bar_are_the_functions_while_it_decodes_ports() {
    let (machine, guest) = guest();
    let status = CHANNEL + register::STATUS as u16;
    assert_eq!(get(&guest, status), 0xff);
    assert_eq!(guest.port_read_string(0, CHANNEL, Width::Word, &mut [0; 2]), None);
    enable(&guest, IDE, command::IO_SPACE);
    assert_eq!(get(&guest, status), status::READY);
    assert_eq!(get(&guest, 0x3f6), status::READY);
    assert_eq!(get(&guest, 0x177), 0xff, "the second channel has no disk");
    assert_eq!(guest.port_read(0, status, Width::Dword).0, 0xffff_ff40, "its neighbours are nobody's");
    enable(&guest, IDE, 0);
    assert_eq!(get(&guest, status), 0xff);
    assert_eq!(machine.take_events(), [], "the machine has no part in it");
}

#[test]
fn a_string_instruction_is_one_access_of_the_device() {
    let (_, guest) = guest();
    enable(&guest, IDE, command::IO_SPACE);
    read_sector(&guest, CHANNEL, 3);
    let mut sector = [0; 512];
    assert_eq!(guest.port_read_string(0, CHANNEL, Width::Word, &mut sector), Some(false));
    assert_eq!(sector[..], IDE_IMAGE[3 * 512..4 * 512]);
    assert_eq!(get(&guest, CHANNEL + register::STATUS as u16), status::READY);
    // PIO needs no bus mastering, DMA does.
    let table = 0x2000;
    guest.memory.write64(Gpa(table), 0x3000 | 512 << 32 | 1 << 63).unwrap();
    let master = config_read(&guest, IDE, BAR0 + 16, Width::Dword) as u16 & !1;
    for enables in [command::IO_SPACE, command::IO_SPACE | command::BUS_MASTER] {
        enable(&guest, IDE, enables);
        put(&guest, master, 8);
        guest.port_write(0, master + 4, Width::Dword, table as u32);
        put(&guest, CHANNEL + register::COUNT as u16, 1);
        put(&guest, CHANNEL + register::STATUS as u16, ata::READ_DMA);
        put(&guest, master, 9);
        let read = guest.memory.read64(Gpa(0x3000)).unwrap().to_le_bytes();
        assert_eq!(read == IDE_IMAGE[3 * 512..][..8], enables & command::BUS_MASTER != 0);
    }
}

/// A driver without interrupts, whose every exit is counted.
struct Driver<'a> {
    guest: &'a Guest,
    exits: usize,
}

impl Driver<'_> {
    fn put(&mut self, port: u64, value: u8) {
        self.exits += 1;
        put(self.guest, CHANNEL + port as u16, value);
    }

    fn status(&mut self) -> u8 {
        self.exits += 1;
        get(self.guest, CHANNEL + register::STATUS as u16)
    }

    /// REP INSW or, where `input` is false, REP OUTSW of a sector at `at`.
    fn sector(&mut self, input: bool, at: u64) {
        let mut cpu = StillProcessor::protected();
        let code = 0xf000;
        self.guest.memory.write(Gpa(code), &[0xf3, 0x66, if input { 0x6d } else { 0x6f }]).unwrap();
        cpu.rip = code;
        for (register, value) in [(RCX, 256), (RDX, CHANNEL.into()), (RSI, at), (RDI, at)] {
            cpu.registers[register] = value;
        }
        let access = PortAccess { port: CHANNEL, width: Width::Word, input, string: true, repeat: true };
        while cpu.rip == code {
            self.exits += 1;
            let outcome = move_string(0, &mut cpu, &mut Interpreter::default(), self.guest, access).0;
            assert!(matches!(outcome, Interpreted::GoesOn), "{outcome:?}");
        }
    }

    fn command(&mut self, command: u8, sector: u8, count: u8) {
        self.put(register::COUNT, count);
        for (byte, value) in [sector, 0, 0].into_iter().enumerate() {
            self.put(register::LBA_LOW + byte as u64, value);
        }
        self.put(register::DEVICE, 0xe0);
        self.put(register::STATUS, command);
    }
}

#[test]
fn a_command_costs_the_instructions_that_its_driver_executes() {
    let (_, guest) = guest();
    enable(&guest, IDE, command::IO_SPACE);
    let mut driver = Driver { guest: &guest, exits: 0 };
    driver.command(ata::READ_SECTORS, 2, 4);
    assert_eq!(driver.exits, 6);
    for sector in 0..4 {
        assert_ne!(driver.status() & status::DATA_REQUEST, 0);
        // Across the end of a page too.
        driver.sector(true, 0x4f00 + 512 * sector);
    }
    assert_eq!(driver.status(), status::READY);
    assert_eq!(driver.exits, 6 + 4 * 2 + 1, "one a string, and no other");
    let mut read = [0; 2048];
    guest.memory.read(Gpa(0x4f00), &mut read).unwrap();
    assert_eq!(read[..], IDE_IMAGE[2 * 512..6 * 512]);
    // The medium takes no writes; what the guest gives it is taken nevertheless.
    driver.exits = 0;
    driver.command(ata::WRITE_SECTORS, 2, 1);
    driver.sector(false, 0x4f00);
    assert_eq!(driver.status(), status::READY | status::ERROR);
    assert_eq!(driver.exits, 6 + 1 + 1);
}

#[test]
fn the_channels_interrupt_where_they_always_have() {
    let (_, guest) = guest();
    open_pin(&guest, 14, 0x51);
    enable(&guest, IDE, command::IO_SPACE);
    assert!(read_sector(&guest, CHANNEL, 0), "its own interrupt");
    assert_eq!(mail(&guest), ([0x51].into(), [].into()));
    get(&guest, CHANNEL + register::STATUS as u16);
    read_sector(&guest, CHANNEL, 0);
    put(&guest, CHANNEL, 0);
    assert_eq!(mail(&guest), ([].into(), [].into()), "a command while data waits is none");
    // The 8259A has it too: IRQ 14 is asserted there.
    put(&guest, 0xa0, 0x0a);
    assert_eq!(get(&guest, 0xa0) & 0x40, 0x40);
}

#[test]
fn inta_is_level_triggered_and_comes_again_until_it_is_served() {
    let (_, guest) = guest();
    open_pin(&guest, LINE_GSI, 0x8052 | 1 << 13);
    enable(&guest, CONVENTIONAL, command::IO_SPACE);
    let base = config_read(&guest, CONVENTIONAL, BAR0, Width::Dword) as u16 & !1;
    assert!(base >= 0xc000);
    let end =
        |guest: &Guest| guest.with_chipset(0, |chipset, effects, _| chipset.end_of_interrupt(0x52, effects));
    read_sector(&guest, base, 0);
    assert_eq!(mail(&guest), ([].into(), [0x52].into()));
    end(&guest);
    assert_eq!(mail(&guest), ([].into(), [0x52].into()), "it is still asserted");
    enable(&guest, CONVENTIONAL, command::IO_SPACE | command::INTERRUPT_DISABLE);
    end(&guest);
    assert_eq!(mail(&guest), Default::default());
    enable(&guest, CONVENTIONAL, command::IO_SPACE);
    assert_eq!(mail(&guest), ([].into(), [0x52].into()));
    get(&guest, base + register::STATUS as u16);
    end(&guest);
    assert_eq!(mail(&guest), Default::default());
}

#[test]
fn a_function_that_is_taken_back_leaves_no_line_behind() {
    let (_, guest) = guest();
    open_pin(&guest, LINE_GSI, 0x8052 | 1 << 13);
    enable(&guest, CONVENTIONAL, command::IO_SPACE);
    let base = config_read(&guest, CONVENTIONAL, BAR0, Width::Dword) as u16 & !1;
    read_sector(&guest, base, 0);
    mail(&guest);
    assert!(guest.bus().revoke(&guest));
    guest.with_chipset(0, |chipset, effects, _| chipset.end_of_interrupt(0x52, effects));
    assert_eq!(mail(&guest), Default::default());
}
