//! The state of the processor that an emulated instruction goes by, and how it leaves
//! its traces there.

use super::outcome::{Outcome, SINGLE_STEP};
use crate::code::CodeSize;
use crate::decode::{Address, Register};
use crate::walk::{Access, Paging};
use access::vcpu::{Event, ProcessorState, SegmentName};
use spec::Width;
pub(super) use spec::processor::RFLAGS_DF;
use spec::processor::{CR0_PE, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM};

/// Segment attributes, as `access` joins them.
mod attributes {
    /// Of data: writable. Of code: readable.
    pub const ACCESSIBLE: u16 = 1 << 1;
    /// Of data: the limit is the lower end.
    pub const EXPAND_DOWN: u16 = 1 << 2;
    pub const CODE: u16 = 1 << 3;
    pub const PRESENT: u16 = 1 << 7;
    pub const BIG: u16 = 1 << 10;
}

/// What does not change while one instruction is carried out.
pub(super) struct Processor {
    pub paging: Paging,
    pub code_size: CodeSize,
    pub flags: u64,
}

impl Processor {
    #[inline]
    pub(super) fn of(vcpu: &impl ProcessorState) -> Self {
        let flags = vcpu.rflags();
        let paging = Paging::new(vcpu.control(), vcpu.privilege_level(), flags);
        let attributes = vcpu.segment(SegmentName::Cs).attributes;
        let code_size = CodeSize::new(attributes, paging.control().efer, flags);
        Self { paging, code_size, flags }
    }

    #[inline]
    pub(super) fn is_64_bit(&self) -> bool {
        matches!(self.code_size, CodeSize::Bits64)
    }

    /// Width of the stack pointer.
    pub(super) fn stack_width(&self, vcpu: &impl ProcessorState) -> Width {
        if self.is_64_bit() {
            Width::Qword
        } else if vcpu.segment(SegmentName::Ss).attributes & attributes::BIG != 0 {
            Width::Dword
        } else {
            Width::Word
        }
    }

    /// The offset of an operand in its segment.
    #[inline]
    pub(super) fn offset(&self, vcpu: &impl ProcessorState, address: &Address, length: u8) -> u64 {
        let mut sum = address.displacement as u64;
        if let Some(base) = address.base {
            sum = sum.wrapping_add(vcpu.register(base.into()));
        }
        if let Some(index) = address.index {
            sum = sum.wrapping_add(vcpu.register(index.register.into()) << index.shift);
        }
        if address.rip_relative {
            sum = sum.wrapping_add(vcpu.rip()).wrapping_add(length.into());
        }
        sum & address.size.mask()
    }

    /// The linear address of `bytes` bytes at `offset` in a segment, or the exception
    /// that the segment or a non-canonical address gives.
    #[inline]
    pub(super) fn linear(
        &self,
        vcpu: &impl ProcessorState,
        name: SegmentName,
        offset: u64,
        bytes: u64,
        access: Access,
    ) -> Result<u64, Event> {
        if !self.is_64_bit() {
            return self.segmented(vcpu, name, offset, bytes, access);
        }
        let linear = match name {
            SegmentName::Fs | SegmentName::Gs => vcpu.segment(name).base.wrapping_add(offset),
            _ => offset,
        };
        let last = linear.wrapping_add(bytes - 1);
        if self.paging.is_canonical(linear) && self.paging.is_canonical(last) {
            Ok(linear)
        } else {
            Err(segment_fault(name))
        }
    }

    /// Outside 64-bit mode (Intel SDM vol. 3 sections 5.3 and 5.5).
    fn segmented(
        &self,
        vcpu: &impl ProcessorState,
        name: SegmentName,
        offset: u64,
        bytes: u64,
        access: Access,
    ) -> Result<u64, Event> {
        use attributes::*;
        let segment = vcpu.segment(name);
        let has = |bit| segment.attributes & bit != 0;
        let protected = self.paging.control().cr0 & CR0_PE != 0 && self.flags & RFLAGS_VM == 0;
        // Real and virtual-8086 mode have limits but no types.
        if protected {
            let allowed = match (has(CODE), access) {
                (true, Access::Write) => false,
                (true, _) | (false, Access::Write) => has(ACCESSIBLE),
                (false, _) => true,
            };
            if !has(PRESENT) || !allowed {
                return Err(segment_fault(name));
            }
        }
        let last = offset + (bytes - 1);
        let limit = u64::from(segment.limit);
        let inside = if protected && has(EXPAND_DOWN) && !has(CODE) {
            offset > limit && last <= if has(BIG) { 0xffff_ffff } else { 0xffff }
        } else {
            last <= limit
        };
        if inside { Ok(segment.base.wrapping_add(offset) & 0xffff_ffff) } else { Err(segment_fault(name)) }
    }

    /// Ends an instruction of `length` bytes that was carried out and left `flags`.
    #[inline]
    pub(super) fn finish(&self, vcpu: &mut impl ProcessorState, length: u8, flags: u64) -> Outcome {
        vcpu.set_rip(self.code_size.rip_after(vcpu.rip(), length));
        self.leave(vcpu, flags)
    }

    /// Ends an instruction, or the part of a repeated one that was carried out.
    #[inline]
    pub(super) fn leave(&self, vcpu: &mut impl ProcessorState, flags: u64) -> Outcome {
        let flags = flags & !RFLAGS_RF;
        if flags != self.flags {
            vcpu.set_rflags(flags);
        }
        vcpu.clear_interrupt_shadow();
        if self.single_steps() { Outcome::Inject(SINGLE_STEP) } else { Outcome::Done }
    }

    /// Whether the instruction is followed by a trap.
    #[inline]
    pub(super) fn single_steps(&self) -> bool {
        self.flags & RFLAGS_TF != 0
    }
}

/// #SS(0) for the stack segment, #GP(0) for the others.
#[cold]
fn segment_fault(name: SegmentName) -> Event {
    match name {
        SegmentName::Ss => Event::Exception { vector: 12, error: Some(0) },
        _ => Event::PROTECTION,
    }
}

/// The value of a register, zero-extended.
#[inline]
pub(super) fn read_register(vcpu: &impl ProcessorState, register: Register, width: Width) -> u64 {
    let value = vcpu.register(register.index.into());
    (if register.high_byte { value >> 8 } else { value }) & width.mask()
}

/// Writes a register: 4 bytes clear the upper half, fewer leave the rest alone.
#[inline]
pub(super) fn write_register(vcpu: &mut impl ProcessorState, register: Register, width: Width, value: u64) {
    let index = register.index.into();
    let value = match width {
        Width::Qword => value,
        Width::Dword => value & 0xffff_ffff,
        _ => {
            let shift = if register.high_byte { 8 } else { 0 };
            let mask = width.mask() << shift;
            vcpu.register(index) & !mask | value << shift & mask
        }
    };
    vcpu.set_register(index, value);
}
