//! A local APIC that is saved and read back goes on as the one that it was saved of.

use crate::local_apic::{ApicEffect, LocalApic};
use crate::snapshot;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const VERSION: u16 = 1;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u32),
    Base(u8),
    Msr(u8, u64),
    Page(u16, u32),
    Accept(u8, bool),
    Acknowledge,
    Cr8(u8),
    Deadline(u32),
    Init,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u32>().prop_map(Step::Wait),
        (0..4u8).prop_map(Step::Base),
        (0..0x40u8, any::<u64>()).prop_map(|(register, value)| Step::Msr(register, value)),
        (0..0x40u16, any::<u32>()).prop_map(|(register, value)| Step::Page(register << 4, value)),
        (any::<u8>(), any::<bool>()).prop_map(|(vector, level)| Step::Accept(vector, level)),
        Just(Step::Acknowledge),
        (0..16u8).prop_map(Step::Cr8),
        any::<u32>().prop_map(Step::Deadline),
        Just(Step::Init),
    ]
}

type Seen = (u64, Option<ApicEffect>, Option<u8>, Option<u64>, u64);

/// Does it, and gives all that can be seen of it.
fn drive(apic: &mut LocalApic, now: &mut u64, step: Step) -> Seen {
    let mut effect = None;
    let mut seen = 0;
    match step {
        Step::Wait(ticks) => {
            *now += u64::from(ticks);
            apic.expire(*now);
        }
        Step::Base(mode) => {
            let base = apic.base() & !0xc00 | u64::from(mode) << 10;
            seen = apic.set_base(base).is_ok().into();
        }
        Step::Msr(register, value) => {
            seen = apic.read(register, *now).unwrap_or(u64::MAX);
            effect =
                apic.write(register, value, *now).or_else(|_| apic.write(register, value & 0xff, *now)).ok();
        }
        Step::Page(offset, value) => {
            seen = apic.mmio_read(offset.into(), *now).into();
            effect = Some(apic.mmio_write(offset.into(), value, *now));
        }
        Step::Accept(vector, level) => apic.accept(vector, level),
        Step::Acknowledge => {
            if let Some(vector) = apic.deliverable() {
                apic.acknowledge(vector);
            }
        }
        Step::Cr8(priority) => apic.set_cr8(priority),
        Step::Deadline(ticks) => apic.set_tsc_deadline(*now + u64::from(ticks), *now),
        Step::Init => apic.reset(),
    }
    (seen, effect, apic.deliverable(), apic.deadline(), apic.address().to_bits())
}

fn saved(apic: &LocalApic) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let used = snapshot::encode(VERSION, apic, &mut bytes).unwrap();
    bytes.truncate(used);
    bytes
}

proptest! {
    /// Whatever software did before and does after, it cannot tell.
    #[test]
    fn it_goes_on_as_if_nothing_had_been(
        bootstrap: bool,
        before in prop::collection::vec(step(), 0..200),
        after in prop::collection::vec(step(), 0..200),
    ) {
        let (mut first, mut now) = (LocalApic::new(3, bootstrap), 1000);
        for step in before {
            drive(&mut first, &mut now, step);
        }
        let mut second: LocalApic = snapshot::decode(VERSION, &saved(&first)).unwrap();
        prop_assert_eq!(second.check(&LocalApic::new(3, false)), Ok(()));
        let mut later = now;
        for step in after {
            prop_assert_eq!(drive(&mut first, &mut now, step), drive(&mut second, &mut later, step));
        }
    }

    /// A state that somebody changed is refused, or is one that a local APIC can run with.
    #[test]
    fn a_forged_state_is_refused_or_runs(
        before in prop::collection::vec(step(), 0..100),
        forged in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        after in prop::collection::vec(step(), 0..100),
    ) {
        let (mut first, mut now) = (LocalApic::new(3, true), 1000);
        for step in before {
            drive(&mut first, &mut now, step);
        }
        let mut state = saved(&first);
        for (place, byte) in forged {
            *place.get_mut(&mut state) = byte;
        }
        if let Ok(mut second) = snapshot::decode::<LocalApic>(VERSION, &state)
            && second.check(&first).is_ok()
        {
            for step in after {
                drive(&mut second, &mut now, step);
            }
        }
    }
}

#[test]
fn that_of_another_vcpu_is_refused() {
    let other = LocalApic::new(4, true);
    assert_eq!(other.check(&LocalApic::new(3, true)), Err(snapshot::RestoreFault::Configuration));
}
