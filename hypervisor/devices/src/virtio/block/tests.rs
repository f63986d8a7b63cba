use super::*;
use crate::device::RequestFault;
use crate::testing::VecMedium;
use crate::virtio::testing::{DATA, Guest};
use crate::virtio::transport::Transport;
use spec::Width;
use spec::virtio::feature as common_feature;
use spec::virtio::pci::isr;
use spec::virtio::status as device_status;
use std::vec;
use std::vec::Vec;

mod arbitrary;
mod flight;
mod requests;
mod saving;

/// Sectors of the medium.
const SECTORS: u64 = 4096;
const INDIRECT: u64 = common_feature::VERSION_1 | common_feature::INDIRECT_DESCRIPTORS;
/// What a driver like Linux's takes.
const USUAL: u64 = INDIRECT | common_feature::EVENT_INDEX | feature::FLUSH;

fn config() -> Config {
    Config {
        sectors: SECTORS,
        block_bytes: 512,
        segment_bytes: MOST_REQUEST_BYTES,
        writable: true,
        can_discard: true,
        can_write_zeroes: true,
        most_discarded: MOST_DISCARDED,
        queues: 2,
        name: *b"0123456789abcdefghij",
    }
}

/// What byte `at` of the medium is at first.
fn initial(at: usize) -> u8 {
    (at / 512 * 7 + at % 512) as u8
}

/// A device with its driver.
struct Drive {
    guest: Guest<Block>,
    indirect: bool,
}

/// A request that came back: what the used ring says of its length, and its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Done {
    head: u16,
    length: u32,
    status: u8,
}

impl Drive {
    fn at_power_up(config: Config, is_polled: bool) -> Self {
        let mut medium = VecMedium::new((config.sectors * 512) as usize);
        medium.bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = initial(at));
        medium.read_only = !config.writable;
        let guest = Guest::new(Transport::new(Block::new(config), 3, is_polled), medium);
        Self { guest, indirect: true }
    }

    /// One that is set up, with messages; nobody polls it.
    fn new(config: Config) -> Self {
        Self::with(config, USUAL, false)
    }

    fn with(config: Config, features: u64, is_polled: bool) -> Self {
        let mut drive = Self::at_power_up(config, is_polled);
        let features = features & drive.guest.offered();
        drive.guest.start(features, 128, true);
        drive
    }

    /// Makes a request available, with what the device reads and what it writes besides header and
    /// status.
    fn add(&mut self, queue: u16, kind: u32, sector: u64, out: &[(u64, u32)], into: &[(u64, u32)]) -> u16 {
        let Guest { bench, rings } = &mut self.guest;
        let ring = &mut rings[usize::from(queue)];
        let segments = 2 + out.len() + into.len();
        let head = ring.next_head(segments, self.indirect).expect("room in the queue");
        let header = ring.header(head);
        let bytes = u128::from(kind) | u128::from(sector) << 64;
        bench.memory.write(Gpa(header), &bytes.to_le_bytes()).unwrap();
        bench.memory.write(Gpa(header + 16), &[0xee]).unwrap();
        let chain = [&[(header, 16)], out, into, &[(header + 16, 1)]].concat();
        ring.add(&bench.memory, &chain, 1 + into.len(), self.indirect).unwrap()
    }

    /// As [`add`](Self::add), and tells the device.
    fn send(&mut self, queue: u16, kind: u32, sector: u64, out: &[(u64, u32)], into: &[(u64, u32)]) -> u16 {
        let head = self.add(queue, kind, sector, out, into);
        self.guest.notify(queue);
        head
    }

    /// Takes what came back of a queue next.
    fn take(&mut self, queue: u16) -> Option<Done> {
        let Guest { bench, rings } = &mut self.guest;
        let ring = &mut rings[usize::from(queue)];
        let (head, length) = ring.take_used(&bench.memory)?;
        let mut status = [0];
        bench.memory.read(Gpa(ring.header(head) + 16), &mut status).unwrap();
        Some(Done { head, length, status: status[0] })
    }

    /// The status and the length of a request that is done at once.
    fn outcome(&mut self, kind: u32, sector: u64, out: &[(u64, u32)], into: &[(u64, u32)]) -> (u8, u32) {
        let head = self.send(0, kind, sector, out, into);
        let done = self.take(0).expect("an answer");
        self.guest.rings[0].want_interrupt(&self.guest.bench.memory, true);
        assert_eq!(done.head, head);
        (done.status, done.length)
    }

    /// Makes a chain of just these segments available and kicks, whatever the device wants.
    fn chain(&mut self, segments: &[(u64, u32)], writable: usize) -> u16 {
        let Guest { bench, rings } = &mut self.guest;
        let head = rings[0].add(&bench.memory, segments, writable, self.indirect).unwrap();
        self.guest.kick(0);
        head
    }

    fn needs_reset(&mut self) -> bool {
        self.guest.status() & device_status::NEEDS_RESET != 0
    }

    fn fill(&mut self, gpa: u64, bytes: &[u8]) {
        self.guest.bench.memory.write(Gpa(gpa), bytes).unwrap();
    }

    fn bytes(&mut self, gpa: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.guest.bench.memory.read(Gpa(gpa), &mut bytes).unwrap();
        bytes
    }

    fn medium(&self, at: usize, count: usize) -> &[u8] {
        &self.guest.bench.medium.bytes[at..at + count]
    }
}

/// What the medium holds at first.
fn expected(at: usize, count: usize) -> Vec<u8> {
    (at..at + count).map(initial).collect()
}

/// The list of ranges of a discard: sector, sectors, flags.
fn ranges(list: &[(u64, u32, u32)]) -> Vec<u8> {
    let bytes = |&(sector, sectors, flags): &(u64, u32, u32)| {
        (u128::from(sector) | u128::from(sectors) << 64 | u128::from(flags) << 96).to_le_bytes()
    };
    list.iter().flat_map(bytes).collect()
}
