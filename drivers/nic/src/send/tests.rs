use super::*;
use crate::{Capabilities, Counters, Link, Queue, State, Status};
use core::fmt::Display;
use network::{Checksum, MacAddress, Offload, Parts, SegmentKind, Segmentation, Vlan};
use std::vec::Vec;

/// An interface with these capabilities and so much room.
struct Plain {
    capabilities: Capabilities,
    room: usize,
    sent: Vec<(Vec<u8>, Offload)>,
}

impl Plain {
    fn new(checksum: bool, segmentation: bool, room: usize) -> Self {
        let capabilities = Capabilities { checksum, segmentation, largest_bytes: 1518 };
        Self { capabilities, room, sent: Vec::new() }
    }
}

const STATUS: Status = Status { state: State::Ready, deadline_ns: None };

impl Nic for Plain {
    fn start(&mut self, _: u64) -> Status {
        STATUS
    }
    fn poll(&mut self, _: u64) -> Status {
        STATUS
    }
    fn interrupt(&mut self, _: u16, _: u64) -> Status {
        STATUS
    }
    fn status(&self) -> Status {
        STATUS
    }
    fn error(&self) -> Option<&dyn Display> {
        None
    }
    fn mac(&self) -> Option<MacAddress> {
        None
    }
    fn link(&self) -> Link {
        Link::Up { megabits: 1000, full_duplex: true }
    }
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        if self.sent.len() == self.room {
            return Err(Refused::Full);
        }
        self.sent.push((parts.pieces().concat(), parts.offload));
        Ok(())
    }
    fn queue(&self) -> Queue {
        Queue { waiting: self.sent.len(), room: self.room - self.sent.len() }
    }
    fn kick(&mut self, _: u64) -> Status {
        STATUS
    }
    fn set_quiet(&mut self, _: bool) {}
    fn receive(&mut self, _: &mut Frame) -> bool {
        false
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A TCP packet over IPv4 with so many bytes of payload, whose checksum is missing.
fn frame(payload: usize, segment_bytes: Option<u16>) -> Frame {
    let mut frame = Frame::new();
    frame.append(&[2; 12]).unwrap();
    frame.append(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]).unwrap();
    frame.append(&[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]).unwrap();
    frame.append(&std::vec![5; payload]).unwrap();
    frame.offload.checksum = Checksum::Missing { start: 34, offset: 16 };
    frame.offload.segmentation = segment_bytes.map(|segment_bytes| Segmentation {
        kind: SegmentKind::Tcp4,
        ecn: false,
        segment_bytes,
        header_bytes: 54,
    });
    frame
}

/// As many segments as there are.
fn all() -> Cut {
    Cut { most: u16::MAX, ..Cut::default() }
}

#[test]
fn a_checksum_is_computed_for_who_cannot() {
    let mut spare = Frame::new();
    for (can, left) in [(false, Checksum::InPlace), (true, Checksum::Missing { start: 34, offset: 16 })] {
        let (mut nic, mut frame) = (Plain::new(can, false, 1), frame(100, None));
        send(&mut nic, &mut frame, Tagging::Keep, &mut spare, &mut all()).unwrap();
        assert_eq!((nic.sent[0].0.as_slice(), nic.sent[0].1.checksum), (frame.bytes(), left));
        assert_eq!(frame.bytes()[50..52] == [0, 0], can);
    }
}

#[test]
fn a_large_frame_is_cut_for_who_cannot_and_each_segment_tagged() {
    let (mut spare, vlan) = (Frame::new(), Vlan::new(3).unwrap());
    let mut nic = Plain::new(false, false, 9);
    send(&mut nic, &mut frame(3000, Some(1400)), Tagging::Insert(vlan), &mut spare, &mut all()).unwrap();
    let sizes: Vec<_> = nic.sent.iter().map(|(bytes, _)| bytes.len()).collect();
    assert_eq!(sizes, [1458, 1458, 258]);
    assert!(
        nic.sent.iter().all(|(bytes, left)| bytes[12..16] == [0x81, 0, 0, 3] && *left == Offload::default())
    );
    let mut nic = Plain::new(true, true, 9);
    send(&mut nic, &mut frame(3000, Some(1400)), Tagging::Keep, &mut spare, &mut all()).unwrap();
    assert_eq!((nic.sent.len(), nic.sent[0].0.len()), (1, 3054));
}

#[test]
fn what_makes_no_sense_or_has_no_room_is_refused() {
    let mut spare = Frame::new();
    let mut nic = Plain::new(false, false, 2);
    let mut outside = frame(100, None);
    outside.offload.checksum = Checksum::Missing { start: 200, offset: 0 };
    assert_eq!(send(&mut nic, &mut outside, Tagging::Keep, &mut spare, &mut all()), Err(Refused::Senseless));
    assert_eq!(
        send(&mut nic, &mut frame(100, None), Tagging::Untag, &mut spare, &mut all()),
        Err(Refused::Senseless)
    );
    assert_eq!(
        send(&mut nic, &mut frame(100, Some(1)), Tagging::Keep, &mut spare, &mut all()),
        Err(Refused::Senseless)
    );
    let jumbo = send(&mut nic, &mut frame(9000, Some(4000)), Tagging::Keep, &mut spare, &mut all());
    assert_eq!(jumbo, Err(Refused::TooLong(1518)));
    assert!(nic.sent.is_empty());
    assert_eq!(
        send(&mut nic, &mut frame(3000, Some(1000)), Tagging::Keep, &mut spare, &mut all()),
        Err(Refused::Full)
    );
    assert_eq!(nic.sent.len(), 2);
}
