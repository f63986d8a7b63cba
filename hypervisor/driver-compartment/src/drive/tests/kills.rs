//! One that dies at any entry.

use super::hardware::{BLOCK, BLOCKS, Device};
use super::{SECOND, remote, settle, start, submit, take};
use crate::testing::Fate;
use block::{Drive, Fault, Operation, State, Tag};
use proptest::prelude::*;
use std::collections::HashMap;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// What was asked.
type Asked = HashMap<Tag, (Operation, u64, u64, u8)>;

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![6 => Just(Fate::Serves), 1 => Just(Fate::DiesBefore), 1 => Just(Fate::DiesAfter)]
}

proptest! {
    /// Whoever uses the drive finds nothing of it: each request is over once, and as if nothing had been.
    #[test]
    fn its_user_finds_nothing_of_it(
        fates in proptest::collection::vec(fate(), 0..60),
        steps in proptest::collection::vec((0_usize..4, 0..BLOCKS, 1_u64..8, any::<u8>()), 1..80),
        takes in 0_usize..4,
    ) {
        let device = Device::new();
        let mut drive = remote(&device, 1000);
        let mut now_ns = SECOND;
        start(&mut drive, &mut now_ns);
        drive.compartment_mut().fates = fates;
        drive.compartment_mut().takes = takes;
        let mut model = device.hardware().medium.clone();
        let mut asked = Asked::new();
        for (what, first, blocks, byte) in steps {
            let blocks = blocks.min(BLOCKS - first);
            let operation = [Operation::Read, Operation::Write, Operation::Flush, Operation::Write][what];
            // What is in flight together has no order.
            let is_apart = asked.values().all(|(_, other, count, _)| first + blocks <= *other || other + count <= first);
            if is_apart && let Some(tag) = submit(&mut drive, operation, first, blocks, byte) {
                asked.insert(tag, (operation, first, blocks, byte));
            }
            now_ns += SECOND / 10;
            if byte & 1 != 0 {
                drive.kick(now_ns);
            }
            device.work(usize::from(byte >> 4), byte & 2 != 0);
            drive.poll(now_ns);
            check(&mut drive, &mut asked, &mut model)?;
        }
        for _ in 0..400 {
            now_ns += SECOND / 10;
            drive.kick(now_ns);
            device.work(100, false);
            drive.poll(now_ns);
            check(&mut drive, &mut asked, &mut model)?;
        }
        prop_assert!(asked.is_empty(), "{:?}", asked);
        prop_assert!(device.hardware().medium == model, "the medium is another");
    }
}

/// What is over is what was asked, and did what it was to do.
fn check(drive: &mut dyn Drive, asked: &mut Asked, model: &mut [u8]) -> Result<(), TestCaseError> {
    for (done, data) in take(drive) {
        let found = asked.remove(&done.tag);
        prop_assert!(found.is_some(), "{done:?} was not asked, or twice over");
        let Some((operation, first, blocks, byte)) = found else { continue };
        prop_assert_eq!((done.operation, done.outcome), (operation, Ok(())));
        let range = first as usize * BLOCK..(first + blocks) as usize * BLOCK;
        match operation {
            Operation::Read => prop_assert!(data == model[range], "it read something else"),
            Operation::Write => model[range].fill(byte),
            _ => {}
        }
    }
    Ok(())
}

/// One that dies in each of its entries is made anew so often, and then is a drive that failed.
#[test]
fn one_that_always_dies_fails() {
    let device = Device::new();
    let mut drive = remote(&device, 3);
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    submit(&mut drive, Operation::Read, 0, 1, 0).unwrap();
    drive.compartment_mut().fates = vec![Fate::DiesBefore; 100];
    drive.kick(now_ns);
    assert_eq!(drive.status().state, State::Starting);
    assert!(drive.next_done().is_none(), "it is to be repeated");
    settle(&mut drive, &mut now_ns);
    assert_eq!(drive.status().state, State::Failed);
    let error = drive.error().unwrap().to_string();
    assert_eq!(error, "its driver was ended too often: it did not come back in time");
    let [(done, _)] = &take(&mut drive)[..] else { panic!("one was in flight") };
    assert_eq!(done.outcome, Err(Fault::Drive));
    assert_eq!((drive.account().ends, drive.account().renewals), (4, 3));
    // Until a minute is over it stays so, whoever starts it.
    assert_eq!(drive.start(now_ns).state, State::Failed);
    drive.compartment_mut().fates.clear();
    now_ns += 61 * SECOND;
    start(&mut drive, &mut now_ns);
    assert!(matches!(drive.status().state, State::Ready(_)));
    submit(&mut drive, Operation::Read, 0, 1, 0).unwrap();
    drive.kick(now_ns);
    device.work(1, false);
    drive.poll(now_ns);
    drive.poll(now_ns);
    assert_eq!(take(&mut drive).len(), 1);
}

