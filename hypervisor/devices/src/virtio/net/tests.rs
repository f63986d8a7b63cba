use super::*;
use crate::Device;
use crate::testing::VecMedium;
use crate::virtio::Transport;
use crate::virtio::testing::{DATA, Guest};
use network::{Checksum, Offload, SegmentKind, Segmentation, Tagging};
use spec::Gpa;
use spec::virtio::feature as common_feature;
use spec::virtio::status;
use std::vec;
use std::vec::Vec;

mod attacks;
mod frames;
mod pairs;
mod saving;
mod traffic;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const CONFIG: Config = Config { mac: MAC, mtu: 1500, any_source: false };
const COMMON: u64 =
    common_feature::VERSION_1 | common_feature::INDIRECT_DESCRIPTORS | common_feature::EVENT_INDEX;
/// What the transport offers besides.
const OTHERS: u64 =
    common_feature::RING_PACKED | common_feature::NOTIFICATION_DATA | common_feature::RING_RESET;
/// What Linux takes.
const USUAL: u64 = COMMON | FEATURES;
/// Messages: the configuration's, and the queues'.
const MESSAGES: u16 = 4;

/// An interface with its driver.
struct Card {
    guest: Guest<Net>,
}

impl Card {
    /// One that is set up with these features, whose link is up.
    fn with(features: u64) -> Self {
        let device = Transport::new(Net::new(CONFIG), MESSAGES, true);
        let mut card = Self { guest: Guest::new(device, VecMedium::new(0)) };
        card.guest.start(features, 128, true);
        card.set_link(true);
        card.guest.bench.messages.clear();
        assert!(!card.guest.bench.want_notifications(true));
        card
    }

    fn new() -> Self {
        Self::with(USUAL)
    }

    fn set_link(&mut self, is_up: bool) {
        self.guest.bench.with(|device, context| device.set_link(is_up, context));
    }

    /// Makes a chain available, of segments that hold `bytes` and some that the device writes.
    fn add(&mut self, queue: usize, bytes: &[u8], sizes: &[usize], writable: &[(u64, u32)]) -> u16 {
        let (mut at, mut rest) = (DATA, bytes);
        let mut segments = Vec::new();
        for size in sizes.iter().copied().chain([bytes.len()]) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            if !now.is_empty() {
                self.guest.bench.memory.write(Gpa(at), now).unwrap();
                segments.push((at, now.len() as u32));
            }
            // Segments do not lie behind one another.
            at += now.len() as u64 + 3;
            rest = later;
        }
        segments.extend(writable);
        let ring = &mut self.guest.rings[queue];
        ring.add(&self.guest.bench.memory, &segments, writable.len(), segments.len() > 1).unwrap()
    }

    /// What the device makes of a chain of these bytes that it is to send.
    fn send(&mut self, header: Header, frame: &[u8]) -> Option<Frame> {
        self.send_bytes(&[&header.encode()[..], frame].concat(), &[])
    }

    fn send_bytes(&mut self, bytes: &[u8], sizes: &[usize]) -> Option<Frame> {
        let head = self.add(queue::TRANSMIT, bytes, sizes, &[]);
        let frame = self.transmit().expect("one of a number is used up");
        assert_eq!(self.guest.rings[queue::TRANSMIT].take_used(&self.guest.bench.memory), Some((head, 0)));
        Some(frame).filter(|frame| !frame.is_empty())
    }

    fn transmit(&mut self) -> Option<Frame> {
        let mut frame = Frame::new();
        let taken = self.guest.bench.with(|device, context| device.transmit(&mut frame, context));
        assert!(taken || frame.is_empty());
        if !taken {
            self.guest.bench.with(|device, context| device.poll(context));
        }
        taken.then_some(frame)
    }

    /// Gives the device buffers of these sizes, one behind the other in memory.
    fn offer(&mut self, sizes: &[u32]) {
        let mut at = DATA;
        for size in sizes {
            let ring = &mut self.guest.rings[queue::RECEIVE];
            ring.add(&self.guest.bench.memory, &[(at, *size)], 1, false).unwrap();
            at += u64::from(*size);
        }
    }

    fn receive(&mut self, frame: &Frame) -> Reception {
        let parts = frame.parts(Tagging::Keep).unwrap();
        self.guest.bench.with(|device, context| device.receive(&parts, context))
    }

    /// What the device is asked for after some frames.
    fn tell(&mut self) {
        self.guest.bench.with(|device, context| device.tell(context));
    }

    /// The frame that is at the start of the buffers, and its header, as [`offer`](Self::offer) laid them
    /// out.
    fn received(&mut self) -> Option<(Header, Vec<u8>)> {
        let memory = &self.guest.bench.memory;
        let ring = &mut self.guest.rings[queue::RECEIVE];
        let (_, first) = ring.take_used(memory)?;
        let mut header = [0; Header::BYTES];
        memory.read(Gpa(DATA), &mut header).unwrap();
        let header = Header::decode(header);
        let others = (1..header.buffers).map(|_| ring.take_used(memory).expect("as many as it says").1);
        let mut bytes = vec![0; (first + others.sum::<u32>()) as usize];
        memory.read(Gpa(DATA), &mut bytes).unwrap();
        Some((header, bytes.split_off(Header::BYTES)))
    }

    /// The answer to a command.
    fn command(&mut self, command: &[u8]) -> u8 {
        let answer = DATA + 0x8_0000;
        self.guest.bench.memory.write(Gpa(answer), &[0xee]).unwrap();
        let head = self.add(queue::CONTROL, command, &[2], &[(answer, 1)]);
        assert!(self.transmit().is_none());
        assert_eq!(self.guest.rings[queue::CONTROL].take_used(&self.guest.bench.memory), Some((head, 1)));
        let mut byte = [0];
        self.guest.bench.memory.read(Gpa(answer), &mut byte).unwrap();
        byte[0]
    }

    fn needs_reset(&mut self) -> bool {
        self.guest.status() & status::NEEDS_RESET != 0
    }

    fn config(&mut self, at: usize, width: spec::Width) -> u64 {
        self.guest.bench.read(0x2000 + at as u64, width)
    }
}

fn frame(bytes: &[u8], offload: Offload) -> Frame {
    let mut frame = Frame::new();
    frame.append(bytes).unwrap();
    frame.offload = offload;
    frame
}

const PLAIN: Offload = Offload { checksum: Checksum::InPlace, segmentation: None };

/// A TCP packet over IPv4 with so many bytes of payload; in all 54 bytes more.
fn tcp4(payload: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 7, 0x50, 0x10, 0x20, 0]);
    bytes.extend([0; 4]);
    bytes.extend((0..payload).map(|place| (place * 7) as u8));
    bytes
}

/// The same over IPv6; in all 74 bytes more.
fn tcp6(payload: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64];
    bytes.extend([0xfd; 32]);
    bytes.extend_from_slice(&tcp4(payload)[34..]);
    bytes
}

/// The header of a frame over IPv4 that is to be cut.
const CUT4: Header = Header {
    flags: Header::FLAG_NEEDS_CHECKSUM,
    cut: Header::CUT_TCP4,
    header_bytes: 54,
    segment_bytes: 1448,
    checksum_start: 34,
    checksum_offset: 16,
    buffers: 0,
};

const MISSING4: Checksum = Checksum::Missing { start: 34, offset: 16 };
const OFFLOAD4: Offload = Offload {
    checksum: MISSING4,
    segmentation: Some(Segmentation {
        kind: SegmentKind::Tcp4,
        ecn: false,
        segment_bytes: 1448,
        header_bytes: 54,
    }),
};
