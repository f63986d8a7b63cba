//! The network interface of the machine's by which a network leads outside.

use crate::restarts::Restarts;
use access::Clock;
use access::clock::wait_until;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;
use network::{Cut, Frame, Tagging};
use nic::{Counters, Link, Nic, State, Status};

/// How long an interface may take until it is ready, in nanoseconds. Its driver has shorter times
/// for each step.
const READY_NS: u64 = 60_000_000_000;
/// Between two lines of the log about the link there are at least so many nanoseconds, however often
/// it comes and goes.
pub(crate) const LINK_NS: u64 = 1_000_000_000;
/// Room for so many frames is left to senders none of whose frames wait: as many as the segments of
/// one frame that is yet to be cut, with the usual size of them.
const RESERVE: usize = 64;

/// An interface and what became of it.
pub(crate) struct Uplink {
    pub nic: Box<dyn Nic + Send>,
    /// Its failures, and when it is started again.
    restarts: Restarts,
    /// It failed and nobody was told yet.
    failed: bool,
    /// Whether the link was up when that was told last, and when it may be told again.
    told_up: bool,
    tell_at_ns: u64,
}

impl Uplink {
    /// Starts an interface. This is for the boot: it waits until it is ready, not for its link.
    ///
    /// # Errors
    /// Why it is of no use, in words.
    pub fn bring_up(mut nic: Box<dyn Nic + Send>, clock: &dyn Clock) -> Result<Self, String> {
        nic.start(clock.now_ns());
        let waited = wait_until(clock, READY_NS, || nic.poll(clock.now_ns()).state != State::Starting);
        match (nic.status().state, waited) {
            (State::Ready, _) => {
                Ok(Self { nic, restarts: Restarts::new(), failed: false, told_up: false, tell_at_ns: 0 })
            }
            (State::Failed, _) => {
                Err(nic.error().map_or_else(|| "it failed".into(), |error| error.to_string()))
            }
            (State::Off | State::Starting, _) => {
                Err(format!("it was not ready after {} s", READY_NS / 1_000_000_000))
            }
        }
    }

    /// Sees to the interface. Returns when to do so again at the latest.
    pub fn poll(&mut self, now_ns: u64) -> Option<u64> {
        let Status { state, deadline_ns } = self.nic.poll(now_ns);
        match state {
            State::Failed => {
                self.failed |= self.restarts.failed(now_ns);
                return Some(self.restarts.at_ns());
            }
            State::Ready => self.restarts.works(),
            State::Off | State::Starting => {}
        }
        deadline_ns
    }

    /// Whether somebody is at the other end.
    pub fn is_up(&self) -> bool {
        self.nic.link() != Link::Down
    }

    /// Tells `report` that the link has come, or gone, since that was told last.
    pub fn report_link(&mut self, now_ns: u64, report: &mut dyn FnMut(bool)) {
        let is_up = self.is_up();
        if is_up != self.told_up && now_ns >= self.tell_at_ns {
            self.told_up = is_up;
            self.tell_at_ns = now_ns.saturating_add(LINK_NS);
            report(is_up);
        }
    }

    /// Tells `report` why the interface failed, and how often it has, once for each time that it did.
    /// Whether it was told.
    pub fn report_failure(&mut self, report: &mut dyn FnMut(&dyn Display, u64)) -> bool {
        let has_failed = core::mem::replace(&mut self.failed, false);
        if let Some(error) = self.nic.error().filter(|_| has_failed) {
            report(error, self.restarts.failures());
        }
        has_failed
    }

    /// Starts an interface that failed again.
    pub fn restart(&mut self, now_ns: u64) {
        if self.nic.status().state == State::Failed {
            self.nic.start(now_ns);
        }
    }

    /// Gives the interface a frame, all of it or its segments. Whether it took it. See [`nic::send`].
    pub fn send(&mut self, frame: &mut Frame, tagging: Tagging, spare: &mut Frame, cut: &mut Cut) -> bool {
        nic::send(&mut *self.nic, frame, tagging, spare, cut).is_ok()
    }

    /// How many frames are over, of those that the interface was ever given.
    fn over(&self) -> u64 {
        let Counters { sent, lost, .. } = self.nic.counters();
        sent.frames.saturating_add(lost)
    }

    /// How many will be over once all are that it has now.
    pub fn over_then(&self) -> u64 {
        self.over().saturating_add(self.nic.queue().waiting as u64)
    }

    /// Whether a sender waits until the interface has more room: one whose last frame is over when
    /// so many are as [`over_then`](Self::over_then) said. Who floods the interface waits for it, and
    /// nobody else does.
    pub fn is_crowded(&self, over_then: u64) -> bool {
        let queue = self.nic.queue();
        queue.waiting > 0 && queue.room < RESERVE && over_then > self.over()
    }
}
