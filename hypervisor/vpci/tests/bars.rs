//! BARs of functions that are passed through, and what a guest does to its own.

mod common;

use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use common::*;
use pci::bar::{BarFault, ROM, size_bars};
use spec::{Hpa, Width};
use vpci::bar::PageRange;
use vpci::passthrough::Rom;
use vpci::{Grant, PassedThrough, PassthroughError, PciFunction, TrappedRegion};

fn discover(function: FakeFunction) -> Result<(), PassthroughError> {
    let machine = machine(function);
    PassedThrough::discover(&machine.0, AT, &Grant::default(), |_, _| Some(&machine.1)).map(drop)
}

#[test]
fn bars_that_make_no_sense_are_refused() {
    let mut holes = FakeFunction::new(1, 2, 3).memory_bar(0, 0x1000, 0x8000_0000, false, false);
    holes.allow(0x10, 4, 0xfffd_f000);
    let mut reserved = FakeFunction::new(1, 2, 3).memory_bar(1, 0x1000, 0x8000_0000, false, false);
    reserved.put(0x14, 4, 0x8000_0002);
    let half = FakeFunction::new(1, 2, 3).memory_bar(5, 0x1000, 0x8000_0000, true, false);
    for (function, bar, fault) in [
        (holes, 0, BarFault::Malformed),
        (reserved, 1, BarFault::Malformed),
        (half, 5, BarFault::HalfMissing),
    ] {
        assert_eq!(discover(function), Err(PassthroughError::Bar { bar, fault }));
    }
}

#[test]
fn what_is_no_placed_endpoint_is_refused() {
    assert_eq!(discover(FakeFunction::bridge(1)), Err(PassthroughError::NotEndpoint { header: 1 }));
    let unplaced = FakeFunction::new(1, 2, 3).memory_bar(1, 0x1000, 0, false, false);
    assert_eq!(discover(unplaced), Err(PassthroughError::Unplaced { bar: 1 }));
    let empty = FakeConfigSpace::default();
    let none = PassedThrough::discover(&empty, AT, &Grant::default(), |_, _| None::<FakeWindow>);
    assert!(matches!(none, Err(PassthroughError::Absent)));
    let machine = machine(FakeFunction::nvme());
    let none = PassedThrough::discover(&machine.0, AT, &Grant::default(), |_, _| None::<FakeWindow>);
    assert!(matches!(none, Err(PassthroughError::NoWindow { host: Hpa(0x8_fe00_6000) })));
    // Ports that the firmware gave no place are hidden instead.
    assert_eq!(discover(FakeFunction::new(1, 2, 3).port_bar(0, 32, 0)), Ok(()));
}

#[test]
fn a_function_whose_bars_are_not_those_that_were_checked_is_refused() {
    let checked = size_bars(&machine(FakeFunction::nvme()).0, AT).unwrap();
    let discover = |change: fn(&mut FakeFunction)| {
        let machine = machine(FakeFunction::nvme());
        machine.0.change(AT, change);
        let grant = Grant { bars: Some(&checked), ..Grant::default() };
        PassedThrough::discover(&machine.0, AT, &grant, |_, _| Some(&machine.1)).map(drop)
    };
    assert_eq!(discover(|_| {}), Ok(()));
    let changed = Err(PassthroughError::Changed { bar: 0 });
    // Over somebody's memory; larger; a BAR that was not there.
    assert_eq!(discover(|function| function.put(0x14, 4, 1)), changed);
    assert_eq!(
        discover(|function| function.allow(0x10, 4, !0x1_ffff)),
        Err(PassthroughError::Bar { bar: 0, fault: BarFault::Malformed })
    );
    assert_eq!(discover(|function| function.put(0x10, 4, 0xfe00_400c)), changed);
    let another = |function: &mut FakeFunction| {
        function.put(0x18, 4, 0x1000_0000);
        function.allow(0x18, 4, !0xfff);
    };
    assert_eq!(discover(another), Err(PassthroughError::Changed { bar: 2 }));
}

#[test]
fn ports_are_never_decoded() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    given.allow_bus_master(true);
    write(&mut given, 4, Width::Word, 7);
    assert_eq!(given.config_read(4, Width::Word), 7);
    assert_eq!(machine.0.functions.borrow()[&AT].get(4, 2), 0x0406);
}

#[test]
fn a_guest_sizes_its_bars_as_on_hardware() {
    let machine = machine(FakeFunction::e1000e());
    let mut given = give(&machine, &Grant::default());
    for (register, mask) in [(0x10, 0xfffe_0000), (0x18, 0xffff_ffe1), (0x1c, 0xffff_c000), (0x20, 0)] {
        write(&mut given, register, Width::Dword, u32::MAX);
        assert_eq!(given.config_read(register, Width::Dword), mask, "{register:#x}");
    }
    assert_eq!(given.config_read(0x30, Width::Dword), 0);
    write(&mut given, 0x30, Width::Dword, u32::MAX);
    assert_eq!(given.config_read(0x30, Width::Dword), 0, "no ROM");
    assert_eq!(machine.0.take_writes(), []);
}

