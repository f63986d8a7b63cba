extern crate std;

use super::*;
use crate::Cause;
use access::fake_dma::FakeDma;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

const GEOMETRY: Geometry = Geometry {
    blocks: 1000,
    block_bytes: 512,
    is_read_only: false,
    can_discard: false,
    can_write_zeroes: false,
};
const BYTES: usize = 8192;
const FAULT: Fault = Fault::Medium(Cause { name: "lost", code: 1 });

fn requests(count: u16) -> Requests<<FakeDma as DmaMemory>::Buffer> {
    let (mut dma, _domain) = FakeDma::new(1 << 20);
    Requests::new(&mut dma, count, BYTES, 4096).unwrap()
}

#[test]
fn a_request_is_reserved_filled_submitted_issued_over_and_released() {
    let mut requests = requests(1);
    let tag = requests.reserve().unwrap();
    assert_eq!(requests.reserve(), Err(Refused::Busy));
    assert_eq!(requests.put(tag, 512, &[7; 512]), Some(()));
    assert_eq!(requests.next_piece(|_| 8, GEOMETRY), None, "it was not submitted");
    requests.submit(tag, Operation::Write, 990, 10, GEOMETRY).unwrap();
    assert_eq!(requests.put(tag, 0, &[8]), None, "it is the drive's now");
    assert_eq!(requests.submit(tag, Operation::Write, 0, 1, GEOMETRY), Err(Refused::NotReserved));
    requests.release(tag);
    let first = requests.next_piece(|_| 8, GEOMETRY).unwrap();
    let second = requests.next_piece(|_| 8, GEOMETRY).unwrap();
    assert_eq!((first.first_block, first.blocks, first.bytes), (990, 8, 4096));
    assert_eq!((second.first_block, second.blocks, second.bytes), (998, 2, 1024));
    assert_eq!(second.data.0 - first.data.0, 4096);
    assert_eq!(requests.next_piece(|_| 8, GEOMETRY), None);
    requests.finish(second, Ok(()));
    assert_eq!(requests.next_done(), None);
    requests.finish(first, Ok(()));
    let done = Done { tag, operation: Operation::Write, bytes: 5120, outcome: Ok(()) };
    assert_eq!(requests.next_done(), Some(done));
    assert_eq!(requests.get(tag, 0, &mut [0]), None, "it was a write");
    requests.release(tag);
    assert_eq!(requests.next_done(), None);
    assert_ne!(requests.reserve(), Ok(tag));
}

#[test]
fn what_is_reserved_can_be_released_and_is_gone_then() {
    let mut requests = requests(1);
    let tag = requests.reserve().unwrap();
    requests.release(tag);
    assert_eq!(requests.put(tag, 0, &[1]), None);
    assert_eq!(requests.submit(tag, Operation::Flush, 0, 0, GEOMETRY), Err(Refused::NotReserved));
    let other = requests.reserve().unwrap();
    requests.release(tag);
    assert_eq!(requests.put(other, 0, &[1]), Some(()), "another tag released nothing");
}

#[test]
fn nothing_is_put_beyond_a_buffer() {
    let mut requests = requests(2);
    let tag = requests.reserve().unwrap();
    assert_eq!(requests.put(tag, BYTES - 1, &[1]), Some(()));
    assert_eq!(requests.put(tag, BYTES - 1, &[1, 2]), None);
    assert_eq!(requests.put(tag, usize::MAX, &[1]), None);
}

#[test]
fn capacity_is_exact() {
    let mut requests = requests(1);
    let tag = requests.reserve().unwrap();
    let mut submit = |first_block, blocks, geometry| {
        requests.submit(tag, Operation::Read, first_block, blocks, geometry).unwrap_err()
    };
    assert_eq!(submit(999, 2, GEOMETRY), Refused::BeyondEnd);
    assert_eq!(submit(1000, 1, GEOMETRY), Refused::BeyondEnd);
    assert_eq!(submit(u64::MAX, 1, GEOMETRY), Refused::BeyondEnd);
    assert_eq!(submit(0, 0, GEOMETRY), Refused::NoBlocks);
    assert_eq!(submit(0, 17, GEOMETRY), Refused::TooLarge(BYTES));
    let huge = Geometry { blocks: u64::MAX, block_bytes: 1 << 16, ..GEOMETRY };
    assert_eq!(submit(0, u64::MAX, huge), Refused::TooLarge(BYTES));
    assert_eq!(requests.submit(tag, Operation::Read, 984, 16, GEOMETRY), Ok(()));
}

