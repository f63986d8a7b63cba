//! A port and the drive behind it: its stages, its deadlines, and the requests that it is given.

use crate::command::Memory;
use crate::error::Error;
use crate::flights::Flights;
use crate::identify::Facts;
use crate::mend::Failure;
use crate::registers::PortRegisters;
use access::{DmaMemory, RegisterWindow};
use block::{Done, Drive, Geometry, Identity, Operation, Refused, Requests, State, Status, Tag};
use core::fmt::Display;
use spec::ahci::port::{self, cmd, link};

/// How often a drive that has commands is looked at, whatever interrupts come: one that is gone, or
/// whose interrupt was lost, is found after this.
const WATCH_NS: u64 = 1_000_000_000;

/// Where in its life a port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It was not started.
    Off,
    /// It is started once its HBA is reset, and once the drives before it are spun up.
    Waiting,
    /// At a step of its start, or of being mended, until it is late.
    Step {
        step: Step,
        until_ns: u64,
    },
    /// Reading and writing.
    Running,
    Failed(Error),
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// That the HBA ceases to work on commands, and to receive.
    Stopping,
    /// That the link was reset long enough.
    Resetting,
    /// That there is a link.
    Linking,
    /// That the drive is no longer busy.
    Spinning,
    /// What the drive says of itself.
    Identifying,
    /// That the HBA ceases to work on commands, of which one has failed.
    Halting,
    /// Which queued command failed.
    ReadingLog,
}

/// A port of an HBA, as the drive behind it. An HBA's ports are used in any order, and as if each
/// had the message for itself.
///
/// Where a queue is on both sides, reads and writes are in flight at the same time; where it is
/// not, one is. A flush or a discard waits for those that are in flight, and what comes behind it waits
/// for it.
#[derive(Debug)]
pub struct Port<R: RegisterWindow, D: DmaMemory> {
    pub(crate) registers: PortRegisters<R, D>,
    pub(crate) memory: Memory<D::Buffer>,
    pub(crate) requests: Requests<D::Buffer>,
    pub(crate) flights: Flights,
    pub(crate) stage: Stage,
    /// CAP, once the HBA was reset.
    pub(crate) capabilities: Option<u32>,
    /// What the drive said of itself since it was started. While they are known and the stage is a
    /// step, the port is being mended.
    pub(crate) facts: Option<Facts>,
    pub(crate) failure: Failure,
    /// When to look again.
    pub(crate) next_look_ns: u64,
}

impl<R: RegisterWindow, D: DmaMemory> Port<R, D> {
    pub(crate) fn new(
        registers: PortRegisters<R, D>,
        memory: Memory<D::Buffer>,
        requests: Requests<D::Buffer>,
    ) -> Self {
        Self {
            registers,
            memory,
            requests,
            flights: Flights::default(),
            stage: Stage::Off,
            capabilities: None,
            facts: None,
            failure: Failure::default(),
            next_look_ns: 0,
        }
    }

    /// The port's number, which names its place at the HBA.
    pub fn number(&self) -> u32 {
        self.registers.number()
    }

    /// Why it is failed. `None` while it is not.
    pub const fn failure(&self) -> Option<Error> {
        match self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The HBA is reset, and has these capabilities then.
    pub(crate) fn wait(&mut self) {
        self.drop_commands();
        (self.stage, self.capabilities, self.facts) = (Stage::Waiting, None, None);
    }

    /// The HBA is about to be reset, and the drive is not started then.
    pub(crate) fn turn_off(&mut self) {
        self.wait();
        self.stage = Stage::Off;
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.stage, Stage::Step { .. }) && self.facts.is_none()
    }

    /// The HBA failed, so that the port cannot be used.
    pub(crate) fn fail(&mut self, error: Error) {
        self.capabilities = None;
        self.stage = Stage::Failed(error);
        self.drop_commands();
    }

