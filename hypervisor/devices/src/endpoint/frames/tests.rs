use super::*;
use crate::device::{Accepts, Completion, Context, Device, DeviceEffect};
use crate::endpoint::Backend;
use access::memory::VecMemory;
use alloc::boxed::Box;
use network::{Checksum, Offload, SegmentKind, Segmentation, Vlan};
use spec::Width;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// What an interface was given, and what it sends.
#[derive(Default)]
struct Wire {
    accepts: Accepts,
    room: usize,
    given: Vec<(Vec<u8>, Offload)>,
    to_send: Vec<Vec<u8>>,
    is_up: bool,
    tells: usize,
}

/// An interface whose guest is the test.
struct Plain(Arc<Mutex<Wire>>);

impl Device for Plain {
    fn most_effects(&self) -> usize {
        1
    }
    fn read(&mut self, _: u64, _: Width, _: &mut Context<'_>) -> u64 {
        0
    }
    fn write(&mut self, _: u64, _: Width, _: u64, context: &mut Context<'_>) {
        context.effects.push(DeviceEffect::Wake);
    }
    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {}
    fn transmit(&mut self, frame: &mut Frame, _: &mut Context<'_>) -> bool {
        assert!(frame.is_empty() && frame.offload == Offload::default());
        let next = self.0.lock().unwrap().to_send.pop();
        next.is_some_and(|bytes| frame.append(&bytes).is_some())
    }
    fn accepts(&self) -> Accepts {
        self.0.lock().unwrap().accepts
    }
    fn receive(&mut self, parts: &Parts<'_>, _: &mut Context<'_>) -> Reception {
        let mut wire = self.0.lock().unwrap();
        if !wire.is_up {
            return Reception::Down;
        }
        if wire.given.len() == wire.room {
            return Reception::NoRoom;
        }
        wire.given.push((parts.pieces().concat(), parts.offload));
        Reception::Taken
    }
    fn tell(&mut self, context: &mut Context<'_>) {
        self.0.lock().unwrap().tells += 1;
        context.effects.push(DeviceEffect::Msi(0));
    }
    fn set_link(&mut self, is_up: bool, _: &mut Context<'_>) {
        self.0.lock().unwrap().is_up = is_up;
    }
}

struct Bench {
    endpoint: Endpoint,
    wire: Arc<Mutex<Wire>>,
    memory: VecMemory,
}

impl Bench {
    /// An interface that is up, accepts this, and has so much room.
    fn new(checksum: bool, tcp4: bool, room: usize) -> Self {
        let accepts = Accepts { checksum, tcp4, tcp6: false, largest_bytes: 1518 };
        let wire = Arc::new(Mutex::new(Wire { accepts, room, is_up: true, ..Wire::default() }));
        let device = Box::new(Plain(wire.clone()));
        let endpoint = Endpoint::new(device, Backend::Served, 1, 0x1000, 0x2000);
        Self { endpoint, wire, memory: VecMemory::new(0x1000) }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R) -> R {
        let mut ignore = |_| ();
        call(
            &mut self.endpoint,
            &mut Surroundings { memory: &self.memory, now: 0, send: &mut ignore, print: &mut |_| () },
        )
    }

    fn receive(&mut self, frame: &mut Frame, tagging: Tagging) -> Reception {
        self.receive_some(frame, tagging, &mut Cut { most: u16::MAX, ..Cut::default() })
    }

    fn receive_some(&mut self, frame: &mut Frame, tagging: Tagging, cut: &mut Cut) -> Reception {
        self.call(|endpoint, around| endpoint.receive(frame, tagging, &mut Frame::new(), cut, around))
    }

    fn given(&self) -> Vec<(usize, Offload)> {
        self.wire.lock().unwrap().given.iter().map(|(bytes, offload)| (bytes.len(), *offload)).collect()
    }
}

const MISSING: Checksum = Checksum::Missing { start: 34, offset: 16 };

/// A TCP packet over IPv4 with so many bytes of payload, whose checksum is missing; in all 54 bytes
/// more than the payload.
fn frame(payload: usize, segment_bytes: Option<u16>) -> Frame {
    let mut frame = Frame::new();
    frame.append(&[2; 12]).unwrap();
    frame.append(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]).unwrap();
    frame.append(&[0; 12]).unwrap();
    frame.append(&[0x50, 0x10, 0, 0, 0, 0, 0, 0]).unwrap();
    frame.append(&std::vec![7; payload]).unwrap();
    frame.offload.checksum = MISSING;
    frame.offload.segmentation = segment_bytes.map(|segment_bytes| Segmentation {
        kind: SegmentKind::Tcp4,
        ecn: false,
        segment_bytes,
        header_bytes: 54,
    });
    frame
}

#[test]
fn who_accepts_everything_is_given_the_frame_as_it_is() {
    let mut bench = Bench::new(true, true, 9);
    let mut large = frame(40_000, Some(1460));
    assert_eq!(bench.receive(&mut large, Tagging::Keep), Reception::Taken);
    assert_eq!(bench.receive(&mut frame(1460, None), Tagging::Keep), Reception::Taken);
    let checksum = Offload { checksum: MISSING, segmentation: None };
    assert_eq!(bench.given(), [(40_054, large.offload), (1514, checksum)]);
}

