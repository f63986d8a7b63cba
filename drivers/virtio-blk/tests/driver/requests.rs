//! Requests, their data, and their end.

use crate::bench::*;
use block::testing::Ask;
use block::{Drive, Fault, Operation, Refused, Tag};
use devices::device::RequestFault;
use devices::virtio::block::Config;
use proptest::prelude::*;
use spec::Iova;
use spec::virtio::block::feature;
use spec::virtio::feature::{EVENT_INDEX, INDIRECT_DESCRIPTORS};
use std::collections::HashSet;

#[test]
fn every_size_of_a_request_is_moved_whole() {
    for hidden in [0, INDIRECT_DESCRIPTORS, feature::SEG_MAX] {
        let mut bench = Bench::lying(hidden, &[]);
        for blocks in (1..=40).chain([127, 128, 129, 255, 256]) {
            let range = 512..512 + 512 * blocks as usize;
            assert_eq!(bench.read(1, blocks), bench.medium(range.clone()), "{blocks}");
            let data: Vec<u8> = (0..range.len()).map(|byte| (byte / 509 + byte % 241) as u8).collect();
            bench.write(1, &data);
            assert_eq!(bench.medium(range), data);
        }
        assert_eq!(bench.domain.refused(), 0);
    }
}

#[test]
fn blocks_are_as_large_as_it_says() {
    let mut bench = Bench::new(Config { block_bytes: 4096, ..CONFIG });
    assert_eq!((bench.geometry().block_bytes, bench.geometry().blocks), (4096, 256));
    assert_eq!(bench.read(255, 1), bench.medium(MEDIUM - 4096..MEDIUM));
    assert_eq!(bench.driver.read(255, 2, bench.now), Err(Refused::BeyondEnd));
}

#[test]
fn a_request_is_cut_as_small_as_the_device_wants_it() {
    let mut bench = Bench::new(Config { segment_bytes: 4096, ..CONFIG });
    assert_eq!(bench.read(0, 256), bench.medium(0..128 << 10));
}

#[test]
fn blocks_are_given_up_and_become_zero() {
    let mut bench = Bench::new(CONFIG);
    for (operation, byte) in [(Operation::WriteZeroes, 0), (Operation::Discard, 0xdd)] {
        // More than a range has at most, which is 64 sectors.
        let tag = bench.driver.ask(operation, 100, 200, &[], bench.now).unwrap();
        bench.deliver();
        let (done, _) = bench.done();
        assert_eq!((done.tag, done.outcome, done.bytes), (tag, Ok(()), 0));
        assert!(bench.medium(100 * 512..300 * 512).iter().all(|&found| found == byte));
        assert_ne!(bench.medium(99 * 512..100 * 512), [byte; 512]);
        assert_ne!(bench.medium(300 * 512..301 * 512), [byte; 512]);
    }
}

#[test]
fn a_medium_that_takes_no_writes_says_so() {
    let mut bench = Bench::new(Config { writable: false, ..CONFIG });
    let geometry = bench.geometry();
    assert!(geometry.is_read_only && !geometry.can_discard && !geometry.can_write_zeroes);
    assert_eq!(bench.driver.write(0, &[0; 512], bench.now), Err(Refused::ReadOnly));
    assert_eq!(bench.read(0, 8), bench.medium(0..4096));
}

#[test]
fn a_medium_that_fails_fails_the_request_alone() {
    let mut bench = Bench::new(CONFIG);
    bench.machine.borrow_mut().medium.fault = Some(RequestFault::Medium);
    let lost = bench.driver.read(1500, 1, bench.now).unwrap();
    bench.machine.borrow_mut().medium.fault = None;
    let kept = bench.driver.read(0, 1, bench.now).unwrap();
    bench.deliver();
    let (first, second) = (bench.done().0, bench.done().0);
    assert_eq!((first.tag, second.tag, second.outcome), (lost, kept, Ok(())));
    assert!(matches!(first.outcome, Err(Fault::Medium(cause)) if cause.code == 1), "{first:?}");
}

#[test]
fn several_requests_are_in_flight_and_end_in_any_order() {
    let mut bench = Bench::new(CONFIG);
    bench.machine.borrow_mut().hold = true;
    let tags: Vec<Tag> = (0..5).map(|block| bench.driver.read(block, 1, bench.now).unwrap()).collect();
    assert_eq!(bench.machine.borrow().waiting.len(), 5);
    // The sixth waits for a slot.
    let last = bench.driver.read(5, 1, bench.now).unwrap();
    assert_eq!(bench.machine.borrow().waiting.len(), 5);
    for place in [2, 2, 0, 0, 0, 0] {
        bench.complete(place);
        bench.deliver();
    }
    let ended: Vec<Tag> = (0..6).map(|_| bench.done().0.tag).collect();
    assert_eq!(ended, [tags[2], tags[3], tags[0], tags[1], tags[4], last]);
}

#[test]
fn what_is_done_at_once_costs_one_message() {
    for (hidden, messages) in [(0, 1), (EVENT_INDEX, 4)] {
        let mut bench = Bench::lying(hidden, &[]);
        bench.machine.borrow_mut().hold = true;
        (0..4).for_each(|block| _ = bench.driver.read(block, 1, bench.now).unwrap());
        while bench.machine.borrow_mut().serve() {}
        bench.delivered = 0;
        bench.deliver();
        assert_eq!(bench.delivered, messages);
        (0..4).for_each(|_| assert_eq!(bench.done().0.outcome, Ok(())));
    }
}

