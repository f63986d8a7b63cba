//! Taking units over, in whatever state they are.

use super::mock::Mood;
use super::*;
use crate::IommuError;
use access::RegisterWindow;
use platform::remapping::Trouble;
use spec::vtd::{Global, capability, extended, register};
use spec::{Gpa, Hpa, RequesterRange};
use tables::Permissions;

fn reaches_nothing(mock: &MockUnit) {
    for id in [NIC, DISK, BRIDGE, Bdf(0), Bdf(0xffff)] {
        for address in [0, PAGE, 0x10_0000, 0x1_0000_0000, 0xffff_ffff_f000] {
            assert_eq!(mock.dma(id, address, false), None, "{id} reads {address:#x}");
            assert_eq!(mock.dma(id, address, true), None, "{id} writes {address:#x}");
        }
        assert_eq!(mock.interrupt(id, 0xfee0_0000, 0x41), None, "compatibility format");
        for handle in [0, 1, 255, 256, 0x8000] {
            assert_eq!(mock.interrupt(id, spec::vtd::remappable::msi_address(handle), 0), None);
        }
    }
}

#[test]
fn nothing_is_reachable_at_the_start() {
    for bench in benches() {
        reaches_nothing(&bench.mock);
    }
}

#[test]
fn a_unit_that_is_off_lets_everything_through() {
    // What the tests above would show if they could not fail.
    let mock = MockUnit::new(Ram::new(1, true), PLAIN_CAP, COHERENT_ECAP);
    assert_eq!(mock.dma(NIC, PAGE, true), Some(PAGE));
    assert_eq!(mock.interrupt(NIC, 0xfee0_1000, 0x41), Some((0x41, 1)));
}

#[test]
fn tables_are_in_force_before_they_are_switched_on() {
    let bench = Bench::with(QEMU_CAP | capability::PROTECTED_MEMORY, QEMU_ECAP, LIMITS);
    let expected =
        ["root", "context", "iotlb", "wait", "table", "interrupts", "wait", "remapping on", "translation on"];
    assert_eq!(bench.mock.log(), expected);
}

#[test]
fn tables_of_another_mode_are_left_before_ours_are_taken() {
    // Scalable mode, what older units called extended mode, and one that aborts all DMA.
    for mode in 1..=3 {
        for protected in [0, capability::PROTECTED_MEMORY] {
            let ram = Ram::new(20, true);
            let cap = PLAIN_CAP & !capability::PROTECTED_MEMORY | protected;
            let mock = MockUnit::new(ram.clone(), cap, COHERENT_ECAP);
            mock.left_in_mode(mode);
            let bench = Bench::start(mock, ram, LIMITS);
            assert!(bench.units.status(0).unwrap().is_ok());
            let log = bench.mock.log();
            let at = |what| log.iter().position(|event| *event == what).expect(what);
            assert!(at("translation off") < at("root") && at("root") < at("translation on"), "{log:?}");
            if protected != 0 {
                assert!(at("protected memory on") < at("translation off"), "{log:?}");
                assert!(at("translation on") < at("protected memory off"), "{log:?}");
                let registers = &bench.mock.0.borrow().registers;
                let range = |base, limit| (registers[&base], registers[&limit]);
                assert_eq!(
                    range(register::PROTECTED_LOW_BASE, register::PROTECTED_LOW_LIMIT),
                    (0, 0xffff_ffff)
                );
                assert_eq!(
                    range(register::PROTECTED_HIGH_BASE, register::PROTECTED_HIGH_LIMIT),
                    (1 << 32, u64::MAX)
                );
            }
            reaches_nothing(&bench.mock);
        }
    }
}

#[test]
fn protected_memory_is_released_last() {
    let ram = Ram::new(20, true);
    let mock = MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP);
    mock.0.borrow_mut().protected = 1 << 31 | 1;
    let bench = Bench::start(mock, ram, LIMITS);
    assert_eq!(bench.mock.log().last(), Some(&"protected memory off"));
    assert_eq!(bench.mock.0.borrow().protected, 0);
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
        // Firmware also let compatibility interrupts pass, and left faults behind.
        before.mock.0.borrow_mut().status |= Global::COMPATIBILITY_INTERRUPTS;
        before.mock.dma(DISK, 0, true);
        before.mock.log();

        let mut after = Bench::start(before.mock, before.ram, LIMITS);
        assert!(!after.mock.log().contains(&"translation off"));
        assert_eq!(after.units.next_fault(), None);
        reaches_nothing(&after.mock);
    }
}

