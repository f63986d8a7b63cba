//! The invalidation queue (VT-d specification section 6.5).

use super::command::{TIMEOUT_NS, status, switch};
use super::faults::fault_status;
use crate::IommuError;
use access::{Clock, RegisterWindow, TableMemory, wait_until};
use spec::Hpa;
use spec::vtd::{FaultStatus, Global, descriptor, register};

/// Slots in the queue: one frame of them (IQA.QS = 0).
const SLOTS: u64 = 256;
/// Errors by which a device did not answer as it must.
const DEVICE_ERRORS: FaultStatus = FaultStatus::COMPLETION_ERROR.union(FaultStatus::TIME_OUT_ERROR);
/// What a device that does not answer can make us try again.
const ATTEMPTS: usize = 2;

/// How a wait for the queue ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Aborted,
}

/// The ring of invalidation descriptors of one unit, and the word to which the unit
/// reports that it got to its end.
pub(crate) struct Queue {
    ring: Hpa,
    status: Hpa,
    /// Slot that is filled next.
    tail: u64,
    /// Value that the last wait descriptor reports.
    ticket: u32,
    coherent: bool,
}

impl Queue {
    /// Two frames; nothing is switched on.
    pub fn new(memory: &mut impl TableMemory, coherent: bool) -> Result<Self, IommuError> {
        let out_of_frames = IommuError::Map(tables::MapError::OutOfFrames);
        let ring = memory.allocate().ok_or(out_of_frames)?;
        let Some(status) = memory.allocate() else {
            memory.free(ring);
            return Err(out_of_frames);
        };
        Ok(Self { ring, status, tail: 0, ticket: 0, coherent })
    }

    /// Takes over a queue that runs: lets it finish, then starts ours, empty.
    pub fn start(&mut self, registers: &impl RegisterWindow, clock: &impl Clock) -> Result<(), IommuError> {
        if status(registers).contains(Global::QUEUED_INVALIDATION) {
            // A queue that stands on an error never runs empty; its flushes are of
            // no use to us anyway, everything is flushed below our own tables.
            let _ = wait_until(clock, TIMEOUT_NS, || {
                registers.read64(register::QUEUE_HEAD) == registers.read64(register::QUEUE_TAIL)
                    || fault_status(registers).contains(FaultStatus::QUEUE_ERROR)
            });
            switch(registers, clock, Global::QUEUED_INVALIDATION, false, "the old queue off")?;
        }
        let errors = FaultStatus::QUEUE_ERROR | DEVICE_ERRORS;
        registers.write32(register::FAULT_STATUS, errors.bits());
        self.tail = 0;
        registers.write64(register::QUEUE_TAIL, 0);
        registers.write64(register::QUEUE_ADDRESS, self.ring.0);
        switch(registers, clock, Global::QUEUED_INVALIDATION, true, "queued invalidation on")
    }

    /// Has the unit carry out `descriptors`, and waits until they are done.
    ///
    /// With an error anything may be cached still, and the caller must not free
    /// what it wanted flushed. The queue itself goes on as far as the unit does.
    pub fn run(
        &mut self,
        registers: &impl RegisterWindow,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        descriptors: &[[u64; 2]],
    ) -> Result<(), IommuError> {
        for _ in 0..ATTEMPTS {
            self.check_room(registers, descriptors.len() as u64 + 1)?;
            for descriptor in descriptors {
                self.put(memory, *descriptor);
            }
            self.ticket = self.ticket.wrapping_add(1);
            self.put(memory, descriptor::wait(self.status.0, self.ticket));
            registers.write64(register::QUEUE_TAIL, self.tail * descriptor::BYTES);
            if self.wait(registers, memory, clock)? == Outcome::Done {
                return Ok(());
            }
        }
        Err(IommuError::TimedOut("an invalidation that a device did not answer"))
    }

    /// Fails where the ring is full, as it is when the unit has stopped.
    fn check_room(&self, registers: &impl RegisterWindow, slots: u64) -> Result<(), IommuError> {
        let head = registers.read64(register::QUEUE_HEAD) / descriptor::BYTES % SLOTS;
        let used = (self.tail + SLOTS - head) % SLOTS;
        // One slot stays free, since a full ring would look like an empty one.
        if slots < SLOTS - used { Ok(()) } else { Err(IommuError::QueueFull) }
    }

    fn put(&mut self, memory: &mut impl TableMemory, descriptor: [u64; 2]) {
        self.write_slot(memory, self.tail, descriptor);
        self.tail = (self.tail + 1) % SLOTS;
    }

    fn write_slot(&self, memory: &mut impl TableMemory, slot: u64, [low, high]: [u64; 2]) {
        let at = self.ring + slot * descriptor::BYTES;
        memory.write(at, low);
        memory.write(at + 8, high);
        if !self.coherent {
            memory.write_back(at, descriptor::BYTES);
        }
    }

    /// Waits for the last ticket; clears the errors that the unit reports meanwhile.
    fn wait(
        &self,
        registers: &impl RegisterWindow,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
    ) -> Result<Outcome, IommuError> {
        let mut refused = false;
        let mut aborted = false;
        let reported = wait_until(clock, TIMEOUT_NS, || {
            let errors = fault_status(registers);
            if errors.contains(FaultStatus::QUEUE_ERROR) {
                // The head stands on the malformed descriptor: put one there that every
                // unit takes and that harms nobody.
                refused = true;
                let head = registers.read64(register::QUEUE_HEAD) / descriptor::BYTES % SLOTS;
                self.write_slot(memory, head, descriptor::INTERRUPTS_GLOBAL);
                registers.write32(register::FAULT_STATUS, FaultStatus::QUEUE_ERROR.bits());
                // Some units look at the queue again only when the tail is written.
                registers.write64(register::QUEUE_TAIL, self.tail * descriptor::BYTES);
            }
            let device = errors & DEVICE_ERRORS;
            if !device.is_empty() {
                aborted = true;
                registers.write32(register::FAULT_STATUS, device.bits());
            }
            // With a time-out the unit drops the waits that it had accepted.
            errors.contains(FaultStatus::TIME_OUT_ERROR) || memory.read(self.status) as u32 == self.ticket
        });
        match reported {
            _ if refused => Err(IommuError::InvalidationRefused),
            Err(_) => Err(IommuError::TimedOut("an invalidation")),
            Ok(()) if aborted => Ok(Outcome::Aborted),
            Ok(()) => Ok(Outcome::Done),
        }
    }
}
