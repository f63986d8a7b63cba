//! Frames each way, the link, and what is lost.

use crate::fake::*;
use crate::twin::{self, CHECKSUMS, DAMAGE, WHOLE, frame_message, link_message};
use crate::twin::{RECEIVE_BASE_LOW, RECEIVE_TAIL, TRANSMIT_TAIL};
use access::fake_dma::Step;
use network::{Checksum, Frame, SegmentKind, Segmentation, Tagging, Vlan};
use nic::{Link, Nic, Queue, Refused, State};
use spec::Iova;
use spec::gigabit::*;

fn transmit(driver: &mut Driver, frame: &Frame) -> Result<(), Refused> {
    driver.transmit(&frame.parts(Tagging::Keep).expect("it has a header"))
}

#[test]
fn frames_are_sent_in_order_padded_and_tagged_with_one_doorbell() {
    let (fake, mut driver, now) = Fake::ready();
    fake.state.borrow_mut().writes.clear();
    let short = frame(14, 1);
    transmit(&mut driver, &short).unwrap();
    let tagged = frame(1514, 2);
    driver.transmit(&tagged.parts(Tagging::Insert(Vlan::new(5).unwrap())).unwrap()).unwrap();
    assert_eq!(fake.send_one(), None);
    driver.kick(now);
    driver.kick(now);
    assert_eq!(fake.state.borrow().writes, [(TRANSMIT_TAIL, 2)]);
    assert!(fake.state.borrow().is_published);
    let sent = fake.send_one().unwrap();
    assert_eq!((sent.len(), &sent[..14], &sent[14..]), (60, short.bytes(), &[0; 46][..]));
    let sent = fake.send_one().unwrap();
    assert_eq!((sent.len(), &sent[10..18]), (1518, &[2, 2, 0x81, 0, 0, 5, 2, 2][..]));
    assert_eq!(fake.send_one(), None);
    assert_eq!(driver.counters().sent.frames, 0);
    driver.interrupt(0, now);
    assert_eq!((driver.counters().sent.frames, driver.counters().sent.bytes), (2, 1578));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (fake, mut driver, now) = Fake::ready();
    assert_eq!(transmit(&mut driver, &frame(1519, 0)), Err(Refused::TooLong(1518)));
    assert_eq!(driver.capabilities().largest_bytes, 1518);
    let mut left = frame(1000, 0);
    left.offload.checksum = Checksum::Missing { start: 34, offset: 16 };
    assert_eq!(transmit(&mut driver, &left), Err(Refused::Offload));
    left.offload.checksum = Checksum::Good;
    left.offload.segmentation =
        Some(Segmentation { kind: SegmentKind::Tcp4, ecn: false, segment_bytes: 500, header_bytes: 54 });
    assert_eq!(transmit(&mut driver, &left), Err(Refused::Offload));
    // One of eight descriptors is always empty.
    assert_eq!(driver.queue(), Queue { waiting: 0, room: 7 });
    for _ in 0..7 {
        transmit(&mut driver, &frame(60, 0)).unwrap();
    }
    assert_eq!(driver.queue(), Queue { waiting: 7, room: 0 });
    assert_eq!(transmit(&mut driver, &frame(60, 0)), Err(Refused::Full));
    driver.kick(now);
    fake.send_one().unwrap();
    driver.kick(now);
    transmit(&mut driver, &frame(60, 0)).unwrap();
    fake.set_link(false);
    driver.interrupt(1, now);
    assert_eq!(transmit(&mut driver, &frame(60, 0)), Err(Refused::Down));
    driver.start(now);
    assert_eq!(transmit(&mut driver, &frame(60, 0)), Err(Refused::NotReady));
    assert_eq!(driver.queue(), Queue::default());
    assert_eq!(driver.counters().lost, 7);
}

#[test]
fn rings_go_round() {
    let (fake, mut driver, now) = Fake::ready();
    let mut into = Frame::new();
    for round in 0..100_u8 {
        let bytes = 60 + usize::from(round);
        transmit(&mut driver, &frame(bytes, round)).unwrap();
        driver.kick(now);
        assert_eq!(fake.send_one(), Some(vec![round; bytes]));
        for part in 0..5_u8 {
            assert!(fake.receive(&vec![round ^ part; bytes]), "round {round}");
        }
        for part in 0..5_u8 {
            assert!(driver.receive(&mut into));
            assert_eq!(into.bytes(), vec![round ^ part; bytes]);
        }
        assert!(!driver.receive(&mut into) && into.is_empty());
    }
    driver.poll(now);
    let counters = driver.counters();
    assert_eq!((counters.sent.frames, counters.received.frames), (100, 500));
    assert_eq!((counters.missed, counters.damaged, counters.lost, counters.resets), (0, 0, 0, 0));
    assert!(fake.state.borrow().is_published);
    assert_eq!(fake.domain.refused(), 0);
}

