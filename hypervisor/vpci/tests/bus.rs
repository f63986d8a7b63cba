//! The guest's bus: one decoder, the placement of BARs, and attacks on it.

mod common;

use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
use common::Given;
use proptest::prelude::*;
use spec::{Bdf, Gpa, Width};
use vpci::bus::{InsertError, PlaceError};
use vpci::{
    BarTarget, Grant, GuestBus, PassedThrough, PciEffect, PciEffects, PciFunction, Refusal, Slot, Windows,
};

const NIC: Slot = Slot::new(1, 0);
const DRIVE: Slot = Slot::new(2, 0);
const EXTRA: Slot = Slot::new(2, 3);

struct Machine {
    config: FakeConfigSpace,
    window: FakeWindow,
}

impl Machine {
    fn new() -> Self {
        let wide = FakeFunction::new(0x1af4, 0x1041, 0x02_0000)
            .memory_bar(0, 0x1_0000, 0x90_0000_0000, true, true)
            .memory_bar(2, 0x100, 0xfea0_0000, false, false);
        let functions = [
            (Bdf::new(1, 0, 0), FakeFunction::e1000e()),
            (Bdf::new(2, 0, 0), FakeFunction::nvme()),
            (Bdf::new(3, 0, 0), wide),
        ];
        Self { config: FakeConfigSpace::with(functions), window: FakeWindow::new(0x4000) }
    }

    fn bus(&self, windows: Windows) -> GuestBus<Given<'_>> {
        let mut bus = GuestBus::new(windows, 8);
        for (number, slot) in (1..).zip([NIC, DRIVE, EXTRA]) {
            let at = Bdf::new(number, 0, 0);
            let given =
                PassedThrough::discover(&self.config, at, &Grant::default(), |_, _| Some(&self.window));
            bus.insert(slot, given.unwrap()).unwrap();
        }
        bus
    }
}

fn effects(bus: &mut GuestBus<Given<'_>>) -> Vec<(Slot, PciEffect)> {
    std::iter::from_fn(|| bus.next_effect()).collect()
}

fn refused(slot: Slot, bar: u8, gpa: u64, refusal: Refusal) -> (Slot, PciEffect) {
    (slot, PciEffect::BarRefused { bar, gpa: Gpa(gpa), refusal })
}

fn map(slot: Slot, bar: u8, gpa: u64) -> (Slot, PciEffect) {
    (slot, common::map(bar, gpa))
}

fn unmap(slot: Slot, bar: u8) -> (Slot, PciEffect) {
    (slot, common::unmap(bar))
}

fn bar_read(bus: &mut GuestBus<Given<'_>>, target: BarTarget, width: Width) -> u64 {
    bus.with_bar(target, |given, bar, offset, _| given.bar_read(bar, offset, width)).unwrap()
}

fn bar_write(bus: &mut GuestBus<Given<'_>>, target: BarTarget, width: Width, value: u64) {
    bus.with_bar(target, |given, bar, offset, asked| given.bar_write(bar, offset, width, value, asked))
        .unwrap()
}

/// A read by configuration mechanism 1.
fn cf8(bus: &mut GuestBus<Given<'_>>, slot: Slot, offset: u16, width: Width) -> u32 {
    let address = 1 << 31 | u32::from(slot.0) << 8 | u32::from(offset & 0xfc);
    assert!(bus.port_write(0xcf8, Width::Dword, address));
    bus.port_read(0xcfc + (offset & 3), width).unwrap()
}

#[test]
fn the_host_bridge_is_found_both_ways() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    assert_eq!(cf8(&mut bus, Slot(0), 0, Width::Dword), 0x29c0_8086);
    assert_eq!(bus.ecam_read(0, Width::Qword), 0x0000_0006_29c0_8086);
    assert_eq!(cf8(&mut bus, Slot(0), 0x0a, Width::Word), 0x0600);
    assert_eq!(cf8(&mut bus, NIC, 0, Width::Dword), 0x10d3_8086);
    bus.ecam_write(0, Width::Dword, 0);
    bus.ecam_write(4, Width::Word, 0);
    assert_eq!(bus.ecam_read(4, Width::Word), 6, "always on");
    assert_eq!(bus.ecam_read(0x10, Width::Dword), 0);
}