#[test]
fn what_is_not_accepted_is_done_before() {
    let mut bench = Bench::new(false, false, 9);
    assert_eq!(bench.receive(&mut frame(3000, Some(1460)), Tagging::Keep), Reception::Taken);
    assert_eq!(bench.receive(&mut frame(10, None), Tagging::Keep), Reception::Taken);
    let done = Offload::default();
    assert_eq!(bench.given(), [(1514, done), (1514, done), (134, done), (64, done)]);
    // ECN on the way to one that was told nothing about it, and IPv6, which it does not accept.
    let mut bench = Bench::new(true, true, 9);
    let mut ecn = frame(3000, Some(1460));
    ecn.offload.segmentation = ecn.offload.segmentation.map(|cut| Segmentation { ecn: true, ..cut });
    assert_eq!(bench.receive(&mut ecn, Tagging::Keep), Reception::Taken);
    assert_eq!(bench.given().len(), 3);
    let mut sixth = frame(3000, Some(1460));
    sixth.offload.segmentation =
        sixth.offload.segmentation.map(|cut| Segmentation { kind: SegmentKind::Tcp6, ..cut });
    assert_eq!(bench.receive(&mut sixth, Tagging::Keep), Reception::Unfit, "it is IPv4");
}

#[test]
fn a_tag_counts_and_what_is_too_large_is_unfit() {
    let mut bench = Bench::new(true, true, 9);
    let vlan = Tagging::Insert(Vlan::new(5).unwrap());
    assert_eq!(bench.receive(&mut frame(1460, None), vlan), Reception::Taken);
    assert_eq!(bench.given()[0].0, 1518);
    assert_eq!(bench.receive(&mut frame(1461, None), vlan), Reception::Unfit);
    assert_eq!(bench.receive(&mut frame(1460, None), Tagging::Untag), Reception::Unfit, "it has no tag");
    assert_eq!(bench.given().len(), 1);
}

#[test]
fn segments_go_on_where_they_were() {
    let (mut bench, mut at_once) = (Bench::new(false, false, 99), Bench::new(false, false, 99));
    let (mut large, mut cut) = (frame(1050, Some(100)), Cut::default());
    for (most, goes_on) in [(4, true), (1, true), (6, false)] {
        cut.most = most;
        assert_eq!(bench.receive_some(&mut large, Tagging::Keep, &mut cut), Reception::Taken);
        assert_eq!((cut.most, cut.goes_on), (0, goes_on));
    }
    assert_eq!(cut.told, 11);
    at_once.receive(&mut frame(1050, Some(100)), Tagging::Keep);
    assert_eq!(bench.wire.lock().unwrap().given, at_once.wire.lock().unwrap().given);
}

#[test]
fn segments_end_where_there_is_no_room() {
    let mut bench = Bench::new(false, false, 2);
    assert_eq!(bench.receive(&mut frame(9000, Some(100)), Tagging::Keep), Reception::NoRoom);
    assert_eq!(bench.given().len(), 2);
}

#[test]
fn the_device_is_asked_once_for_the_messages_of_many_frames() {
    let mut bench = Bench::new(false, false, 99);
    assert!(!bench.endpoint.has_held());
    bench.call(Endpoint::send_held);
    assert_eq!(bench.wire.lock().unwrap().tells, 0);
    bench.receive(&mut frame(1050, Some(100)), Tagging::Keep);
    bench.wire.lock().unwrap().to_send = [Vec::from([1; 60])].into();
    assert!(bench.call(|endpoint, around| endpoint.transmit(&mut frame(10, None), around)));
    assert_eq!(bench.wire.lock().unwrap().tells, 0, "the turn is not over");
    assert!(bench.endpoint.has_held());
    for _ in 0..2 {
        bench.call(Endpoint::send_held);
        assert_eq!(bench.wire.lock().unwrap().tells, 1);
        assert!(!bench.endpoint.has_held());
    }
    assert_eq!(bench.endpoint.activity().messages, 0, "no message was set up, and none waits");
}

#[test]
fn frames_come_one_after_another_and_a_kick_wakes() {
    let mut bench = Bench::new(true, true, 0);
    assert!(!bench.endpoint.take_wants_service());
    bench.call(|endpoint, around| endpoint.write(0, Width::Dword, 0, around));
    assert!(bench.endpoint.take_wants_service());
    bench.wire.lock().unwrap().to_send = [Vec::from([1; 60]), Vec::from([2; 70])].into();
    let mut into = frame(9000, Some(100));
    assert!(bench.call(|endpoint, around| endpoint.transmit(&mut into, around)));
    assert_eq!(into.bytes(), [2; 70]);
    assert!(bench.call(|endpoint, around| endpoint.transmit(&mut into, around)));
    assert_eq!(into.bytes(), [1; 60]);
    assert!(!bench.call(|endpoint, around| endpoint.transmit(&mut into, around)));
    assert!(into.is_empty());
    bench.call(|endpoint, around| endpoint.set_link(false, around));
    assert_eq!(bench.receive(&mut frame(1, None), Tagging::Keep), Reception::Down);
}