#[test]
fn the_halves_of_a_wide_bar_move_it_one_by_one() {
    let function = FakeFunction::new(1, 2, 3).memory_bar(0, 0x4000, 0x10_0000_0000, true, true);
    let machine = machine(function);
    let mut given = give(&machine, &Grant::default());
    write(&mut given, 0x10, Width::Dword, u32::MAX);
    write(&mut given, 0x14, Width::Dword, u32::MAX);
    assert_eq!(given.config_read(0x10, Width::Dword), 0xffff_c00c);
    assert_eq!(given.config_read(0x14, Width::Dword), u32::MAX);
    write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    write(&mut given, 0x14, Width::Dword, 0x20);
    assert_eq!(write(&mut given, 4, Width::Byte, 2), [map(0, 0x20_c000_0000)]);
    assert_eq!(write(&mut given, 0x14, Width::Dword, 0x30), [unmap(0), map(0, 0x30_c000_0000)]);
    assert_eq!(write(&mut given, 0x10, Width::Dword, 0xd000_0000), [unmap(0), map(0, 0x30_d000_0000)]);
    assert_eq!(write(&mut given, 0x10, Width::Dword, 0xd000_0008), [], "nothing moved");
    // One byte moves it too.
    assert_eq!(write(&mut given, 0x17, Width::Byte, 1), [unmap(0), map(0, 0x0100_0030_d000_0000)]);
}

#[test]
fn a_table_page_is_trapped_and_the_rest_is_direct() {
    let machine = machine(FakeFunction::nvme());
    let given = give(&machine, &Grant::default());
    // 65 entries of 16 bytes at 0x2000 take a page; the pending bits are apart.
    assert_eq!(given.trapped_regions(), [TrappedRegion { bar: 0, offset: 0x2000, bytes: 0x1000 }]);
    let direct: Vec<_> = given.direct_ranges(0).collect();
    let expected = [PageRange { offset: 0, bytes: 0x2000 }, PageRange { offset: 0x3000, bytes: 0x1000 }];
    assert_eq!(direct, expected);
    assert_eq!(given.direct_ranges(1).count(), 0);
    assert_eq!(given.direct_ranges(200).count(), 0);
}

#[test]
fn a_bar_smaller_than_a_page_is_trapped_as_a_whole() {
    let function = FakeFunction::new(1, 2, 3).memory_bar(0, 0x100, 0x8000_0700, false, false);
    let machine = machine(function);
    let mut opened = Vec::new();
    let given = PassedThrough::discover(&machine.0, AT, &Grant::default(), |hpa, bytes| {
        opened.push((hpa, bytes));
        Some(&machine.1)
    });
    let mut given = given.unwrap();
    assert_eq!(opened, [(Hpa(0x8000_0700), 0x100)]);
    assert_eq!(given.trapped_regions(), [TrappedRegion { bar: 0, offset: 0, bytes: 0x100 }]);
    assert_eq!(given.direct_ranges(0).count(), 0);
    write_bar(&mut given, 0, 0x10, Width::Word, 0x1234);
    assert_eq!(machine.1.take_writes(), [(0x10, 2, 0x1234)], "in the guest's width");
    assert_eq!(given.bar_read(0, 0x10, Width::Qword), 0x1234);
    // Its neighbour's bytes are out of reach.
    write_bar(&mut given, 0, 0xfe, Width::Dword, u64::MAX);
    write_bar(&mut given, 0, 0x100, Width::Dword, u64::MAX);
    write_bar(&mut given, 0, u64::MAX, Width::Qword, u64::MAX);
    assert_eq!(machine.1.take_writes(), [(0xfe, 1, 0xff), (0xff, 1, 0xff)]);
    assert_eq!(given.bar_read(0, 0x100, Width::Dword), 0xffff_ffff);
    assert_eq!(given.bar_read(0, u64::MAX - 2, Width::Qword), u64::MAX);
    assert_eq!(given.bar_read(5, 0, Width::Byte), 0xff);
}

#[test]
fn a_granted_rom_is_a_copy() {
    let machine = machine(FakeFunction::e1000e());
    let rom = Some(Rom { host: Hpa(0x1234_5000), bytes: 0x8000 });
    let mut given = give(&machine, &Grant { rom, ..Grant::default() });
    write(&mut given, 0x30, Width::Dword, 0xffff_fffe);
    assert_eq!(given.config_read(0x30, Width::Dword), 0xffff_8000);
    write(&mut given, 0x30, Width::Dword, 0xc010_0000);
    write(&mut given, 0x10, Width::Dword, 0xc000_0000);
    let on = write(&mut given, 4, Width::Word, 2);
    assert!(!on.contains(&map(ROM, 0xc010_0000)), "its own enable bit is off");
    assert_eq!(write(&mut given, 0x30, Width::Byte, 1), [map(ROM, 0xc010_0000)]);
    assert_eq!(given.bars()[6].unwrap().host, Some(Hpa(0x1234_5000)));
    assert_eq!(given.direct_ranges(ROM).collect::<Vec<_>>(), [PageRange { offset: 0, bytes: 0x8000 }]);
    assert_eq!(machine.0.functions.borrow()[&AT].get(0x30, 4), 0);
    let odd = Some(Rom { host: Hpa(0x1234_5000), bytes: 0x7000 });
    let refused = PassedThrough::discover(&machine.0, AT, &Grant { rom: odd, ..Grant::default() }, |_, _| {
        Some(&machine.1)
    });
    assert!(matches!(refused, Err(PassthroughError::Rom)));
}