#[test]
fn a_read_only_drive_is_flushed_and_not_written() {
    let mut requests = requests(1);
    let geometry = Geometry { is_read_only: true, ..GEOMETRY };
    let tag = requests.reserve().unwrap();
    assert_eq!(requests.submit(tag, Operation::Write, 0, 1, geometry), Err(Refused::ReadOnly));
    assert_eq!(requests.submit(tag, Operation::Flush, u64::MAX, u64::MAX, geometry), Ok(()));
    let piece = requests.next_piece(|_| 8, geometry).unwrap();
    assert_eq!((piece.operation, piece.bytes), (Operation::Flush, 0));
    requests.finish(piece, Err(FAULT));
    assert_eq!(requests.next_done().map(|done| done.outcome), Some(Err(FAULT)));
}

#[test]
fn a_drive_that_fails_ends_what_was_submitted_and_keeps_what_is_reserved() {
    let mut requests = requests(3);
    let [submitted, issued, reserved] = [(); 3].map(|()| requests.reserve().unwrap());
    requests.submit(issued, Operation::Read, 0, 1, GEOMETRY).unwrap();
    requests.next_piece(|_| 8, GEOMETRY).unwrap();
    requests.submit(submitted, Operation::Read, 1, 1, GEOMETRY).unwrap();
    requests.fail(true);
    for _ in 0..2 {
        let done = requests.next_done().unwrap();
        assert_eq!(done.outcome, Err(Fault::Drive));
        requests.release(done.tag);
    }
    assert_eq!(requests.next_done(), None);
    assert_eq!(requests.submit(reserved, Operation::Read, 2, 1, GEOMETRY), Ok(()));
    assert_eq!(requests.next_piece(|_| 8, GEOMETRY).map(|piece| piece.first_block), Some(2));
}

#[test]
fn what_moves_no_data_is_taken_where_the_drive_does_it_and_may_be_large() {
    let mut requests = requests(1);
    let tag = requests.reserve().unwrap();
    let able = Geometry { blocks: 1 << 40, can_discard: true, can_write_zeroes: true, ..GEOMETRY };
    for operation in [Operation::Discard, Operation::WriteZeroes] {
        let mut submit = |first, blocks, geometry| requests.submit(tag, operation, first, blocks, geometry);
        assert_eq!(submit(0, 1, GEOMETRY), Err(Refused::Unsupported));
        assert_eq!(submit(0, 1, Geometry { is_read_only: true, ..able }), Err(Refused::ReadOnly));
        assert_eq!(submit(0, 0, able), Err(Refused::NoBlocks));
        assert_eq!(submit(1, 1 << 40, able), Err(Refused::BeyondEnd));
        assert_eq!(submit(0, 1 << 32, able), Err(Refused::TooLarge(BYTES)));
    }
    requests.submit(tag, Operation::Discard, 5, u32::MAX.into(), able).unwrap();
    let first =
        requests.next_piece(|operation| if operation == Operation::Discard { 1 << 31 } else { 1 }, able);
    let second = requests.next_piece(|_| u32::MAX, able);
    let [first, second] = [first, second].map(Option::unwrap);
    assert_eq!((first.first_block, first.blocks, first.bytes), (5, 1 << 31, 0));
    assert_eq!((second.first_block, second.blocks, second.bytes), (5 + (1 << 31), (1 << 31) - 1, 0));
    requests.finish(first, Ok(()));
    requests.finish(second, Ok(()));
    assert_eq!(requests.next_done().map(|done| (done.bytes, done.outcome)), Some((0, Ok(()))));
}

