//! The controller as its guest's driver sees it.

use super::*;
use crate::device::{Operation, RequestFault};
use crate::testing::{Bench, VecMedium};
use access::GuestMemory;
use access::memory::VecMemory;
use proptest::prelude::*;
use spec::Gpa;
use spec::ata::{command as ata, error, identify, status};
use spec::ide::{bus_master as master, command, control, register};
use std::vec::Vec;

mod addresses;
mod attacks;
mod pair;
mod pio;
mod saving;

const SECTORS: u64 = 1024;
const TABLE: u64 = 0x1000;
const DATA: u64 = 0x2_0000;

type Machine = Bench<Ide, VecMemory>;

fn machine() -> Machine {
    let disk = Disk { start: 0, sectors: SECTORS, serial: *b"B-0001              " };
    let second = Disk { start: SECTORS * 512, ..disk };
    let medium = VecMedium::new(2 * 512 * SECTORS as usize);
    Bench::new(Ide::new([[Some(disk), None], [Some(second), None]]), VecMemory::new(0x8_0000), medium)
}

/// One with a master and a slave at both channels, each a quarter of the medium.
fn full() -> Machine {
    let disk =
        |place: u64| Some(Disk { start: place * 256 * 512, sectors: 256, serial: [b'0' + place as u8; 20] });
    let disks = [[disk(0), disk(1)], [disk(2), disk(3)]];
    Bench::new(Ide::new(disks), VecMemory::new(0x8_0000), VecMedium::new(1024 * 512))
}

fn get(machine: &mut Machine, at: u64) -> u8 {
    machine.read(at, Width::Byte) as u8
}

fn put(machine: &mut Machine, at: u64, value: u8) {
    machine.write(at, Width::Byte, value.into());
}

fn table(machine: &Machine, entries: &[(u64, u32)]) {
    for (place, &(address, flags)) in entries.iter().enumerate() {
        let entry = address | u64::from(flags) << 32;
        machine.memory.write(Gpa(TABLE + 8 * place as u64), &entry.to_le_bytes()).unwrap();
    }
}

/// Gives a command with a 28-bit address as libata does.
fn issue(machine: &mut Machine, channel: u64, command: u8, sector: u64, count: u8) {
    let base = CHANNEL_STRIDE * channel;
    put(machine, base + register::DEVICE, 0xe0 | (sector >> 24) as u8);
    put(machine, base + register::COUNT, count);
    for byte in 0..3 {
        put(machine, base + register::LBA_LOW + byte, (sector >> (8 * byte)) as u8);
    }
    put(machine, base + register::STATUS, command);
}

/// Gives a DMA command and starts the bus master.
fn dma(machine: &mut Machine, channel: u64, command: u8, sector: u64, count: u8) {
    let base = BUS_MASTER + 8 * channel;
    let way = if matches!(command, command::WRITE_DMA | ata::WRITE_DMA_EXT) { 0 } else { master::TO_MEMORY };
    put(machine, base + master::COMMAND, way);
    machine.write(base + master::TABLE, Width::Dword, TABLE);
    put(machine, base + master::STATUS, 0x66);
    issue(machine, channel, command, sector, count);
    put(machine, base + master::COMMAND, way | master::START);
}

fn ends_in_error(machine: &mut Machine, why: u8) {
    assert_eq!(get(machine, register::STATUS), status::READY | status::ERROR);
    assert_eq!(get(machine, register::ERROR), why);
}

#[test]
fn is_probed_and_identified() {
    let mut machine = machine();
    put(&mut machine, CONTROL, control::RESET);
    assert_eq!(get(&mut machine, register::STATUS), status::BUSY);
    put(&mut machine, CONTROL, 0);
    let signature: Vec<u8> = (1..6).map(|at| get(&mut machine, at)).collect();
    assert_eq!(signature, [1, 1, 1, 0, 0]);
    issue(&mut machine, 0, ata::IDENTIFY_DEVICE, 0, 0);
    assert_eq!(machine.device.lines(), [true, false]);
    assert_eq!(get(&mut machine, CONTROL), status::READY | status::DATA_REQUEST);
    assert!(machine.line, "the alternate status acknowledges nothing");
    get(&mut machine, register::STATUS);
    assert!(!machine.line);
    let words: Vec<u64> = (0..256).map(|_| machine.read(register::DATA, Width::Word)).collect();
    assert_eq!(words[60], SECTORS);
    assert_eq!(words[identify::BLOCKS], SECTORS);
    assert_eq!(words[identify::SERIAL], u64::from(u16::from_be_bytes(*b"B-")));
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
    assert_eq!(machine.read(register::DATA, Width::Dword), 0, "behind the data is nothing");
}

#[test]
fn no_slave_and_no_disk_are_there() {
    let mut machine = machine();
    put(&mut machine, register::DEVICE, 0xb0);
    assert_eq!(get(&mut machine, register::STATUS), 0);
    put(&mut machine, register::STATUS, ata::IDENTIFY_DEVICE);
    assert!(!machine.line);
    let mut empty = Bench::new(Ide::new([[None; 2]; 2]), VecMemory::new(16), VecMedium::new(0));
    assert_eq!(empty.read(register::STATUS, Width::Byte), 0xff);
}

