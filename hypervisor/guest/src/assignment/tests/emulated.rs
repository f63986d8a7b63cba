//! An emulated function on the bus of a guest, beside passed-through ones.

use super::bench::{BEHIND, COUNT, EMULATED, Event, PORT, SHARED, SHARED_MEMORY};
use super::*;
use crate::layout;
use access::GuestMemory;
use devices::device::CONFIG_REGISTERS;
use devices::endpoint::Group;
use spec::pci_config::{BAR0, BRIDGE_CONTROL, BRIDGE_CONTROL_SECONDARY_RESET};

/// Where the guest finds the function's BAR.
fn bar(guest: &Guest) -> Gpa {
    Gpa(u64::from(config_read(guest, EMULATED, BAR0, Width::Dword) & !0xf))
}

fn enable(guest: &Guest, what: u16) {
    config_write(guest, EMULATED, COMMAND, Width::Word, what.into());
}

/// Writes as vCPU 0 does. Whether it has mail by that; `None`: nothing is there.
fn write(guest: &Guest, gpa: Gpa, value: u64) -> Option<bool> {
    let reply = guest.bus().memory_write(guest, gpa, Width::Dword, value);
    match reply {
        Reply::Endpoint { number, offset } => {
            Some(guest.endpoint_write(0, number, offset, Width::Dword, value))
        }
        Reply::Done(()) => panic!("the bus has no registers of the device's"),
        Reply::Nothing => None,
    }
}

/// Message 0 goes to vector 0x51 of vCPU 0, and is open.
fn open_message(guest: &Guest) {
    config_write(guest, EMULATED, 0x42, Width::Word, 1 << 15);
    for (dword, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x51), (12, 0)] {
        assert_eq!(write(guest, bar(guest) + 0x1000 + dword, value), Some(false));
    }
}

fn mail(guest: &Guest) -> Vec<u8> {
    let taken = guest.mailboxes[0].take();
    taken.map_or(Vec::new(), |mail| crate::mailbox::vectors(mail.edge).collect())
}

#[test]
fn its_registers_answer_while_the_guest_decodes_them() {
    let (machine, guest) = guest();
    let at = bar(&guest);
    assert_eq!(write(&guest, at, 1), None, "nothing decodes the address");
    enable(&guest, command::MEMORY_SPACE);
    assert_eq!(write(&guest, at, 1), Some(false));
    let reply = guest.bus().memory_read(&guest, at, Width::Dword);
    assert_eq!(reply, Reply::Endpoint { number: 0, offset: 0 });
    assert_eq!(guest.endpoint_read(0, 0, 0, Width::Dword), (1, false));
    enable(&guest, 0);
    assert_eq!(guest.bus().memory_read(&guest, at, Width::Dword), Reply::Nothing);
    assert_eq!(machine.take_events(), [], "the machine has no part in it");
}

#[test]
fn it_reaches_memory_and_interrupts_as_the_guest_allows_it() {
    let (_, guest) = guest();
    enable(&guest, command::MEMORY_SPACE);
    open_message(&guest);
    assert_eq!(write(&guest, bar(&guest), 1), Some(false));
    assert_eq!((guest.memory.read64(COUNT), mail(&guest)), (Ok(0), Vec::new()), "no bus mastering");
    enable(&guest, command::MEMORY_SPACE | command::BUS_MASTER);
    assert_eq!(mail(&guest), [0x51], "the message that waited");
    assert_eq!(write(&guest, bar(&guest), 1), Some(true), "its own interrupt");
    assert_eq!((guest.memory.read64(COUNT), mail(&guest)), (Ok(2), Vec::from([0x51])));
}

