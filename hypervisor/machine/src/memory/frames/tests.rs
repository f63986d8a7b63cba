use super::*;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

fn list(ranges: &[(u64, u64)]) -> RangeList {
    let mut list = RangeList::new();
    for (start, end) in ranges {
        list.insert(Range { start: Hpa(*start), end: Hpa(*end) });
    }
    list
}

#[test]
fn takes_high_and_low_with_alignment() {
    let mut free = list(&[(0x10_0000, 0x80_0000), (0x100_3000, 0x200_5000)]);
    assert_eq!(free.take_high(0x20_0000, 0x20_0000), Some(Hpa(0x1e0_0000)));
    assert_eq!(free.take_low(1, 0x1000, Hpa(u64::MAX)), Some(Hpa(0x10_0000)));
    assert_eq!(free.take_low(0x1000, 0x20_0000, Hpa(u64::MAX)), Some(Hpa(0x20_0000)));
    assert_eq!(free.take_high(0x1000, 0x1000), Some(Hpa(0x200_4000)));
    assert_eq!(free.bytes(), 0x70_0000 + 0x100_2000 - 0x20_0000 - 3 * 0x1000);
}

#[test]
fn refuses_what_does_not_fit_or_makes_no_sense() {
    let mut free = list(&[(0x10_0000, 0x20_0000)]);
    assert_eq!(free.take_high(0x20_0000, 0x1000), None);
    assert_eq!(free.take_high(0, 0x1000), None);
    assert_eq!(free.take_high(0x1000, 0x800), None);
    assert_eq!(free.take_high(u64::MAX, 0x1000), None);
    assert_eq!(free.take_low(0x1000, 0x1000, Hpa(0x10_0000)), None);
    assert_eq!(free.bytes(), 0x10_0000);
}

#[test]
fn a_full_list_loses_its_smallest_range() {
    let mut free = RangeList::new();
    for index in 0..LIST_RANGES as u64 {
        free.insert(Range::new(Hpa(index * 0x10_0000), 0x1000 * (1 + index)));
    }
    free.insert(Range::new(Hpa(1 << 40), 0x10_000));
    assert_eq!(free.as_slice().len(), LIST_RANGES);
    assert_eq!(free.as_slice()[0].start, Hpa(0x10_0000));
    assert_eq!(free.as_slice()[LIST_RANGES - 1].start, Hpa(1 << 40));
}

proptest! {
    #[test]
    fn what_is_taken_is_inside_aligned_and_apart(
        requests in proptest::collection::vec((1u64..0x30_0000, 12u32..22, any::<bool>()), 1..20)
    ) {
        let whole = [(0x10_0000u64, 0x90_0000u64), (0x100_0000, 0x233_1000)];
        let mut free = list(&whole);
        let mut taken: Vec<Range> = Vec::new();
        for (bytes, alignment_bits, high) in requests {
            let before = free.bytes();
            let alignment = 1 << alignment_bits;
            let got = if high {
                free.take_high(bytes, alignment)
            } else {
                free.take_low(bytes, alignment, Hpa(u64::MAX))
            };
            let Some(start) = got else {
                prop_assert_eq!(free.bytes(), before);
                continue;
            };
            let range = Range::new(start, bytes.next_multiple_of(4096));
            prop_assert!(start.is_aligned(alignment));
            prop_assert!(whole.iter().any(|w| w.0 <= range.start.0 && range.end.0 <= w.1));
            prop_assert!(taken.iter().all(|other| !other.overlaps(range)));
            prop_assert_eq!(free.bytes(), before - range.bytes());
            taken.push(range);
        }
    }
}

#[repr(align(4096))]
struct Frame(#[allow(dead_code)] [u8; 4096]);

/// A pool over a leaked vector, in which "physical" addresses start at 1 MiB.
fn pool(frames: usize) -> Pool {
    let memory: &'static mut [Frame] =
        Box::leak((0..frames).map(|_| Frame([0xaa; 4096])).collect::<Vec<_>>().into_boxed_slice());
    let base = Hpa(0x10_0000);
    // SAFETY: the memory is leaked and only this pool knows of it.
    unsafe { Pool::over(base, frames, (memory.as_mut_ptr() as u64).wrapping_sub(base.0)) }
}

#[test]
fn a_pool_gives_zeroed_frames_until_it_is_empty_and_takes_them_back() {
    let mut pool = pool(3);
    let frames: Vec<_> = (0..3).map(|_| pool.allocate().expect("three frames")).collect();
    assert_eq!(pool.allocate(), None);
    assert!(frames.iter().all(|frame| (0..512).all(|entry| pool.read(*frame + entry * 8) == 0)));
    pool.write(frames[1] + 8, 7);
    assert_eq!(pool.read(frames[1] + 8), 7);
    pool.free(frames[1]);
    pool.free(frames[0]);
    assert_eq!(pool.left(), 2);
    assert_eq!(pool.allocate(), Some(frames[0]));
    assert_eq!(pool.allocate(), Some(frames[1]));
    assert_eq!(pool.read(frames[1] + 8), 0);
    assert_eq!(pool.allocate(), None);
}

#[test]
fn contiguous_frames_are_aligned_and_what_was_skipped_is_not_lost() {
    let mut pool = pool(8);
    pool.allocate().expect("a frame");
    let block = pool.allocate_contiguous(3).expect("three frames in a row");
    assert!(block.is_aligned(4 * 4096));
    assert_eq!(pool.left(), 8 - 1 - 3);
    assert_eq!(pool.allocate_contiguous(2), None);
    assert_eq!(pool.allocate_contiguous(0), None);
    pool.write_back(block, 3 * 4096);
}

#[test]
#[should_panic(expected = "no entry")]
fn an_entry_outside_the_pool_is_refused() {
    pool(1).read(Hpa(0x10_1000));
}

#[test]
fn a_pair_replaces_both_halves_and_nothing_else() {
    let mut pool = pool(1);
    let frame = pool.allocate().expect("a frame");
    pool.write_pair(frame + 16, [1, 2]);
    pool.write_pair(frame + 16, [3, u64::MAX]);
    let words: Vec<u64> = (0..5).map(|word| pool.read(frame + word * 8)).collect();
    assert_eq!(words, [0, 0, 3, u64::MAX, 0]);
}

#[test]
#[should_panic(expected = "no place for a pair")]
fn a_pair_must_be_aligned() {
    let mut pool = pool(1);
    let frame = pool.allocate().expect("a frame");
    pool.write_pair(frame + 8, [1, 2]);
}
