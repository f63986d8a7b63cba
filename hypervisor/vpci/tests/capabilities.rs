//! Capability lists that lead nowhere good.

mod common;

use access::ConfigSpace;
use access::fake_pci::FakeFunction;
use common::*;
use pci::ResetPath;
use pci::capability::{CapabilityFault, walk};
use proptest::prelude::*;
use spec::Width;
use spec::pci_capability::id;
use vpci::{Grant, PassedThrough, PassthroughError, PciFunction};

fn fault(change: impl FnOnce(&mut FakeFunction)) -> (Vec<(u8, u16)>, Option<CapabilityFault>) {
    let mut function = FakeFunction::nvme();
    change(&mut function);
    let machine = machine(function);
    let mut given = give(&machine, &Grant::default());
    (chain(&mut given), given.capability_fault())
}

#[test]
fn a_loop_is_reported_and_what_came_before_is_shown() {
    let (shown, fault) = fault(|function| function.put(0x81, 1, 0x40));
    assert_eq!(shown, [(id::MSIX, 0x40), (id::EXPRESS, 0x80)]);
    assert_eq!(fault, Some(CapabilityFault::Loop { at: 0x40 }));
    let (shown, fault) = self::fault(|function| function.put(0x41, 1, 0x40));
    assert_eq!((shown.len(), fault), (1, Some(CapabilityFault::Loop { at: 0x40 })));
}

#[test]
fn a_pointer_into_the_header_is_reported() {
    let (shown, fault) = fault(|function| function.put(0x34, 1, 0x10));
    assert_eq!((shown, fault), (vec![], Some(CapabilityFault::Outside { pointer: 0x10 })));
}

#[test]
fn a_structure_past_the_end_or_in_another_is_reported() {
    let (shown, fault) = fault(|function| {
        function.put(0x41, 1, 0xf8);
        function.put(0xf8, 1, id::EXPRESS.into());
        function.put(0xfa, 1, 2);
    });
    assert_eq!(shown, [(id::MSIX, 0x40)]);
    assert_eq!(fault, Some(CapabilityFault::Truncated { at: 0xf8, id: 0x10 }));
    let (shown, fault) = self::fault(|function| {
        function.put(0x81, 1, 0xa0);
        function.put(0xa0, 1, id::POWER_MANAGEMENT.into());
    });
    assert_eq!(shown, [(id::MSIX, 0x40), (id::EXPRESS, 0x80)]);
    assert_eq!(fault, Some(CapabilityFault::Truncated { at: 0xa0, id: 1 }));
}

#[test]
fn reserved_pointer_bits_are_ignored_and_the_second_of_a_kind_is_hidden() {
    let (shown, fault) = fault(|function| {
        function.put(0x34, 1, 0x43);
        function.put(0x61, 1, 0xf0);
        function.put(0xf0, 1, id::MSIX.into());
    });
    assert_eq!(shown, [(id::MSIX, 0x40), (id::EXPRESS, 0x80), (id::POWER_MANAGEMENT, 0x60)]);
    assert_eq!(fault, None);
}

#[test]
fn the_list_bit_rules() {
    let (shown, fault) = fault(|function| function.put(6, 2, 0));
    assert_eq!((shown, fault), (vec![], None));
}

#[test]
fn a_table_outside_its_bar_is_refused() {
    for (control, table, pending) in [
        (4, 0x4000, 0x3000),
        (4, 0x3ff8, 0x3000),
        (4, 0x2001, 0x3000),
        (4, 0x2006, 0x3000),
        (4, 0xffff_fff8, 0x3000),
        (0x7ff, 0x2000, 0x3000),
        (64, 0x2000, 0x2008),
        (64, 0x2000, 0x3ff8),
    ] {
        let mut function = FakeFunction::nvme();
        function.put(0x42, 2, control);
        function.put(0x44, 4, table);
        function.put(0x48, 4, pending);
        let machine = machine(function);
        let refused =
            PassedThrough::discover(&machine.0, AT, &Grant::default(), |_, _| Some(&machine.1)).err();
        assert_eq!(refused, Some(PassthroughError::MsixMisplaced), "{table:#x} {pending:#x}");
    }
}

proptest! {
    /// Random configuration space: nothing panics, every walk ends, and what the
    /// guest sees is a list that ends.
    #[test]
    fn any_configuration_space_is_taken_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 256),
        extended in prop::collection::vec(any::<u8>(), 64),
        accesses in prop::collection::vec((any::<u16>(), any::<u32>()), 40),
    ) {
        let mut function = FakeFunction::nvme();
        for (at, byte) in (0_u16..).zip(&bytes) {
            // An endpoint with the BARs of the drive; everything else is random.
            if !(0x0e..0x28).contains(&at) {
                function.put(at, 1, (*byte).into());
            }
        }
        for (at, byte) in (0x100_u16..).zip(&extended) {
            function.put(at, 1, (*byte).into());
        }
        let machine = machine(function);
        let mut count = 0;
        let _ = walk(&machine.0, AT, |_, _| { count += 1; Ok(()) });
        prop_assert!(count <= 48);
        let _ = ResetPath::discover(&machine.0, AT);
        let grant = Grant { interrupt_line: Some(17), rom: None, bars: None };
        let found = PassedThrough::discover(&machine.0, AT, &grant, |_, _| Some(&machine.1));
        if let Ok(mut given) = found {
            given.start();
            chain(&mut given);
            let bars = machine.0.read32(AT, 0x10);
            for (offset, value) in accesses {
                for width in [Width::Byte, Width::Word, Width::Dword] {
                    write(&mut given, offset % 0x120, width, value);
                    given.config_read(offset, width);
                    write_bar(&mut given, offset as u8 % 8, (offset / 3).into(), width, value.into());
                    given.bar_read(offset as u8 % 8, offset.into(), width);
                }
            }
            prop_assert_eq!(machine.0.read32(AT, 0x10), bars);
        }
    }
}
