//! Requests, completions, failures and lost messages in any order.

use crate::bench::*;
use block::{Operation, Tag};
use proptest::prelude::*;
use spec::ata::command;
use std::collections::BTreeMap;

/// What a run does next.
#[derive(Clone, Debug)]
enum Step {
    Read(u64, u64),
    Write(u64, u64, u8),
    Flush,
    /// The drive ends the command at this place, which fails where it is said.
    Complete(usize, bool),
    Deliver,
    Lose,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..BLOCKS - 20, 1_u64..20).prop_map(|(first, blocks)| Step::Read(first, blocks)),
        3 => (0..BLOCKS - 20, 1_u64..20, any::<u8>()).prop_map(|(first, blocks, byte)| Step::Write(first, blocks, byte)),
        1 => Just(Step::Flush),
        6 => (0_usize..8, proptest::bool::weighted(0.15)).prop_map(|(place, fails)| Step::Complete(place, fails)),
        4 => Just(Step::Deliver),
        1 => Just(Step::Lose),
        1 => Just(Step::Poll),
    ]
}

/// Requests that are not over, by first block and blocks, and what they write.
type Open = BTreeMap<(u64, u64), (Tag, Option<Vec<u8>>)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However requests, completions, failures and messages interleave, with a queue and without,
    /// each request ends once, fails only if one of its commands did, and gives exactly what was
    /// written. Blocks of requests in flight do not meet, as nobody says what comes first then.
    #[test]
    fn any_interleaving_returns_what_was_written(
        steps in proptest::collection::vec(step(), 1..100),
        is_simple in any::<bool>(),
        has_no_log in any::<bool>(),
        clears_failed in any::<bool>(),
    ) {
        let mut bench = Bench::bent(|port| {
            if is_simple {
                port.set_simple();
            }
            (port.has_no_log, port.clears_failed) = (has_no_log, clears_failed);
        });
        bench.fake.port().holds = true;
        let mut expected = bench.medium(0..BLOCKS as usize * 512);
        let mut open: Open = BTreeMap::new();
        let mut failures = 0;
        let mut steps = steps.into_iter();
        for round in 0.. {
            // At the end everything is completed.
            let next = steps.next();
            let is_idle = open.is_empty() && bench.hba.deadline().is_none();
            if next.is_none() && (is_idle || round > 2000) {
                break;
            }
            let step = next.unwrap_or([Step::Complete(0, false), Step::Deliver, Step::Poll][round % 3].clone());
            let now = bench.now;
            let is_apart = |open: &Open, first: u64, blocks: u64| {
                open.keys().all(|(other, count)| other + count <= first || first + blocks <= *other)
            };
            match step {
                Step::Read(first, blocks) if is_apart(&open, first, blocks) => {
                    if let Ok(tag) = bench.drive().read(first, blocks, now) {
                        open.insert((first, blocks), (tag, None));
                    }
                }
                Step::Write(first, blocks, byte) if is_apart(&open, first, blocks) => {
                    let data = vec![byte; blocks as usize * 512];
                    if let Ok(tag) = bench.drive().write(first, &data, now) {
                        open.insert((first, blocks), (tag, Some(data)));
                    }
                }
                Step::Read(..) | Step::Write(..) => {}
                Step::Flush => {
                    if let Ok(tag) = bench.drive().flush(now) {
                        open.insert((BLOCKS + u64::from(round as u32), 0), (tag, None));
                    }
                }
                Step::Complete(place, fails) => {
                    let pending = bench.fake.port().pending.len();
                    let place = place % pending.max(1);
                    let is_own = bench.fake.port().pending.get(place).is_some_and(|issued| {
                        matches!(issued.registers.command, command::READ_LOG_EXT | command::IDENTIFY_DEVICE)
                    });
                    let fails = fails && !is_own;
                    bench.fake.port().judge = fails.then(|| Box::new(|_: &_| Some(0x4041_u16)) as _);
                    failures += usize::from(bench.fake.complete(0, place) && fails);
                    bench.fake.port().judge = None;
                }
                Step::Deliver => bench.deliver(),
                Step::Lose => bench.fake.state().messages = 0,
                Step::Poll => {
                    bench.now = bench.hba.deadline().unwrap_or(bench.now).clamp(bench.now, bench.now + SECOND);
                    bench.hba.poll(bench.now);
                }
            }
            while let Some(done) = bench.drive().next_done() {
                let key = *open.iter().find(|(_, (tag, _))| *tag == done.tag).expect("it ends once").0;
                let (tag, written) = open.remove(&key).unwrap();
                let range = key.0 as usize * 512..(key.0 + key.1) as usize * 512;
                match done.outcome {
                    Err(fault) => {
                        prop_assert_eq!(fault.to_string(), "uncorrectable error (status 0x4041)");
                        prop_assert!(failures > 0, "one more failed than was told to");
                        failures -= 1;
                    }
                    Ok(()) if done.operation == Operation::Read => {
                        let data = bench.data(tag, done.bytes);
                        prop_assert!(data == expected[range], "of {:?}", key);
                    }
                    Ok(()) => {
                        if let Some(data) = written {
                            expected[range].copy_from_slice(&data);
                        }
                    }
                }
                bench.drive().release(tag);
            }
            prop_assert!(bench.drive().failure().is_none(), "{:?}", bench.drive().failure());
        }
        prop_assert!(open.is_empty(), "{} requests did not end", open.len());
        // Without a log all are carried out again, and what fails once succeeds then.
        prop_assert!(failures == 0 || has_no_log, "a command failed and no request did");
        prop_assert!(bench.medium(0..expected.len()) == expected);
        prop_assert_eq!(bench.fake.domain.refused(), 0);
        prop_assert_eq!(bench.hba.deadline(), None);
    }
}
