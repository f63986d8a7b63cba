//! Taking units over, in whatever state they are.

use super::*;
use access::RegisterWindow;
use access::TableMemory;
use platform::remapping::Signals;
use spec::amdvi::{Control, register};
use spec::{Gpa, Hpa};
use std::string::ToString;
use tables::Permissions;

fn reaches_nothing(mock: &MockUnit) {
    for id in [NIC, DISK, BRIDGE, IOAPIC, Bdf(0), Bdf(0x1ff), Bdf(0xffff)] {
        for address in [0, PAGE, 0x10_0000, 0x1_0000_0000, 0xffff_ffff_f000, 0xffff_0000_0000_0000] {
            assert_eq!(mock.dma(id, address, false), None, "{id} reads {address:#x}");
            assert_eq!(mock.dma(id, address, true), None, "{id} writes {address:#x}");
        }
        for data in [0, 0x41, 0x141, 0x441, 0x7ff] {
            assert_eq!(mock.interrupt(id, 0xfee0_0000, data), None, "{id} sends {data:#x}");
        }
    }
}

#[test]
fn nothing_is_reachable_at_the_start() {
    for bench in benches() {
        assert!(bench.units.status(0).unwrap().is_ok());
        reaches_nothing(&bench.mock);
    }
}

#[test]
fn a_unit_that_is_off_lets_everything_through() {
    // What the tests above would show if they could not fail.
    let mock = MockUnit::new(Ram::new(1, true), QEMU_FEATURES, false);
    assert_eq!(mock.dma(NIC, PAGE, true), Some(PAGE));
    assert_eq!(mock.interrupt(NIC, 0xfee0_1000, 0x41), Some((0x41, 1)));
}

#[test]
fn everything_is_flushed_before_the_unit_counts_as_in_force() {
    assert_eq!(bench().mock.log(), [8, 1]);
    let without = Bench::with(QEMU_FEATURES & !feature::INVALIDATE_ALL, false, true, LIMITS);
    let log = without.mock.log();
    let count = |code| log.iter().filter(|found| **found == code).count();
    // Every requester of two buses, and every domain there can be.
    assert_eq!((count(2), count(3), count(5)), (512, 1 << 16, 512));
    assert_eq!((log.first(), log.last()), (Some(&2), Some(&1)));
}

#[test]
fn a_unit_that_runs_is_taken_over_without_a_gap() {
    for mut before in benches() {
        let domain = before.units.create_domain(&[who(NIC)]).unwrap();
        before.units.map(domain, Gpa(0), Hpa(0x4000_0000), PAGE, Permissions::READ_WRITE).unwrap();
        before.units.attach(alone(NIC), domain).unwrap();
        before.units.grant_interrupts(alone(NIC), 1).unwrap();
        let msi = before.units.remap(who(NIC), 0, edge(0x41, 0)).unwrap();
        assert!(before.mock.dma(NIC, 0, true).is_some());
        assert!(before.mock.interrupt(NIC, msi.address, msi.data).is_some());
        // Firmware also left an exclusion range and events behind.
        before.mock.write64(register::EXCLUSION_BASE, 0x1003);
        before.mock.dma(DISK, 0, true);

        let coherent = before.ram.is_snooped();
        let mut after = Bench::start(before.mock, before.ram, coherent, LIMITS);
        assert!(after.units.status(0).unwrap().is_ok());
        assert_eq!(after.mock.read64(register::EXCLUSION_BASE), 0);
        assert_eq!(after.units.next_fault(), None);
        reaches_nothing(&after.mock);
    }
}

#[test]
fn the_enable_bit_never_falls_while_a_unit_is_taken_over() {
    let before = bench();
    let switches = before.mock.clone();
    switches.0.borrow_mut().controls.clear();
    let after = Bench::start(before.mock, before.ram, true, LIMITS);
    let controls = core::mem::take(&mut after.mock.0.borrow_mut().controls);
    assert!(controls.len() >= 2);
    assert!(controls.iter().all(|value| value & Control::ENABLE.bits() != 0), "{controls:x?}");
}

#[test]
fn entries_of_another_format_are_gone_before_the_format_changes() {
    // Firmware used narrow entries; the mock asserts that none that sends is cached.
    let features = QEMU_FEATURES & !(feature::WIDE_INTERRUPT_ENTRIES | feature::X2APIC);
    let limits = Limits { unit: UnitLimits { x2apic: false, ..LIMITS.unit }, ..LIMITS };
    let mut before = Bench::with(features, false, true, limits);
    before.units.grant_interrupts(alone(NIC), 1).unwrap();
    let msi = before.units.remap(who(NIC), 0, edge(0x41, 1)).unwrap();
    assert_eq!(before.mock.interrupt(NIC, msi.address, msi.data), Some((0x41, 1)));
    before.mock.0.borrow_mut().features = QEMU_FEATURES;
    let after = Bench::start(before.mock, before.ram, true, LIMITS);
    assert!(after.units.status(0).unwrap().is_ok());
    reaches_nothing(&after.mock);
}

#[test]
fn what_firmware_asks_for_is_in_the_control_register() {
    let bench = bench();
    let control = bench.mock.read64(register::CONTROL);
    assert_ne!(control & Control::PASS_POSTED_WRITES.bits(), 0);
    assert_eq!(control & (Control::ISOCHRONOUS.bits() | Control::TUNNEL_TRANSLATION.bits()), 0);
    assert_ne!(control & Control::X2APIC.bits(), 0);
    assert_ne!(control & Control::WIDE_INTERRUPT_ENTRIES.bits(), 0);
    assert_eq!(control & Control::EVENT_INTERRUPT.bits(), 0, "nobody listens yet");
}