#[test]
fn absent_functions_and_buses_read_ones() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    assert_eq!(cf8(&mut bus, Slot::new(9, 0), 0, Width::Dword), u32::MAX);
    assert_eq!(bus.ecam_read(9 << 15, Width::Qword), u64::MAX);
    assert_eq!(bus.ecam_read(1 << 20, Width::Byte), 0xff);
    assert_eq!(bus.ecam_read(u64::MAX, Width::Word), 0xffff);
    bus.port_write(0xcf8, Width::Dword, 1 << 31 | 1 << 16);
    assert_eq!(bus.port_read(0xcfc, Width::Word), Some(0xffff));
    bus.port_write(0xcf8, Width::Dword, 0);
    assert_eq!(bus.port_read(0xcfc, Width::Dword), Some(u32::MAX), "not enabled");
    assert!(bus.port_write(0xcfc, Width::Dword, 0));
    bus.ecam_write(9 << 15, Width::Qword, 0);
    bus.ecam_write(u64::MAX, Width::Qword, 0);
    assert_eq!(effects(&mut bus), []);
}

#[test]
fn only_whole_accesses_are_of_the_address_register() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    bus.port_write(0xcf8, Width::Dword, 0x8000_0804);
    assert!(!bus.port_write(0xcf9, Width::Byte, 6), "the reset register is the chipset's");
    assert_eq!(bus.port_read(0xcf8, Width::Word), None);
    assert_eq!(bus.port_read(0xcf8, Width::Dword), Some(0x8000_0804));
    assert_eq!(bus.port_read(0xd00, Width::Byte), None);
    assert_eq!(bus.port_read(0xcf4, Width::Dword), None);
    // An access that leaves the data port.
    bus.port_write(0xcf8, Width::Dword, 0x8000_0800);
    assert_eq!(bus.port_read(0xcfe, Width::Dword), Some(0xffff_10d3));
    assert_eq!(bus.port_read(0xcff, Width::Word), Some(0xff10));
}

#[test]
fn the_multi_function_bit_is_right() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    assert_eq!(cf8(&mut bus, NIC, 0x0e, Width::Byte), 0);
    assert_eq!(cf8(&mut bus, DRIVE, 0x0e, Width::Byte), 0x80);
    assert_eq!(cf8(&mut bus, EXTRA, 0x0c, Width::Dword), 0x0080_0000);
    assert_eq!(bus.ecam_read(0x1_000e, Width::Word), 0x0080);
    assert_eq!(cf8(&mut bus, Slot(0), 0x0e, Width::Byte), 0);
}

#[test]
fn slots_are_taken_once() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    for slot in [Slot(0), DRIVE] {
        let given = PassedThrough::discover(&machine.config, Bdf::new(1, 0, 0), &Grant::default(), |_, _| {
            Some(&machine.window)
        });
        assert_eq!(bus.insert(slot, given.unwrap()), Err(InsertError::Taken(slot)));
    }
    assert!(bus.function_mut(DRIVE).is_some() && bus.function(Slot::new(2, 1)).is_none());
    assert_eq!(bus.functions().map(|(slot, _)| slot).collect::<Vec<_>>(), [NIC, DRIVE, EXTRA]);
}

#[test]
fn bars_are_placed_aligned_biggest_first_in_their_windows() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    bus.place_bars().unwrap();
    assert_eq!(effects(&mut bus), [], "decode is off");
    let at = |slot, bar: usize| bus.function(slot).unwrap().bars()[bar].unwrap().gpa.0;
    assert_eq!(at(NIC, 0), 0xc000_0000);
    assert_eq!(at(NIC, 1), 0xc002_0000);
    assert_eq!(at(NIC, 2), 0xc000);
    assert_eq!(at(NIC, 3), 0xc004_0000);
    assert_eq!(at(DRIVE, 0), 0xc004_4000);
    assert_eq!(at(EXTRA, 0), 0x20_0000_0000);
    assert_eq!(at(EXTRA, 2), 0xc004_8000);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let machine = Machine::new();
    let windows = Windows { memory32: 0xc000_0000..0xc004_0000, ..Windows::STANDARD };
    let error = machine.bus(windows).place_bars();
    assert_eq!(error, Err(PlaceError::NoRoom { slot: NIC, bar: 3, size: 0x4000 }));
    let windows = Windows { memory64: 0..0, ..Windows::STANDARD };
    assert_eq!(machine.bus(windows).place_bars(), Ok(()), "wide BARs may be low too");
    let mut bus = GuestBus::new(Windows::STANDARD, 8);
    let given = PassedThrough::discover(&machine.config, Bdf::new(1, 0, 0), &Grant::default(), |_, _| {
        Some(&machine.window)
    });
    bus.insert(Slot::new(4, 1), given.unwrap()).unwrap();
    assert_eq!(bus.place_bars(), Err(PlaceError::NoFunctionZero { slot: Slot::new(4, 1) }));
}