proptest! {
    /// Whatever size pieces have and in which order they end, each request is carried out whole,
    /// each block once, in the order of submission, and is over once.
    #[test]
    fn each_block_is_issued_once(
        blocks in proptest::collection::vec(1_u64..=16, 1..8),
        most in 1_u32..20,
        ends in proptest::collection::vec(any::<usize>(), 200),
    ) {
        let mut requests = requests(8);
        let mut expected = VecDeque::new();
        let mut tags = Vec::new();
        for (&count, first) in blocks.iter().zip((0..).step_by(20)) {
            let tag = requests.reserve().unwrap();
            requests.submit(tag, Operation::Read, first, count, GEOMETRY).unwrap();
            expected.extend(first..first + count);
            tags.push(tag);
        }
        let mut pieces = Vec::new();
        while let Some(piece) = requests.next_piece(|_| most, GEOMETRY) {
            prop_assert!(piece.blocks <= most);
            for block in 0..u64::from(piece.blocks) {
                prop_assert_eq!(expected.pop_front(), Some(piece.first_block + block));
            }
            pieces.push(piece);
        }
        prop_assert!(expected.is_empty());
        for end in ends {
            if !pieces.is_empty() {
                requests.finish(pieces.swap_remove(end % pieces.len()), Ok(()));
            }
            while let Some(done) = requests.next_done() {
                let place = tags.iter().position(|tag| *tag == done.tag);
                prop_assert!(place.is_some());
                tags.swap_remove(place.unwrap());
                requests.release(done.tag);
            }
        }
        prop_assert!(tags.is_empty() && pieces.is_empty());
    }
}

/// What a run does next with requests.
#[derive(Clone, Debug)]
enum Step {
    Reserve,
    Lend(usize),
    Submit(usize, u64),
    Issue(u32),
    Finish(usize, bool),
    Fail(bool),
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<usize>;
    prop_oneof![
        4 => Just(Step::Reserve),
        1 => at().prop_map(Step::Lend),
        4 => (at(), 1_u64..=16).prop_map(|(at, blocks)| Step::Submit(at, blocks)),
        6 => (1_u32..20).prop_map(Step::Issue),
        6 => (at(), proptest::bool::weighted(0.2)).prop_map(|(at, fails)| Step::Finish(at, fails)),
        1 => any::<bool>().prop_map(Step::Fail),
        3 => at().prop_map(Step::Release),
    ]
}

proptest! {
    /// The queues of slots say what the slots themselves do, each once, whatever happened to them.
    #[test]
    fn each_slot_is_where_its_life_is(steps in proptest::collection::vec(step(), 0..200)) {
        let mut requests = requests(5);
        let (mut tags, mut pieces): (Vec<Tag>, Vec<Piece>) = Default::default();
        let any_of = |tags: &[Tag], at: usize| tags.get(at.checked_rem(tags.len()).unwrap_or(0)).copied();
        for step in steps {
            match step {
                Step::Reserve => tags.extend(requests.reserve().ok()),
                Step::Lend(at) => {
                    if let Some(tag) = any_of(&tags, at) {
                        requests.lend(tag, &mut core::iter::once((Iova(0x1000), 4096)));
                    }
                }
                Step::Submit(at, blocks) => {
                    if let Some(tag) = any_of(&tags, at) {
                        let _ = requests.submit(tag, Operation::Read, 0, blocks, GEOMETRY);
                    }
                }
                Step::Issue(most) => {
                    let operation = requests.next_operation();
                    let piece = requests.next_piece(|_| most, GEOMETRY);
                    prop_assert_eq!(operation, piece.map(|piece| piece.operation));
                    pieces.extend(piece);
                }
                Step::Finish(at, fails) if !pieces.is_empty() => {
                    let piece = pieces.swap_remove(at % pieces.len());
                    requests.finish(piece, if fails { Err(FAULT) } else { Ok(()) });
                }
                Step::Finish(..) => {}
                Step::Fail(is_quiet) => {
                    pieces.clear();
                    requests.fail(is_quiet);
                }
                Step::Release(at) => any_of(&tags, at).into_iter().for_each(|tag| requests.release(tag)),
            }
            for (slot, number) in requests.slots.iter().zip(0_u16..) {
                let places = [&requests.free, &requests.waiting, &requests.over].map(|fifo| fifo.count(number));
                let expected = match &slot.life {
                    Life::Free => [1, 0, 0],
                    Life::Reserved => [0, 0, 0],
                    Life::Running(request) => [0, usize::from(request.wants_more()), 0],
                    Life::Over(_) => [0, 0, 1],
                };
                prop_assert_eq!(places, expected, "slot {} is {:?}", number, slot.life);
            }
        }
    }
}
