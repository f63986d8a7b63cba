//! A network interface: frames arrive once, whole and in order, both ways, and commands are answered once.

use super::*;
use devices::blueprint::{Blueprint, VirtioDevice};
use devices::virtio::net::Config;
use devices::virtio::testing::DATA;
use spec::virtio::net::{Header, control, feature as own, queue};
use std::collections::BTreeMap;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const CHAINS: u16 = 64;
/// Each chain has a buffer of its own.
const BUFFER: u64 = 0x800;

fn net<const PAIRS: u16>() -> Box<dyn Device> {
    let config = Config { mac: MAC, mtu: 1500, any_source: true };
    let device = VirtioDevice::Net { config, pairs: PAIRS };
    let messages = 2 * PAIRS + 2;
    let blueprint = Blueprint::Virtio { device, messages, is_polled: true, offers_packed: true };
    blueprint.build(None).unwrap()
}

/// A frame with a number, of a flow.
fn frame(number: u64, flow: u8, bytes: usize) -> Vec<u8> {
    let mut frame =
        vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, flow, 0x34, 0, 80, 0, 0, 0, 0]);
    frame.extend(number.to_le_bytes());
    frame.resize(bytes.max(frame.len()), number as u8);
    frame
}

struct Traffic<'a, D> {
    driver: &'a mut Driver<D, Shared>,
    dice: Dice,
    pairs: u64,
    number: u64,
    /// Frames that were given, by pair, and not taken.
    sent: BTreeMap<u64, VecDeque<Vec<u8>>>,
    /// Frames that the interface took, and that the driver got.
    given: Vec<Vec<u8>>,
    got: Vec<Vec<u8>>,
    seen: Vec<(u64, u64, u64)>,
}