#[test]
fn mapped_bars_take_accesses() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    bus.place_bars().unwrap();
    assert_eq!(bus.memory_target(Gpa(0xc004_6000)), None);
    bus.config_write(DRIVE, 4, Width::Word, 2);
    assert_eq!(effects(&mut bus), [map(DRIVE, 0, 0xc004_4000)]);
    let target = bus.memory_target(Gpa(0xc004_600c)).unwrap();
    assert_eq!((target.slot, target.bar, target.offset), (DRIVE, 0, 0x200c));
    assert_eq!(bar_read(&mut bus, target, Width::Dword), 1);
    assert_eq!(bus.memory_target(Gpa(0xc004_8000)), None);
    bus.config_write(DRIVE, 0x42, Width::Word, 0x8000);
    bar_write(&mut bus, target, Width::Dword, 0);
    assert!(matches!(effects(&mut bus)[..], [(DRIVE, PciEffect::Message(_))]));
    bus.config_write(NIC, 4, Width::Word, 1);
    assert_eq!(effects(&mut bus), [map(NIC, 2, 0xc000)]);
    let target = bus.port_bar_target(0xc01f).unwrap();
    assert_eq!((target.slot, target.bar, target.offset), (NIC, 2, 0x1f));
    assert_eq!(bus.port_bar_target(0xc020), None);
    assert_eq!(bus.memory_target(Gpa(0xc01f)), None, "a port is no address");
}

#[test]
fn bars_are_mapped_nowhere_but_in_free_parts_of_the_windows() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    bus.place_bars().unwrap();
    bus.config_write(NIC, 4, Width::Word, 2);
    bus.config_write(EXTRA, 4, Width::Word, 2);
    effects(&mut bus);
    // Memory, the configuration space of the bus, IOAPIC, local APIC, the top.
    let mut moved_from = Some(unmap(NIC, 0));
    for gpa in [0, 0x10_0000, 0xbffe_0000, 0xe000_0000, 0xfec0_0000, 0xfee0_0000, 0xfffe_0000] {
        bus.config_write(NIC, 0x10, Width::Dword, gpa);
        let expected: Vec<_> = moved_from
            .take()
            .into_iter()
            .chain([refused(NIC, 0, gpa.into(), Refusal::OutsideWindows)])
            .collect();
        assert_eq!(effects(&mut bus), expected);
        assert_eq!(bus.memory_target(Gpa(gpa.into())), None);
    }
    // Onto its own other BAR and onto another function's: wide and narrow.
    bus.config_write(NIC, 0x10, Width::Dword, 0xc002_0000);
    let overlap = Refusal::Overlaps { slot: NIC, bar: 1 };
    assert_eq!(effects(&mut bus), [refused(NIC, 0, 0xc002_0000, overlap)]);
    bus.config_write(EXTRA, 0x14, Width::Dword, 0xff);
    let moved = refused(EXTRA, 0, 0xff_0000_0000, Refusal::OutsideWindows);
    assert_eq!(effects(&mut bus), [unmap(EXTRA, 0), moved]);
    bus.config_write(EXTRA, 0x14, Width::Dword, 0);
    bus.config_write(EXTRA, 0x10, Width::Dword, 0xc004_0000);
    let overlap = Refusal::Overlaps { slot: NIC, bar: 3 };
    let last = effects(&mut bus).pop();
    assert_eq!(last, Some(refused(EXTRA, 0, 0xc004_0000, overlap)));
    // Wrapping past the end of the address space.
    bus.config_write(EXTRA, 0x14, Width::Dword, u32::MAX);
    bus.config_write(EXTRA, 0x10, Width::Dword, u32::MAX);
    let last = effects(&mut bus).pop();
    assert_eq!(last, Some(refused(EXTRA, 0, 0xffff_ffff_ffff_0000, Refusal::OutsideWindows)));
}

