//! The code that a processor executes: its width, and where its instructions are.

use access::vcpu::{ProcessorState, SegmentName};
use spec::processor::{EFER_LMA, RFLAGS_VM};

/// Width of code, from the code segment's L and D bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeSize {
    /// Real mode, virtual-8086 mode, and 16-bit segments.
    Bits16,
    /// 32-bit segments.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

impl CodeSize {
    /// The width of what `cpu` executes now.
    #[inline(always)]
    pub fn of(cpu: &impl ProcessorState) -> Self {
        Self::new(cpu.segment(SegmentName::Cs).attributes, cpu.control().efer, cpu.rflags())
    }

    /// The width of code in a segment with `attributes`, as
    /// [`Segment`](access::vcpu::Segment) joins them.
    ///
    /// Real mode needs no case of its own: the D bit counts there too. In virtual-8086 mode it
    /// does not.
    #[inline(always)]
    pub const fn new(attributes: u16, efer: u64, rflags: u64) -> Self {
        const DEFAULT_32: u16 = 1 << 10;
        if is_64_bit(attributes, efer) {
            Self::Bits64
        } else if attributes & DEFAULT_32 != 0 && rflags & RFLAGS_VM == 0 {
            Self::Bits32
        } else {
            Self::Bits16
        }
    }

    /// Whether `cpu` executes in 64-bit mode, asked of no more than that takes: exits are on
    /// their way through here.
    #[inline(always)]
    pub fn is_64_bit(cpu: &impl ProcessorState) -> bool {
        is_64_bit(cpu.segment(SegmentName::Cs).attributes, cpu.control().efer)
    }

    /// The linear address of the instruction at RIP. The processor has checked it against the
    /// limit of CS when it fetched.
    #[inline(always)]
    pub fn linear_rip(self, cpu: &impl ProcessorState) -> u64 {
        match self {
            Self::Bits64 => cpu.rip(),
            _ => cpu.segment(SegmentName::Cs).base.wrapping_add(cpu.rip()) & 0xffff_ffff,
        }
    }

    /// The instruction pointer `length` bytes after `rip`.
    ///
    /// It wraps at 4 GiB outside 64-bit mode. In a 16-bit segment it does not wrap at 64 KiB:
    /// the next fetch then fails at the limit, as on the processor.
    #[inline(always)]
    pub const fn rip_after(self, rip: u64, length: u8) -> u64 {
        let next = rip.wrapping_add(length as u64);
        match self {
            Self::Bits64 => next,
            _ => next & 0xffff_ffff,
        }
    }
}

/// The L bit counts in long mode only.
#[inline(always)]
const fn is_64_bit(attributes: u16, efer: u64) -> bool {
    const LONG: u16 = 1 << 9;
    attributes & LONG != 0 && efer & EFER_LMA != 0
}

#[cfg(test)]
mod tests {
    use super::CodeSize::{Bits16, Bits32, Bits64};
    use super::*;
    use access::fake_processor::StillProcessor;

    #[test]
    fn the_width_is_that_of_the_segment_and_of_the_mode() {
        for (attributes, efer, rflags, expected) in [
            (0xa9b, EFER_LMA, 2, Bits64),
            (0xa9b, 0, 2, Bits16),
            (0xc9b, EFER_LMA, 2, Bits32),
            (0xc9b, 0, 2, Bits32),
            (0x09b, EFER_LMA, 2, Bits16),
            (0x09b, 0, 2, Bits16),
            // Both bits are reserved together; the mode decides.
            (0xe9b, EFER_LMA, 2, Bits64),
            (0xe9b, 0, 2, Bits32),
            (0x0f3, 0, RFLAGS_VM, Bits16),
            (0x4f3, 0, RFLAGS_VM, Bits16),
        ] {
            assert_eq!(CodeSize::new(attributes, efer, rflags), expected, "{attributes:#x} {efer:#x}");
        }
        assert_eq!(CodeSize::of(&StillProcessor::long(0)), Bits64);
        assert_eq!(CodeSize::of(&StillProcessor::protected()), Bits32);
        assert_eq!(CodeSize::of(&StillProcessor::real()), Bits16);
    }

    #[test]
    fn the_base_of_code_counts_outside_64_bit_mode() {
        let mut cpu = StillProcessor::protected();
        cpu.rip = 0xffff_fff0;
        cpu.segment_mut(SegmentName::Cs).base = 0x1_0020;
        assert_eq!(Bits16.linear_rip(&cpu), 0x1_0010);
        assert_eq!(Bits32.linear_rip(&cpu), 0x1_0010);
        assert_eq!(Bits64.linear_rip(&cpu), 0xffff_fff0);
        cpu.rip = 0xffff_8000_0000_1000;
        assert_eq!(Bits64.linear_rip(&cpu), 0xffff_8000_0000_1000);
    }

    #[test]
    fn the_pointer_wraps_at_the_width_of_its_mode() {
        assert_eq!(Bits64.rip_after(0xffff_fffe, 3), 0x1_0000_0001);
        assert_eq!(Bits64.rip_after(u64::MAX, 2), 1);
        assert_eq!(Bits32.rip_after(0xffff_fffe, 3), 1);
        assert_eq!(Bits16.rip_after(0xfffe, 3), 0x1_0001, "beyond the limit");
    }
}