/// What is repeated keeps its order, and goes before what came later.
#[test]
fn what_is_repeated_keeps_its_order() {
    let device = Device::new();
    let mut drive = remote(&device, 5);
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    let first: Vec<_> =
        (0..3).map(|block| submit(&mut drive, Operation::Write, block, 1, 7).unwrap()).collect();
    drive.kick(now_ns);
    let later = submit(&mut drive, Operation::Flush, 0, 0, 0).unwrap();
    drive.compartment_mut().fates = vec![Fate::DiesAfter];
    drive.kick(now_ns);
    settle(&mut drive, &mut now_ns);
    let mut over = Vec::new();
    for _ in 0..8 {
        now_ns += SECOND / 100;
        drive.poll(now_ns);
        device.work(1, false);
        over.extend(take(&mut drive).into_iter().map(|(done, _)| done.tag));
    }
    assert_eq!(over, [&first[..], &[later]].concat());
    assert_eq!(device.hardware().flushes, 1);
}

/// Where the reset may have emptied a cache that held what was acknowledged, nothing is hidden.
#[test]
fn a_cache_that_may_be_lost_fails_the_drive_if_it_held_something() {
    for (is_flushed, state) in [(false, State::Failed), (true, State::Starting)] {
        let device = Device::new();
        let mut drive = remote(&device, 5);
        let mut now_ns = SECOND;
        start(&mut drive, &mut now_ns);
        drive.compartment_mut().keeps_cache = false;
        let ask = |drive: &mut super::Remote, operation, first| {
            submit(drive, operation, first, 1, 7).unwrap();
            drive.kick(now_ns);
            device.work(1, false);
            drive.poll(now_ns);
            drive.poll(now_ns);
            assert_eq!(take(drive).len(), 1);
        };
        ask(&mut drive, Operation::Write, 0);
        if is_flushed {
            ask(&mut drive, Operation::Flush, 0);
        }
        submit(&mut drive, Operation::Flush, 0, 0, 0).unwrap();
        drive.compartment_mut().fates = vec![Fate::DiesBefore];
        drive.kick(now_ns);
        assert_eq!(drive.poll(now_ns).state, state, "{is_flushed}");
        let failed = take(&mut drive).iter().filter(|(done, _)| done.outcome.is_err()).count();
        assert_eq!(failed, usize::from(!is_flushed));
    }
}

/// Another drive in its place is not given what was for this one.
#[test]
fn another_drive_gets_nothing() {
    let device = Device::new();
    let mut drive = remote(&device, 5);
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    submit(&mut drive, Operation::Write, 0, 1, 7).unwrap();
    drive.compartment_mut().fates = vec![Fate::DiesBefore];
    device.hardware().serial = *b"another one         ";
    drive.kick(now_ns);
    settle(&mut drive, &mut now_ns);
    assert_eq!(drive.status().state, State::Failed);
    assert_eq!(drive.error().unwrap().to_string(), "another drive is in its place");
    assert_eq!(take(&mut drive)[0].0.outcome, Err(Fault::Drive));
    assert_eq!(device.hardware().medium[0], 0x80);
}

/// A function that cannot be reset is a drive that failed.
#[test]
fn a_function_that_cannot_be_reset_fails() {
    let device = Device::new();
    let mut drive = remote(&device, 5);
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    submit(&mut drive, Operation::Read, 0, 1, 7).unwrap();
    drive.compartment_mut().fates = vec![Fate::DiesBefore];
    drive.compartment_mut().fails = Some("it does not answer");
    drive.kick(now_ns);
    settle(&mut drive, &mut now_ns);
    assert_eq!(drive.error().unwrap().to_string(), "it could not be reset: it does not answer");
    assert_eq!(take(&mut drive).len(), 1);
}