/// Registers of the device's in configuration space, by either mechanism: the device answers what lies in
/// them, and the bus what does not.
#[test]
fn its_registers_in_configuration_space_are_the_devices() {
    let (_, guest) = guest();
    let registers = layout::ECAM + u64::from(EMULATED.0) * 0x1000 + 0x50;
    let offset = |at: u64| CONFIG_REGISTERS + at;
    let address = 0x8000_0000 | u32::from(EMULATED.0) << 8 | 0x50;
    guest.bus().port_write(&guest, 0xcf8, Width::Dword, address);
    for (at, width) in [(0, Width::Dword), (0, Width::Byte), (2, Width::Word), (3, Width::Byte)] {
        let port = 0xcfc + at as u16;
        let written = Reply::Endpoint { number: 0, offset: offset(at) };
        assert_eq!(guest.bus().memory_write(&guest, registers + at, width, 1), written);
        assert_eq!(guest.bus().port_write(&guest, port, width, 1), written);
        let read = guest.bus().memory_read(&guest, registers + at, width);
        assert_eq!(read, Reply::Endpoint { number: 0, offset: offset(at) });
        let read = guest.bus().port_read(&guest, port, width);
        assert_eq!(read, Reply::Endpoint { number: 0, offset: offset(at) });
    }
    // What begins before them, ends behind them, or leaves the port.
    for (by, width) in [(-1, Width::Word), (-4, Width::Qword), (2, Width::Dword), (0, Width::Qword)] {
        let gpa = Gpa(registers.0.wrapping_add_signed(by));
        assert!(matches!(guest.bus().memory_read(&guest, gpa, width), Reply::Done(_)), "{by}");
        assert_eq!(guest.bus().memory_write(&guest, gpa, width, u64::MAX), Reply::Done(()));
    }
    assert!(matches!(guest.bus().port_read(&guest, 0xcff, Width::Word), Reply::Done(_)));
    // They need no decode, and are no table of messages.
    assert_eq!(guest.endpoint_read(0, 0, offset(0), Width::Dword), (0, false));
    assert!(!guest.endpoint_write(0, 0, offset(0), Width::Dword, 7));
    assert_eq!(guest.endpoint_read(0, 0, offset(0), Width::Dword), (1, false));
    // A function without such registers has none there.
    let other = layout::ECAM + u64::from(super::bench::IDE.0) * 0x1000 + 0x50;
    assert_eq!(guest.bus().memory_read(&guest, other, Width::Dword), Reply::Done(0));
}

#[test]
fn the_next_run_finds_it_as_after_power_up() {
    let (_, guest) = guest();
    enable(&guest, command::MEMORY_SPACE | command::BUS_MASTER);
    open_message(&guest);
    write(&guest, bar(&guest), 1);
    let at = bar(&guest);
    assert!(guest.bus().revoke(&guest));
    assert_eq!(bar(&guest), at);
    assert_eq!(write(&guest, at, 1), None);
    enable(&guest, command::MEMORY_SPACE | command::BUS_MASTER);
    mail(&guest);
    assert_eq!(write(&guest, at, 1), Some(false), "its message is masked");
    assert_eq!(guest.memory.read64(COUNT), Ok(1), "it counts anew");
}

#[test]
fn behind_a_root_port_it_works_as_far_as_the_port_forwards() {
    let (_, guest) = guest();
    let at = Gpa(u64::from(config_read(&guest, BEHIND, BAR0, Width::Dword) & !0xf));
    let both = command::MEMORY_SPACE | command::BUS_MASTER;
    config_write(&guest, BEHIND, COMMAND, Width::Word, both.into());
    assert_eq!(write(&guest, at, 1), None, "the port forwards no access");
    config_write(&guest, PORT, COMMAND, Width::Word, command::MEMORY_SPACE.into());
    assert_eq!(write(&guest, at, 1), Some(false));
    assert_eq!(guest.memory.read64(COUNT), Ok(0), "the port forwards no request");
    config_write(&guest, PORT, COMMAND, Width::Word, both.into());
    assert_eq!(write(&guest, at, 1), Some(false));
    assert_eq!(guest.memory.read64(COUNT), Ok(2));
    for control in [BRIDGE_CONTROL_SECONDARY_RESET, 0] {
        config_write(&guest, PORT, BRIDGE_CONTROL, Width::Word, control.into());
    }
    assert_eq!(guest.bus().memory_read(&guest, at, Width::Dword), Reply::Nothing);
    config_write(&guest, BEHIND, BAR0, Width::Dword, at.0 as u32);
    config_write(&guest, BEHIND, COMMAND, Width::Word, both.into());
    assert_eq!(guest.endpoint_read(0, 1, 0, Width::Dword), (0, false), "it counts anew");
    assert_eq!(write(&guest, at, 1), Some(false));
    assert_eq!(guest.memory.read64(COUNT), Ok(1));
}