#[test]
fn a_queue_that_stands_on_an_error_is_taken_over() {
    let before = Bench::with(PLAIN_CAP, COHERENT_ECAP, LIMITS);
    // The next slot holds zeros, which are no descriptor.
    let tail = before.mock.read64(register::QUEUE_TAIL);
    before.mock.write64(register::QUEUE_TAIL, tail + 16);
    assert_ne!(before.mock.read32(register::FAULT_STATUS) & 1 << 4, 0);
    let after = Bench::start(before.mock, before.ram, LIMITS);
    assert!(after.units.status(0).unwrap().is_ok());
    reaches_nothing(&after.mock);
}

#[test]
fn a_unit_without_what_isolation_needs_is_left_out_with_the_reason() {
    let lacks = |cap, ecap| match Bench::with(cap, ecap, LIMITS).units.status(0) {
        Some(Err(IommuError::Lacks(what))) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(lacks(QEMU_CAP, QEMU_ECAP & !extended::QUEUED_INVALIDATION), "queued invalidation");
    assert_eq!(lacks(QEMU_CAP, QEMU_ECAP & !extended::INTERRUPT_REMAPPING), "interrupt remapping");
    let no_x2apic = lacks(QEMU_CAP, QEMU_ECAP & !extended::EXTENDED_INTERRUPTS);
    assert!(no_x2apic.contains("x2APIC"));
    assert!(lacks(QEMU_CAP & !(0x1f << 8), QEMU_ECAP).contains("tables"));
}

#[test]
fn a_unit_that_never_answers_is_left_out_and_never_hangs() {
    for mood in [Mood::Deaf, Mood::Stuck] {
        let ram = Ram::new(20, true);
        let mock = MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP);
        mock.set_mood(mood);
        let mut bench = Bench::start(mock, ram, LIMITS);
        assert!(matches!(bench.units.status(0), Some(Err(IommuError::TimedOut(_)))));
        assert_eq!(bench.units.create_domain(&[who(NIC)]), Err(IommuError::UnitDown(0)));
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x41, 0)), Err(IommuError::UnitDown(0)));
        assert_eq!(bench.units.next_fault(), None);
    }
}

#[test]
fn a_unit_whose_registers_cannot_be_reached_keeps_its_functions() {
    let unit = |registers, unsure, serves_rest, named| UnitDescription {
        registers,
        segment: 0,
        architecture: Architecture::Vtd,
        serves_rest,
        requesters: Vec::from([RequesterRange::one(named)]),
        unsure,
    };
    let ram = Ram::new(60, true);
    let mock = || Some(MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP));
    let start =
        |descriptions| Units::new(descriptions, ram.clone(), SteppingClock::new(1000), &no_config(), LIMITS);
    let other = Bdf::new(0x20, 0, 0);
    let mut units = start(Vec::from([unit(None, false, false, NIC), unit(mock(), false, true, other)]));
    assert_eq!(units.status(0), Some(Err(IommuError::Unreachable)));
    assert_eq!(units.create_domain(&[who(NIC)]), Err(IommuError::UnitDown(0)));
    assert_eq!(units.grant_interrupts(alone(NIC), 1), Err(IommuError::UnitDown(0)));
    // The unit for the rest, at its own place in the list, holds whom nobody names.
    let domain = units.create_domain(&[who(DISK)]).unwrap();
    assert_eq!(units.attach(alone(NIC), domain), Err(IommuError::UnitDown(0)));
    assert_eq!(
        (units.detach(who(NIC)), units.domain_of(who(NIC))),
        (Err(IommuError::NotGranted(who(NIC))), None)
    );
    assert_eq!((units.unit_of(who(DISK)), units.unit_of(who(NIC))), (Some(1), None));

    // A unit that names somebody, nobody knows whom, leaves only those to others that they name.
    let mut units = start(Vec::from([unit(mock(), true, false, NIC), unit(mock(), false, true, other)]));
    assert_eq!((units.unit_of(who(NIC)), units.unit_of(who(other))), (Some(0), Some(1)));
    assert_eq!(units.create_domain(&[who(DISK)]), Err(IommuError::UnsureUnit(who(DISK), 0)));

    // One for the rest that is down keeps the rest, whoever else would take it.
    let units = start(Vec::from([unit(mock(), false, true, other), unit(None, false, true, other)]));
    assert_eq!((units.unit_of(who(DISK)), units.unit_of(who(other))), (None, None));
}

