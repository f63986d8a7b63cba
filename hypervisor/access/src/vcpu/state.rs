//! A processor's state, as far as software looks at it and changes it.

use serde::{Deserialize, Serialize};

/// The sixteen general registers, numbered as instructions encode them.
/// RSP (4) is kept by the backend's control block while the guest is out; the
/// backend's [`ProcessorState::register`] knows.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GeneralRegisters(pub [u64; 16]);

/// Index of RAX in [`GeneralRegisters`].
pub const RAX: usize = 0;
/// Index of RCX.
pub const RCX: usize = 1;
/// Index of RDX.
pub const RDX: usize = 2;
/// Index of RBX.
pub const RBX: usize = 3;
/// Index of RSP.
pub const RSP: usize = 4;
/// Index of RBP.
pub const RBP: usize = 5;
/// Index of RSI.
pub const RSI: usize = 6;
/// Index of RDI.
pub const RDI: usize = 7;

/// A segment register with its hidden part. `attributes` are in the layout of
/// bits 8 to 15 and 20 to 23 of a descriptor, joined (AMD APM vol. 2 section
/// 15.5.1): type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Joined attributes; 0 means unusable.
    pub attributes: u16,
    /// Limit in bytes, with granularity applied.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}

/// Which segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SegmentName {
    /// Extra.
    Es = 0,
    /// Code.
    Cs = 1,
    /// Stack.
    Ss = 2,
    /// Data.
    Ds = 3,
    /// FS.
    Fs = 4,
    /// GS.
    Gs = 5,
    /// Local descriptor table.
    Ldtr = 6,
    /// Task register.
    Tr = 7,
}

impl SegmentName {
    /// All of them, each at its number.
    pub const ALL: [Self; 8] =
        [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs, Self::Ldtr, Self::Tr];
}

/// Control and mode registers that most exits do not need.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER as the guest sees it.
    pub efer: u64,
}

/// The state of a processor that has stopped before an instruction.
///
/// It is what carrying out that instruction needs, switching tasks, and loading a kernel. A
/// plain structure can implement it.
pub trait ProcessorState {
    /// General register `index` (0 to 15, as instructions encode them).
    fn register(&self, index: usize) -> u64;
    /// Sets general register `index`.
    fn set_register(&mut self, index: usize, value: u64);
    /// Instruction pointer (an offset in CS).
    fn rip(&self) -> u64;
    /// Sets the instruction pointer.
    fn set_rip(&mut self, value: u64);
    /// Flags.
    fn rflags(&self) -> u64;
    /// Sets the flags.
    fn set_rflags(&mut self, value: u64);
    /// Control registers and EFER.
    fn control(&self) -> ControlRegisters;
    /// Sets control registers and EFER; values must be consistent.
    fn set_control(&mut self, control: ControlRegisters);
    /// A segment register.
    fn segment(&self, name: SegmentName) -> Segment;
    /// Sets a segment register.
    fn set_segment(&mut self, name: SegmentName, segment: Segment);
    /// Base and limit of the global descriptor table.
    fn global_table(&self) -> (u64, u16);
    /// Base and limit of the global (false) or interrupt (true) descriptor table.
    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16);
    /// Current privilege level, 0 to 3.
    fn privilege_level(&self) -> u8;
    /// Reads an MSR that the backend holds for the guest; `None` if it holds none
    /// of that number.
    fn read_msr(&self, msr: u32) -> Option<u64>;
    /// Writes an MSR that the backend holds for the guest; false if it holds none
    /// of that number.
    fn write_msr(&mut self, msr: u32, value: u64) -> bool;
    /// Sets XCR0, which the backend leaves to the guest; `value` is legal on this machine.
    fn set_xcr0(&mut self, value: u64);

    /// Sets the four page-directory pointers, checked, that go with CR3 where there is PAE
    /// without long mode (Intel SDM vol. 3 section 4.4.1). A processor that reads them at
    /// each walk needs none.
    fn set_pae_pointers(&mut self, pointers: [u64; 4]) {
        let _ = pointers;
    }
    /// Switches the breakpoints off that are one task's alone (DR7's L0 to L3 and LE). For
    /// processors that leave task switches to software.
    fn end_local_breakpoints(&mut self) {}
    /// Ends the shadow of STI or MOV SS, as stepping over an instruction does.
    fn clear_interrupt_shadow(&mut self);

    /// RIP of the instruction after the one that exited, where the hardware says.
    fn next_rip(&self) -> Option<u64>;
    /// The bytes of the faulting instruction, where the hardware gives them.
    fn fetched_bytes(&self) -> &[u8];
    /// Whether an event waits to be delivered again, since the last exit interrupted that.
    fn is_delivering(&self) -> bool;
    /// Forgets the event whose delivery the last exit interrupted: it is being delivered
    /// otherwise. Gives its error code, if it has one.
    fn take_interrupted(&mut self) -> Option<u32>;
}
