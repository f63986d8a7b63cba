//! A network interface in memory, which sends when the test says so.

use core::fmt::Display;
use network::{Frame, MacAddress, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue, Refused, State, Status};
use std::collections::VecDeque;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// What the test sees and does of it, while the network has the interface.
#[derive(Default)]
pub struct Script {
    /// What comes in.
    pub incoming: VecDeque<Vec<u8>>,
    /// What waits to be sent: at most [`ROOM`].
    pub waiting: VecDeque<Vec<u8>>,
    /// What was sent.
    pub sent: Vec<Vec<u8>>,
    /// Whether what waits is sent at the next kick.
    pub hold: bool,
    pub is_down: bool,
    pub is_quiet: bool,
    /// The interface is broken.
    pub broken: Option<String>,
    pub starts: usize,
    pub kicks: usize,
    pub messages: Vec<u16>,
    pub deadline_ns: Option<u64>,
}

/// How many frames wait at most.
pub const ROOM: usize = 128;

pub struct FakeNic {
    script: Arc<Mutex<Script>>,
    failed: Option<String>,
    counters: Counters,
}

impl FakeNic {
    pub fn new(script: Arc<Mutex<Script>>) -> Self {
        Self { script, failed: None, counters: Counters::default() }
    }
}

impl Nic for FakeNic {
    fn start(&mut self, _: u64) -> Status {
        let mut script = self.script.lock().unwrap();
        script.starts += 1;
        self.failed.clone_from(&script.broken);
        drop(script);
        self.status()
    }
    fn poll(&mut self, _: u64) -> Status {
        self.failed.clone_from(&self.script.lock().unwrap().broken);
        self.status()
    }
    fn interrupt(&mut self, message: u16, _: u64) -> Status {
        self.script.lock().unwrap().messages.push(message);
        self.status()
    }
    fn status(&self) -> Status {
        let state = if self.failed.is_some() { State::Failed } else { State::Ready };
        Status { state, deadline_ns: self.script.lock().unwrap().deadline_ns }
    }
    fn error(&self) -> Option<&dyn Display> {
        self.failed.as_ref().map(|reason| reason as &dyn Display)
    }
    fn mac(&self) -> Option<MacAddress> {
        Some(MacAddress([2, 0, 0, 0, 0, 0xff]))
    }
    fn link(&self) -> Link {
        if self.failed.is_some() || self.script.lock().unwrap().is_down {
            Link::Down
        } else {
            Link::Up { megabits: 1000, full_duplex: true }
        }
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: false, segmentation: false, largest_bytes: 1518 }
    }
    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        if self.link() == Link::Down {
            return Err(Refused::Down);
        }
        let mut script = self.script.lock().unwrap();
        if script.waiting.len() == ROOM {
            return Err(Refused::Full);
        }
        script.waiting.push_back(parts.pieces().concat());
        Ok(())
    }
    fn queue(&self) -> Queue {
        let waiting = self.script.lock().unwrap().waiting.len();
        Queue { waiting, room: ROOM - waiting }
    }
    fn kick(&mut self, _: u64) -> Status {
        let mut script = self.script.lock().unwrap();
        script.kicks += 1;
        while !script.hold {
            let Some(frame) = script.waiting.pop_front() else { break };
            self.counters.sent.frames += 1;
            self.counters.sent.bytes += frame.len() as u64;
            script.sent.push(frame);
        }
        drop(script);
        self.status()
    }
    fn set_quiet(&mut self, is_quiet: bool) {
        self.script.lock().unwrap().is_quiet = is_quiet;
    }
    fn receive(&mut self, into: &mut Frame) -> bool {
        into.clear();
        let frame = self.script.lock().unwrap().incoming.pop_front();
        frame.is_some_and(|frame| into.append(&frame).is_some())
    }
    fn counters(&self) -> Counters {
        self.counters
    }
}
