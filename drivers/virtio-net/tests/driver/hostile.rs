//! A device that breaks the rules, hangs, or is gone.

use crate::bench::*;
use access::GuestMemory;
use nic::{Link, Nic, State};
use spec::Gpa;
use spec::virtio::pci::common;
use spec::virtio::split::{RING_ENTRIES, RING_INDEX};
use spec::virtio::status;
use virtio_net::Error;

/// The device says to have used a buffer for what is received, the first since it was started.
fn use_buffer(bench: &Bench, index: u16, id: u32, bytes: u32) {
    let ring = bench.receive_used();
    bench.domain.write(Gpa(ring + RING_ENTRIES), &id.to_le_bytes()).unwrap();
    bench.domain.write(Gpa(ring + RING_ENTRIES + 4), &bytes.to_le_bytes()).unwrap();
    bench.domain.write(Gpa(ring + RING_INDEX), &index.to_le_bytes()).unwrap();
}

fn check_comes_back(bench: &mut Bench) {
    bench.driver.start(bench.now);
    bench.run();
    bench.check_ready();
    bench.comes(&frame(77, 7));
    assert_eq!(bench.received().unwrap(), frame(77, 7).bytes());
    bench.send(&frame(78, 8)).unwrap();
    assert_eq!(bench.sent().unwrap().bytes(), frame(78, 8).bytes());
}

#[test]
fn buffers_that_it_cannot_have_used_fail_it() {
    for (index, id, bytes, error) in [
        (17, 0, 72, Error::UsedIndex { queue: 0, ahead: 17 }),
        (0x8000, 0, 72, Error::UsedIndex { queue: 0, ahead: 0x8000 }),
        (1, 16, 72, Error::NotGiven { queue: 0, id: 16 }),
        (1, u32::MAX, 72, Error::NotGiven { queue: 0, id: u32::MAX }),
        (1, 0, 2049, Error::Length { queue: 0, bytes: 2049 }),
        (1, 0, u32::MAX, Error::Length { queue: 0, bytes: u32::MAX }),
    ] {
        let mut bench = Bench::new();
        use_buffer(&bench, index, id, bytes);
        assert_eq!(bench.received(), None);
        assert_eq!(bench.error(), error);
        assert_eq!(bench.driver.link(), Link::Down);
        check_comes_back(&mut bench);
    }
}

#[test]
fn what_is_no_frame_is_counted_and_passed_by() {
    for bytes in [0, 11, 12, 25, 12 + 1519, 2048] {
        let mut bench = Bench::new();
        use_buffer(&bench, 1, 3, bytes);
        assert_eq!(bench.received(), None, "{bytes}");
        assert_eq!(bench.driver.counters().damaged, 1);
        assert_eq!(bench.driver.status().state, State::Ready);
    }
}

#[test]
fn a_flood_of_what_is_no_frame_has_an_end() {
    let mut bench = Bench::new();
    // It has used all, each as nothing.
    let ring = bench.receive_used();
    for place in 0..16_u32 {
        bench.domain.write(Gpa(ring + RING_ENTRIES + u64::from(place) * 8), &place.to_le_bytes()).unwrap();
    }
    bench.domain.write(Gpa(ring + RING_INDEX), &16_u16.to_le_bytes()).unwrap();
    assert_eq!(bench.received(), None);
    assert_eq!(bench.driver.counters().damaged, 16);
}

#[test]
fn one_that_sends_nothing_is_reset_and_in_the_end_given_up() {
    let mut bench = Bench::new();
    for round in 0..5 {
        bench.send(&frame(60, 1)).unwrap();
        bench.pass(5 * SECOND);
        bench.run();
        bench.check_ready();
        assert_eq!((bench.driver.counters().lost, bench.driver.counters().resets), (round + 1, round + 1));
    }
    bench.send(&frame(60, 1)).unwrap();
    bench.pass(6 * SECOND);
    assert_eq!(bench.error(), Error::Hung(5));
    check_comes_back(&mut bench);
}

#[test]
fn one_that_needs_a_reset_or_was_reset_gets_one() {
    for lie in [u64::from(status::NEEDS_RESET | status::DRIVER_OK), u64::from(status::ACKNOWLEDGE)] {
        let mut bench = Bench::new();
        bench.registers.lies.reads.borrow_mut().insert(common::STATUS, lie);
        bench.pass(SECOND);
        assert_eq!(bench.driver.status().state, State::Starting);
        bench.registers.lies.reads.borrow_mut().clear();
        bench.run();
        bench.check_ready();
        assert_eq!(bench.driver.counters().resets, 1);
        check_comes_back(&mut bench);
    }
}

#[test]
fn one_that_is_gone_is_failed_and_not_touched() {
    let mut bench = Bench::new();
    bench.registers.lies.is_gone.set(true);
    bench.pass(SECOND);
    assert_eq!(bench.error(), Error::Removed);
    bench.driver.start(bench.now);
    assert_eq!(bench.error(), Error::Removed);
    assert_eq!(bench.driver.counters().lost, 0);
    // Nor does one that was there lose what nobody gave it.
    let mut other = Bench::new();
    other.send(&frame(60, 1)).unwrap();
    other.registers.lies.is_gone.set(true);
    other.driver.start(other.now);
    assert_eq!((other.error(), other.driver.counters().lost), (Error::Removed, 1));
    bench.registers.lies.is_gone.set(false);
    check_comes_back(&mut bench);
}

#[test]
fn one_that_refuses_what_is_for_guests_is_refused() {
    let mut bench = Bench::off(1500, 2);
    bench.driver.start(bench.now);
    // It answers, and wrote no answer.
    let ring = bench.ring(common::QUEUE_DEVICE, 0);
    bench.domain.write(Gpa(ring + RING_INDEX), &1_u16.to_le_bytes()).unwrap();
    bench.pass(SECOND);
    assert_eq!(bench.error(), Error::Configuration("it does not receive what is for guests"));
}
