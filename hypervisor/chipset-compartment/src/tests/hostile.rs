//! A compartment that says what it wants.

use super::*;
use crate::area::at as places;
use crate::call::Call;
use crate::effects::encode;
use proptest::prelude::*;
use spec::apic::{DeliveryMode, Destination, InterruptMessage};

/// Does one step with the answers that `forge` makes, in a compartment that is not made anew. What was seen, and how it
/// ended.
fn forged(step: Step, forge: impl FnMut(&mut [u64]) + Send + 'static) -> (Seen, Option<Ended>) {
    let process = Process { forge: Some(Box::new(forge)), ..Process::new() };
    let mut remote = process.chipset(Restarts::NONE);
    let seen = there(&mut remote, &mut 5000, step);
    (seen, remote.take_end())
}

fn refused(step: Step, what: &'static str, forge: impl FnMut(&mut [u64]) + Send + 'static) {
    let ((_, effects, deadline, external), end) = forged(step, forge);
    assert_eq!(end, Some(Ended::Answer(what)));
    assert_eq!((effects.as_slice(), deadline, external), (&[][..], None, false), "nothing happened");
}

/// One effect in the answer.
fn effect(words: &mut [u64], effect: [u64; 2]) {
    words[places::EFFECT_COUNT] = 1;
    words[places::EFFECTS..][..2].copy_from_slice(&effect);
}

const READ: Step = Step::Read(0x70, Width::Byte);
const WRITE: Step = Step::Write(0x70, Width::Byte, 1);

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    for answer in [0, 1, u64::MAX] {
        refused(READ, "not that the call was served", move |words| words[places::ANSWER] = answer);
    }
    refused(READ, "a value that is too large", |words| words[places::VALUE] = 0x100);
    refused(WRITE, "a value that is too large", |words| words[places::VALUE] = 1);
    refused(Step::Typed(1), "a value that is too large", |words| words[places::VALUE] = 2);
    for bit in [24, 31, 33, 63] {
        refused(READ, "lines that there are not", move |words| words[places::LINES] = 1 << bit);
    }
    for deadline in [0, 4999, 5000] {
        refused(Step::Wait(0), "a tick for the time that it is", move |words| {
            words[places::DEADLINE] = deadline;
        });
    }
    for count in [33, u64::MAX] {
        refused(READ, "more effects than a call has", move |words| words[places::EFFECT_COUNT] = count);
    }
    refused(READ, "parts that a chipset has not", |words| words[places::CHANGED] = 1 << 7);
    for (part, bytes) in [(0, 513), (4, 4609), (6, u64::MAX)] {
        refused(READ, "a state that is too long", move |words| {
            words[places::CHANGED] = 1 << part;
            words[places::USED + part] = bytes;
        });
    }
}

#[test]
fn an_effect_is_one_that_the_call_can_have() {
    let cannot = "an effect that the call cannot have";
    let message = InterruptMessage {
        destination: Destination::Physical(1),
        mode: DeliveryMode::Fixed,
        vector: 0x41,
        level: false,
    };
    let message = encode(Effect::Message(message));
    let outcomes = [Effect::Transmit(1), Effect::PowerOff { sleep_type: 5 }, Effect::Reset].map(encode);
    let external = encode(Effect::External(true));
    for said in outcomes {
        for step in [READ, Step::Wait(1), Step::Ended(0x41), Step::Line(3, true), Step::Typed(3)] {
            refused(step, cannot, move |words| effect(words, said));
        }
        assert_eq!(forged(WRITE, move |words| effect(words, said)).0.1.len(), 1);
    }
    for (step, said) in [
        (Step::Select(0), message),
        (Step::Acknowledge, message),
        (Step::Select(0), external),
        (Step::Ended(0x41), external),
        (Step::MachineLine(17), external),
        (WRITE, [5, 8]),
        (WRITE, [4, 0x100]),
        (WRITE, [3, 2]),
        (WRITE, [6, 1]),
        (WRITE, [0, 0]),
        (WRITE, [7, 0]),
    ] {
        refused(step, cannot, move |words| effect(words, said));
    }
    // Nobody it could be for; modes that no entry has; a level of what has none.
    for changed in [3 << 16, 2 << 16, 3 << 8, 6 << 8, 4 << 8 | 1 << 24, 1 << 11, 1 << 18, 1 << 25, 1 << 47] {
        refused(WRITE, cannot, move |words| effect(words, [message[0], message[1] | changed]));
    }
}