#[test]
fn what_was_written_is_read_back() {
    let mut machine = machine();
    let data: Vec<u8> = (0..4096_u32).map(|at| ((at * 7) >> 3) as u8).collect();
    machine.memory.write(Gpa(DATA + 4), &data).unwrap();
    // Pieces of sectors that adjoin, as of a buffer that is not aligned.
    table(&machine, &[(DATA + 4, 1020), (DATA + 1024, 3076 | master::LAST)]);
    dma(&mut machine, 1, command::WRITE_DMA, 5, 8);
    assert_eq!(machine.device.lines(), [false, true]);
    assert_eq!(get(&mut machine, BUS_MASTER + 8 + master::STATUS), 0x60 | master::INTERRUPT);
    let start = (SECTORS as usize + 5) * 512;
    assert_eq!(machine.medium.bytes[start..start + 4096], data);
    table(&machine, &[(DATA + 0x4000, 512), (DATA + 0x8000, 3584 | master::LAST)]);
    dma(&mut machine, 1, command::READ_DMA, 5, 8);
    let mut read = [0; 4096];
    machine.memory.read(Gpa(DATA + 0x4000), &mut read[..512]).unwrap();
    machine.memory.read(Gpa(DATA + 0x8000), &mut read[512..]).unwrap();
    assert_eq!(read[..], data);
}

#[test]
fn tables_that_do_not_fit_end_in_an_error() {
    let last = master::LAST;
    let short: &[(u64, u32)] = &[(DATA, 512 | last)];
    let crossing: &[(u64, u32)] = &[(DATA + 0xfe00, 1024 | last)];
    let cut: &[(u64, u32)] = &[(DATA, 100), (DATA + 0x1000, 924 | last)];
    let outside: &[(u64, u32)] = &[(0xffff_0000, 1024 | last)];
    for entries in [short, crossing, cut, outside] {
        let mut machine = machine();
        table(&machine, entries);
        dma(&mut machine, 0, command::READ_DMA, 0, 2);
        assert_ne!(get(&mut machine, BUS_MASTER + master::STATUS) & master::ERROR, 0);
        ends_in_error(&mut machine, error::ABORTED);
    }
}

#[test]
fn a_count_of_zero_is_64_kib() {
    let mut machine = machine();
    machine.medium.bytes[..0x2_0000].fill(7);
    table(&machine, &[(DATA, 0), (DATA + 0x1_0000, master::LAST)]);
    dma(&mut machine, 0, command::READ_DMA, 0, 0);
    let mut read = std::vec![0; 0x2_0000];
    machine.memory.read(Gpa(DATA), &mut read).unwrap();
    assert!(read.iter().all(|&byte| byte == 7));
}

#[test]
fn wrong_commands_ranges_and_media_end_in_an_error() {
    let mut machine = machine();
    for wrong in [0xa0, 0xa1, 0x00, 0xff, 0x22] {
        issue(&mut machine, 0, wrong, 0, 1);
        ends_in_error(&mut machine, error::ABORTED);
    }
    dma(&mut machine, 0, command::READ_DMA, SECTORS - 1, 2);
    ends_in_error(&mut machine, error::NOT_FOUND);
    table(&machine, &[(DATA, 512 | master::LAST)]);
    machine.medium.fault = Some(RequestFault::Medium);
    dma(&mut machine, 0, command::READ_DMA, 0, 1);
    ends_in_error(&mut machine, error::UNCORRECTABLE);
}

#[test]
fn a_reset_in_mid_request_cancels_it() {
    let mut machine = machine();
    machine.hold = true;
    table(&machine, &[(DATA, 512 | master::LAST)]);
    for _ in 0..5 {
        dma(&mut machine, 0, command::READ_DMA, 0, 1);
        put(&mut machine, CONTROL, control::RESET);
        put(&mut machine, CONTROL, 0);
        put(&mut machine, BUS_MASTER, 0);
    }
    assert_eq!(machine.waiting.len(), 1, "resets do not pile up requests");
    assert!(machine.serve());
    assert!(!machine.line, "the outcome is of a command that is over");
    issue(&mut machine, 0, ata::FLUSH_CACHE, 0, 0);
    assert_eq!(machine.waiting.front().unwrap().operation, Operation::Flush);
    assert!(machine.serve());
    assert!(machine.line);
    assert_eq!(machine.medium.flushes, 1);
}

/// What a driver does.
type Step = (u64, u8, u8);

/// Steps, of which most are to a register of the controller's.
fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..0x34_u64, any::<u8>(), 0..6_u8), 0..most)
}

/// A controller to take them, with all disks that there can be. Requests wait, and a table is in its memory.
fn stepped() -> Machine {
    let mut machine = full();
    machine.hold = true;
    table(&machine, &[(DATA, 1024), (DATA + 0x800, 0x4000 | master::LAST)]);
    machine
}

fn step(machine: &mut Machine, (at, value, kind): Step) {
    let commands =
        [0xc8, 0xca, 0x25, 0x35, 0xec, 0xe7, 0x90, 0x40, 0x20, 0x30, 0x24, 0x34, 0xc4, 0xc5, 0xc6, 0x39];
    let string = 64 * usize::from(value & 15);
    match kind {
        0 => _ = machine.read(at, Width::Dword),
        1 => _ = machine.serve(),
        2 => put(machine, at, value),
        3 => _ = machine.read_string(at & 0x1f, Width::Word, &mut std::vec![0; string]),
        4 => _ = machine.write_string(at & 0x1f, Width::Word, &std::vec![value; string]),
        _ => dma(machine, at & 1, commands[usize::from(value & 15)], value.into(), value >> 4),
    }
}

proptest! {
    /// Whatever is accessed, and however late requests are done, no more than one of each channel
    /// is outstanding, none leaves the medium (which the bench asserts), and a reset revives them.
    #[test]
    fn survives_any_accesses(steps in steps(200)) {
        let mut machine = stepped();
        for next in steps {
            step(&mut machine, next);
            prop_assert!(machine.waiting.len() <= machine.device.most_requests());
        }
        while machine.serve() {}
        put(&mut machine, CONTROL, control::RESET);
        put(&mut machine, CONTROL, 0);
        prop_assert_eq!(get(&mut machine, CONTROL), status::READY);
    }
}