    /// Does some work, and fails the drive if that fails.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Status {
        if let Err(error) = work(self) {
            // It does no more of what it was told; what reads as gone is not touched.
            if error != Error::Removed {
                self.registers.write(port::INTERRUPT_ENABLE, 0);
                let command = self.registers.read(port::COMMAND);
                if command != u32::MAX {
                    self.registers.write(port::COMMAND, command & !cmd::START);
                }
            }
            self.stage = Stage::Failed(error);
            self.drop_commands();
        }
        self.status()
    }

    /// Nothing in flight is waited for any more.
    fn drop_commands(&mut self) {
        self.flights = Flights::default();
        self.requests.fail(true);
    }

    /// Whether something may have happened: a port tells of all that it does by a cause of an interrupt,
    /// and of what is not awaited by the interrupt itself. Reading a register takes as long as hundreds of
    /// instructions, so whoever polls has one read and no more.
    fn may_have_news(&self, now_ns: u64) -> Result<bool, Error> {
        if self.stage != Stage::Running {
            return Ok(true);
        }
        let is_awaited = self.flights.issued != 0;
        Ok(is_awaited
            && (now_ns >= self.next_look_ns || self.registers.read_there(port::INTERRUPT_STATUS)? != 0))
    }

    /// Goes on from wherever it is, if it is time.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        match self.stage {
            Stage::Off | Stage::Waiting | Stage::Failed(_) => Ok(()),
            Stage::Step { step, until_ns } => self.look_at_step(step, until_ns, now_ns),
            Stage::Running => {
                let Some(until_ns) = self.flights.deadline() else { return Ok(()) };
                if now_ns < until_ns.min(self.next_look_ns) {
                    return Ok(());
                }
                self.check_link()?;
                self.flights.check_late(now_ns)?;
                self.watch(now_ns);
                Ok(())
            }
        }
    }

    /// Fails where there is no link to the drive any more.
    pub(crate) fn check_link(&self) -> Result<(), Error> {
        let status = self.registers.read_there(port::LINK_STATUS)?;
        if link::detection(status) == link::WORKS { Ok(()) } else { Err(Error::Unplugged) }
    }

    /// Has the drive looked at again.
    pub(crate) const fn watch(&mut self, now_ns: u64) {
        self.next_look_ns = now_ns.saturating_add(WATCH_NS);
    }

    fn ready(&self) -> Result<Geometry, Refused> {
        match self.status().state {
            State::Ready(geometry) => Ok(geometry),
            _ => Err(Refused::NotReady),
        }
    }
}

impl<R: RegisterWindow, D: DmaMemory> Drive for Port<R, D> {
    fn identity(&self) -> Option<Identity> {
        self.facts.map(|facts| facts.identity)
    }

    /// The link is reset, and the HBA is not: what has this fail with the words that the port did
    /// not stop, ends with [`Hba::start`](crate::Hba::start) alone.
    fn start(&mut self, now_ns: u64) -> Status {
        self.drop_commands();
        self.facts = None;
        self.attempt(|port| port.begin(now_ns))
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        self.attempt(|port| {
            if port.may_have_news(now_ns)? {
                port.completions(now_ns)?;
            } else {
                port.issue(now_ns)?;
            }
            port.look(now_ns)
        })
    }

    fn interrupt(&mut self, _message: u16, now_ns: u64) -> Status {
        self.attempt(|port| port.completions(now_ns))
    }

    fn status(&self) -> Status {
        let (state, until_ns) = match (self.stage, self.facts) {
            (Stage::Off, _) => (State::Off, None),
            (Stage::Waiting, _) => (State::Starting, None),
            (Stage::Step { until_ns, .. }, None) => (State::Starting, Some(until_ns)),
            (Stage::Step { until_ns, .. }, Some(facts)) => (State::Ready(facts.geometry), Some(until_ns)),
            (Stage::Running, Some(facts)) => (State::Ready(facts.geometry), self.flights.deadline()),
            (Stage::Failed(_) | Stage::Running, _) => (State::Failed, None),
        };
        Status { state, deadline_ns: until_ns.map(|until_ns| until_ns.min(self.next_look_ns)) }
    }

    fn error(&self) -> Option<&dyn Display> {
        match &self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    fn request_bytes(&self) -> usize {
        self.requests.request_bytes()
    }

    fn reserve(&mut self) -> Result<Tag, Refused> {
        self.ready()?;
        self.requests.reserve()
    }

    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        self.requests.put(tag, offset, bytes)
    }

    fn submit(
        &mut self,
        tag: Tag,
        operation: Operation,
        first_block: u64,
        blocks: u64,
    ) -> Result<(), Refused> {
        let geometry = self.ready()?;
        self.requests.submit(tag, operation, first_block, blocks, geometry)
    }

    fn kick(&mut self, now_ns: u64) -> Status {
        self.attempt(|port| port.issue(now_ns))
    }

    fn next_done(&self) -> Option<Done> {
        self.requests.next_done()
    }

    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        self.requests.get(tag, offset, into)
    }

    fn release(&mut self, tag: Tag) {
        self.requests.release(tag);
    }
}