/// A line of the machine's is ended where one was asserted, and where a guest can end one.
#[test]
fn only_a_line_that_was_asserted_is_ended() {
    let said = encode(Effect::Resample(17));
    let cannot = "an effect that the call cannot have";
    for step in [Step::Ended(0x41), Step::MachineLine(17), Step::MachineLine(18), WRITE, Step::Wait(1)] {
        refused(step, cannot, move |words| effect(words, said));
    }
    let process = Process {
        forge: Some(Box::new(move |words| {
            // Only an end has it.
            if words[places::OPERATION] == 5 {
                effect(words, said);
            }
        })),
        ..Process::new()
    };
    let mut remote = process.chipset(Restarts::NONE);
    let mut now = 5000;
    there(&mut remote, &mut now, Step::MachineLine(17));
    assert_eq!(there(&mut remote, &mut now, Step::Ended(1)).1, [Effect::Resample(17)]);
    remote.replace(&chipset());
    assert_eq!(there(&mut remote, &mut now, Step::Ended(1)).1, [], "the next guest has none");
}

#[test]
fn one_that_goes_on_failing_is_gone_and_reads_ones() {
    let process = Process { fates: std::vec![Fate::DiesLate; 100], ..Process::new() };
    let counts = process.counts.clone();
    let mut remote = process.chipset(ALWAYS);
    let mut now = 5000;
    let (seen, effects, ..) = there(&mut remote, &mut now, Step::Read(0x3fd, Width::Byte));
    assert_eq!((seen, effects), (0xff, Vec::new()));
    assert_eq!(remote.take_end(), Some(Ended::Fault { vector: 14, rip: 5 }));
    assert_eq!(remote.take_end(), None, "it is told once");
    assert_eq!(*counts.lock().unwrap(), Counts { entries: 3, restarts: 2, losses: 1 });
    for (step, seen) in [
        (Step::Read(0x608, Width::Dword), u32::MAX),
        (Step::Select(0x10), u32::MAX),
        (Step::Typed(3), 1),
        (Step::Acknowledge, 0xff),
        (Step::Line(17, true), 0),
    ] {
        assert_eq!(there(&mut remote, &mut now, step), (seen, Vec::new(), None, false));
    }
    assert_eq!(counts.lock().unwrap().entries, 3, "nobody is entered");
    // The guest starts again.
    remote.replace(&chipset());
    assert_eq!(remote.take_end(), None);
}

/// Not more often than it may be in a minute.
#[test]
fn one_that_dies_too_often_is_gone() {
    let fates = std::vec![Fate::DiesLate, Fate::Serves].repeat(100);
    let process = Process { fates, ..Process::new() };
    let counts = process.counts.clone();
    let mut remote = process.chipset(Restarts { most: 3, minute: 1000 });
    let mut now = 5000;
    for _ in 0..4 {
        there(&mut remote, &mut now, READ);
    }
    let Counts { restarts, losses, .. } = *counts.lock().unwrap();
    assert_eq!((restarts, losses), (3, 0));
    there(&mut remote, &mut now, Step::Wait(1000));
    let restarts = counts.lock().unwrap().restarts;
    assert_eq!(restarts, 4, "in the next minute it may again");
    for _ in 0..10 {
        there(&mut remote, &mut now, READ);
    }
    let Counts { restarts, losses, .. } = *counts.lock().unwrap();
    assert_eq!((restarts, losses), (6, 1));
}

