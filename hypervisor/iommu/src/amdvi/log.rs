//! A log that a unit writes: of events (section 2.5) or of page requests (section 2.6).

use super::TIMEOUT_NS;
use crate::IommuError;
use access::{Clock, RegisterWindow, TableMemory, wait_until};
use spec::Hpa;
use spec::amdvi::{Control, Status, event, register, ring_base};

/// Slots in a log: one frame of them.
const SLOTS: u64 = 256;
/// How long an entry may stay behind the tail that announces it. Units were seen to
/// move the tail before the entry is in memory.
const ENTRY_TIMEOUT_NS: u64 = 100_000;

/// The registers and bits of one kind of log.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    base: usize,
    head: usize,
    tail: usize,
    /// In the control register.
    enable: Control,
    /// In the status register.
    runs: Status,
    overflow: Status,
    interrupt: Status,
}

/// The event log.
pub(crate) const EVENTS: Kind = Kind {
    base: register::EVENT_LOG,
    head: register::EVENT_HEAD,
    tail: register::EVENT_TAIL,
    enable: Control::EVENT_LOG,
    runs: Status::EVENT_LOG_RUNS,
    overflow: Status::EVENT_OVERFLOW,
    interrupt: Status::EVENT_INTERRUPT,
};

/// The PPR log.
pub(crate) const PAGE_REQUESTS: Kind = Kind {
    base: register::PPR_LOG,
    head: register::PPR_HEAD,
    tail: register::PPR_TAIL,
    enable: Control::PPR_LOG,
    runs: Status::PPR_LOG_RUNS,
    overflow: Status::PPR_OVERFLOW,
    interrupt: Status::PPR_INTERRUPT,
};

/// A log of one unit.
pub(crate) struct Log {
    kind: Kind,
    ring: Hpa,
    /// Slot that is read next.
    head: u64,
}

/// What one look at a log found.
#[derive(Default)]
pub(crate) struct Taken {
    /// The oldest entry, as low and high half.
    pub entry: Option<[u64; 2]>,
    /// Entries were lost since the log was full.
    pub overflowed: bool,
}

/// The status register.
pub(super) fn status(registers: &impl RegisterWindow) -> Status {
    Status::from_bits_retain(registers.read64(register::STATUS))
}

impl Log {
    /// One frame; nothing is switched on.
    pub fn new(memory: &mut impl TableMemory, kind: Kind, coherent: bool) -> Result<Self, IommuError> {
        let ring = memory.allocate().ok_or(IommuError::Map(tables::MapError::OutOfFrames))?;
        if !coherent {
            memory.write_back(ring, SLOTS * event::BYTES);
        }
        Ok(Self { kind, ring, head: 0 })
    }

    /// Bits of the control register that switch it on.
    pub const fn enable(&self) -> Control {
        self.kind.enable
    }

    /// Tells the unit where the log is. It must be off.
    pub fn set(&mut self, registers: &impl RegisterWindow) {
        registers.write64(self.kind.base, ring_base(self.ring.0, SLOTS.trailing_zeros()));
        registers.write64(register::STATUS, (self.kind.overflow | self.kind.interrupt).bits());
        self.rewind(registers);
    }

    /// Takes the oldest entry. A log that was full starts again once it is empty; until
    /// then the unit records nothing. `control` is the unit's control register as it is
    /// meant to be.
    pub fn take(
        &mut self,
        registers: &impl RegisterWindow,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        control: Control,
    ) -> Taken {
        let state = status(registers);
        if state.contains(self.kind.interrupt) {
            // Before the tail is read: what comes after it interrupts again.
            registers.write64(register::STATUS, self.kind.interrupt.bits());
        }
        let tail = registers.read64(self.kind.tail) / event::BYTES % SLOTS;
        if tail != self.head {
            return Taken { entry: self.take_entry(registers, memory, clock), overflowed: false };
        }
        let overflowed = state.contains(self.kind.overflow);
        if overflowed {
            self.restart(registers, clock, control);
        }
        Taken { entry: None, overflowed }
    }

    fn take_entry(
        &mut self,
        registers: &impl RegisterWindow,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
    ) -> Option<[u64; 2]> {
        let at = self.ring + self.head * event::BYTES;
        let arrived = wait_until(clock, ENTRY_TIMEOUT_NS, || event::code(memory.read(at)) != 0);
        let entry = [memory.read(at), memory.read(at + 8)];
        // The next entry in this slot is known by its code, too.
        memory.write(at, 0);
        memory.write(at + 8, 0);
        self.head = (self.head + 1) % SLOTS;
        registers.write64(self.kind.head, self.head * event::BYTES);
        arrived.is_ok().then_some(entry)
    }

    /// Section 2.5.1: off, until it no longer runs; cleared; on again, empty. A log that
    /// does not stop stays as it is and is tried again.
    fn restart(&mut self, registers: &impl RegisterWindow, clock: &impl Clock, control: Control) {
        registers.write64(register::CONTROL, control.difference(self.kind.enable).bits());
        let stopped = wait_until(clock, TIMEOUT_NS, || !status(registers).contains(self.kind.runs));
        if stopped.is_ok() {
            registers.write64(register::STATUS, self.kind.overflow.bits());
            self.rewind(registers);
        }
        registers.write64(register::CONTROL, control.bits());
    }

    fn rewind(&mut self, registers: &impl RegisterWindow) {
        self.head = 0;
        registers.write64(self.kind.head, 0);
        registers.write64(self.kind.tail, 0);
    }
}
