//! An interface that sends and receives when the test has it, and its driver.

use core::fmt::Display;
use network::{Checksum, Frame, MacAddress, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue, Refused, State, Status};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::vec::Vec;

/// Frames that it has room for.
pub const ROOM: usize = 6;
pub const LARGEST: usize = 300;

#[derive(Default)]
pub struct Hardware {
    /// What it was told to send, what it has sent, and how many of that its driver has not seen.
    pub ring: VecDeque<Vec<u8>>,
    pub sent: Vec<Vec<u8>>,
    pub unseen: Vec<usize>,
    pub incoming: VecDeque<Vec<u8>>,
    pub is_down: bool,
    pub is_broken: bool,
    pub is_quiet: bool,
    /// How often its driver looks until it is up.
    pub looks: usize,
}

#[derive(Clone, Default)]
pub struct Device(pub Arc<Mutex<Hardware>>);

impl Device {
    pub fn hardware(&self) -> MutexGuard<'_, Hardware> {
        self.0.lock().unwrap()
    }

    pub fn send(&self, count: usize) {
        let mut hardware = self.hardware();
        for _ in 0..count {
            let Some(frame) = hardware.ring.pop_front() else { return };
            hardware.unseen.push(frame.len());
            hardware.sent.push(frame);
        }
    }

    pub fn reset(&self) {
        let mut hardware = self.hardware();
        hardware.ring.clear();
        hardware.unseen.clear();
        hardware.is_quiet = false;
    }
}

pub struct Driver {
    device: Device,
    state: State,
    /// Frames that it was given and has not told the device of.
    given: Vec<Vec<u8>>,
    in_flight: usize,
    counters: Counters,
    link: Link,
    looks: usize,
    is_quiet: bool,
}

impl Driver {
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            state: State::Off,
            given: Vec::new(),
            in_flight: 0,
            counters: Counters::default(),
            link: Link::Down,
            looks: 0,
            is_quiet: false,
        }
    }

    fn lose(&mut self) {
        self.counters.lost += (self.in_flight + self.given.len()) as u64;
        self.in_flight = 0;
        self.given.clear();
        self.link = Link::Down;
    }

    fn look(&mut self) {
        let mut hardware = self.device.hardware();
        if self.state != State::Ready {
            return;
        }
        for bytes in core::mem::take(&mut hardware.unseen) {
            self.counters.sent.frames += 1;
            self.counters.sent.bytes += bytes as u64;
            self.in_flight -= 1;
        }
        self.link =
            if hardware.is_down { Link::Down } else { Link::Up { megabits: 1000, full_duplex: true } };
    }
}

impl Nic for Driver {
    fn start(&mut self, _: u64) -> Status {
        self.lose();
        self.device.reset();
        self.state = State::Starting;
        self.looks = self.device.hardware().looks;
        self.status()
    }
    fn poll(&mut self, _: u64) -> Status {
        if self.device.hardware().is_broken {
            self.lose();
            self.state = State::Failed;
        } else if self.state == State::Starting {
            match self.looks {
                0 => {
                    self.state = State::Ready;
                    self.device.hardware().is_quiet = self.is_quiet;
                }
                _ => self.looks -= 1,
            }
        }
        self.look();
        self.status()
    }
    fn interrupt(&mut self, _: u16, now_ns: u64) -> Status {
        self.poll(now_ns)
    }
    fn status(&self) -> Status {
        Status { state: self.state, deadline_ns: None }
    }
    fn error(&self) -> Option<&dyn Display> {
        (self.state == State::Failed).then_some(&"it is broken" as &dyn Display)
    }
    fn mac(&self) -> Option<MacAddress> {
        (self.state != State::Off).then_some(MacAddress([2, 0, 0, 0, 0, 0xff]))
    }
    fn link(&self) -> Link {
        self.link
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: true, segmentation: false, largest_bytes: LARGEST }
    }
    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        if self.state != State::Ready {
            return Err(Refused::NotReady);
        }
        if self.link == Link::Down {
            return Err(Refused::Down);
        }
        match parts.bytes() {
            ..14 => return Err(Refused::TooShort),
            14..=LARGEST => {}
            _ => return Err(Refused::TooLong(LARGEST)),
        }
        if let Checksum::Missing { start, offset } = parts.offload.checksum
            && usize::from(start) + usize::from(offset) + 2 > parts.bytes()
        {
            return Err(Refused::Senseless);
        }
        if self.in_flight + self.given.len() == ROOM {
            return Err(Refused::Full);
        }
        self.given.push(parts.pieces().concat());
        Ok(())
    }
    fn queue(&self) -> Queue {
        if self.state != State::Ready {
            return Queue::default();
        }
        let waiting = self.in_flight + self.given.len();
        Queue { waiting, room: ROOM - waiting }
    }
    fn kick(&mut self, _: u64) -> Status {
        self.look();
        self.in_flight += self.given.len();
        self.device.hardware().ring.extend(self.given.drain(..));
        self.status()
    }
    fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
        if self.state == State::Ready {
            self.device.hardware().is_quiet = is_quiet;
        }
    }
    fn receive(&mut self, into: &mut Frame) -> bool {
        into.clear();
        if self.state != State::Ready {
            return false;
        }
        let frame = self.device.hardware().incoming.pop_front();
        let Some(frame) = frame else { return false };
        self.counters.received.frames += 1;
        self.counters.received.bytes += frame.len() as u64;
        into.append(&frame).unwrap();
        into.offload.checksum = if frame[0] & 1 != 0 { Checksum::Good } else { Checksum::InPlace };
        true
    }
    fn counters(&self) -> Counters {
        self.counters
    }
}