#[test]
fn a_unit_without_what_isolation_needs_is_left_out_with_the_reason() {
    let lacks = |features| match Bench::with(features, false, true, LIMITS).units.status(0) {
        Some(Err(IommuError::Lacks(what))) => what,
        other => panic!("{other:?}"),
    };
    assert!(lacks(QEMU_FEATURES & !feature::X2APIC).contains("x2APIC"));
    assert!(lacks(QEMU_FEATURES & !feature::WIDE_INTERRUPT_ENTRIES).contains("x2APIC"));
    assert!(lacks(QEMU_FEATURES | 0xc00).contains("page tables"));
    let start = |config: FakeConfigSpace, mock: MockUnit, ram: Ram| {
        let description = UnitDescription {
            registers: Some(mock),
            architecture: Architecture::AmdVi(own(true)),
            segment: 0,
            serves_rest: true,
            requesters: Vec::new(),
            unsure: false,
        };
        let units = Units::new([description].into(), ram, SteppingClock::new(1000), &config, LIMITS);
        units.status(0).unwrap().unwrap_err()
    };
    let mock = |ram: &Ram| MockUnit::new(ram.clone(), QEMU_FEATURES, false);
    let ram = Ram::new(400, true);
    let nothing = start(FakeConfigSpace::with([]), mock(&ram), ram.clone());
    assert!(nothing.to_string().contains("capability block"));
    let absent = mock(&ram);
    absent.write64(register::CONTROL, u64::MAX);
    let absent = start(config((0x1022, 1), false), absent, ram.clone());
    assert!(absent.to_string().contains("nothing answers"));
}

#[test]
fn a_unit_that_never_answers_is_left_out_and_never_hangs() {
    for mood in [Mood::Deaf, Mood::Stuck] {
        let ram = Ram::new(60, true);
        let mock = MockUnit::new(ram.clone(), QEMU_FEATURES, false);
        mock.set_mood(mood);
        let mut bench = Bench::start(mock, ram, true, LIMITS);
        let status = bench.units.status(0).unwrap();
        assert!(matches!(status, Err(IommuError::TimedOut(_) | IommuError::Lacks(_))), "{status:?}");
        assert_eq!(bench.units.create_domain(&[who(NIC)]), Err(IommuError::UnitDown(0)));
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x41, 0)), Err(IommuError::UnitDown(0)));
        assert_eq!(bench.units.next_fault(), None);
    }
}

#[test]
fn too_few_frames_leave_the_unit_out() {
    // Without the gaps that alignment can cost, and without interrupt tables.
    let needed = crate::amdvi::device_table::frames(LIMITS.unit.buses) + 4;
    for frames in 0..=needed {
        let ram = Ram::new(frames, true);
        let mock = MockUnit::new(ram.clone(), QEMU_FEATURES, false);
        let bench = Bench::start(mock, ram, true, LIMITS);
        assert_eq!(bench.units.status(0).unwrap().is_ok(), frames == needed, "{frames} frames");
    }
}

#[test]
fn a_requester_beyond_the_device_table_gets_nothing() {
    let mut bench = bench();
    let far = Bdf::new(2, 0, 0);
    let domain = bench.units.create_domain(&[who(far)]).unwrap();
    assert!(matches!(bench.units.attach(alone(far), domain), Err(IommuError::Lacks(_))));
    assert!(matches!(bench.units.grant_interrupts(alone(far), 1), Err(IommuError::Lacks(_))));
    assert_eq!(bench.mock.dma(far, 0, true), None);
}

#[test]
fn chips_of_the_board_pass_their_signals_until_they_are_granted_anything() {
    let ram = Ram::new(400, true);
    let mock = MockUnit::new(ram.clone(), QEMU_FEATURES, false);
    let mut own = own(true);
    let signals = |first, last| Signals { requesters: RequesterRange { first, last }, bits: 0xd7 };
    own.signals = Vec::from([signals(NIC, NIC), signals(IOAPIC, IOAPIC), signals(Bdf(0x100), Bdf(0x1ff))]);
    let description = UnitDescription {
        registers: Some(mock.clone()),
        architecture: Architecture::AmdVi(own),
        segment: 0,
        serves_rest: true,
        requesters: Vec::new(),
        unsure: false,
    };
    let config = config((0x1022, 0x1631), false);
    let mut units =
        Units::new([description].into(), ram.clone(), SteppingClock::new(1_000_000), &config, LIMITS);
    let table = mock.read64(register::DEVICE_TABLE) & !0xfff;
    let quarter = |id: Bdf, at: u64| ram.read(Hpa(table + u64::from(id.0) * 32 + at));
    assert_eq!((quarter(NIC, 8), quarter(NIC, 16)), (1 << 40, 0xc700_0000_0000_0001));
    // A range is not believed, and neither DMA nor messages pass.
    assert_eq!((quarter(BRIDGE, 8), quarter(BRIDGE, 16)), (0, 1));
    reaches_nothing(&mock);
    let domain = units.create_domain(&[who(NIC)]).unwrap();
    units.attach(alone(NIC), domain).unwrap();
    assert_eq!((quarter(NIC, 8), quarter(NIC, 16)), (1, 1));
    units.detach(who(NIC)).unwrap();
    assert_eq!((quarter(NIC, 8), quarter(NIC, 16)), (0, 1));
    units.grant_interrupts(alone(IOAPIC), 24).unwrap();
    assert_eq!(quarter(IOAPIC, 16) >> 56, 0x20, "remapped, and nothing else");
}
