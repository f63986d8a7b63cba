//! What a guest reads and writes of a passed-through function's configuration
//! space, and what of it reaches the hardware.

mod common;

use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use common::*;
use proptest::prelude::*;
use spec::Width;
use spec::pci_capability::id;
use vpci::{Grant, PciEffect, PciFunction};

const WIDTHS: [Width; 3] = [Width::Byte, Width::Word, Width::Dword];

/// Bits of the hardware that a guest's writes may change, by offset: everything
/// else must stay as it was, whatever it writes. MSI-X control follows the guest,
/// with every entry masked; MSI stays off, for no host message stands behind it.
fn may_change(express: usize, msix: usize) -> Vec<u8> {
    let mut bits = vec![0; 4096];
    // Bus master, which is let through here; INTx disable; errors that are cleared.
    (bits[0x04], bits[0x05], bits[0x07]) = (0x04, 0x04, 0xf9);
    // Relaxed ordering and read request size; errors that are cleared.
    (bits[express + 8], bits[express + 9], bits[express + 10]) = (0x10, 0x70, 0x0f);
    bits[msix + 3] = 0xc0;
    bits
}

/// Compares the hardware with what it was, where a write reached it.
fn assert_contained(machine: &(FakeConfigSpace, FakeWindow), before: &FakeFunction, allowed: &[u8]) {
    if machine.0.take_writes().is_empty() {
        return;
    }
    let after = &machine.0.functions.borrow()[&AT];
    for (at, allowed) in allowed.iter().enumerate() {
        let (old, new) = (before.bytes[at], after.bytes[at]);
        assert_eq!(old & !allowed, new & !allowed, "byte {at:#x}: {old:#04x} became {new:#04x}");
    }
}

fn functions() -> [(FakeFunction, Vec<u8>); 2] {
    [(FakeFunction::e1000e(), may_change(0x60, 0xa0)), (FakeFunction::nvme(), may_change(0x80, 0x40))]
}

#[test]
fn no_write_at_any_offset_and_width_reaches_more_than_the_table_allows() {
    for (function, allowed) in functions() {
        let machine = machine(function);
        let mut given = give(&machine, &Grant { interrupt_line: Some(17), ..Grant::default() });
        given.allow_bus_master(true);
        let before = machine.0.functions.borrow()[&AT].clone();
        for width in WIDTHS {
            for offset in 0..=4096_u16 {
                for value in [u32::MAX, 0x5a5a_a5a5, 0] {
                    write(&mut given, offset, width, value);
                    assert_contained(&machine, &before, &allowed);
                }
            }
        }
    }
}

#[test]
fn no_write_sets_bus_master_before_it_is_allowed() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    assert_eq!(write(&mut given, 4, Width::Word, 0x0406), [map(0, 0), PciEffect::BusMaster(true)]);
    assert_eq!(given.config_read(4, Width::Word), 0x0406);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0402);
    given.allow_bus_master(true);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0406);
    given.allow_bus_master(false);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0402);
}

#[test]
fn errors_stay_unreported_and_requests_snoop_whatever_the_guest_writes() {
    let mut function = FakeFunction::nvme();
    function.put(0x88, 2, 0x281f);
    let machine = machine(function);
    let mut given = give(&machine, &Grant::default());
    assert_eq!(machine.0.functions.borrow()[&AT].get(0x88, 2) & 0x80f, 0, "what the firmware set is off");
    for value in [0x0f, 0x80f, 0x7fff] {
        write(&mut given, 0x88, Width::Word, value);
        assert_eq!(given.config_read(0x88, Width::Word) & 0x80f, value & 0x80f, "its own, in its image");
        assert_eq!(machine.0.functions.borrow()[&AT].get(0x88, 2) & 0x80f, 0);
        write(&mut given, 4, Width::Word, 0x0146);
        assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2) & 0x0140, 0);
    }
}

