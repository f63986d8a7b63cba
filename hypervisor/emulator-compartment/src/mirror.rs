//! The processor as the compartment has it: what ring 0 said of it, and what became of that.

use crate::call::{Segments, State};
use access::vcpu::{ControlRegisters, ProcessorState, Segment, SegmentName};
use core::cell::Cell;

/// A processor's state, and which of it was changed.
pub(crate) struct Mirror<'a> {
    pub state: State,
    /// A bit for each general register that was written.
    pub written: u16,
    pub shadow_ended: bool,
    /// A segment was asked for that is not there.
    pub lacks: &'a Cell<bool>,
}

impl<'a> Mirror<'a> {
    pub const fn new(state: State, lacks: &'a Cell<bool>) -> Self {
        Self { state, written: 0, shadow_ended: false, lacks }
    }
}

impl ProcessorState for Mirror<'_> {
    #[inline]
    fn register(&self, index: usize) -> u64 {
        self.state.registers.get(index).copied().unwrap_or(0)
    }
    #[inline]
    fn set_register(&mut self, index: usize, value: u64) {
        if let Some(register) = self.state.registers.get_mut(index) {
            *register = value;
            self.written |= 1 << index;
        }
    }
    fn rip(&self) -> u64 {
        self.state.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.state.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.state.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.state.rflags = value;
    }
    fn control(&self) -> ControlRegisters {
        self.state.control
    }
    fn set_control(&mut self, control: ControlRegisters) {
        self.state.control = control;
    }
    #[inline]
    fn segment(&self, name: SegmentName) -> Segment {
        if self.state.has == Segments::Code && name != SegmentName::Cs {
            self.lacks.set(true);
        }
        self.state.segments.get(name as usize).copied().unwrap_or_default()
    }
    fn privilege_level(&self) -> u8 {
        self.state.level
    }
    fn clear_interrupt_shadow(&mut self) {
        self.shadow_ended = true;
    }
    fn fetched_bytes(&self) -> &[u8] {
        let (bytes, count) = &self.state.fetched;
        bytes.get(..usize::from(*count)).unwrap_or_default()
    }

    // No instruction that is interpreted here asks for the rest, or changes it.
    fn set_segment(&mut self, _: SegmentName, _: Segment) {}
    fn global_table(&self) -> (u64, u16) {
        (0, 0)
    }
    fn set_descriptor_table(&mut self, _: bool, _: u64, _: u16) {}
    fn read_msr(&self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64) -> bool {
        false
    }
    fn set_xcr0(&mut self, _: u64) {}
    fn next_rip(&self) -> Option<u64> {
        None
    }
    fn is_delivering(&self) -> bool {
        false
    }
    fn take_interrupted(&mut self) -> Option<u32> {
        None
    }
}
