//! Whoever uses it cannot tell where it is.

use super::*;
use proptest::prelude::*;
use std::vec;

fn width() -> impl Strategy<Value = Width> {
    proptest::sample::select(vec![Width::Byte, Width::Byte, Width::Byte, Width::Word, Width::Dword])
}

/// Vectors that are few, so that those which are sent are also ended.
fn vector() -> impl Strategy<Value = u8> {
    0x30..0x34_u8
}

/// What software writes into an entry of the I/O APIC: mostly a vector of those, fixed, open.
fn entry() -> impl Strategy<Value = u32> {
    let likely = (vector(), any::<bool>(), proptest::bool::weighted(0.2), 0..8_u32);
    let likely = likely.prop_map(|(vector, level, masked, mode)| {
        let mode = if mode < 5 { 0 } else { mode };
        u32::from(vector) | mode << 8 | u32::from(level) << 15 | u32::from(masked) << 16
    });
    prop_oneof![4 => likely, 1 => any::<u32>()]
}

fn step() -> impl Strategy<Value = Step> {
    let port = || proptest::sample::select(&PORTS[..]);
    prop_oneof![
        any::<u32>().prop_map(Step::Wait),
        Just(Step::WaitForTick),
        (port(), width()).prop_map(|(port, width)| Step::Read(port, width)),
        (port(), width(), any::<u32>()).prop_map(|(port, width, value)| Step::Write(port, width, value)),
        (0x10..0x40_u8, entry()).prop_map(|(register, value)| Step::Ioapic(register, value)),
        (0..0x50_u32).prop_map(Step::Select),
        (0..26_u8, any::<bool>()).prop_map(|(gsi, level)| Step::Line(gsi, level)),
        (14..26_u8).prop_map(Step::MachineLine),
        (14..26_u8).prop_map(Step::NoMachineLine),
        vector().prop_map(Step::Ended),
        Just(Step::Acknowledge),
        any::<u8>().prop_map(Step::Typed),
    ]
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = proptest::sample::select(vec![
        Fate::Serves,
        Fate::Serves,
        Fate::Serves,
        Fate::Serves,
        Fate::DiesAtOnce,
        Fate::DiesLate,
    ]);
    // Where two in a row die it goes on; of three it does not.
    proptest::collection::vec(fate, 0..400).prop_map(|mut fates| {
        for place in (2..fates.len()).step_by(3) {
            fates[place] = Fate::Serves;
        }
        fates
    })
}

/// Both after the same steps, which saw the same.
fn after(steps: &[Step], fates: Vec<Fate>) -> (Chipset, RemoteChipset, Counts) {
    let process = Process { fates, ..Process::new() };
    let counts = process.counts.clone();
    let (mut own, mut remote) = (chipset(), process.chipset(ALWAYS));
    let (mut now, mut later) = (1000, 1000);
    for step in steps {
        assert_eq!(here(&mut own, &mut now, *step), there(&mut remote, &mut later, *step), "{step:?}");
    }
    assert_eq!(now, later);
    assert_eq!(
        saved(|bytes| own.save(bytes).unwrap()),
        saved(|bytes| remote.save(bytes).unwrap()),
        "the committed state is the state"
    );
    let counts = *counts.lock().unwrap();
    assert_eq!((counts.losses, remote.take_end()), (0, None));
    (own, remote, counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_do_the_same(steps in proptest::collection::vec(step(), 0..150)) {
        let (.., counts) = after(&steps, Vec::new());
        prop_assert_eq!(counts.restarts, 0);
    }

    #[test]
    fn one_that_dies_anywhere_loses_nothing(
        steps in proptest::collection::vec(step(), 0..150),
        fates in fates(),
    ) {
        after(&steps, fates);
    }
}

/// The steps reach what they are for.
#[test]
fn the_steps_do_what_they_are_for() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = [0; 7];
    for _ in 0..300 {
        let steps = proptest::collection::vec(step(), 150).new_tree(&mut runner).unwrap().current();
        let (mut own, mut now) = (chipset(), 1000);
        for step in steps {
            let (_, effects, deadline, _) = here(&mut own, &mut now, step);
            for effect in effects {
                let kind = match effect {
                    Effect::Message(message) if message.level => 0,
                    Effect::Message(_) => 1,
                    Effect::Resample(_) => 2,
                    Effect::External(_) => 3,
                    Effect::Transmit(_) => 4,
                    Effect::PowerOff { .. } | Effect::Reset => 5,
                };
                seen[kind] += 1;
            }
            seen[6] += usize::from(step == Step::WaitForTick && deadline.is_some());
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

/// A guest that prints, reads its clocks and is interrupted by its timer, while its chipset is killed a thousand times.
#[test]
fn a_thousand_kills_lose_nothing() {
    let byte = |port, value| Step::Write(port, Width::Byte, value);
    let mut steps = vec![
        // The 8259As, the timer at 1 kHz, the serial port with its interrupts.
        byte(0x20, 0x11),
        byte(0x21, 0x20),
        byte(0x21, 4),
        byte(0x21, 1),
        byte(0x21, 0xee),
        byte(0x43, 0x34),
        byte(0x40, 0xa9),
        byte(0x40, 0x04),
        byte(0x3fc, 8),
        byte(0x3f9, 3),
        Step::Ioapic(0x10 + 2 * 17, 0x8041),
    ];
    for round in 0..300_u32 {
        steps.extend([
            Step::WaitForTick,
            Step::Acknowledge,
            byte(0x20, 0x20),
            byte(0x3f8, round & 0x7f),
            Step::Typed(round as u8),
            Step::Read(0x3fa, Width::Byte),
            Step::Read(0x3f8, Width::Byte),
            Step::Read(0x608, Width::Dword),
            Step::MachineLine(17),
            Step::Ended(0x41),
        ]);
    }
    let mut fates = Vec::new();
    while fates.len() < 6000 {
        fates.extend([Fate::Serves, Fate::Serves, Fate::Serves, Fate::DiesLate, Fate::DiesAtOnce]);
    }
    let (.., counts) = after(&steps, fates);
    assert!(counts.restarts >= 1000, "{counts:?}");
}

#[test]
fn what_is_known_is_not_asked_for() {
    let process = Process::new();
    let counts = process.counts.clone();
    let mut remote = process.chipset(ALWAYS);
    let mut out = Effects::new();
    remote.set_line(17, false, &mut out);
    remote.set_line(200, true, &mut out);
    remote.deassert_line(17, &mut out);
    remote.assert_line(24, &mut out);
    assert_eq!((remote.deadline(), remote.external_pending()), (None, false));
    assert_eq!(counts.lock().unwrap().entries, 0);
    remote.set_line(17, true, &mut out);
    remote.set_line(17, true, &mut out);
    remote.set_line(17, false, &mut out);
    remote.set_line(17, false, &mut out);
    assert_eq!(counts.lock().unwrap().entries, 2);
}

#[test]
fn one_that_is_replaced_is_as_it_was_told() {
    let mut remote = Process::new().chipset(ALWAYS);
    let mut now = 1000;
    let write = |port, value| Step::Write(port, Width::Byte, value);
    for step in [write(0x3ff, 0x77), Step::Line(17, true), write(0x70, 0x20), write(0x71, 0x99)] {
        there(&mut remote, &mut now, step);
    }
    let mut own = chipset();
    here(&mut own, &mut now, write(0x3ff, 0x11));
    remote.replace(&own);
    for step in [Step::Read(0x3ff, Width::Byte), Step::Line(17, true), Step::Read(0x71, Width::Byte)] {
        assert_eq!(there(&mut remote, &mut now, step), here(&mut own, &mut now, step));
    }
}