#[test]
fn identity_reads_through_and_stays_when_the_device_changes_it() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    machine.0.change(AT, |function| {
        function.put(0, 4, 0xdead_beef);
        function.put(0x34, 1, 0x44);
        function.put(0xa2, 2, 0x07ff);
        function.put(0xa4, 4, 0xffff_fff8);
        function.put(0x0e, 1, 0x81);
    });
    assert_eq!(given.config_read(0, Width::Dword), 0x10d3_8086);
    assert_eq!(given.config_read(8, Width::Dword), 0x0200_0001);
    assert_eq!(given.config_read(0x0e, Width::Byte), 0);
    assert_eq!(given.config_read(0xa2, Width::Word), 4);
    assert_eq!(given.config_read(0xa4, Width::Dword), 3);
    assert_eq!(given.message_count(), 5);
    assert_eq!(chain(&mut given).len(), 4);
    // What the guest does next goes where it went before.
    write(&mut given, 0xa2, Width::Word, 0x8000);
    assert_eq!(write_bar(&mut given, 3, 0x50, Width::Dword, 0), [], "outside the table");
}

#[test]
fn clearing_decode_unmaps_and_leaves_the_hardware_decoding() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    write(&mut given, 0x14, Width::Dword, 0xc002_0000);
    write(&mut given, 0x1c, Width::Dword, 0xc004_0000);
    let on = write(&mut given, 4, Width::Word, 2);
    assert_eq!(on, [map(0, 0xc000_0000), map(1, 0xc002_0000), map(3, 0xc004_0000)]);
    assert_eq!(write(&mut given, 4, Width::Byte, 0), [unmap(0), unmap(1), unmap(3)]);
    assert_eq!(machine.0.take_writes(), []);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2) & 3, 2, "memory, not ports");
}

#[test]
fn status_errors_are_cleared_by_ones_and_by_nothing_else() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    machine.0.change(AT, |function| function.put(6, 2, 0xf918));
    assert_eq!(given.config_read(6, Width::Word), 0xf918);
    write(&mut given, 4, Width::Dword, 0x3000_0000);
    assert_eq!(given.config_read(6, Width::Word), 0xc918);
    // A write that straddles command and status is decided byte by byte.
    write(&mut given, 5, Width::Dword, 0x0040_0004);
    assert_eq!(given.config_read(4, Width::Word), 0x0400);
    assert_eq!(given.config_read(6, Width::Word), 0x8918);
}

#[test]
fn scratch_registers_are_the_guests_own() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x0c, Width::Dword, u32::MAX);
    write(&mut given, 0x3c, Width::Dword, u32::MAX);
    assert_eq!(given.config_read(0x0c, Width::Dword), 0x0000_00ff, "no latency, header type or self test");
    assert_eq!(given.config_read(0x3c, Width::Dword), 0x0000_00ff, "no pin was granted");
    assert_eq!(machine.0.take_writes(), []);
}

#[test]
fn the_list_holds_what_is_shown_and_the_rest_reads_zero() {
    let function = FakeFunction::nvme()
        .capability(id::VENDOR_SPECIFIC, 0xd0, &[0x10, 1, 2, 3, 4])
        .capability(0x14, 0xe0, &[9, 9]);
    let machine = machine(function);
    let mut given = give(&machine, &Grant::default());
    let shown = [(id::MSIX, 0x40), (id::EXPRESS, 0x80), (id::POWER_MANAGEMENT, 0x60)];
    assert_eq!(chain(&mut given), shown);
    for at in 0xd0..0x100 {
        assert_eq!(given.config_read(at, Width::Byte), 0, "{at:#x}");
    }
}

#[test]
fn extended_space_is_empty() {
    let function = FakeFunction::nvme()
        .extended_capability(0x0010, 0x100, 0x180, 0xee, 0x40)
        .extended_capability(0x0001, 0x180, 0x200, 0x11, 0x48)
        .extended_capability(0x000f, 0x200, 0x280, 0x22, 8)
        .extended_capability(0x0003, 0x280, 0, 0x33, 12);
    let machine = machine(function);
    let mut given = give(&machine, &Grant::default());
    for at in (0x100..0x1000).step_by(4) {
        assert_eq!(given.config_read(at, Width::Dword), 0, "{at:#x}");
    }
    assert_eq!(write(&mut given, 0x184, Width::Dword, u32::MAX), []);
    assert_eq!(machine.0.take_writes(), []);
}