#[test]
fn one_access_of_several_writes_loses_no_effect() {
    let machine = Machine::new();
    let set_up = || {
        let mut bus = machine.bus(Windows::STANDARD);
        bus.place_bars().unwrap();
        bus.config_write(NIC, 4, Width::Word, 2);
        effects(&mut bus);
        bus
    };
    // Both BARs leave the windows.
    let mut bus = set_up();
    bus.ecam_write(u64::from(NIC.0) << 12 | 0x10, Width::Qword, 0xfffe_0000_8106_0000);
    let expected = [
        unmap(NIC, 0),
        unmap(NIC, 1),
        refused(NIC, 0, 0x8106_0000, Refusal::OutsideWindows),
        refused(NIC, 1, 0xfffe_0000, Refusal::OutsideWindows),
    ];
    assert_eq!(effects(&mut bus), expected);
    // Both go to new places.
    let mut bus = set_up();
    bus.ecam_write(u64::from(NIC.0) << 12 | 0x10, Width::Qword, 0xd002_0000_d000_0000);
    let maps = [map(NIC, 0, 0xd000_0000), map(NIC, 1, 0xd002_0000)];
    assert_eq!(effects(&mut bus), [vec![unmap(NIC, 0), unmap(NIC, 1)], maps.to_vec()].concat());
    // Bytes 1 to 3 of one BAR: it moves twice, and is unmapped where it was.
    let mut bus = set_up();
    bus.port_write(0xcf8, Width::Dword, 0x8000_0810);
    bus.port_write(0xcfd, Width::Dword, 0x00d0_0a00);
    assert_eq!(effects(&mut bus), [unmap(NIC, 0), map(NIC, 0, 0xd00a_0000)]);
    // A reset before anybody took the effects.
    let mut bus = set_up();
    bus.config_write(NIC, 0x10, Width::Dword, 0);
    bus.reset();
    let unmaps: Vec<_> = [0, 1, 3].map(|bar| unmap(NIC, bar)).to_vec();
    assert_eq!(effects(&mut bus)[..3], unmaps);
}

#[test]
fn a_refused_bar_is_mapped_once_its_place_is_free() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    bus.place_bars().unwrap();
    bus.config_write(NIC, 4, Width::Word, 2);
    bus.config_write(DRIVE, 4, Width::Word, 2);
    effects(&mut bus);
    // Two functions trade places, as a kernel that reassigns everything does. The
    // NIC's slot comes first, so its map would come first if unmaps did not.
    bus.config_write(NIC, 0x1c, Width::Dword, 0xc004_4000);
    let overlap = Refusal::Overlaps { slot: DRIVE, bar: 0 };
    assert_eq!(effects(&mut bus), [unmap(NIC, 3), refused(NIC, 3, 0xc004_4000, overlap)]);
    bus.config_write(DRIVE, 0x10, Width::Dword, 0xc004_0000);
    let expected = [unmap(DRIVE, 0), map(NIC, 3, 0xc004_4000), map(DRIVE, 0, 0xc004_0000)];
    assert_eq!(effects(&mut bus), expected);
}

#[test]
fn a_reset_takes_everything_and_bars_come_back_to_the_same_places() {
    let machine = Machine::new();
    let mut bus = machine.bus(Windows::STANDARD);
    bus.place_bars().unwrap();
    let before = bus.function(DRIVE).unwrap().bars();
    bus.config_write(DRIVE, 4, Width::Word, 6);
    bus.config_write(DRIVE, 0x10, Width::Dword, 0xd000_0000);
    effects(&mut bus);
    bus.port_write(0xcf8, Width::Dword, 0x8000_0000);
    bus.reset();
    assert_eq!(effects(&mut bus), [(DRIVE, PciEffect::BusMaster(false)), unmap(DRIVE, 0)]);
    assert_eq!(bus.port_read(0xcf8, Width::Dword), Some(0));
    bus.place_bars().unwrap();
    assert_eq!(bus.function(DRIVE).unwrap().bars(), before);
}

#[test]
fn effects_are_a_set_that_takes_away_first() {
    let mut effects = PciEffects::new();
    assert!(effects.is_empty());
    effects.bus_master(true);
    effects.map_bar(2, Gpa(0x1000));
    effects.unmap_bar(1);
    effects.map_bar(1, Gpa(0x2000));
    effects.map_bar(3, Gpa(0x3000));
    effects.unmap_bar(3);
    effects.interrupt_pin(true);
    effects.interrupt_pin(false);
    for bar in [7, 8, 255] {
        effects.map_bar(bar, Gpa(0));
        effects.unmap_bar(bar);
    }
    let expected = [
        PciEffect::InterruptPin(false),
        common::unmap(1),
        common::unmap(3),
        common::map(1, 0x2000),
        common::map(2, 0x1000),
        PciEffect::BusMaster(true),
    ];
    assert_eq!(std::iter::from_fn(|| effects.pop(|| None)).collect::<Vec<_>>(), expected);
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::Byte), Just(Width::Word), Just(Width::Dword)]
}

