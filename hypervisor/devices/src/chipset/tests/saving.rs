//! A chipset that is saved and read back goes on as the one that it was saved of.

use super::chipset;
use crate::chipset::parts::{self, Part};
use crate::chipset::{Chipset, ChipsetConfig, STATE_BYTES};
use crate::effect::{Effect, Effects};
use crate::snapshot::{RestoreFault, SaveFault};
use proptest::prelude::*;
use spec::Width;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// Every register of the chipset that is at a port.
const PORTS: [u16; 31] = [
    0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x70, 0x71, 0x72, 0x73, 0x92, 0x3f8,
    0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x4d0, 0x4d1, 0x600, 0x602, 0x604, 0x608, 0xcf9,
];

/// One thing that happens to a chipset.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u32),
    Read(usize),
    Write(usize, u8),
    Ioapic(u8, u32),
    Line(u8, bool),
    Ended(u8),
    Acknowledge,
    Typed(u8),
    Pressed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u32>().prop_map(Step::Wait),
        (0..PORTS.len()).prop_map(Step::Read),
        (0..PORTS.len(), any::<u8>()).prop_map(|(port, value)| Step::Write(port, value)),
        (0x10..0x40u8, any::<u32>()).prop_map(|(register, value)| Step::Ioapic(register, value)),
        (0..24u8, any::<bool>()).prop_map(|(gsi, level)| Step::Line(gsi, level)),
        any::<u8>().prop_map(Step::Ended),
        Just(Step::Acknowledge),
        any::<u8>().prop_map(Step::Typed),
        Just(Step::Pressed),
    ]
}

/// Does it, and gives all that can be seen of it.
fn drive(chipset: &mut Chipset, now: &mut u64, step: Step) -> (u32, Vec<Effect>, Option<u64>, bool) {
    let mut effects = Effects::new();
    let mut seen = 0;
    match step {
        Step::Wait(ticks) => {
            *now += u64::from(ticks);
            chipset.tick(*now, &mut effects);
        }
        Step::Read(port) => seen = chipset.port_read(PORTS[port], Width::Byte, *now, &mut effects),
        Step::Write(port, value) => {
            chipset.port_write(PORTS[port], Width::Byte, value.into(), *now, &mut effects);
        }
        Step::Ioapic(register, value) => {
            chipset.ioapic_write(0, register.into(), &mut effects);
            chipset.ioapic_write(0x10, value, &mut effects);
            seen = chipset.ioapic_read(0x10);
        }
        Step::Line(gsi, level) => chipset.set_line(gsi, level, &mut effects),
        Step::Ended(vector) => chipset.end_of_interrupt(vector, &mut effects),
        Step::Acknowledge => seen = chipset.acknowledge_external().into(),
        Step::Typed(byte) => seen = chipset.receive(byte, &mut effects).into(),
        Step::Pressed => chipset.press_power_button(&mut effects),
    }
    (seen, effects.collect(), chipset.deadline(), chipset.external_pending())
}

fn saved(chipset: &Chipset) -> Vec<u8> {
    let mut bytes = vec![0; STATE_BYTES];
    let used = chipset.save(&mut bytes).unwrap();
    bytes.truncate(used);
    bytes
}

proptest! {
    /// Whatever software did before and does after, it cannot tell.
    #[test]
    fn it_goes_on_as_if_nothing_had_been(
        before in prop::collection::vec(step(), 0..200),
        after in prop::collection::vec(step(), 0..200),
    ) {
        let (mut first, mut now) = (chipset(), 1000);
        for step in before {
            drive(&mut first, &mut now, step);
        }
        let mut second = chipset().restored(&saved(&first)).unwrap();
        prop_assert_eq!(saved(&second), saved(&first));
        let mut later = now;
        for step in after {
            prop_assert_eq!(drive(&mut first, &mut now, step), drive(&mut second, &mut later, step));
        }
    }

    /// The parts are the whole, and one that takes all that differ is no other.
    #[test]
    fn the_parts_are_the_whole(steps in prop::collection::vec(step(), 0..200)) {
        let (mut first, mut now) = (chipset(), 1000);
        let mut second = first.clone();
        for step in steps {
            drive(&mut first, &mut now, step);
        }
        let parts = Part::ALL.map(|part| {
            let mut bytes = vec![0; part.bytes()];
            let used = first.save_part(part, &mut bytes).unwrap();
            bytes.truncate(used);
            bytes
        });
        let mut bytes = vec![0; STATE_BYTES];
        let used = parts::join(parts.iter().map(Vec::as_slice), &mut bytes).unwrap();
        prop_assert_eq!(&bytes[..used], saved(&first));
        for part in Part::ALL {
            if first.differs(part, &second) {
                second.take_part(part, &first);
            }
        }
        prop_assert_eq!(saved(&second), saved(&first));
        prop_assert_eq!(saved(&Chipset::of_state(&bytes[..used]).unwrap()), saved(&first));
    }

    /// A state that somebody changed is refused, or is one that a chipset can run with.
    #[test]
    fn a_forged_state_is_refused_or_runs(
        before in prop::collection::vec(step(), 0..100),
        forged in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        after in prop::collection::vec(step(), 0..100),
    ) {
        let (mut first, mut now) = (chipset(), 1000);
        for step in before {
            drive(&mut first, &mut now, step);
        }
        let mut state = saved(&first);
        for (place, byte) in forged {
            *place.get_mut(&mut state) = byte;
        }
        if let Ok(mut second) = first.restored(&state) {
            for step in after {
                drive(&mut second, &mut now, step);
            }
        }
    }
}

#[test]
fn what_is_cut_off_or_too_long_is_refused() {
    let (own, mut state) = (chipset(), saved(&chipset()));
    for length in 0..state.len() {
        assert!(own.restored(&state[..length]).is_err(), "{length} bytes");
    }
    state.push(0);
    assert_eq!(own.restored(&state).unwrap_err(), RestoreFault::Malformed);
}

#[test]
fn a_state_of_another_version_or_machine_is_refused() {
    let mut state = saved(&chipset());
    state[0] = 99;
    assert_eq!(chipset().restored(&state).unwrap_err(), RestoreFault::Version(99));
    let slower = Chipset::new(ChipsetConfig {
        tsc_hz: 1_000_000,
        epoch_seconds: 0,
        start: 0,
        ioapic_id: 2,
        low_memory_bytes: 256 << 20,
        high_memory_bytes: 0,
    });
    assert_eq!(chipset().restored(&saved(&slower)).unwrap_err(), RestoreFault::Configuration);
}

#[test]
fn what_cannot_be_is_named() {
    let mut odd = chipset();
    odd.external = true;
    let fault = chipset().restored(&saved(&odd)).unwrap_err();
    assert!(fault.to_string().contains("8259A"), "{fault}");
}

#[test]
fn a_place_that_is_too_small_is_an_error() {
    assert_eq!(chipset().save(&mut [0; 100]), Err(SaveFault::TooLong));
}
