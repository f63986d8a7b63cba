//! A drive: each request is done once, and its data is what was written.

use super::*;
use devices::blueprint::{Blueprint, VirtioDevice};
use devices::virtio::block::Config;
use devices::virtio::testing::DATA;
use spec::virtio::block::{SECTOR_BYTES, feature as own, request, status};
use spec::virtio::pci::common;
use std::collections::BTreeMap;

const QUEUES: u16 = 2;
/// Chains of a queue that a driver here has at most.
const CHAINS: u64 = 128;
/// Each chain has sectors of its own.
const SECTORS: u64 = 8;
const MEDIUM: usize = (QUEUES as u64 * CHAINS * SECTORS * SECTOR_BYTES) as usize;
/// And a buffer of its own.
const BUFFER: u64 = SECTORS * SECTOR_BYTES;

fn drive<const POLLED: bool>() -> Box<dyn Device> {
    let config = Config {
        sectors: MEDIUM as u64 / SECTOR_BYTES,
        block_bytes: 512,
        segment_bytes: 4096,
        writable: true,
        can_discard: true,
        can_write_zeroes: true,
        most_discarded: 64,
        queues: QUEUES,
        name: [b'n'; 20],
    };
    let device = VirtioDevice::Block(config);
    let blueprint = Blueprint::Virtio { device, messages: 3, is_polled: POLLED, offers_packed: true };
    blueprint.build(None).unwrap()
}

/// A driver that knows what it asked and what it wrote.
struct Asking<'a, D> {
    driver: &'a mut Driver<D, Shared>,
    dice: Dice,
    /// What is asked, and what is written by it: by queue and head.
    asked: BTreeMap<(u16, u16), (u32, u8)>,
    /// What the sectors of a chain hold, where that is known.
    written: BTreeMap<(u16, u16), u8>,
    seen: Vec<(u64, u64, u64)>,
}