#[test]
fn memory_behind_a_bar_is_the_guests_while_it_decodes_it_and_moves_along() {
    let (machine, guest) = guest();
    let bar = BAR0 + 8;
    let at = u64::from(config_read(&guest, SHARED, bar, Width::Dword) & !0xf)
        | u64::from(config_read(&guest, SHARED, bar + 4, Width::Dword)) << 32;
    assert!(at.is_multiple_of(SHARED_MEMORY.bytes));
    let decode = |what: u16| config_write(&guest, SHARED, COMMAND, Width::Word, what.into());
    let bytes = SHARED_MEMORY.bytes;
    decode(command::MEMORY_SPACE);
    assert_eq!(machine.take_events(), [Event::Flushed, Event::Mapped(at, bytes)]);
    let read = guest.bus().memory_read(&guest, Gpa(at), Width::Dword);
    assert_eq!(read, Reply::Done(0xffff_ffff), "only the processor reaches it");
    assert_eq!(guest.bus().memory_write(&guest, Gpa(at), Width::Dword, 1), Reply::Done(()));
    // Moved while it decodes: never at two places.
    let other = at + bytes;
    config_write(&guest, SHARED, bar, Width::Dword, other as u32);
    let events = machine.take_events();
    assert_eq!(events.first(), Some(&Event::Unmapped(at, bytes)));
    assert!(events.contains(&Event::Mapped(other, bytes)), "{events:?}");
    flush(&guest);
    decode(0);
    assert_eq!(machine.take_events(), [Event::Unmapped(other, bytes)]);
    decode(command::MEMORY_SPACE);
    machine.take_events();
    assert!(guest.bus().revoke(&guest));
    assert!(machine.take_events().contains(&Event::Unmapped(other, bytes)));
}

#[test]
fn memory_behind_a_bar_is_nowhere_that_is_not_the_guests() {
    let (machine, guest) = guest();
    config_write(&guest, SHARED, COMMAND, Width::Word, command::MEMORY_SPACE.into());
    machine.take_events();
    // Over the guest's memory, over another function's registers, beyond the windows.
    for at in [0, config_read(&guest, EMULATED, BAR0, Width::Dword) & !0xf_ffff, 0xfee0_0000] {
        config_write(&guest, SHARED, BAR0 + 8, Width::Dword, at);
        config_write(&guest, SHARED, BAR0 + 12, Width::Dword, 0);
        assert!(machine.with(|state| !state.mapped.contains_key(&at.into())), "{at:#x}");
    }
}

/// A drive reads or writes memory for the device of the first endpoint.
fn lend(guest: &Guest) {
    let is_lent = guest.serve_endpoint(0, |endpoint, around| endpoint.lend(&Group::default(), around));
    assert_eq!(is_lent, Some(true));
}

#[test]
fn what_takes_it_off_the_bus_waits_for_a_drive_and_not_for_ever() {
    let (machine, guest) = guest();
    enable(&guest, command::BUS_MASTER);
    lend(&guest);
    assert!(guest.lends_memory());
    // The bench's clock goes on as it is read: what takes a second to the guest takes none here.
    enable(&guest, 0);
    let said = machine.with(|state| core::mem::take(&mut state.log));
    assert!(said.iter().any(|line| line.contains("a drive still reads or writes memory for it")), "{said:?}");
    // The guest's end does not bring it back, and whoever scrubs memory has to ask.
    guest.bus().revoke(&guest);
    assert!(guest.lends_memory());
    guest.serve_endpoint(0, |endpoint, _| endpoint.take_back());
    assert!(!guest.lends_memory());
    machine.with(|state| state.log.clear());
    enable(&guest, command::BUS_MASTER);
    enable(&guest, 0);
    assert!(machine.with(|state| state.log.is_empty()));
}
