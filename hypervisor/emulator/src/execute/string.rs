//! String instructions: one element after the other, at most [`ELEMENTS_MAX`] an exit.

use super::alu::{self, ZERO};
use super::bus::Bus;
use super::outcome::{Outcome, Stop};
use super::place::{self, Place};
use super::processor::{Processor, RFLAGS_DF, read_register, write_register};
use crate::decode::{Alu, Instruction, Register, Repetition, StringOperation};
use crate::walk::{Access, Walker};
use access::GuestMemory;
use access::vcpu::{ProcessorState, RAX, RCX, RDI, RSI, SegmentName};
use spec::Gpa;

/// How many elements one exit carries out, so that a guest cannot keep the processor
/// in the hypervisor for longer than that.
pub(super) const ELEMENTS_MAX: u64 = 64;

/// A decoded string instruction.
pub(super) struct Strings {
    pub operation: StringOperation,
    pub repeat: Repetition,
    pub instruction: Instruction,
}

impl Strings {
    fn reads(&self) -> bool {
        use StringOperation::*;
        !matches!(self.operation, Store | Input | Scan)
    }
    /// What is done at the destination string, if there is one.
    fn destination(&self) -> Option<Access> {
        match self.operation {
            StringOperation::Load | StringOperation::Output => None,
            StringOperation::Compare | StringOperation::Scan => Some(Access::Read),
            _ => Some(Access::Write),
        }
    }
    fn repeats(&self) -> bool {
        self.repeat != Repetition::Once
    }

    /// Whether the comparison that left `flags` is the last one, whatever the count.
    fn is_over(&self, flags: u64) -> bool {
        let compares = matches!(self.operation, StringOperation::Compare | StringOperation::Scan);
        compares && (flags & ZERO != 0) != (self.repeat == Repetition::WhileEqual)
    }

    /// A string register, as wide as addresses are.
    fn register(&self, vcpu: &impl ProcessorState, index: usize) -> u64 {
        vcpu.register(index) & self.instruction.address.size.mask()
    }

    fn set_register(&self, vcpu: &mut impl ProcessorState, index: usize, value: u64) {
        let register = Register { index: index as u8, high_byte: false };
        write_register(vcpu, register, self.instruction.address.size, value);
    }

    /// The source and the destination of the next element, as far as there are such.
    pub(super) fn places<V: ProcessorState, M: GuestMemory>(
        &self,
        vcpu: &V,
        walker: &mut Walker<M>,
        processor: &Processor,
    ) -> Result<(Option<Place>, Option<Place>), Stop> {
        let width = self.instruction.width;
        let mut places = (None, None);
        if self.reads() {
            let at = (self.instruction.address.segment, self.register(vcpu, RSI));
            places.0 = Some(place::resolve(vcpu, walker, processor, at, width, Access::Read)?);
        }
        if let Some(access) = self.destination() {
            let at = (SegmentName::Es, self.register(vcpu, RDI));
            places.1 = Some(place::resolve(vcpu, walker, processor, at, width, access)?);
        }
        Ok(places)
    }

    /// Where the next bytes of a string at a port are, and how many: whole elements on one page, and
    /// `most` at most. `None` where none are left, or they are to be gone through one by one: because
    /// they go down, are traced or do not repeat, or because something about them faults.
    pub(super) fn piece<V: ProcessorState, M: GuestMemory>(
        &self,
        vcpu: &V,
        walker: &mut Walker<M>,
        processor: &Processor,
        most: u64,
    ) -> Option<(Gpa, u64)> {
        if !self.repeats() || processor.single_steps() || processor.flags & RFLAGS_DF != 0 {
            return None;
        }
        let width = self.instruction.width.bytes();
        let (segment, index, access) = match self.destination() {
            Some(access) => (SegmentName::Es, RDI, access),
            None => (self.instruction.address.segment, RSI, Access::Read),
        };
        let offset = self.register(vcpu, index);
        let linear = processor.linear(vcpu, segment, offset, width, access).ok()?;
        let left = self.register(vcpu, RCX).saturating_mul(width);
        let to_wrap = self.instruction.address.size.mask() - offset;
        let bytes = left.min(0x1000 - (linear & 0xfff)).min(to_wrap).min(most) & !(width - 1);
        if bytes == 0 {
            return None;
        }
        processor.linear(vcpu, segment, offset, bytes, access).ok()?;
        let gpa = walker.translate(&processor.paging, linear, access).ok()?;
        Some((gpa, bytes))
    }

