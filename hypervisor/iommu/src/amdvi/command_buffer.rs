//! The command buffer (section 2.4).

use super::TIMEOUT_NS;
use super::log::status;
use crate::IommuError;
use access::{Clock, RegisterWindow, TableMemory, wait_until};
use spec::Hpa;
use spec::amdvi::{Control, Status, command, register, ring_base};

/// Slots in the buffer: one frame of them.
const SLOTS: u64 = 256;
/// Commands between two waits.
const BATCH: usize = 128;

/// The ring of commands of one unit, and the word to which the unit reports that it got
/// to its end.
pub(crate) struct CommandBuffer {
    ring: Hpa,
    report: Hpa,
    /// Slot that is filled next.
    tail: u64,
    /// What the last COMPLETION_WAIT stores.
    ticket: u64,
    coherent: bool,
}

impl CommandBuffer {
    /// Two frames; nothing is switched on.
    pub fn new(memory: &mut impl TableMemory, coherent: bool) -> Result<Self, IommuError> {
        let out_of_frames = IommuError::Map(tables::MapError::OutOfFrames);
        let ring = memory.allocate().ok_or(out_of_frames)?;
        let Some(report) = memory.allocate() else {
            memory.free(ring);
            return Err(out_of_frames);
        };
        Ok(Self { ring, report, tail: 0, ticket: 0, coherent })
    }

    /// Tells the unit where the buffer is. It must be off.
    pub fn set(&mut self, registers: &impl RegisterWindow) {
        registers.write64(register::COMMAND_BUFFER, ring_base(self.ring.0, SLOTS.trailing_zeros()));
        self.rewind(registers);
    }

    /// Has the unit carry out `commands`, and waits until they are done.
    ///
    /// With an error anything may be cached still, and the caller must not free what it
    /// wanted flushed. `control` is the unit's control register as it is meant to be:
    /// a buffer that stopped at a command is started again behind it.
    pub fn run(
        &mut self,
        registers: &impl RegisterWindow,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        control: Control,
        commands: impl IntoIterator<Item = [u64; 2]>,
    ) -> Result<(), IommuError> {
        let mut commands = commands.into_iter().peekable();
        loop {
            self.check_room(registers)?;
            for command in commands.by_ref().take(BATCH) {
                self.put(memory, command);
            }
            self.ticket = self.ticket.wrapping_add(1);
            self.put(memory, command::completion_wait(self.report.0, self.ticket));
            registers.write64(register::COMMAND_TAIL, self.tail * command::BYTES);
            self.wait(registers, memory, clock, control)?;
            if commands.peek().is_none() {
                return Ok(());
            }
        }
    }

    /// Fails where a batch does not fit, as when the unit has stopped.
    fn check_room(&self, registers: &impl RegisterWindow) -> Result<(), IommuError> {
        let head = registers.read64(register::COMMAND_HEAD) / command::BYTES % SLOTS;
        let used = (self.tail + SLOTS - head) % SLOTS;
        // One slot stays free, since a full ring would look like an empty one.
        if BATCH as u64 + 1 < SLOTS - used { Ok(()) } else { Err(IommuError::QueueFull) }
    }

    fn put(&mut self, memory: &mut impl TableMemory, [low, high]: [u64; 2]) {
        let at = self.ring + self.tail * command::BYTES;
        memory.write(at, low);
        memory.write(at + 8, high);
        if !self.coherent {
            memory.write_back(at, command::BYTES);
        }
        self.tail = (self.tail + 1) % SLOTS;
    }

    /// Waits for the last ticket.
    fn wait(
        &mut self,
        registers: &impl RegisterWindow,
        memory: &impl TableMemory,
        clock: &impl Clock,
        control: Control,
    ) -> Result<(), IommuError> {
        let mut stopped = false;
        let waited = wait_until(clock, TIMEOUT_NS, || {
            let done = memory.read(self.report) == self.ticket;
            stopped = !done && !status(registers).contains(Status::COMMANDS_RUN);
            done || stopped
        });
        match waited {
            Ok(()) if stopped => {
                self.restart(registers, clock, control)?;
                Err(IommuError::InvalidationRefused)
            }
            Ok(()) => Ok(()),
            Err(_) => Err(IommuError::TimedOut("a command")),
        }
    }

    /// Starts a buffer that stopped, empty (section 2.4: after an error software clears
    /// and sets CmdBufEn, which takes head and tail anew).
    fn restart(
        &mut self,
        registers: &impl RegisterWindow,
        clock: &impl Clock,
        control: Control,
    ) -> Result<(), IommuError> {
        registers.write64(register::CONTROL, control.difference(Control::COMMAND_BUFFER).bits());
        self.rewind(registers);
        registers.write64(register::CONTROL, control.bits());
        wait_until(clock, TIMEOUT_NS, || status(registers).contains(Status::COMMANDS_RUN))
            .map_err(|_| IommuError::TimedOut("command buffer on"))
    }

    fn rewind(&mut self, registers: &impl RegisterWindow) {
        self.tail = 0;
        registers.write64(register::COMMAND_HEAD, 0);
        registers.write64(register::COMMAND_TAIL, 0);
    }
}
