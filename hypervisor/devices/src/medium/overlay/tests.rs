use super::*;
use access::memory::VecMemory;
use core::ops::Range;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

const PAGES: u64 = 6;
const PAGE: usize = BLOCK as usize;
/// The last block of the image is not whole.
const IMAGE_BYTES: usize = (PAGES as usize - 1) * BLOCK as usize + 700;
/// Guest memory, with the data of each request at its start.
const GUEST_BYTES: usize = 4 * BLOCK as usize;

fn image() -> Vec<u8> {
    (0..IMAGE_BYTES).map(|at| (at / 7) as u8 | 1).collect()
}

fn overlay(image: &[u8], places: u64) -> OverlayMedium<'_> {
    let store = VecMemory::new(places as usize * BLOCK as usize);
    store.0.borrow_mut().fill(0xee);
    OverlayMedium::new(image, Box::new(store), places * BLOCK).expect("memory")
}

fn request(operation: Operation, at: u64, bytes: u32) -> Request {
    Request { tag: 0, operation, at, gpa: Gpa(0), bytes }
}

fn contents(medium: &mut OverlayMedium<'_>) -> Vec<u8> {
    let bytes = medium.bytes();
    let memory = VecMemory::new(bytes as usize);
    medium.perform(&request(Operation::Read, 0, bytes as u32), &memory).expect("reads");
    memory.0.take()
}

#[test]
fn what_is_written_is_read_and_the_rest_is_the_image() {
    let image = image();
    let mut medium = overlay(&image, 2);
    let memory = VecMemory::new(GUEST_BYTES);
    memory.0.borrow_mut().fill(0xaa);
    assert!(!medium.is_read_only());
    assert_eq!(medium.perform(&request(Operation::Write, 4096 + 512, 1024), &memory), Ok(()));
    let mut expected = image.clone();
    expected.resize(PAGES as usize * 4096, 0);
    expected[4608..5632].fill(0xaa);
    assert_eq!(contents(&mut medium), expected);
    assert_eq!(medium.bytes_left(), 4096);
}

#[test]
fn an_overlay_that_is_full_says_so_and_changes_nothing() {
    let image = image();
    let mut medium = overlay(&image, 1);
    let memory = VecMemory::new(GUEST_BYTES);
    memory.0.borrow_mut().fill(0xaa);
    assert_eq!(medium.perform(&request(Operation::Write, 0, 4096), &memory), Ok(()));
    let before = contents(&mut medium);
    assert_eq!(medium.perform(&request(Operation::Write, 8192, 512), &memory), Err(RequestFault::NoSpace));
    assert_eq!(contents(&mut medium), before);
    // A block that has a place keeps it.
    assert_eq!(medium.perform(&request(Operation::Write, 512, 512), &memory), Ok(()));
    // One that is needed no more gives it to another.
    assert_eq!(medium.perform(&request(Operation::Discard, 0, 4096), &memory), Ok(()));
    assert_eq!(medium.perform(&request(Operation::Write, 8192, 512), &memory), Ok(()));
    assert!(contents(&mut medium)[..4096].iter().all(|&byte| byte == 0));
}

#[test]
fn what_the_guest_does_not_have_is_written_nowhere() {
    let image = image();
    let mut medium = overlay(&image, 2);
    let memory = VecMemory::new(GUEST_BYTES);
    let before = contents(&mut medium);
    let request = Request { gpa: Gpa(GUEST_BYTES as u64 - 100), ..request(Operation::Write, 0, 512) };
    assert_eq!(medium.perform(&request, &memory), Err(RequestFault::Memory));
    assert_eq!((medium.bytes_left(), contents(&mut medium)), (8192, before));
    let wraps = Request { gpa: Gpa(u64::MAX - 4095), bytes: 8192, ..request };
    assert_eq!(medium.perform(&wraps, &memory), Err(RequestFault::Memory));
}