proptest! {
    /// The same write through either mechanism leaves the same bus.
    #[test]
    fn both_mechanisms_are_one(
        steps in prop::collection::vec((0..4_usize, 0..0x100_u16, width(), any::<u32>()), 1..60),
    ) {
        let (first, second) = (Machine::new(), Machine::new());
        let (mut ports, mut ecam) = (first.bus(Windows::STANDARD), second.bus(Windows::STANDARD));
        for (slot, offset, width, value) in steps {
            let slot = [Slot(0), NIC, DRIVE, EXTRA][slot];
            let offset = offset & !(width.bytes() as u16 - 1);
            let at = u64::from(slot.0) << 12 | u64::from(offset);
            prop_assert_eq!(u64::from(cf8(&mut ports, slot, offset, width)), ecam.ecam_read(at, width));
            ports.port_write(0xcfc + (offset & 3), width, value);
            ecam.ecam_write(at, width, value.into());
            prop_assert_eq!(effects(&mut ports), effects(&mut ecam));
        }
        prop_assert_eq!(first.config.take_writes(), second.config.take_writes());
    }

    /// Whatever a guest does with its BARs, what is mapped lies in the windows and
    /// nothing lies over anything else; accesses of any kind do not panic.
    #[test]
    fn mappings_never_overlap_or_leave_the_windows(
        steps in prop::collection::vec(
            (0..3_usize, prop::sample::select(vec![4_u16, 0x10, 0x14, 0x18, 0x1c, 0x20]), any::<u32>(), 0..4_u8),
            1..80,
        ),
        wild in prop::collection::vec((any::<u64>(), any::<u16>(), any::<u64>()), 20),
    ) {
        let machine = Machine::new();
        let mut bus = machine.bus(Windows::STANDARD);
        bus.place_bars().unwrap();
        let mut mapped = std::collections::BTreeMap::new();
        for (slot, register, value, shape) in steps {
            let slot = [NIC, DRIVE, EXTRA][slot];
            // Values near the windows are likelier to find something.
            let value = match (register, shape) {
                (4, _) => 3,
                (_, 0) => value,
                (_, 1) => 0xc000_0000 | value & 0x7_ffff,
                (_, 2) => 0x20 | value & 3,
                _ => 0xc000 | value & 0x3f,
            };
            bus.config_write(slot, register, Width::Dword, value);
            for (slot, effect) in effects(&mut bus) {
                match effect {
                    PciEffect::MapBar { bar, gpa } => {
                        let bar_now = bus.function(slot).unwrap().bars()[usize::from(bar)].unwrap();
                        mapped.insert((slot, bar), (gpa.0, gpa.0 + bar_now.size, bar_now.kind.is_memory()));
                    }
                    PciEffect::UnmapBar { bar } => {
                        prop_assert!(mapped.remove(&(slot, bar)).is_some());
                    }
                    _ => {}
                }
            }
            let ranges: Vec<_> = mapped.values().copied().collect();
            for (place, (start, end, memory)) in ranges.iter().enumerate() {
                let windows = Windows::STANDARD;
                let inside = |window: &std::ops::Range<u64>| *start >= window.start && *end <= window.end;
                let allowed = match memory {
                    true => inside(&windows.memory32) || inside(&windows.memory64),
                    false => inside(&windows.ports),
                };
                prop_assert!(allowed);
                for (other, other_end, _) in &ranges[place + 1..] {
                    prop_assert!(end <= other || other_end <= start);
                }
            }
        }
        for (gpa, port, value) in wild {
            for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
                if let Some(target) = bus.memory_target(Gpa(0xc000_0000 | gpa & 0xf_ffff)) {
                    bar_read(&mut bus, target, width);
                    bar_write(&mut bus, target, width, value);
                }
                bus.ecam_read(gpa & 0x1f_ffff, width);
                bus.ecam_write(gpa & 0x1f_ffff, width, value);
                bus.port_write(0xcf8 | port & 7, width, value as u32);
                bus.port_read(0xcf8 | port & 7, width);
            }
        }
    }
}
