//! A controller that lies.

use crate::fake::*;
use crate::twin::{DAMAGE, LIES, SPLIT, WHOLE, with_length};
use crate::twin::{RECEIVE_BASE_LOW, RECEIVE_BYTES, RECEIVE_HEAD, RECEIVE_TAIL};
use crate::twin::{TRANSMIT_BASE_LOW, TRANSMIT_BYTES, TRANSMIT_HEAD, TRANSMIT_TAIL};
use access::GuestMemory;
use network::{Frame, Tagging};
use nic::{Link, Nic, Refused, State};
use proptest::prelude::*;
use spec::Gpa;
use spec::gigabit::*;

fn words(driver: &Driver) -> String {
    assert_eq!((driver.status().state, driver.link()), (State::Failed, Link::Down));
    driver.error().expect("a failure has its words").to_string()
}

#[test]
fn a_length_that_no_buffer_has_fails_the_controller() {
    for length in [0, 2049, u16::MAX] {
        let (fake, mut driver, now) = Fake::ready();
        fake.receive_as(&[1; 60], length, WHOLE);
        let mut into = frame(100, 7);
        assert!(!driver.receive(&mut into) && into.is_empty());
        assert_eq!(words(&driver), format!("it says to have received a frame of {length} bytes"));
        // It was reset, so that it writes no more.
        assert_eq!(fake.get(RECEIVE_CONTROL), 0);
        bring_up(&mut driver, now);
        assert_eq!(driver.status().state, State::Ready);
    }
}

#[test]
fn a_frame_that_is_split_fails_the_controller() {
    let (fake, mut driver, _) = Fake::ready();
    fake.receive_as(&[1; 60], 60, SPLIT);
    assert!(!driver.receive(&mut Frame::new()));
    assert_eq!(words(&driver), "it split a frame that fits a buffer");
}

#[test]
fn descriptors_that_are_done_out_of_order_wait_for_their_turn() {
    let (fake, mut driver, now) = Fake::ready();
    for byte in 0..3 {
        driver.transmit(&frame(60, byte).parts(Tagging::Keep).unwrap()).unwrap();
    }
    driver.kick(now);
    fake.sent(1);
    driver.poll(now);
    assert_eq!(driver.counters().sent.frames, 0);
    fake.sent(0);
    driver.poll(now);
    assert_eq!(driver.counters().sent.frames, 2);
    // So do received ones.
    fake.received(3, with_length(60) | WHOLE);
    assert!(!driver.receive(&mut Frame::new()));
}

#[test]
fn descriptors_that_it_was_not_told_of_are_not_done() {
    let (fake, mut driver, now) = Fake::ready();
    driver.transmit(&frame(60, 1).parts(Tagging::Keep).unwrap()).unwrap();
    for place in 0..8 {
        fake.sent(place);
    }
    driver.poll(now);
    assert_eq!(driver.counters().sent.frames, 0);
}

#[test]
fn addresses_that_it_writes_into_descriptors_are_never_used() {
    let (fake, mut driver, now) = Fake::ready();
    for place in 0..16 {
        fake.domain.write64(fake.descriptor(RECEIVE_BASE_LOW, place), 0xdead_0000).unwrap();
    }
    for place in 0..8 {
        fake.domain.write64(fake.descriptor(TRANSMIT_BASE_LOW, place), 0xdead_0000).unwrap();
    }
    driver.transmit(&frame(60, 9).parts(Tagging::Keep).unwrap()).unwrap();
    driver.kick(now);
    assert_eq!(fake.send_one(), Some(vec![9; 60]));
    let first = fake.descriptor(RECEIVE_BASE_LOW, 0);
    fake.received(0, with_length(60) | WHOLE);
    let mut into = Frame::new();
    assert!(driver.receive(&mut into));
    assert_eq!(into.len(), 60);
    assert_ne!(fake.domain.read64(first), Ok(0xdead_0000));
}

#[test]
fn one_that_is_pulled_out_is_found_and_left_alone() {
    let (fake, mut driver, now) = Fake::ready();
    fake.state.borrow_mut().is_gone = true;
    let status = driver.poll(now + SECOND);
    assert_eq!(status.state, State::Failed);
    assert_eq!(words(&driver), "its registers read ones: it is not there any more");
    let sent = driver.transmit(&frame(60, 1).parts(Tagging::Keep).unwrap());
    assert_eq!(sent, Err(Refused::NotReady));
    // At once, by the message that a dying controller may send.
    let (fake, mut driver, now) = Fake::ready();
    fake.state.borrow_mut().is_gone = true;
    driver.interrupt(1, now);
    assert_eq!(driver.status().state, State::Failed);
}

#[test]
fn a_flood_of_damaged_frames_ends_a_call() {
    let (fake, mut driver, _) = Fake::ready();
    for place in 0..16 {
        fake.received(place, with_length(60) | WHOLE | DAMAGE[0]);
    }
    assert!(!driver.receive(&mut Frame::new()));
    assert_eq!(driver.counters().damaged, 16);
}

