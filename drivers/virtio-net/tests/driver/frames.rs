//! Frames, each way.

use crate::bench::*;
use devices::device::Reception;
use network::{Checksum, Frame};
use nic::{Link, Nic, Refused};
use spec::virtio::feature::EVENT_INDEX;
use spec::virtio::net::feature;

#[test]
fn frames_go_out_as_they_are() {
    for hidden in [0, EVENT_INDEX] {
        let mut bench = Bench::lying(hidden, &[]);
        for round in 0..100 {
            for bytes in [14, 60, 1000, 1518] {
                bench.send(&frame(bytes, round)).unwrap();
            }
            for bytes in [14, 60, 1000, 1518] {
                let sent = bench.sent();
                // Without a tag the device takes no larger payload than 1,500 bytes.
                if bytes < 1518 {
                    assert_eq!(sent.unwrap().bytes(), frame(bytes, round).bytes());
                }
            }
            bench.deliver();
            assert_eq!((bench.driver.queue().waiting, bench.driver.queue().room), (0, 8));
        }
        assert_eq!(bench.driver.counters().sent.frames, 400);
        assert_eq!(bench.domain.refused(), 0);
    }
}

#[test]
fn there_is_room_for_so_many_and_then_for_more() {
    let mut bench = Bench::new();
    for number in 0..8 {
        bench.send(&frame(60, number)).unwrap();
    }
    assert_eq!(bench.send(&frame(60, 8)), Err(Refused::Full));
    assert_eq!((bench.driver.queue().waiting, bench.driver.queue().room), (8, 0));
    assert_eq!(bench.sent().unwrap().bytes(), frame(60, 0).bytes());
    bench.deliver();
    assert_eq!((bench.driver.queue().waiting, bench.driver.queue().room), (7, 1));
    bench.send(&frame(60, 8)).unwrap();
}

#[test]
fn frames_for_anybody_come_in() {
    for hidden in [0, EVENT_INDEX] {
        let mut bench = Bench::lying(hidden, &[]);
        for round in 0..50 {
            for number in 0..16_usize {
                assert_eq!(bench.comes(&frame(60 + number, round)), Reception::Taken);
            }
            assert_eq!(bench.comes(&frame(60, 0)), Reception::NoRoom);
            for number in 0..16_usize {
                assert_eq!(bench.received().unwrap(), frame(60 + number, round).bytes());
            }
            assert_eq!(bench.received(), None);
        }
        assert_eq!(bench.driver.counters().received.frames, 800);
        assert_eq!(bench.domain.refused(), 0);
    }
}

#[test]
fn a_message_comes_for_the_first_frame_and_for_none_while_it_is_quiet() {
    let mut bench = Bench::new();
    let messages = |bench: &mut Bench| {
        let before = bench.delivered;
        bench.deliver();
        bench.delivered - before
    };
    let take_all = |bench: &mut Bench| while bench.received().is_some() {};
    take_all(&mut bench);
    messages(&mut bench);
    for _ in 0..3 {
        (0..5).for_each(|_| assert_eq!(bench.comes(&frame(60, 1)), Reception::Taken));
        assert_eq!(messages(&mut bench), 1, "one for several");
        take_all(&mut bench);
    }
    bench.driver.set_quiet(true);
    for _ in 0..3 {
        bench.comes(&frame(60, 1));
        bench.send(&frame(60, 1)).unwrap();
        bench.sent().unwrap();
        take_all(&mut bench);
    }
    assert_eq!(messages(&mut bench), 0);
    bench.comes(&frame(60, 2));
    bench.driver.set_quiet(false);
    // Who ends the quiet looks, and is told of what comes then.
    assert_eq!(bench.received().unwrap(), frame(60, 2).bytes());
    take_all(&mut bench);
    messages(&mut bench);
    bench.comes(&frame(60, 3));
    assert_eq!(messages(&mut bench), 1);
}

#[test]
fn the_link_goes_down_and_comes_back() {
    let mut bench = Bench::new();
    bench.set_link(false);
    bench.deliver();
    assert_eq!(bench.driver.link(), Link::Down);
    assert_eq!(bench.send(&frame(60, 1)), Err(Refused::Down));
    bench.set_link(true);
    bench.deliver();
    assert_eq!(bench.driver.link(), UP);
    // Where its message is lost it is found.
    bench.set_link(false);
    bench.machine.borrow_mut().messages.clear();
    bench.pass(SECOND);
    assert_eq!(bench.driver.link(), Link::Down);
}

#[test]
fn a_checksum_that_is_missing_is_the_devices() {
    let mut bench = Bench::new();
    let mut frame = frame(60, 9);
    frame.offload.checksum = Checksum::Missing { start: 34, offset: 16 };
    bench.send(&frame).unwrap();
    let sent = bench.sent().unwrap();
    assert_eq!(sent.offload.checksum, Checksum::Missing { start: 34, offset: 16 });
    assert_eq!(sent.bytes(), frame.bytes());
    frame.offload.checksum = Checksum::Missing { start: 50, offset: 9 };
    assert_eq!(bench.send(&frame), Err(Refused::Senseless));
    let mut without = Bench::lying(feature::CHECKSUM, &[]);
    frame.offload.checksum = Checksum::Missing { start: 34, offset: 16 };
    assert_eq!(without.send(&frame), Err(Refused::Offload));
}

#[test]
fn what_is_no_frame_is_not_sent() {
    let mut bench = Bench::off(1500, 2);
    assert_eq!(bench.send(&frame(60, 1)), Err(Refused::NotReady));
    assert!(!bench.driver.receive(&mut Frame::new()));
    bench.driver.start(bench.now);
    bench.run();
    assert_eq!(bench.send(&frame(1519, 1)), Err(Refused::TooLong(1518)));
    assert_eq!(bench.driver.counters().sent.frames, 0);
}