/// A state that is none ends the compartment that begins with it, and nobody else.
#[test]
fn a_state_that_is_none_is_refused_by_the_next() {
    let process = Process {
        forge: Some(Box::new(|words| {
            words[places::CHANGED] = 1;
            words[places::USED] = 512;
            words[places::STATE..][..64].fill(u64::MAX);
            // And dies at the next.
            if words[places::ARGUMENTS] == 0x71 {
                words[places::ANSWER] = 0;
            }
        })),
        ..Process::new()
    };
    let counts = process.counts.clone();
    let mut remote = process.chipset(ALWAYS);
    let mut now = 5000;
    there(&mut remote, &mut now, READ);
    assert_eq!(remote.take_end(), None);
    there(&mut remote, &mut now, Step::Read(0x71, Width::Byte));
    assert_eq!(remote.take_end(), Some(Ended::GaveUp { line: 1 }));
    assert_eq!(*counts.lock().unwrap(), Counts { entries: 2, restarts: 1, losses: 1 });
    let bytes = saved(|bytes| remote.save(bytes).unwrap());
    assert!(chipset().restored(&bytes).is_err(), "nor is it one for a snapshot");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is not refused is what a chipset can say.
    #[test]
    fn nothing_that_is_said_gets_through(
        place in places::ANSWER..places::EFFECTS + 8,
        words in proptest::collection::vec(any::<u64>(), 1..8),
        narrow in any::<u64>(),
        kinds in proptest::collection::vec(0..8_u64, 0..4),
        step in proptest::sample::select(std::vec![
            READ, WRITE, Step::Wait(7), Step::Ended(3), Step::Typed(1), Step::MachineLine(17), Step::Acknowledge,
        ]),
    ) {
        let ((seen, effects, ..), _) = forged(step, move |area| {
            for (to, word) in area[place..].iter_mut().zip(&words) {
                *to = word & narrow;
            }
            for (number, kind) in kinds.iter().enumerate() {
                area[places::EFFECT_COUNT] = kinds.len() as u64;
                area[places::EFFECTS + 2 * number] = *kind;
            }
        });
        prop_assert!(seen <= 0xff);
        prop_assert!(effects.len() <= Effects::CHIPSET);
        for effect in effects {
            match effect {
                Effect::Message(InterruptMessage { destination, mode, level, .. }) => {
                    prop_assert!(!matches!(destination, Destination::ToSelf | Destination::AllButSelf));
                    prop_assert!(mode != DeliveryMode::StartUp);
                    prop_assert!(!level || matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority));
                }
                Effect::Resample(gsi) => prop_assert!(gsi == 17, "asserted by the step"),
                Effect::External(_) => {}
                Effect::Transmit(_) | Effect::Reset => prop_assert_eq!(step, WRITE),
                Effect::PowerOff { sleep_type } => prop_assert!(step == WRITE && sleep_type <= 7),
            }
        }
    }

    /// Nor does a call that makes no sense do anything to the compartment.
    #[test]
    fn a_call_is_read_as_it_was_written(port in any::<u16>(), value in any::<u32>(), gsi in any::<u8>()) {
        let calls = [
            Call::PortRead(port, Width::Word),
            Call::PortWrite(port, Width::Dword, value),
            Call::IoapicRead(value),
            Call::IoapicWrite(value, !value),
            Call::EndOfInterrupt(gsi),
            Call::SetLine(gsi, true),
            Call::SetLine(gsi, false),
            Call::AssertLine(gsi),
            Call::DeassertLine(gsi),
            Call::Acknowledge,
            Call::Receive(gsi),
            Call::Tick,
        ];
        for call in calls {
            let mut words = [0; AREA_WORDS];
            call.write(value.into(), &mut words);
            prop_assert_eq!(Call::read(&words), Some((call, value.into())));
        }
    }
}