#[test]
fn a_unit_is_described_as_the_tables_say_with_or_without_registers() {
    let found = platform::remapping::Unit {
        architecture: Architecture::Vtd,
        base: Hpa(0xfed9_0000),
        register_bytes: 0x1000,
        segment: 0,
        requesters: Vec::from([RequesterRange::one(NIC)]),
        serves_rest: true,
        io_apics: Vec::new(),
        hpets: Vec::new(),
        trouble: None,
        unsure: true,
    };
    let ram = Ram::new(1, true);
    let map = |base, bytes| {
        assert_eq!((base, bytes), (Hpa(0xfed9_0000), 0x1000));
        Some(MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP))
    };
    let described = UnitDescription::of(&found, map);
    assert!(described.registers.is_some() && described.serves_rest && described.unsure);
    assert_eq!(described.requesters, [RequesterRange::one(NIC)]);
    let unmapped = UnitDescription::<MockUnit>::of(&found, |_, _| None);
    assert!(unmapped.registers.is_none() && unmapped.serves_rest);
    assert!(unmapped.reaches_x2apic(&no_config()) && unmapped.frames_needed(LIMITS.unit, 1) == 0);
    // Fault records, or the IOTLB's registers, beyond what the table tells of are mapped too.
    let far_records = PLAIN_CAP & !(0x3ff << 24 | 0xff << 40) | 0x100 << 24 | 7 << 40;
    let far_iotlb = COHERENT_ECAP & !(0x3ff << 8) | 0x1ff << 8;
    for (cap, ecap, bytes) in [(far_records, COHERENT_ECAP, 0x2000), (PLAIN_CAP, far_iotlb, 0x2000)] {
        let asked = core::cell::RefCell::new(Vec::new());
        let described = UnitDescription::of(&found, |_, bytes| {
            asked.borrow_mut().push(bytes);
            Some(MockUnit::new(ram.clone(), cap, ecap))
        });
        assert!(described.registers.is_some());
        assert_eq!(*asked.borrow(), [0x1000, bytes]);
    }
    // What the tables say cannot be is not even tried.
    let broken = platform::remapping::Unit { trouble: Some(Trouble::Registers), ..found };
    assert!(UnitDescription::<MockUnit>::of(&broken, |_, _| panic!("mapped")).registers.is_none());
}

#[test]
fn too_few_frames_leave_the_unit_out() {
    for frames in 0..crate::vtd::frames_needed(LIMITS.unit, 0) {
        let ram = Ram::new(frames, true);
        let mock = MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP);
        let bench = Bench::start(mock, ram, LIMITS);
        assert!(bench.units.status(0).unwrap().is_err());
    }
    let ram = Ram::new(crate::vtd::frames_needed(LIMITS.unit, 0), true);
    let mock = MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP);
    assert!(Bench::start(mock, ram, LIMITS).units.status(0).unwrap().is_ok());
}

#[test]
fn each_function_is_served_by_the_unit_that_names_it() {
    let ram = Ram::new(60, true);
    let mock = || MockUnit::new(ram.clone(), PLAIN_CAP, COHERENT_ECAP);
    let unit = |segment, serves_rest, requesters| UnitDescription {
        registers: Some(mock()),
        segment,
        architecture: Architecture::Vtd,
        serves_rest,
        requesters,
        unsure: false,
    };
    let units = Units::new(
        Vec::from([
            unit(0, true, Vec::new()),
            unit(0, false, Vec::from([RequesterRange::one(NIC), RequesterRange::buses(1, 3)])),
            unit(1, false, Vec::from([RequesterRange::one(NIC)])),
        ]),
        ram.clone(),
        SteppingClock::new(1000),
        &no_config(),
        LIMITS,
    );
    assert_eq!(units.unit_of(who(NIC)), Some(1));
    assert_eq!(units.unit_of(who(Bdf::new(3, 31, 7))), Some(1));
    assert_eq!(units.unit_of(who(Bdf::new(4, 0, 0))), Some(0));
    assert_eq!(units.unit_of(Requester::new(1, NIC)), Some(2));
    assert_eq!(units.unit_of(Requester::new(1, DISK)), None);
}
