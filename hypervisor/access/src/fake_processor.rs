//! A processor that is nothing but its registers.

use std::vec::Vec;

use spec::processor::{CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME, EFER_NXE};

use crate::vcpu::{
    ControlRegisters, OwnRegisters, ProcessorState, SavedProcessor, Saving, Segment, SegmentName, Shadow,
};

/// Registers that a test sets and looks at. It never runs.
#[derive(Clone, PartialEq, Debug)]
pub struct StillProcessor {
    /// General registers.
    pub registers: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Control registers and EFER.
    pub control: ControlRegisters,
    /// Segment registers, by [`SegmentName`].
    pub segments: [Segment; 8],
    /// Privilege level.
    pub level: u8,
    /// The instruction bytes that the hardware gives.
    pub fetched: Vec<u8>,
    /// The shadow of STI or MOV SS is there.
    pub shadow: bool,
    /// Base and limit of the global and the interrupt descriptor table.
    pub tables: [(u64, u16); 2],
    /// XCR0.
    pub xcr0: u64,
    /// The error code of the event whose delivery was interrupted.
    pub interrupted: Option<u32>,
    /// An event waits to be delivered again.
    pub delivering: bool,
    /// The page-directory pointers that were set last.
    pub pae_pointers: [u64; 4],
    /// Breakpoints of one task are on.
    pub local_breakpoints: bool,
}

impl StillProcessor {
    /// In 64-bit mode at privilege level 0, with page tables at `cr3`.
    pub fn long(cr3: u64) -> Self {
        let mut vcpu = Self::flat(0xa9b);
        vcpu.control.cr0 |= CR0_PG;
        vcpu.control.cr3 = cr3;
        vcpu.control.cr4 = CR4_PAE;
        vcpu.control.efer = EFER_LME | EFER_LMA | EFER_NXE;
        vcpu
    }

    /// In flat 32-bit protected mode without paging.
    pub fn protected() -> Self {
        Self::flat(0xc9b)
    }

    /// In real mode.
    pub fn real() -> Self {
        let mut vcpu = Self::flat(0x9b);
        vcpu.control.cr0 = 0;
        for segment in &mut vcpu.segments {
            segment.limit = 0xffff;
        }
        vcpu
    }

    fn flat(code: u16) -> Self {
        let data = Segment { selector: 0x18, attributes: 0xc93, limit: u32::MAX, base: 0 };
        let mut segments = [data; 8];
        segments[SegmentName::Cs as usize].attributes = code;
        Self {
            registers: [0; 16],
            rip: 0,
            rflags: 2,
            control: ControlRegisters { cr0: CR0_PE, ..ControlRegisters::default() },
            segments,
            level: 0,
            fetched: Vec::new(),
            shadow: true,
            tables: [(0, 0); 2],
            xcr0: 1,
            interrupted: None,
            delivering: false,
            pae_pointers: [0; 4],
            local_breakpoints: true,
        }
    }

    /// A segment register, to change it.
    pub fn segment_mut(&mut self, name: SegmentName) -> &mut Segment {
        &mut self.segments[name as usize]
    }
}

impl Saving for StillProcessor {
    fn save(&self) -> SavedProcessor {
        SavedProcessor {
            tables: self.tables,
            pae_pointers: self.pae_pointers,
            own: OwnRegisters { xcr0: self.xcr0, ..OwnRegisters::default() },
            shadow: if self.shadow { Shadow::Sti } else { Shadow::None },
            ..SavedProcessor::of(self)
        }
    }
    fn restore(&mut self, saved: &SavedProcessor) {
        saved.put_into(self);
        self.xcr0 = saved.own.xcr0;
        self.shadow = saved.shadow != Shadow::None;
    }
    fn accepts(&self, saved: &SavedProcessor) -> bool {
        saved.debug.iter().all(|value| value >> 32 == 0)
    }
}

impl ProcessorState for StillProcessor {
    fn register(&self, index: usize) -> u64 {
        self.registers[index]
    }
    fn set_register(&mut self, index: usize, value: u64) {
        self.registers[index] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
    fn control(&self) -> ControlRegisters {
        self.control
    }
    fn set_control(&mut self, control: ControlRegisters) {
        self.control = control;
    }
    fn segment(&self, name: SegmentName) -> Segment {
        self.segments[name as usize]
    }
    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        self.segments[name as usize] = segment;
    }
    fn global_table(&self) -> (u64, u16) {
        self.tables[0]
    }
    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16) {
        self.tables[usize::from(interrupt)] = (base, limit);
    }
    fn privilege_level(&self) -> u8 {
        self.level
    }
    fn read_msr(&self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64) -> bool {
        false
    }
    fn next_rip(&self) -> Option<u64> {
        None
    }
    fn fetched_bytes(&self) -> &[u8] {
        &self.fetched
    }
    fn is_delivering(&self) -> bool {
        self.delivering
    }
    fn take_interrupted(&mut self) -> Option<u32> {
        self.interrupted.take()
    }
    fn set_pae_pointers(&mut self, pointers: [u64; 4]) {
        self.pae_pointers = pointers;
    }
    fn end_local_breakpoints(&mut self) {
        self.local_breakpoints = false;
    }
    fn clear_interrupt_shadow(&mut self) {
        self.shadow = false;
    }
    fn set_xcr0(&mut self, value: u64) {
        self.xcr0 = value;
    }
}