    /// Moves the string registers, and counts, past `bytes` bytes of a piece.
    pub(super) fn step_over(&self, vcpu: &mut impl ProcessorState, bytes: u64) {
        let index = if self.destination().is_some() { RDI } else { RSI };
        let value = self.register(vcpu, index).wrapping_add(bytes);
        self.set_register(vcpu, index, value);
        let gone = bytes >> self.instruction.width.bytes().trailing_zeros();
        let left = self.register(vcpu, RCX).wrapping_sub(gone);
        self.set_register(vcpu, RCX, left);
    }

    /// Whether a repeated instruction has elements left.
    pub(super) fn is_left(&self, vcpu: &impl ProcessorState) -> bool {
        self.register(vcpu, RCX) != 0
    }

    /// Moves the string registers, and counts, past one element.
    fn step(&self, vcpu: &mut impl ProcessorState, processor: &Processor) {
        let bytes = self.instruction.width.bytes();
        let step = if processor.flags & RFLAGS_DF != 0 { bytes.wrapping_neg() } else { bytes };
        if self.reads() {
            let value = self.register(vcpu, RSI).wrapping_add(step);
            self.set_register(vcpu, RSI, value);
        }
        if self.destination().is_some() {
            let value = self.register(vcpu, RDI).wrapping_add(step);
            self.set_register(vcpu, RDI, value);
        }
        if self.repeats() {
            let left = self.register(vcpu, RCX).wrapping_sub(1);
            self.set_register(vcpu, RCX, left);
        }
    }

    /// Carries out elements with `element`, which is told whether it is the first of
    /// this exit and gives the flags, until the instruction or the exit's share ends.
    ///
    /// Only the first may fail: if a later one would, the guest executes the rest of
    /// the instruction again, and the same comes up as the first, or is for the
    /// processor to do.
    pub(super) fn run<V: ProcessorState>(
        &self,
        vcpu: &mut V,
        processor: &Processor,
        mut element: impl FnMut(&mut V, bool) -> Result<u64, Stop>,
    ) -> Result<Outcome, Stop> {
        let count = if self.repeats() { self.register(vcpu, RCX) } else { 1 };
        // A single step is one element.
        let share = count.min(if processor.single_steps() { 1 } else { ELEMENTS_MAX });
        let (mut done, mut flags, mut is_over) = (0, processor.flags, false);
        while done < share && !is_over {
            match element(vcpu, done == 0) {
                Ok(new) => flags = new,
                Err(stop) if done == 0 => return Err(stop),
                Err(_) => break,
            }
            self.step(vcpu, processor);
            done += 1;
            is_over = self.is_over(flags);
        }
        if done == count || is_over {
            return Ok(processor.finish(vcpu, self.instruction.length, flags));
        }
        Ok(processor.leave(vcpu, flags))
    }
}

/// MOVS, STOS, LODS, CMPS and SCAS, one of whose elements is on the page of `fault`.
pub(super) fn memory<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    mut walker: Walker<M>,
    bus: &mut B,
    processor: &Processor,
    strings: &Strings,
    fault: Gpa,
) -> Result<Outcome, Stop> {
    if matches!(strings.operation, StringOperation::Input | StringOperation::Output) {
        return Err(Outcome::Unsupported.into());
    }
    let memory = walker.memory;
    let width = strings.instruction.width;
    let accumulator = Register { index: RAX as u8, high_byte: false };
    strings.run(vcpu, processor, |vcpu, first| {
        let (source, destination) = strings.places(vcpu, &mut walker, processor)?;
        let mut on_fault = false;
        let mut known = true;
        for place in [&source, &destination].into_iter().flatten() {
            let touches = place.touches(fault);
            on_fault |= touches;
            known &= touches || place.is_memory(memory);
        }
        // Past the page that faulted there may be one that the guest reaches without us.
        if !on_fault || !first && !known {
            return Err(Outcome::Retry.into());
        }
        let value = match source {
            Some(place) => place.read(memory, bus, fault)?,
            None => read_register(vcpu, accumulator, width),
        };
        let mut flags = processor.flags;
        match (destination, strings.destination()) {
            (Some(place), Some(Access::Write)) => place.write(memory, bus, fault, value),
            (Some(place), _) => {
                let other = place.read(memory, bus, fault)?;
                flags = alu::compute(Alu::Cmp, value, other, width, flags).flags;
            }
            (None, _) => write_register(vcpu, accumulator, width, value),
        }
        Ok(flags)
    })
}