impl<D: Device> Traffic<'_, D> {
    const fn at(queue: usize, head: u16) -> u64 {
        DATA + (queue as u64 * CHAINS as u64 + head as u64) * BUFFER
    }

    fn send(&mut self) {
        let (pair, bytes) = (self.dice.below(self.pairs), 60 + self.dice.below(1400) as usize);
        let queue = 2 * pair as usize + queue::TRANSMIT;
        let Driver { bench, rings } = &mut *self.driver;
        let Some(head) = rings[queue].next_head(2, true) else { return };
        self.number += 1;
        let frame = frame(self.number, self.dice.below(8) as u8, bytes);
        let at = Self::at(queue, head);
        bench.memory.write(Gpa(at), &Header::default().encode()).unwrap();
        bench.memory.write(Gpa(at + 0x20), &frame).unwrap();
        let segments = [(at, Header::BYTES as u32), (at + 0x20, frame.len() as u32)];
        rings[queue].add(&bench.memory, &segments, 0, true).unwrap();
        self.sent.entry(pair).or_default().push_back(frame);
    }

    fn transmit(&mut self) -> bool {
        let mut frame = Frame::new();
        if !self.driver.bench.with(|device, context| device.transmit(&mut frame, context)) {
            return false;
        }
        let is_next = |sent: &VecDeque<Vec<u8>>| sent.front().is_some_and(|sent| sent == frame.bytes());
        let pair = self.sent.iter().find(|(_, sent)| is_next(sent)).map(|(pair, _)| *pair);
        let pair = pair.expect("a frame that is the next one of a queue");
        self.sent.get_mut(&pair).unwrap().pop_front();
        self.seen.push((1, pair, frame.len() as u64));
        true
    }

    fn offer(&mut self) {
        let queue = 2 * self.dice.below(self.pairs) as usize + queue::RECEIVE;
        let bytes = if self.dice.below(4) == 0 { 300 } else { BUFFER };
        let Driver { bench, rings } = &mut *self.driver;
        if let Some(head) = rings[queue].next_head(1, false) {
            rings[queue].add(&bench.memory, &[(Self::at(queue, head), bytes as u32)], 1, false).unwrap();
        }
    }

    fn receive(&mut self) {
        self.number += 1;
        let bytes = frame(self.number, self.dice.below(8) as u8, 60 + self.dice.below(1400) as usize);
        let mut frame = Frame::new();
        frame.append(&bytes).unwrap();
        let parts = frame.parts(Tagging::Keep).unwrap();
        let reception = self.driver.bench.with(|device, context| device.receive(&parts, context));
        self.seen.push((2, reception as u64, 0));
        if reception == Reception::Taken {
            self.given.push(bytes);
        }
    }

    /// Takes what came back of all queues.
    fn take(&mut self) {
        let Driver { bench, rings } = &mut *self.driver;
        for (queue, ring) in rings.iter_mut().enumerate().take(2 * self.pairs as usize) {
            while let Some((head, bytes)) = ring.take_used(&bench.memory) {
                self.seen.push((3, queue as u64, u64::from(head) << 32 | u64::from(bytes)));
                if queue % 2 == queue::TRANSMIT {
                    continue;
                }
                let read = |head: u16, bytes: u32| {
                    let mut data = vec![0; bytes as usize];
                    bench.memory.read(Gpa(Self::at(queue, head)), &mut data).unwrap();
                    data
                };
                let mut data = read(head, bytes);
                let header = Header::decode(*data.first_chunk().unwrap());
                for _ in 1..header.buffers {
                    let (head, bytes) = ring.take_used(&bench.memory).expect("as many as it says");
                    data.extend(read(head, bytes));
                }
                self.got.push(data.split_off(Header::BYTES));
            }
            ring.want_interrupt(&bench.memory, self.dice.below(2) == 0);
        }
    }

    /// Gives a command and has it done.
    fn command(&mut self, command: &[u8]) {
        let number = self.driver.rings.len() - 1;
        let Driver { bench, rings } = &mut *self.driver;
        let at = Self::at(number, 0);
        bench.memory.write(Gpa(at), command).unwrap();
        bench.memory.write(Gpa(at + 0x200), &[0xee]).unwrap();
        let segments = [(at, command.len() as u32), (at + 0x200, 1)];
        let head = rings[number].add(&bench.memory, &segments, 1, true).unwrap();
        bench.poll();
        assert_eq!(rings[number].take_used(&bench.memory), Some((head, 1)));
        let mut answer = [0];
        bench.memory.read(Gpa(at + 0x200), &mut answer).unwrap();
        assert_eq!(answer[0], control::OK);
    }

    fn some_command(&mut self) {
        let all = self.dice.below(2) as u8;
        match self.dice.below(4) {
            0 => self.command(&[control::PROMISCUOUS.0, control::PROMISCUOUS.1, 1]),
            1 => self.command(&[control::ALL_GROUPS.0, control::ALL_GROUPS.1, all]),
            2 => {
                let (class, which) = control::SET_TABLES;
                let command = [class, which, 1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0];
                self.command(&command);
            }
            _ if self.pairs > 1 => {
                let (class, which) = control::SET_PAIRS;
                self.command(&[class, which, self.pairs as u8, 0]);
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        match self.dice.below(24) {
            0..5 => self.send(),
            5..9 => _ = self.transmit(),
            9..13 => self.offer(),
            13..16 => self.receive(),
            16 | 17 => self.take(),
            18 => self.driver.bench.with(|device, context| device.tell(context)),
            19 => self.some_command(),
            20 => {
                let wanted = self.dice.below(2) == 0;
                let missed =
                    self.driver.bench.with(|device, context| device.want_notifications(wanted, context));
                self.seen.push((4, wanted.into(), missed.into()));
            }
            21 => {
                let is_up = self.dice.below(8) != 0;
                self.driver.bench.with(|device, context| device.set_link(is_up, context));
                let status = self.driver.bench.read(0x2006, Width::Word);
                self.seen.push((5, status, self.driver.status().into()));
            }
            _ => {
                let pair = self.dice.below(self.pairs);
                let told = self.driver.notify(2 * pair as u16 + 1);
                self.seen.push((6, told.into(), self.driver.bench.wakes as u64));
            }
        }
    }
}

/// Frames both ways and commands; at the end all have arrived.
struct Frames<const PAIRS: u64>;

impl<const PAIRS: u64> Load for Frames<PAIRS> {
    fn run<D: Device>(driver: &mut Driver<D, Shared>, features: u64, seed: u64) -> Vec<(u64, u64, u64)> {
        let features = features | own::CONTROL_QUEUE | own::CONTROL_RECEIVE | own::MERGEABLE | own::STATUS;
        let several = if PAIRS > 1 { own::MULTI_QUEUE } else { 0 };
        driver.start(features | several, CHAINS, true);
        driver.bench.with(|device, context| device.set_link(true, context));
        let mut traffic = Traffic {
            driver,
            dice: Dice(seed),
            pairs: PAIRS,
            number: 0,
            sent: BTreeMap::new(),
            given: Vec::new(),
            got: Vec::new(),
            seen: Vec::new(),
        };
        if PAIRS > 1 {
            let (class, which) = control::SET_PAIRS;
            traffic.command(&[class, which, PAIRS as u8, 0]);
        }
        for _ in 0..400 {
            traffic.step();
        }
        while traffic.transmit() {}
        traffic.take();
        assert!(traffic.sent.values().all(VecDeque::is_empty), "frames were not sent");
        traffic.got.sort();
        traffic.given.sort();
        assert!(traffic.got == traffic.given, "{} of {}", traffic.got.len(), traffic.given.len());
        traffic.driver.bench.with(|device, context| device.tell(context));
        traffic.seen
    }
}

#[test]
fn an_interface_goes_on() {
    goes_on::<Frames<1>>(net::<1>, true, 0);
}

#[test]
fn an_interface_of_several_pairs_goes_on() {
    goes_on::<Frames<3>>(net::<3>, true, 0);
}