impl<D: Device> Asking<'_, D> {
    fn place(queue: u16, head: u16) -> u64 {
        u64::from(queue) * CHAINS + u64::from(head)
    }

    fn ask(&mut self) {
        let queue = self.dice.below(QUEUES.into()) as u16;
        let kinds = [request::IN, request::OUT, request::OUT, request::IN, request::FLUSH, request::GET_ID];
        let kind = kinds[self.dice.below(6) as usize];
        let byte = self.dice.below(255) as u8 + 1;
        let cut = self.dice.below(2) == 0;
        let Driver { bench, rings } = &mut *self.driver;
        let ring = &mut rings[usize::from(queue)];
        let Some(head) = ring.next_head(4, true) else { return };
        let (header, place) = (ring.header(head), Self::place(queue, head));
        let sector = if matches!(kind, request::IN | request::OUT) { place * SECTORS } else { 0 };
        let bytes = u128::from(kind) | u128::from(sector) << 64;
        bench.memory.write(Gpa(header), &bytes.to_le_bytes()).unwrap();
        bench.memory.write(Gpa(header + 16), &[0xee]).unwrap();
        let at = DATA + place * BUFFER;
        let data = match kind {
            request::IN | request::OUT if cut => vec![(at, 512), (at + 512, 3584)],
            request::IN | request::OUT => vec![(at, BUFFER as u32)],
            request::GET_ID => vec![(at, 20)],
            _ => vec![],
        };
        let fill = if kind == request::OUT { byte } else { 0 };
        bench.memory.write(Gpa(at), &[fill; BUFFER as usize]).unwrap();
        let writable = if kind == request::OUT { 1 } else { 1 + data.len() };
        let chain = [&[(header, 16)], &data[..], &[(header + 16, 1)]].concat();
        assert_eq!(ring.add(&bench.memory, &chain, writable, true), Some(head));
        assert_eq!(self.asked.insert((queue, head), (kind, byte)), None);
    }

    /// Takes what came back. Each was asked and not answered before.
    fn take(&mut self) {
        for queue in 0..QUEUES {
            let Driver { bench, rings } = &mut *self.driver;
            while let Some((head, length)) = rings[usize::from(queue)].take_used(&bench.memory) {
                let (kind, byte) = self.asked.remove(&(queue, head)).expect("it was asked");
                let mut code = [0];
                bench.memory.read(Gpa(rings[usize::from(queue)].header(head) + 16), &mut code).unwrap();
                assert_eq!(code[0], status::OK);
                let mut data = [0; BUFFER as usize];
                bench.memory.read(Gpa(DATA + Self::place(queue, head) * BUFFER), &mut data).unwrap();
                match kind {
                    request::OUT => _ = self.written.insert((queue, head), byte),
                    request::IN => {
                        if let Some(byte) = self.written.get(&(queue, head)) {
                            assert_eq!(data, [*byte; BUFFER as usize]);
                        }
                    }
                    request::GET_ID => assert_eq!(data[..20], [b'n'; 20]),
                    _ => {}
                }
                self.seen.push((queue.into(), head.into(), length.into()));
            }
            let wanted = self.dice.below(3) > 0;
            rings[usize::from(queue)].want_interrupt(&bench.memory, wanted);
        }
    }

    fn want(&mut self, wanted: bool) {
        let missed = self.driver.bench.with(|device, context| device.want_notifications(wanted, context));
        self.seen.push((100, wanted.into(), missed.into()));
    }

    /// A reset with requests at the medium, behind which nothing is known of what those wrote.
    fn reset(&mut self, features: u64) {
        let is_over = self.driver.reset();
        self.seen.push((101, is_over.into(), self.driver.bench.waiting.len() as u64));
        while self.driver.bench.serve() {}
        assert_eq!(self.driver.status(), 0);
        self.asked.clear();
        self.written.clear();
        self.driver.start(features, CHAINS as u16, true);
    }

    /// The same of one queue.
    fn reset_queue(&mut self, features: u64) {
        let queue = self.dice.below(QUEUES.into()) as u16;
        let is_over = self.driver.reset_queue(queue);
        self.seen.push((102, is_over.into(), self.driver.bench.waiting.len() as u64));
        while self.driver.bench.serve() {}
        assert_eq!(self.driver.common(common::QUEUE_RESET, Width::Word), 0);
        self.asked.retain(|(other, _), _| *other != queue);
        self.written.retain(|(other, _), _| *other != queue);
        self.driver.enable(queue, CHAINS as u16, 1 + queue, features);
    }

    fn step(&mut self, features: u64) {
        match self.dice.below(40) {
            0..12 => self.ask(),
            12..18 => {
                let queue = self.dice.below(QUEUES.into()) as u16;
                let told = self.driver.notify(queue);
                self.seen.push((103, queue.into(), told.into()));
            }
            18..22 => {
                let took = self.driver.bench.poll();
                self.seen.push((104, took.into(), 0));
            }
            22..30 => _ = self.driver.bench.serve(),
            30..35 => self.take(),
            35 => self.want(true),
            36 => self.want(false),
            37 => {
                let status = self.driver.status();
                self.seen.push((105, status.into(), self.driver.bench.read(0x1000, Width::Byte)));
            }
            38 if self.dice.below(12) == 0 => self.reset(features),
            39 if self.dice.below(6) == 0 => self.reset_queue(features),
            _ => {}
        }
    }
}

/// Requests of all kinds, as many at a time as come; at the end each was answered.
struct Requests;

impl Load for Requests {
    fn run<D: Device>(driver: &mut Driver<D, Shared>, features: u64, seed: u64) -> Vec<(u64, u64, u64)> {
        let features = features | own::FLUSH | own::MULTI_QUEUE;
        driver.bench.hold = true;
        driver.start(features, CHAINS as u16, true);
        let (asked, written) = (BTreeMap::new(), BTreeMap::new());
        let mut asking = Asking { driver, dice: Dice(seed), asked, written, seen: Vec::new() };
        for _ in 0..300 {
            asking.step(features);
        }
        asking.want(true);
        for _ in 0..1000 {
            for queue in 0..QUEUES {
                asking.driver.kick(queue);
            }
            asking.driver.bench.poll();
            asking.driver.bench.serve();
            asking.take();
        }
        assert!(asking.asked.is_empty(), "not answered: {:?}", asking.asked);
        asking.seen
    }
}

#[test]
fn a_drive_that_is_polled_goes_on() {
    goes_on::<Requests>(drive::<true>, false, MEDIUM);
}

#[test]
fn a_drive_that_its_guest_drives_goes_on() {
    goes_on::<Requests>(drive::<false>, false, MEDIUM);
}