#[derive(Debug, Clone)]
enum Step {
    Transmit(usize),
    Kick,
    Poll(u64),
    Interrupt(u16),
    Receive,
    Start,
    Send,
    Frame(usize, u16, u64),
    Memory(u8, u16, u64),
    Lie(usize, u32),
    Truth,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (14..1600_usize).prop_map(Step::Transmit),
        Just(Step::Kick),
        (0..2 * SECOND).prop_map(Step::Poll),
        (0..3_u16).prop_map(Step::Interrupt),
        Just(Step::Receive),
        Just(Step::Start),
        Just(Step::Send),
        (0..1600_usize, any::<u16>(), any::<u64>())
            .prop_map(|(bytes, length, what)| Step::Frame(bytes, length, what)),
        (1..1600_usize).prop_map(|bytes| Step::Frame(bytes, bytes as u16, WHOLE)),
        (any::<u8>(), any::<u16>(), any::<u64>())
            .prop_map(|(buffer, at, value)| Step::Memory(buffer, at, value)),
        (0..LIES.len(), any::<u32>()).prop_map(|(register, value)| Step::Lie(register, value)),
        Just(Step::Truth),
    ]
}

proptest! {
    #[test]
    fn whatever_it_does_the_driver_goes_on(steps in prop::collection::vec(any_step(), 1..120)) {
        let (fake, mut driver) = Fake::new(2);
        let mut now = bring_up(&mut driver, 1);
        let (mut into, mut taken) = (Frame::new(), 0_u64);
        for step in steps {
            match step {
                Step::Transmit(bytes) => {
                    taken += u64::from(driver.transmit(&frame(bytes, 1).parts(Tagging::Keep).unwrap()).is_ok());
                }
                Step::Kick => { driver.kick(now); }
                Step::Poll(ns) => {
                    now = driver.status().deadline_ns.unwrap_or(now).max(now + ns);
                    let next = driver.poll(now).deadline_ns;
                    prop_assert!(next.is_none_or(|next| next > now));
                }
                Step::Interrupt(message) => { driver.interrupt(message, now); }
                Step::Receive => {
                    if driver.receive(&mut into) {
                        prop_assert!((14..=2048).contains(&into.len()));
                    } else {
                        prop_assert!(into.is_empty());
                    }
                }
                Step::Start => { driver.start(now); }
                Step::Send => {
                    let is_mine = fake.get(TRANSMIT_BYTES) != 0;
                    if is_mine && fake.get(TRANSMIT_HEAD) != fake.get(TRANSMIT_TAIL) {
                        fake.sent(fake.get(TRANSMIT_HEAD));
                        fake.set(TRANSMIT_HEAD, (fake.get(TRANSMIT_HEAD) + 1) % 8);
                    }
                }
                Step::Frame(bytes, length, what) => {
                    if fake.get(RECEIVE_BYTES) != 0 && fake.get(RECEIVE_HEAD) != fake.get(RECEIVE_TAIL) {
                        let at = fake.descriptor(RECEIVE_BASE_LOW, fake.get(RECEIVE_HEAD));
                        let buffer = fake.domain.read64(at).unwrap();
                        let _ = fake.domain.write(Gpa(buffer), &vec![2; bytes]);
                        let what = what & !with_length(u16::MAX);
                        fake.received(fake.get(RECEIVE_HEAD), with_length(length) | what);
                        fake.set(RECEIVE_HEAD, (fake.get(RECEIVE_HEAD) + 1) % 16);
                    }
                }
                Step::Memory(buffer, at, value) => {
                    let buffers = fake.domain.buffers();
                    let (iova, bytes) = buffers[usize::from(buffer) % buffers.len()];
                    let at = usize::from(at) * 8 % bytes;
                    fake.domain.write64(Gpa(iova.0 + at as u64), value).unwrap();
                }
                Step::Lie(register, value) => {
                    fake.state.borrow_mut().lies.insert(LIES[register], value);
                }
                Step::Truth => fake.state.borrow_mut().lies.clear(),
            }
            let counters = driver.counters();
            prop_assert!(counters.sent.frames + counters.lost <= taken, "more than there were");
            prop_assert!(taken <= counters.sent.frames + counters.lost + 7, "one that is neither");
            prop_assert_eq!(driver.error().is_some(), driver.status().state == State::Failed);
        }
        prop_assert!(fake.state.borrow().is_published, "a doorbell without a barrier");
        // Nobody lies any more: all works.
        fake.state.borrow_mut().lies.clear();
        now = bring_up(&mut driver, now);
        prop_assert_eq!(driver.status().state, State::Ready);
        driver.transmit(&frame(60, 3).parts(Tagging::Keep).unwrap()).unwrap();
        driver.kick(now);
        prop_assert_eq!(fake.send_one(), Some(vec![3; 60]));
        prop_assert!(fake.receive(&[4; 70]));
        prop_assert!(driver.receive(&mut into));
        prop_assert_eq!(into.bytes(), [4; 70]);
    }
}