#[test]
fn express_is_shown_without_link_and_forwards_only_the_request_size() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    let at = capability(&mut given, id::EXPRESS).unwrap();
    assert_eq!(given.config_read(at + 2, Width::Word), 0x0092, "version 2, integrated endpoint");
    assert_eq!(given.config_read(at + 0x0c, Width::Dword), 0, "no link");
    assert_eq!(given.config_read(at + 8, Width::Word), 0x2810);
    write(&mut given, at + 8, Width::Word, 0x50ef);
    assert_eq!(given.config_read(at + 8, Width::Word), 0x50ef);
    assert_eq!(machine.0.take_writes(), [(AT, at + 8, Width::Word, 0x5000)]);
    // Reserved request sizes are not passed on.
    write(&mut given, at + 8, Width::Word, 0x7000);
    assert_eq!(machine.0.take_writes(), []);
}

#[test]
fn the_first_version_of_express_fits_into_the_last_bytes() {
    // Where QEMU's 82574L has it: 20 bytes at 0xe0.
    let mut function = FakeFunction::e1000e().capability(0, 0xe0, &[0x01, 0, 0xc0, 0x80]);
    function.put(0x61, 1, 0xa0);
    function.put(0xa1, 1, 0xe0);
    function.put(0xd1, 1, 0xa0);
    function.put(0xe0, 1, id::EXPRESS.into());
    let machine = machine(function);
    let mut given = give(&machine, &Grant::default());
    let shown = [(id::POWER_MANAGEMENT, 0xc8), (id::MSI, 0xd0), (id::MSIX, 0xa0), (id::EXPRESS, 0xe0)];
    assert_eq!(chain(&mut given), shown);
    assert_eq!(given.capability_fault(), None);
    assert_eq!(given.config_read(0xe2, Width::Word), 0x0091);
    assert_eq!(given.config_read(0xf0, Width::Dword), 0);
}

#[test]
fn a_function_level_reset_is_asked_for_and_not_forwarded() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant { interrupt_line: Some(17), ..Grant::default() });
    given.allow_bus_master(true);
    write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    write(&mut given, 4, Width::Word, 6);
    let at = capability(&mut given, id::EXPRESS).unwrap();
    machine.0.take_writes();
    let effects = write(&mut given, at + 9, Width::Byte, 0x80);
    assert_eq!(effects, [PciEffect::BusMaster(false), unmap(0), PciEffect::ResetRequested]);
    assert_eq!(given.config_read(4, Width::Word), 0);
    assert_eq!(given.config_read(0x10, Width::Dword), 4);
    assert_eq!(given.config_read(at + 8, Width::Word), 0x2810);
    let writes = machine.0.take_writes();
    assert_eq!(writes, [(AT, 4, Width::Word, 2)], "bus mastering off, and no reset bit");
}

#[test]
fn a_function_without_that_reset_has_no_such_bit() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    let at = capability(&mut given, id::EXPRESS).unwrap();
    assert_eq!(write(&mut given, at + 8, Width::Word, 0x8000 | 0x2810), []);
    assert_eq!(given.config_read(at + 8, Width::Word), 0x2810);
}

#[test]
fn the_power_state_is_the_guests_own() {
    let machine = machine(FakeFunction::nvme());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    write(&mut given, 4, Width::Word, 6);
    let at = capability(&mut given, id::POWER_MANAGEMENT).unwrap();
    assert_eq!(given.config_read(at + 2, Width::Word) & 0xfe00, 0, "no wake-up, no D1 or D2");
    assert_eq!(write(&mut given, at + 4, Width::Word, 1), [], "D1 is not offered");
    assert_eq!(given.config_read(at + 4, Width::Word), 8);
    assert_eq!(write(&mut given, at + 4, Width::Word, 3), [PciEffect::BusMaster(false), unmap(0)]);
    assert_eq!(
        write(&mut given, at + 4, Width::Word, 0),
        [map(0, 0xc000_0000), PciEffect::BusMaster(true)],
        "it keeps its state"
    );
    assert_eq!(machine.0.functions.borrow()[&AT].get(at + 4, 2), 8, "the hardware stayed in D0");
}