#[test]
fn memory_that_is_lent_is_read_and_written_where_it_is() {
    let mut bench = Bench::new(CONFIG);
    // Pages from anywhere: each of another place, the first from its middle on.
    let places: Vec<Iova> = (0..33).map(|page| Iova(0x9_0000_0000 + page * 0x2000)).collect();
    places.iter().for_each(|place| bench.domain.lend(*place, 4096));
    let parts = |first: u64| {
        let mut parts: Vec<(Iova, usize)> = places.iter().map(|place| (*place, 4096)).collect();
        parts[0] = (places[0] + first, 4096 - first as usize);
        parts[32] = (places[32], first as usize);
        parts
    };
    for first in [512, 1024, 4] {
        for operation in [Operation::Read, Operation::Write] {
            let tag = bench.driver.reserve().unwrap();
            let parts = parts(first);
            places.iter().for_each(|place| bench.domain.fill(*place, 4096, 0x77));
            assert!(bench.driver.lend(tag, &mut parts.iter().copied()));
            bench.driver.submit(tag, operation, 256, 256).unwrap();
            bench.driver.kick(bench.now);
            bench.deliver();
            let done = bench.driver.next_done().unwrap();
            assert_eq!((done.tag, done.outcome), (tag, Ok(())));
            assert_eq!(bench.driver.get(tag, 0, &mut [0]), None, "it is where it was lent");
            bench.driver.release(tag);
            let seen: Vec<u8> = parts.iter().flat_map(|&(at, bytes)| bench.domain.look(at, bytes)).collect();
            assert_eq!(seen, bench.medium(128 << 10..256 << 10));
        }
        bench.machine.borrow_mut().medium.bytes[128 << 10..256 << 10].fill(first as u8);
    }
    assert_eq!(bench.domain.refused(), 0);
}

#[test]
fn memory_is_not_lent_to_a_device_that_takes_too_few_segments() {
    let seg_max = 0x2000 + spec::virtio::block::config::SEG_MAX as u64;
    let size = spec::virtio::pci::common::QUEUE_SIZE;
    for (hidden, reads) in [
        (INDIRECT_DESCRIPTORS, vec![]),
        (feature::SEG_MAX, vec![]),
        (0, vec![(seg_max, 32)]),
        (0, vec![(size, 32)]),
    ] {
        let mut bench = Bench::lying(hidden, &reads);
        bench.domain.lend(Iova(0x9_0000_0000), 4096);
        let tag = bench.driver.reserve().unwrap();
        assert!(!bench.driver.lend(tag, &mut core::iter::once((Iova(0x9_0000_0000), 512))));
        bench.driver.release(tag);
        assert_eq!(bench.read(1, 256), bench.medium(512..512 + (128 << 10)));
    }
}

/// What a run does next.
#[derive(Clone, Debug)]
enum Step {
    Read {
        first_block: u64,
        blocks: u64,
    },
    Write {
        first_block: u64,
        blocks: u64,
        byte: u8,
    },
    Flush,
    /// The medium ends the request at this place.
    Complete(usize),
    /// All messages come, or are lost.
    Deliver,
    Lose,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let blocks = || prop_oneof![4 => 1_u64..20, 1 => 100_u64..256];
    let first_block = || prop_oneof![0_u64..64, 0_u64..1400];
    prop_oneof![
        3 => (first_block(), blocks()).prop_map(|(first_block, blocks)| Step::Read { first_block, blocks }),
        3 => (first_block(), blocks(), any::<u8>())
            .prop_map(|(first_block, blocks, byte)| Step::Write { first_block, blocks, byte }),
        1 => Just(Step::Flush),
        5 => (0_usize..6).prop_map(Step::Complete),
        3 => Just(Step::Deliver),
        1 => Just(Step::Lose),
        2 => Just(Step::Poll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In any order of requests, ends and messages, each request ends once, and what was written is
    /// what is read once both are over.
    #[test]
    fn whatever_happens_data_is_where_it_belongs(steps in proptest::collection::vec(step(), 1..60), direct in any::<bool>()) {
        let mut bench = Bench::lying(if direct { INDIRECT_DESCRIPTORS } else { 0 }, &[]);
        bench.machine.borrow_mut().hold = true;
        let mut open = HashSet::new();
        let mut count = 0;
        for step in steps {
            let taken = match step {
                Step::Read { first_block, blocks } => Some(bench.driver.read(first_block, blocks, bench.now)),
                Step::Write { first_block, blocks, byte } => {
                    Some(bench.driver.write(first_block, &vec![byte; blocks as usize * 512], bench.now))
                }
                Step::Flush => Some(bench.driver.flush(bench.now)),
                Step::Complete(place) => { bench.complete(place); None }
                Step::Deliver => { bench.deliver(); None }
                Step::Lose => { bench.machine.borrow_mut().messages.clear(); None }
                Step::Poll => {
                    bench.now = bench.driver.status().deadline_ns.unwrap_or(bench.now).min(bench.now + SECOND);
                    bench.driver.poll(bench.now);
                    None
                }
            };
            if let Some(Ok(tag)) = taken {
                prop_assert!(open.insert(tag));
                count += 1;
            }
            while bench.driver.next_done().is_some() {
                let (done, _) = bench.done();
                prop_assert!(open.remove(&done.tag));
                prop_assert_eq!(done.outcome, Ok(()));
            }
        }
        bench.machine.borrow_mut().hold = false;
        // Whatever messages were lost, the driver looks.
        for _ in 0..200 {
            while bench.machine.borrow_mut().serve() {}
            bench.now += SECOND;
            bench.driver.poll(bench.now);
            while bench.driver.next_done().is_some() {
                let (done, _) = bench.done();
                prop_assert!(open.remove(&done.tag));
            }
        }
        prop_assert!(open.is_empty(), "{} of {} never end", open.len(), count);
        let last = bench.read(1300, 200);
        prop_assert_eq!(last, bench.medium(1300 * 512..1500 * 512));
        prop_assert_eq!(bench.domain.refused(), 0);
    }
}
