//! What follows a command that failed, or a transfer that the link did (section 6.2.2): the port
//! is stopped, what failed is found out and told, and the rest is issued again.

use crate::command::PAGE;
use crate::error::{Error, fault};
use crate::flights::bits;
use crate::port::{Port, Stage, Step};
use crate::start::STOP_NS;
use access::{DmaBuffer, DmaMemory, RegisterWindow};
use spec::ahci::port::{self, cmd, interrupt, tfd};
use spec::ata::{command, queued_error_log, status};

/// What was known when something failed.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Failure {
    /// The drive's status and error.
    task_file: u32,
    /// The slots of commands that were in flight, and whether they were queued.
    suspects: u32,
    is_queued: bool,
    /// The drive answers nothing but a reset of the link.
    needs_reset: bool,
}

impl<R: RegisterWindow, D: DmaMemory> Port<R, D> {
    /// Stops the port after a failure. What is in flight stays there, to be issued again.
    pub(crate) fn halt(&mut self, causes: u32, task_file: u32, now_ns: u64) -> Result<(), Error> {
        self.check_link()?;
        let is_log = match self.stage {
            Stage::Step { step: Step::Identifying, .. } => return Err(Error::NoIdentity(task_file)),
            Stage::Step { step, .. } => step == Step::ReadingLog,
            _ => false,
        };
        if is_log {
            // No log: the reset ends what the drive waits for.
            self.flights.one_at_a_time = true;
        }
        self.failure = Failure {
            task_file,
            suspects: if is_log { 0 } else { self.flights.issued },
            is_queued: self.flights.is_queued,
            needs_reset: is_log || causes & interrupt::FATAL & !interrupt::TASK_FILE_ERROR != 0,
        };
        self.flights.issued = 0;
        self.registers.write(port::INTERRUPT_ENABLE, 0);
        let command = self.registers.read_there(port::COMMAND)?;
        self.registers.write(port::COMMAND, command & !cmd::START);
        self.enter(Step::Halting, STOP_NS, now_ns);
        self.halting(now_ns.saturating_add(STOP_NS), now_ns)
    }

    /// Waits until the HBA works on nothing any more, and so reaches no buffer.
    pub(crate) fn halting(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        if self.registers.read_there(port::COMMAND)? & cmd::RUNNING != 0 {
            return if now_ns < until_ns { Ok(()) } else { Err(Error::Stuck) };
        }
        let Failure { task_file, suspects, is_queued, needs_reset } = self.failure;
        let waits = tfd::status(self.registers.read_there(port::TASK_FILE)?);
        let needs_reset = needs_reset || waits & (status::BUSY | status::DATA_REQUEST) != 0;
        if suspects.is_power_of_two() {
            bits(suspects).for_each(|slot| self.finish(slot, Err(fault(task_file))));
        } else {
            // After a reset of the link the drive does not know any more which it was.
            self.flights.one_at_a_time |= suspects != 0 && needs_reset;
        }
        if needs_reset {
            self.reset_link(now_ns);
            return Ok(());
        }
        self.run()?;
        if is_queued {
            // The drive does nothing else before it was asked for this.
            let log = self.memory.read_page(command::READ_LOG_EXT, queued_error_log::ADDRESS)?;
            return self.begin_own(Step::ReadingLog, &log, now_ns);
        }
        self.stage = Stage::Running;
        self.issue(now_ns)
    }

    /// The drive has said which queued command failed.
    pub(crate) fn read_log(&mut self, now_ns: u64) -> Result<(), Error> {
        let mut log = [0; queued_error_log::ERROR + 1];
        self.memory.0.read(PAGE, &mut log)?;
        let [tag, _, status, error] = log;
        let slot = u32::from(tag & 0x1f);
        let several = self.failure.suspects.count_ones() > 1;
        let is_named = tag & queued_error_log::NOT_QUEUED == 0 && self.failure.suspects >> slot & 1 != 0;
        if several && is_named {
            let task_file = u32::from(error) << 8 | u32::from(status | status::ERROR);
            self.finish(slot, Err(fault(task_file)));
        } else {
            self.flights.one_at_a_time |= several;
        }
        self.stage = Stage::Running;
        self.issue(now_ns)
    }
}