#[test]
fn leaving_d3_asks_for_a_reset_where_it_loses_the_state() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    write(&mut given, 0xcc, Width::Byte, 3);
    assert_eq!(write(&mut given, 0xcc, Width::Byte, 0), [PciEffect::ResetRequested]);
    assert_eq!(given.config_read(0x10, Width::Dword), 0);
}

#[test]
fn the_pin_follows_command_and_messages() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant { interrupt_line: Some(17), ..Grant::default() });
    assert_eq!(given.config_read(0x3d, Width::Byte), 1);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2) & 0x400, 0);
    assert_eq!(write(&mut given, 5, Width::Byte, 4), [PciEffect::InterruptPin(false)]);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2) & 0x400, 0x400);
    assert_eq!(write(&mut given, 5, Width::Byte, 0), [PciEffect::InterruptPin(true)]);
    assert_eq!(write(&mut given, 0xa3, Width::Byte, 0x80), [PciEffect::InterruptPin(false)]);
    // Not granted: never enabled, whatever the guest does.
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 5, Width::Byte, 4);
    assert_eq!(write(&mut given, 5, Width::Byte, 0), []);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2) & 0x400, 0x400);
}

#[test]
fn reads_past_the_end_are_ones() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    assert_eq!(given.config_read(0xffe, Width::Dword), 0xffff_0000);
    assert_eq!(given.config_read(0x1000, Width::Dword), u32::MAX);
    assert_eq!(given.config_read(u16::MAX, Width::Dword), u32::MAX);
    assert_eq!(write(&mut given, u16::MAX, Width::Dword, 0), []);
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::Byte), Just(Width::Word), Just(Width::Dword)]
}

proptest! {
    #[test]
    fn any_sequence_of_writes_is_contained_and_its_mappings_add_up(
        writes in prop::collection::vec((0..0x110_u16, width(), any::<u32>()), 1..60),
    ) {
        for (function, allowed) in functions() {
            let machine = machine(function);
            let mut given = give(&machine, &Grant { interrupt_line: Some(17), ..Grant::default() });
            given.allow_bus_master(true);
            let before = machine.0.functions.borrow()[&AT].clone();
            let mut mapped = [None; 7];
            for (offset, width, value) in &writes {
                for effect in write(&mut given, *offset, *width, *value) {
                    match effect {
                        PciEffect::MapBar { bar, gpa } => mapped[usize::from(bar)] = Some(gpa),
                        PciEffect::UnmapBar { bar } => mapped[usize::from(bar)] = None,
                        _ => {}
                    }
                }
                let now = given.bars().map(|bar| bar.and_then(|bar| bar.decoded_at()));
                prop_assert_eq!(mapped, now, "the effects lead to what the guest decodes");
                assert_contained(&machine, &before, &allowed);
            }
        }
    }

    #[test]
    fn a_wide_read_is_its_bytes(offset in 0..0x110_u16, width in width()) {
        let machine = machine(FakeFunction::e1000e());
        let mut given = give(&machine, &Grant::default());
        let whole = given.config_read(offset, width);
        let bytes = (0..width.bytes() as u16).fold(0, |value, index| {
            value | given.config_read(offset + index, Width::Byte) << (8 * index)
        });
        prop_assert_eq!(whole, bytes);
    }

    #[test]
    fn a_wide_write_is_its_bytes(offset in 0..0x100_u16, width in width(), value in any::<u32>()) {
        let machines = [machine(FakeFunction::e1000e()), machine(FakeFunction::e1000e())];
        let [mut whole, mut parts] = machines.each_ref().map(|machine| give(machine, &Grant::default()));
        write(&mut whole, offset, width, value);
        for index in 0..width.bytes() as u16 {
            write(&mut parts, offset + index, Width::Byte, value >> (8 * index) & 0xff);
        }
        // A reset in the middle of a sequence of bytes undoes those before it.
        let (power, flr) = (0xc8..0xd0, 0x68..0x6a);
        prop_assume!(!power.contains(&offset) && !flr.contains(&offset));
        for at in 0..0x100 {
            prop_assert_eq!(whole.config_read(at, Width::Byte), parts.config_read(at, Width::Byte));
        }
    }
}
