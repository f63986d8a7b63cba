//! One that says anything.

use super::hardware::{BLOCKS, Device};
use super::{SECOND, SIZES, remote, start, submit, take};
use crate::testing::Fate;
use block::{Drive, Operation, State, Tag};
use proptest::prelude::*;
use std::collections::HashSet;
use std::vec::Vec;

/// Words that mean something at many places, and any.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..8,
        (0_u64..8).prop_map(|low| low | 0x3_0000),
        any::<u64>(),
        Just(u64::MAX),
        Just(1 << 63)
    ]
}

fn lies() -> impl Strategy<Value = Vec<(usize, u64)>> {
    let at = prop_oneof![0_usize..48, 0_usize..SIZES.words(), SIZES.words() - 6..SIZES.words()];
    proptest::collection::vec((at, word()), 0..5)
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Serves),
        3 => lies().prop_map(Fate::Lies),
        2 => (lies(), 0_u64..3, 0_u64..6).prop_map(|(mut lies, operation, state)| {
            // As an answer is.
            lies.extend([(7, operation), (8, state)]);
            Fate::OnlyLies(lies)
        }),
        1 => Just(Fate::DiesAfter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// No request is over twice or was not asked, and what is over can be released.
    #[test]
    fn no_answer_harms_ring_0(
        fates in proptest::collection::vec(fate(), 0..80),
        steps in proptest::collection::vec((0_usize..6, 0..BLOCKS, 1_u64..8, any::<u8>()), 1..100),
    ) {
        let device = Device::new();
        let mut drive = remote(&device, 20);
        let mut now_ns = SECOND;
        start(&mut drive, &mut now_ns);
        drive.compartment_mut().fates = fates;
        let mut asked: HashSet<Tag> = HashSet::new();
        for (what, first, blocks, byte) in steps {
            now_ns += SECOND / 4;
            match what {
                0..=3 => {
                    let operation = [Operation::Read, Operation::Write, Operation::Flush, Operation::Read][what];
                    asked.extend(submit(&mut drive, operation, first, blocks, byte));
                    if byte & 1 != 0 {
                        drive.kick(now_ns);
                    }
                }
                4 if byte & 7 == 0 => {
                    drive.start(now_ns);
                }
                4 => {
                    drive.interrupt(byte.into(), now_ns);
                }
                _ => device.work(byte.into(), byte & 2 != 0),
            }
            if let Some(deadline_ns) = drive.poll(now_ns).deadline_ns {
                prop_assert!(deadline_ns >= now_ns, "it would have its turn for ever");
            }
            if let State::Ready(geometry) = drive.status().state {
                prop_assert!(geometry.block_bytes.is_power_of_two() && geometry.blocks > 0);
            }
            for (done, _) in take(&mut drive) {
                prop_assert!(asked.remove(&done.tag), "{:?} was not asked, or twice over", done);
            }
        }
        // In the end it is made anew, or failed: nothing waits for ever.
        drive.compartment_mut().fates.clear();
        now_ns += 61 * SECOND;
        for _ in 0..20 {
            now_ns += SECOND / 4;
            drive.start(now_ns);
            drive.poll(now_ns);
            drive.poll(now_ns);
            for (done, _) in take(&mut drive) {
                prop_assert!(asked.remove(&done.tag));
            }
        }
        prop_assert!(asked.is_empty(), "{:?}", asked);
        prop_assert!(matches!(drive.status().state, State::Ready(_)));
    }
}

/// What a request that is over has is as much as it asked for.
#[test]
fn a_request_that_was_not_given_is_not_over() {
    let device = Device::new();
    let completions = SIZES.words() - 6;
    for (count, word) in [(1, 0), (1, 5), (1, 6), (1, 0xffff), (7, 0), (u64::MAX, 0), (1, 0x7 << 16)] {
        let mut drive = remote(&device, 5);
        let mut now_ns = SECOND;
        start(&mut drive, &mut now_ns);
        let tag = submit(&mut drive, Operation::Read, 0, 1, 0).unwrap();
        // It has slot 0; the others have none.
        assert_eq!(tag.slot(), 0);
        let completed = crate::words::at::OWN;
        drive.compartment_mut().fates =
            std::vec![Fate::Lies(std::vec![(completed, count), (completions, word)])];
        drive.kick(now_ns);
        let is_right = (count, word) == (1, 0);
        assert_eq!(drive.account().ends, u64::from(!is_right), "{count} {word:#x}");
        assert_eq!(take(&mut drive).len(), usize::from(is_right), "{count} {word:#x}");
    }
}

/// The same one twice in one answer is over once.
#[test]
fn a_request_is_over_once() {
    let device = Device::new();
    let mut drive = remote(&device, 5);
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    submit(&mut drive, Operation::Read, 0, 1, 0).unwrap();
    submit(&mut drive, Operation::Read, 8, 1, 0).unwrap();
    let completions = SIZES.words() - 6;
    let lies = std::vec![(crate::words::at::OWN, 2), (completions, 0), (completions + 1, 0)];
    drive.compartment_mut().fates = std::vec![Fate::Lies(lies)];
    drive.kick(now_ns);
    assert_eq!((drive.account().ends, take(&mut drive).len()), (1, 1));
}
