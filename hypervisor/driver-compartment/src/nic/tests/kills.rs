//! One that is killed again and again while frames go both ways.

use super::hardware::{Device, ROOM};
use super::{SECOND, receive, remote, start, transmit};
use crate::testing::Fate;
use network::{Frame, Offload};
use nic::{Link, Nic, State};
use std::vec;
use std::vec::Vec;

/// A thousand times, before and after it has done what it was asked, with resets that take time: its user sees an
/// interface that is up all the while and loses what its device had, and everything that was given is sent or
/// counted.
#[test]
fn a_thousand_deaths() {
    let device = Device::default();
    let mut nic = remote(&device, 1000);
    let (mut now_ns, mut frame) = (SECOND, Frame::new());
    start(&mut nic, &mut now_ns);
    nic.compartment_mut().takes = 2;
    nic.set_quiet(true);
    let (mut given, mut came, mut received) = (0_u64, 0_u64, 0);
    for death in 0..1000_u64 {
        while transmit(&mut nic, &mut frame, &[death as u8; 60], Offload::default()).is_ok() {
            given += 1;
        }
        device.hardware().incoming.push_back(vec![death as u8; 80]);
        came += 1;
        let fate = if death % 2 == 0 { Fate::DiesBefore } else { Fate::DiesAfter };
        nic.compartment_mut().fates = vec![fate];
        nic.kick(now_ns);
        assert_eq!(nic.account().ends, death + 1);
        // Until its function is renewed, and its driver has sent what waited.
        for _ in 0..8 {
            now_ns += SECOND / 100;
            assert_eq!(nic.poll(now_ns).state, State::Ready);
            assert_ne!(nic.link(), Link::Down);
            nic.kick(now_ns);
            device.send(ROOM);
        }
        received += receive(&mut nic, &mut frame).len() as u64;
        assert!(device.hardware().is_quiet, "the new driver is told that it is polled");
    }
    for _ in 0..10 {
        now_ns += SECOND / 100;
        nic.poll(now_ns);
        received += receive(&mut nic, &mut frame).len() as u64;
        device.send(ROOM);
    }
    let counters = nic.counters();
    assert_eq!((nic.account().renewals, nic.queue().waiting), (1000, 0));
    assert_eq!(counters.sent.frames + counters.lost, given);
    // Those that it took from its device and could not say so any more.
    assert!(received >= came / 2 && received <= came, "{received} of {came}");
    let sent = device.hardware().sent.len() as u64;
    assert!(sent >= counters.sent.frames && given > 4000, "{sent} of {given}, {counters:?}");
    assert!(counters.lost <= 1000 * ROOM as u64, "{counters:?}");
}

/// What was to be sent while there is no driver keeps its order, and what it had lost is not sent twice.
#[test]
fn frames_keep_their_order() {
    let device = Device::default();
    let mut nic = remote(&device, 5);
    let (mut now_ns, mut frame) = (SECOND, Frame::new());
    start(&mut nic, &mut now_ns);
    nic.compartment_mut().fates = vec![Fate::DiesBefore];
    let frames: Vec<Vec<u8>> = (0..4).map(|number| vec![number; 60]).collect();
    for bytes in &frames {
        assert_eq!(transmit(&mut nic, &mut frame, bytes, Offload::default()), Ok(()));
        nic.kick(now_ns);
    }
    for _ in 0..4 {
        now_ns += SECOND / 100;
        nic.poll(now_ns);
        nic.kick(now_ns);
        device.send(1);
    }
    device.send(ROOM);
    assert_eq!(device.hardware().sent, frames);
}
