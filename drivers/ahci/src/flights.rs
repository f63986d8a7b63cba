//! The commands of a port that are in flight: how they are issued, and how they end (section 5.5).

use crate::command::{Command, SLOTS, most_blocks};
use crate::error::Error;
use crate::identify::Facts;
use crate::port::{Port, Stage, Step};
use access::{DmaMemory, RegisterWindow};
use block::{Fault, Operation, Piece};
use spec::ahci::cap;
use spec::ahci::port::{self, interrupt, tfd};
use spec::ata::status;

/// How long reading and writing may take, and a flush or a trim, which may have much to do.
const DATA_TIME_NS: u64 = 30_000_000_000;
const LONG_TIME_NS: u64 = 60_000_000_000;

/// A piece of a request that has a slot: issued, or to be issued again after another one failed.
#[derive(Clone, Copy, Debug)]
struct Flight {
    piece: Piece,
    command: u8,
    until_ns: u64,
}

/// What the slots of a port are used for; slots are named by bits.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: [Option<Flight>; SLOTS],
    /// Those that are used.
    occupied: u32,
    /// No command is late before this; none is in flight without it.
    deadline_ns: Option<u64>,
    /// Those that the drive has, and whether they are queued.
    pub issued: u32,
    pub is_queued: bool,
    /// Nobody knows which of several commands failed: until all are over, one is issued at a time.
    pub one_at_a_time: bool,
}

impl Flights {
    /// When [`check_late`](Self::check_late) is due: no later than the first command is late.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// The command that is late at `now_ns`, as an error.
    pub fn check_late(&mut self, now_ns: u64) -> Result<(), Error> {
        if let Some(flight) = self.slots.iter().flatten().find(|flight| flight.until_ns <= now_ns) {
            return Err(Error::Late(flight.command));
        }
        self.deadline_ns = self.slots.iter().flatten().map(|flight| flight.until_ns).min();
        Ok(())
    }

    /// Whether one more can be issued: queued ones beside queued ones, any other alone.
    fn allows(&self, is_queued: bool) -> bool {
        self.issued == 0 || is_queued && self.is_queued
    }

    fn put(&mut self, slot: u32, flight: Flight) -> Result<(), Error> {
        *self.slots.get_mut(slot as usize).ok_or(Error::Buffer)? = Some(flight);
        self.occupied |= 1 << slot;
        self.deadline_ns = self.deadline_ns.into_iter().chain([flight.until_ns]).min();
        Ok(())
    }

    fn take(&mut self, slot: u32) -> Option<Piece> {
        self.issued &= !(1 << slot);
        let flight = self.slots.get_mut(slot as usize)?.take()?;
        self.occupied &= !(1 << slot);
        if self.occupied == 0 {
            self.deadline_ns = None;
        }
        Some(flight.piece)
    }
}

/// The places of the bits that are set, the lowest first.
pub(crate) fn bits(mut of: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let lowest = (of != 0).then(|| of.trailing_zeros())?;
        of &= of - 1;
        Some(lowest)
    })
}

impl<R: RegisterWindow, D: DmaMemory> Port<R, D> {
    /// Issues as much of what was requested as the drive takes, and first what has to be issued
    /// again.
    pub(crate) fn issue(&mut self, now_ns: u64) -> Result<(), Error> {
        let (Stage::Running, Some(facts)) = (self.stage, self.facts) else { return Ok(()) };
        let before = self.flights.issued;
        let occupied = self.flights.occupied;
        self.flights.one_at_a_time &= occupied != 0;
        let is_complete = self.issue_again(occupied & !before, &facts, now_ns)?;
        if is_complete {
            self.issue_new(&facts, now_ns)?;
        }
        let new = self.flights.issued & !before;
        if new != 0 {
            if before == 0 {
                self.watch(now_ns);
            }
            self.registers.dma().write_barrier();
            if self.flights.is_queued {
                self.registers.write(port::ACTIVE, new);
            }
            self.registers.write(port::ISSUE, new);
        }
        Ok(())
    }

    /// Whether all of the slots `waiting` could be issued.
    fn issue_again(&mut self, waiting: u32, facts: &Facts, now_ns: u64) -> Result<bool, Error> {
        for slot in bits(waiting) {
            let flight = self.flights.slots.get(slot as usize).copied().flatten();
            let piece = flight.ok_or(Error::Buffer)?.piece;
            let is_queued = self.queued_slots(facts, piece.operation).is_some();
            if !self.flights.allows(is_queued) {
                return Ok(false);
            }
            self.prepare(slot, piece, is_queued, facts, now_ns)?;
        }
        Ok(true)
    }

