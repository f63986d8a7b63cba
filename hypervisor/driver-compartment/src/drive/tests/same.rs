//! What both do.

use super::hardware::{All, BLOCKS, Device, Driver};
use super::{SECOND, remote, start, submit, take};
use block::{Drive, Operation, Refused, State};
use proptest::prelude::*;
use std::vec::Vec;

#[derive(Clone, Debug)]
enum Step {
    Submit(Operation, u64, u64, u8),
    Kick,
    Work(usize, bool),
    Message(u16),
    Faulty(usize),
    Start,
    Break(bool),
    ReserveAndRelease,
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        4 => Just(Operation::Read),
        4 => Just(Operation::Write),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Discard),
        1 => Just(Operation::WriteZeroes),
    ];
    prop_oneof![
        12 => (operation, 0..BLOCKS + 2, 0_u64..10, any::<u8>())
            .prop_map(|(operation, first, blocks, byte)| Step::Submit(operation, first, blocks, byte)),
        5 => Just(Step::Kick),
        6 => (0_usize..12, any::<bool>()).prop_map(|(count, backwards)| Step::Work(count, backwards)),
        2 => (0_u16..80).prop_map(Step::Message),
        1 => (0_usize..3).prop_map(Step::Faulty),
        1 => Just(Step::Start),
        1 => any::<bool>().prop_map(Step::Break),
        1 => Just(Step::ReserveAndRelease),
    ]
}

/// What is seen of a drive after a step.
fn seen(drive: &mut dyn Drive, device: &Device, step: &Step, now_ns: &mut u64) -> Vec<std::string::String> {
    let mut all = Vec::new();
    *now_ns += SECOND / 1000;
    match step {
        Step::Submit(operation, first, blocks, byte) => {
            let outcome = match drive.reserve() {
                Ok(tag) => {
                    drive.put(tag, 0, &std::vec![*byte; 4096]);
                    let submitted = drive.submit(tag, *operation, *first, *blocks);
                    if submitted.is_err() {
                        drive.release(tag);
                    }
                    submitted
                }
                Err(refused) => Err(refused),
            };
            all.push(std::format!("{outcome:?}"));
            return all;
        }
        Step::Kick => {
            drive.kick(*now_ns);
            return all;
        }
        Step::Work(count, is_backwards) => {
            // So that the device has the same of both drivers.
            drive.kick(*now_ns);
            device.work(*count, *is_backwards);
        }
        Step::Message(message) => {
            drive.interrupt(*message, *now_ns);
        }
        Step::Faulty(count) => device.hardware().faulty = *count,
        Step::Start => {
            drive.start(*now_ns);
        }
        Step::Break(is_broken) => {
            device.hardware().is_broken = *is_broken;
            // One that nothing is asked of is not looked at before it says something.
            drive.interrupt(0, *now_ns);
        }
        Step::ReserveAndRelease => {
            let tags: Vec<_> = core::iter::from_fn(|| drive.reserve().ok()).collect();
            all.push(std::format!("{}", tags.len()));
            tags.into_iter().for_each(|tag| drive.release(tag));
        }
    }
    for _ in 0..2 {
        drive.poll(*now_ns);
    }
    all.push(std::format!("{:?} {:?}", drive.status().state, drive.identity()));
    all.push(drive.error().map(|error| std::format!("{error}")).unwrap_or_default());
    // Those that end together do so in any order.
    let mut over: Vec<_> = take(drive)
        .into_iter()
        .map(|(done, data)| std::format!("{:?} {} {:?} {data:?}", done.operation, done.bytes, done.outcome))
        .collect();
    over.sort();
    all.extend(over);
    all
}

proptest! {
    #[test]
    fn a_drive_in_a_compartment_is_the_drive(steps in proptest::collection::vec(step(), 0..120)) {
        let (here, there) = (Device::new(), Device::new());
        let mut local = Driver::new(&here, &mut All(Some(here.1.clone())));
        let mut remote = remote(&there, 5);
        let (mut our_ns, mut their_ns) = (SECOND, SECOND);
        start(&mut local, &mut our_ns);
        start(&mut remote, &mut their_ns);
        for step in &steps {
            let ours = seen(&mut local, &here, step, &mut our_ns);
            let theirs = seen(&mut remote, &there, step, &mut their_ns);
            prop_assert_eq!(ours, theirs, "{:?}", step);
        }
        prop_assert!(here.hardware().medium == there.hardware().medium, "they wrote different things");
        prop_assert_eq!(remote.account().ends, 0);
    }
}

/// A turn costs one entry, however many requests it has.
#[test]
fn a_turn_is_one_entry() {
    let device = Device::new();
    let mut drive = remote(&device, 5);
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    let before = drive.account().entries;
    let mut over = 0;
    for turn in 0..100 {
        drive.poll(now_ns);
        over += take(&mut drive).len();
        while submit(&mut drive, Operation::Read, turn % BLOCKS, 1, 0).is_some() {}
        drive.kick(now_ns);
        device.work(100, false);
        now_ns += 1000;
    }
    let entries = drive.account().entries - before;
    assert!(over > 280, "{over}");
    assert!(entries <= 101, "{entries}");
    // And one without anything to do costs none.
    for _ in 0..3 {
        drive.poll(now_ns);
        take(&mut drive);
    }
    let before = drive.account().entries;
    for _ in 0..100 {
        drive.poll(now_ns);
        drive.kick(now_ns);
    }
    assert_eq!(drive.account().entries, before);
}

/// What makes no sense is refused without the compartment.
#[test]
fn what_makes_no_sense_is_refused_in_ring_0() {
    let device = Device::new();
    let mut drive = remote(&device, 5);
    assert_eq!(drive.reserve(), Err(Refused::NotReady));
    let mut now_ns = SECOND;
    start(&mut drive, &mut now_ns);
    assert!(matches!(drive.status().state, State::Ready(_)));
    let entries = drive.account().entries;
    let tag = drive.reserve().unwrap();
    assert!(drive.put(tag, 4000, &[0; 100]).is_none());
    assert!(drive.put(tag, usize::MAX, &[0; 2]).is_none());
    for (operation, first, blocks, refused) in [
        (Operation::Read, BLOCKS, 1, Refused::BeyondEnd),
        (Operation::Read, u64::MAX, 2, Refused::BeyondEnd),
        (Operation::Write, 0, 0, Refused::NoBlocks),
        (Operation::Write, 0, 9, Refused::TooLarge(4096)),
        (Operation::Discard, 0, 1, Refused::Unsupported),
    ] {
        assert_eq!(drive.submit(tag, operation, first, blocks), Err(refused));
    }
    assert_eq!(drive.submit(tag, Operation::Read, 0, 1), Ok(()));
    assert_eq!(drive.submit(tag, Operation::Read, 0, 1), Err(Refused::NotReserved));
    drive.release(tag);
    assert!(drive.get(tag, 0, &mut [0]).is_none());
    assert_eq!(drive.account().entries, entries);
}