#[test]
fn descriptors_are_given_back_in_batches_and_when_all_is_taken() {
    let (fake, mut driver, _) = Fake::ready();
    let mut into = Frame::new();
    for _ in 0..15 {
        assert!(fake.receive(&[1; 100]));
    }
    assert!(!fake.receive(&[1; 100]), "the controller has all but one");
    fake.state.borrow_mut().writes.clear();
    for _ in 0..15 {
        assert!(driver.receive(&mut into));
    }
    assert_eq!(fake.state.borrow().writes, [(RECEIVE_TAIL, 7)]);
    assert!(!driver.receive(&mut into));
    assert_eq!(fake.state.borrow().writes, [(RECEIVE_TAIL, 7), (RECEIVE_TAIL, 14)]);
    for _ in 0..15 {
        assert!(fake.receive(&[1; 100]));
    }
    driver.poll(u64::MAX / 2);
    assert_eq!(driver.counters().missed, 1);
}

#[test]
fn a_checksum_is_good_only_where_the_controller_looked() {
    let (fake, mut driver, _) = Fake::ready();
    let mut into = Frame::new();
    for (what, checksum) in CHECKSUMS {
        assert!(fake.receive_as(&[1; 100], 100, WHOLE | what));
        assert!(driver.receive(&mut into));
        assert_eq!((into.offload.checksum, into.offload.segmentation), (checksum, None), "{what:#x}");
    }
}

#[test]
fn damaged_frames_are_passed_by_and_counted() {
    let (fake, mut driver, _) = Fake::ready();
    let mut into = Frame::new();
    for damage in DAMAGE {
        assert!(fake.receive_as(&[1; 100], 100, WHOLE | damage));
    }
    assert!(fake.receive_as(&[1; 13], 13, WHOLE));
    assert!(fake.receive(&[2; 100]));
    assert!(driver.receive(&mut into));
    assert_eq!(into.bytes(), [2; 100]);
    assert_eq!(driver.counters().damaged, DAMAGE.len() as u64 + 1);
}

#[test]
fn the_link_is_followed_by_its_message_and_by_looking() {
    let (fake, mut driver, now) = Fake::ready();
    fake.set_link(false);
    driver.interrupt(0, now);
    assert_ne!(driver.link(), Link::Down, "another message's business");
    driver.interrupt(1, now);
    assert_eq!((driver.link(), fake.get(twin::INTERRUPT_CAUSE)), (Link::Down, 0));
    // The message is lost.
    fake.set(STATUS, status::LINK_UP | 1 << 6);
    let now = driver.status().deadline_ns.unwrap();
    driver.poll(now);
    assert_eq!(driver.link(), Link::Up { megabits: 100, full_duplex: false });
    assert_eq!(driver.link().to_string(), "link up, 100 Mb/s half duplex");
}

#[test]
fn one_that_hangs_is_reset_and_works_again() {
    let (fake, mut driver, now) = Fake::ready();
    // Its time begins with the frame, however long it was idle.
    let mut now = now + SECOND - 1;
    transmit(&mut driver, &frame(60, 1)).unwrap();
    driver.kick(now);
    let begin = now;
    while driver.counters().resets == 0 {
        now = driver.status().deadline_ns.unwrap();
        driver.poll(now);
        assert!(now < begin + 4 * SECOND);
    }
    assert!(now >= begin + 2 * SECOND, "{}", now - begin);
    assert_eq!((driver.status().state, driver.link()), (State::Starting, Link::Down));
    now = pass(&mut driver, now);
    assert_eq!((driver.status().state, driver.counters().lost), (State::Ready, 1));
    transmit(&mut driver, &frame(60, 2)).unwrap();
    driver.kick(now);
    assert_eq!(fake.send_one(), Some(vec![2; 60]));
}

#[test]
fn one_that_always_hangs_is_given_up() {
    let (_fake, mut driver, mut now) = Fake::ready();
    for _ in 0..6 {
        assert_eq!(driver.status().state, State::Ready);
        transmit(&mut driver, &frame(60, 1)).unwrap();
        driver.kick(now);
        for _ in 0..4 {
            now = driver.status().deadline_ns.unwrap_or(now);
            driver.poll(now);
        }
        now = pass(&mut driver, now);
    }
    assert_eq!(driver.status().state, State::Failed);
    let words = driver.error().unwrap().to_string();
    assert_eq!(words, "it was reset 5 times, and carried no frame in between");
}

#[test]
fn one_that_hangs_now_and_then_is_not_given_up() {
    hang_between(|fake, driver, now| {
        transmit(driver, &frame(60, 1)).unwrap();
        driver.kick(now);
        assert_eq!(fake.send_one(), Some(vec![1; 60]));
        driver.poll(now);
    });
    hang_between(|fake, driver, _| {
        assert!(fake.receive(&[2; 60]));
        assert!(driver.receive(&mut Frame::new()));
    });
}