    fn issue_new(&mut self, facts: &Facts, now_ns: u64) -> Result<(), Error> {
        let most = |operation| most_blocks(operation, facts.geometry.block_bytes);
        while let Some(operation) = self.requests.next_operation() {
            if operation == Operation::Flush && facts.flush.is_none() {
                // It has neither a write cache nor a command.
                if let Some(piece) = self.requests.next_piece(most, facts.geometry) {
                    self.requests.finish(piece, Ok(()));
                }
                continue;
            }
            let queued_slots = self.queued_slots(facts, operation);
            let slots = queued_slots.unwrap_or(1);
            let free = (!self.flights.occupied).trailing_zeros();
            if !self.flights.allows(queued_slots.is_some()) || free >= slots {
                break;
            }
            let Some(piece) = self.requests.next_piece(most, facts.geometry) else { break };
            self.prepare(free, piece, queued_slots.is_some(), facts, now_ns)?;
        }
        Ok(())
    }

    /// How many slots an operation can use that is queued now. `None` where it is not.
    fn queued_slots(&self, facts: &Facts, operation: Operation) -> Option<u32> {
        let capabilities = self.capabilities.filter(|bits| bits & cap::NATIVE_QUEUING != 0)?;
        let is_queued = operation.moves_data() && !self.flights.one_at_a_time;
        facts.depth.filter(|_| is_queued).map(|depth| depth.min(cap::slots(capabilities)))
    }

    /// Puts the command for `piece` into `slot`.
    fn prepare(
        &mut self,
        slot: u32,
        piece: Piece,
        is_queued: bool,
        facts: &Facts,
        now_ns: u64,
    ) -> Result<(), Error> {
        let (command, time_ns) = match (piece.operation, facts.flush) {
            (Operation::Flush, Some(flush)) => (Command::plain(flush), LONG_TIME_NS),
            (Operation::Discard, _) => (self.memory.trim(&piece)?, LONG_TIME_NS),
            _ => (Command::transfer(&piece, slot as u16, is_queued), DATA_TIME_NS),
        };
        self.memory.put(slot as usize, &command)?;
        let flight = Flight { piece, command: command.code(), until_ns: now_ns.saturating_add(time_ns) };
        self.flights.put(slot, flight)?;
        self.flights.issued |= 1 << slot;
        self.flights.is_queued = is_queued;
        Ok(())
    }

    /// Issues a command of the driver's own, in a slot that may wait to be issued again.
    pub(crate) fn issue_own(&mut self, command: &Command) -> Result<(), Error> {
        self.memory.put(0, command)?;
        (self.flights.issued, self.flights.is_queued) = (1, false);
        self.registers.dma().write_barrier();
        self.registers.write(port::ISSUE, 1);
        Ok(())
    }

    /// Takes what is done, and goes on from there.
    pub(crate) fn completions(&mut self, now_ns: u64) -> Result<(), Error> {
        let step = match self.stage {
            Stage::Running => None,
            Stage::Step { step: step @ (Step::Identifying | Step::ReadingLog), .. } => Some(step),
            _ => return Ok(()),
        };
        let causes = self.registers.take_causes()?;
        if causes & (interrupt::CONNECT_CHANGE | interrupt::LINK_CHANGE) != 0 {
            // What was written and not flushed may be lost, even if the link works again.
            return Err(Error::Unplugged);
        }
        let issued = self.flights.issued;
        let active = self.registers.read(port::ACTIVE) | self.registers.read(port::ISSUE);
        if active & !issued != 0 {
            self.check_link()?;
            return Err(Error::UnknownCommands(active & !issued));
        }
        self.registers.dma().read_barrier();
        let mut done = issued & !active;
        let is_alone = !self.flights.is_queued;
        let mut has_failed = causes & interrupt::FATAL != 0;
        let mut task_file = 0;
        if has_failed || is_alone && done != 0 {
            task_file = self.registers.read_there(port::TASK_FILE)?;
            let says = tfd::status(task_file) & (status::ERROR | status::DEVICE_FAULT);
            has_failed |= is_alone && says != 0;
        }
        if has_failed && is_alone {
            // Some HBAs have the command done that failed.
            done = 0;
        }
        self.flights.issued &= !done;
        if step.is_none() {
            bits(done).for_each(|slot| self.finish(slot, Ok(())));
        }
        match step {
            _ if has_failed => self.halt(causes, task_file, now_ns),
            None => self.issue(now_ns),
            Some(_) if done == 0 => Ok(()),
            Some(Step::ReadingLog) => self.read_log(now_ns),
            Some(_) => self.identified(now_ns),
        }
    }

    /// The command in `slot` is over.
    pub(crate) fn finish(&mut self, slot: u32, outcome: Result<(), Fault>) {
        if let Some(piece) = self.flights.take(slot) {
            self.requests.finish(piece, outcome);
        }
    }
}
