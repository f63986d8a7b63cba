//! A network interface that says what the input wants, whatever is so.

use crate::Input;
use crate::crossing::{self, Copied, Crossing};
use core::fmt::Display;
use network::{Checksum, Frame, MacAddress, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue, Refused, State, Status};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const UP: Link = Link::Up { megabits: 1000, full_duplex: true };
const CAPABILITIES: Capabilities = Capabilities { checksum: false, segmentation: false, largest_bytes: 1518 };
/// How many frames wait at most.
const ROOM: usize = 128;

/// What it does and says.
pub struct Script {
    /// What comes in.
    pub incoming: VecDeque<Copied>,
    state: State,
    /// What it is once it was started.
    starts_as: State,
    link: Link,
    capabilities: Capabilities,
    /// Why it takes nothing, if it does not.
    refuses: Option<Refused>,
    /// It sends nothing of what it took.
    holds: bool,
    waiting: usize,
    sent: u64,
    lost: u64,
    /// What it says of its queue, where that is no truth.
    queue: Option<Queue>,
    deadline_ns: Option<u64>,
    has_reason: bool,
}

impl Script {
    /// One that works.
    pub fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            incoming: VecDeque::new(),
            state: State::Ready,
            starts_as: State::Ready,
            link: UP,
            capabilities: CAPABILITIES,
            refuses: None,
            holds: false,
            waiting: 0,
            sent: 0,
            lost: 0,
            queue: None,
            deadline_ns: None,
            has_reason: true,
        }))
    }

    /// It says something else from now on.
    pub fn lie(&mut self, input: &mut Input<'_>) {
        const STATES: [State; 3] = [State::Ready, State::Starting, State::Failed];
        match input.u8() % 12 {
            0 => self.link = Link::Down,
            1 => self.link = UP,
            2 => self.state = input.pick(&STATES),
            3 => self.starts_as = input.pick(&STATES),
            4 => {
                let bits = input.u8();
                self.capabilities = Capabilities {
                    checksum: bits & 1 != 0,
                    segmentation: bits & 2 != 0,
                    largest_bytes: if bits & 4 == 0 { 1518 } else { input.u16().into() },
                };
            }
            5 => {
                let refusals = [Refused::NotReady, Refused::Down, Refused::Full, Refused::TooShort];
                self.refuses = Some(input.pick(&refusals));
            }
            6 => (self.refuses, self.queue) = (None, None),
            7 => self.holds = input.u8() & 1 != 0,
            8 => self.lost = input.u64(),
            9 => self.queue = Some(Queue { waiting: input.u16().into(), room: input.u8().into() }),
            10 => self.deadline_ns = Some(input.u64()),
            _ => self.has_reason = input.u8() & 1 != 0,
        }
    }

    /// It lies no more; one that is failed has to be started.
    pub fn heal(&mut self) {
        self.incoming.clear();
        if self.state == State::Starting {
            self.state = State::Ready;
        }
        self.starts_as = State::Ready;
        self.link = UP;
        self.capabilities = CAPABILITIES;
        (self.refuses, self.queue, self.deadline_ns) = (None, None, None);
        self.holds = false;
    }

    /// Whether it is ready and its link is up.
    pub fn works(&self) -> bool {
        self.state == State::Ready && self.link != Link::Down
    }

    const fn status(&self) -> Status {
        Status { state: self.state, deadline_ns: self.deadline_ns }
    }
}

/// The interface.
pub struct LyingNic(pub Arc<Mutex<Script>>);

impl LyingNic {
    fn with<R>(&self, call: impl FnOnce(&mut Script) -> R) -> R {
        call(&mut self.0.lock().expect("nobody panicked"))
    }
}

impl Nic for LyingNic {
    fn start(&mut self, _: u64) -> Status {
        self.with(|script| {
            script.state = script.starts_as;
            // What was not sent is lost.
            script.lost = script.lost.saturating_add(script.waiting as u64);
            script.waiting = 0;
            script.status()
        })
    }
    fn poll(&mut self, _: u64) -> Status {
        self.status()
    }
    fn interrupt(&mut self, _: u16, _: u64) -> Status {
        self.status()
    }
    fn status(&self) -> Status {
        self.with(|script| script.status())
    }
    fn error(&self) -> Option<&dyn Display> {
        self.with(|script| script.state == State::Failed && script.has_reason).then_some(&"it burns")
    }
    fn mac(&self) -> Option<MacAddress> {
        Some(MacAddress([2, 0, 0, 0, 0, 0xff]))
    }
    fn link(&self) -> Link {
        self.with(|script| script.link)
    }
    fn capabilities(&self) -> Capabilities {
        self.with(|script| script.capabilities)
    }
    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        let taken = self.with(|script| match script.refuses {
            Some(refused) => Err(refused),
            None if script.waiting >= ROOM => Err(Refused::Full),
            None => {
                script.waiting += 1;
                Ok(())
            }
        });
        crossing::note(Crossing::Got(None, Copied::of_parts(parts), taken.is_ok()));
        taken
    }
    fn queue(&self) -> Queue {
        self.with(|script| {
            script.queue.unwrap_or(Queue { waiting: script.waiting, room: ROOM - script.waiting })
        })
    }
    fn kick(&mut self, _: u64) -> Status {
        self.with(|script| {
            if !script.holds {
                script.sent += core::mem::take(&mut script.waiting) as u64;
            }
            script.status()
        })
    }
    fn set_quiet(&mut self, _: bool) {}
    fn receive(&mut self, into: &mut Frame) -> bool {
        into.clear();
        let Some(frame) = self.with(|script| script.incoming.pop_front()) else { return false };
        frame.fill(into);
        if into.bytes().len() % 2 == 1 {
            into.offload.checksum = Checksum::Good;
        }
        crossing::note(Crossing::Sent(None, Copied::of(into)));
        true
    }
    fn counters(&self) -> Counters {
        self.with(|script| {
            let mut counters = Counters { lost: script.lost, ..Counters::default() };
            counters.sent.frames = script.sent;
            counters
        })
    }
}