#[test]
fn nothing_is_beyond_the_end() {
    let image = image();
    let mut medium = overlay(&image, 2);
    let memory = VecMemory::new(GUEST_BYTES);
    for operation in [Operation::Read, Operation::Write, Operation::Discard, Operation::WriteZeroes] {
        for at in [PAGES * BLOCK - 511, PAGES * BLOCK, u64::MAX - 100] {
            let outcome = medium.perform(&request(operation, at, 512), &memory);
            assert_eq!(outcome, Err(RequestFault::Range), "{operation:?} {at}");
        }
    }
    assert_eq!(medium.perform(&request(Operation::Flush, 0, 0), &memory), Ok(()));
}

#[test]
fn a_store_that_lacks_what_it_promised_is_a_fault_of_the_medium() {
    let image = image();
    let mut medium = OverlayMedium::new(&image, Box::new(VecMemory::new(0)), 8192).expect("memory");
    let memory = VecMemory::new(GUEST_BYTES);
    assert_eq!(medium.perform(&request(Operation::Write, 0, 4096), &memory), Err(RequestFault::Medium));
    assert_eq!(medium.bytes_left(), 8192);
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(Operation::Read),
        Just(Operation::Write),
        Just(Operation::Discard),
        Just(Operation::WriteZeroes)
    ]
}

/// What an overlay is: the contents, and which blocks have a place or read zeroes.
struct Model {
    contents: Vec<u8>,
    kept: BTreeSet<usize>,
    zeroes: BTreeSet<usize>,
    places: usize,
}

impl Model {
    /// Does what is asked for of one block.
    fn block(&mut self, operation: Operation, range: Range<usize>, value: u8) -> Result<(), RequestFault> {
        let (block, is_whole) = (range.start / PAGE, range.len() == PAGE);
        match operation {
            Operation::Discard | Operation::WriteZeroes if is_whole => {
                self.kept.remove(&block);
                self.zeroes.insert(block);
                self.contents[range].fill(0);
                return Ok(());
            }
            Operation::Read | Operation::Flush | Operation::Discard => return Ok(()),
            Operation::WriteZeroes if self.zeroes.contains(&block) => return Ok(()),
            Operation::Write | Operation::WriteZeroes => {}
        }
        if !self.kept.contains(&block) && self.kept.len() == self.places {
            return Err(RequestFault::NoSpace);
        }
        self.kept.insert(block);
        self.zeroes.remove(&block);
        self.contents[range].fill(if operation == Operation::Write { value } else { 0 });
        Ok(())
    }

    fn perform(&mut self, operation: Operation, range: Range<usize>, value: u8) -> Result<(), RequestFault> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / PAGE + 1) * PAGE);
            self.block(operation, at..end, value)?;
            at = end;
        }
        Ok(())
    }
}

proptest! {
    /// Whatever is asked for, a block reads what was written last, a request that finds no room says
    /// so, and every place of the store is free or one block's.
    #[test]
    fn agrees_with_a_model(
        places in 0_usize..8,
        asked in prop::collection::vec((any_operation(), 0_usize..48, 1_usize..25, 1_u8..), 1..40),
    ) {
        let image = image();
        let mut medium = overlay(&image, places as u64);
        let mut expected = image.clone();
        expected.resize(PAGES as usize * PAGE, 0);
        let mut model = Model { contents: expected, kept: BTreeSet::new(), zeroes: BTreeSet::new(), places };
        for (operation, at, sectors, value) in asked {
            let range = at * 512..((at + sectors) * 512).min(PAGES as usize * PAGE);
            let memory = VecMemory::new(GUEST_BYTES);
            memory.0.borrow_mut().fill(value);
            let request = request(operation, range.start as u64, range.len() as u32);
            prop_assert_eq!(medium.perform(&request, &memory), model.perform(operation, range, value));
            prop_assert!(contents(&mut medium) == model.contents, "after {:?}", request);
            let mut taken = vec![0; places];
            let kept = medium.places.iter().filter(|place| place.address().is_some());
            kept.map(|place| place.0).chain(medium.free[..medium.left].iter().copied())
                .for_each(|place| taken[place as usize] += 1);
            prop_assert!(taken.iter().all(|&count| count == 1), "{:?}", taken);
        }
    }
}