/// Hangs more often than it may, and carries a frame in between by `carry`.
fn hang_between(carry: impl Fn(&Fake, &mut Driver, u64)) {
    let (fake, mut driver, mut now) = Fake::ready();
    for _ in 0..10 {
        carry(&fake, &mut driver, now);
        transmit(&mut driver, &frame(60, 3)).unwrap();
        driver.kick(now);
        while driver.status().state == State::Ready {
            now = driver.status().deadline_ns.unwrap();
            driver.poll(now);
        }
        now = pass(&mut driver, now);
        assert_eq!(driver.status().state, State::Ready);
    }
    assert_eq!((driver.counters().resets, driver.counters().lost), (10, 10));
}

#[test]
fn a_frame_is_read_behind_the_word_that_it_is_there() {
    let (fake, mut driver, _) = Fake::ready();
    assert!(fake.receive(&[1; 100]));
    fake.domain.take_steps();
    assert!(driver.receive(&mut Frame::new()));
    let steps = fake.domain.take_steps();
    let status = fake.descriptor(RECEIVE_BASE_LOW, 0).0 + 8;
    assert_eq!(steps[0], Step::Read(Iova(status), 8));
    assert_eq!(steps[1], Step::ReadBarrier);
    assert!(matches!(steps[2], Step::Read(_, 100)));
    let reads = steps.iter().filter(|step| matches!(step, Step::Read(..))).count();
    assert_eq!(reads, 2, "nothing is read again");
}

#[test]
fn frames_that_wait_for_a_link_are_lost_and_the_controller_is_not_given_up() {
    let (fake, mut driver, mut now) = Fake::ready();
    for _ in 0..20 {
        transmit(&mut driver, &frame(60, 1)).unwrap();
        driver.kick(now);
        let mut lies = fake.state.borrow_mut();
        lies.lies.insert(STATUS, 0);
        drop(lies);
        for _ in 0..4 {
            now = driver.status().deadline_ns.unwrap();
            driver.poll(now);
        }
        pass(&mut driver, now);
        assert_eq!(driver.status().state, State::Ready);
        fake.state.borrow_mut().lies.clear();
        now = driver.status().deadline_ns.unwrap();
        driver.poll(now);
    }
    assert_eq!(driver.counters().lost, 20);
}

#[test]
fn one_that_somebody_reset_is_set_up_again() {
    let (fake, mut driver, mut now) = Fake::ready();
    fake.set(RECEIVE_CONTROL, 0);
    now = now.max(driver.status().deadline_ns.unwrap());
    driver.poll(now);
    assert_eq!(driver.status().state, State::Starting);
    pass(&mut driver, now);
    assert_eq!((driver.status().state, driver.counters().resets), (State::Ready, 1));
    assert!(fake.receive(&[1; 60]));
    assert!(driver.receive(&mut Frame::new()));
}

#[test]
fn each_frame_has_its_message() {
    let (fake, mut driver, now) = Fake::ready();
    for _ in 0..3 {
        assert!(frame_message(&fake));
        assert!(!frame_message(&fake), "it is told of already");
        driver.interrupt(0, now);
    }
    // A message that was lost is no loss for ever.
    assert!(frame_message(&fake));
    driver.poll(driver.status().deadline_ns.unwrap());
    assert!(frame_message(&fake));
    // Nothing is let through before the controller works.
    driver.start(now);
    driver.interrupt(0, now);
    driver.interrupt(1, now);
    assert!(!frame_message(&fake) && !link_message(&fake));
}

#[test]
fn frames_cause_no_message_while_somebody_looks_anyway() {
    for messages in [2, 1] {
        let (fake, mut driver) = Fake::new(messages);
        let now = bring_up(&mut driver, 1);
        fake.state.borrow_mut().writes.clear();
        driver.set_quiet(true);
        driver.set_quiet(true);
        assert_eq!(fake.state.borrow().writes.len(), 1, "it is told once");
        for round in 0..3 {
            assert!(!frame_message(&fake), "{messages} messages, round {round}");
            driver.interrupt(0, now);
            driver.interrupt(1, now);
            driver.poll(driver.status().deadline_ns.unwrap());
        }
        assert!(link_message(&fake));
        driver.interrupt(messages - 1, now);
        assert!(!frame_message(&fake));
        driver.set_quiet(false);
        assert!(frame_message(&fake));
        // It stays so over a reset.
        driver.set_quiet(true);
        driver.start(now);
        driver.set_quiet(false);
        driver.set_quiet(true);
        pass(&mut driver, now);
        assert!(!frame_message(&fake) && link_message(&fake));
        driver.set_quiet(false);
        assert!(frame_message(&fake));
        driver.interrupt(messages - 1, now);
        assert!(link_message(&fake));
        // One that is gone, or failed, is not touched.
        fake.state.borrow_mut().is_gone = true;
        driver.poll(u64::MAX / 2);
        driver.set_quiet(true);
        assert_eq!(driver.status().state, State::Failed);
    }
}
