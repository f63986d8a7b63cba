//! The whole state of a virtual processor, as it is saved between two instructions.

use super::{ControlRegisters, Event, ProcessorState, Segment, SegmentName};
use serde::{Deserialize, Serialize};
use spec::msr;

/// The MSRs that are saved, beside those that are control registers or bases of segments.
pub const SAVED_MSRS: [u32; 9] = [
    msr::PAT,
    msr::STAR,
    msr::LSTAR,
    msr::CSTAR,
    msr::SFMASK,
    msr::KERNEL_GS_BASE,
    msr::SYSENTER_CS,
    msr::SYSENTER_ESP,
    msr::SYSENTER_EIP,
];

/// Which instruction holds interrupts back until after the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Shadow {
    /// None does.
    #[default]
    None,
    /// STI.
    Sti,
    /// MOV SS or POP SS. A processor that does not tell the two apart says so of both.
    MovSs,
}

/// An XSAVE area in the standard form: the legacy area, the header, and AVX state (Intel SDM
/// vol. 1 section 13.4), 832 bytes. A processor without XSAVE has the legacy area alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[repr(C, align(64))]
pub struct ExtendedState(pub [[u8; 32]; 26]);

impl ExtendedState {
    /// State components that it has room for: x87, SSE, AVX.
    pub const COMPONENTS: u64 = 0b111;

    fn word(&self, offset: usize) -> u64 {
        let bytes = self.0.as_flattened();
        bytes
            .get(offset..offset + 8)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// Whether a processor that has these `components`, and lets these bits of MXCSR be set, loads it
    /// without a fault: XRSTOR wants no other component, zeros in the rest of the header, and no
    /// other bit of MXCSR (Intel SDM vol. 1 section 13.8).
    pub fn is_loadable(&self, components: u64, mxcsr_mask: u32) -> bool {
        const MXCSR: usize = 24;
        const HEADER: usize = 512;
        let mxcsr = self.word(MXCSR) as u32;
        let rest = (HEADER + 8..HEADER + 64).step_by(8);
        self.word(HEADER) & !(components & Self::COMPONENTS) == 0
            && rest.map(|offset| self.word(offset)).all(|word| word == 0)
            && mxcsr & !mxcsr_mask == 0
    }
}

/// The registers that belong to a guest alone, which no control block of either vendor holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnRegisters {
    /// DR0 to DR3.
    pub breakpoints: [u64; 4],
    /// XCR0.
    pub xcr0: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// The registers of x87, SSE and AVX.
    pub extended: ExtendedState,
}

/// The whole state of a virtual processor that has left its guest, but for its local APIC.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SavedProcessor {
    /// General registers, as instructions encode them.
    pub registers: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Control registers and EFER.
    pub control: ControlRegisters,
    /// Segment registers, by [`SegmentName`](super::SegmentName).
    pub segments: [Segment; 8],
    /// Base and limit of the global and the interrupt descriptor table.
    pub tables: [(u64, u16); 2],
    /// [`SAVED_MSRS`].
    pub msrs: [u64; SAVED_MSRS.len()],
    /// DR6 and DR7.
    pub debug: [u64; 2],
    /// What stands in the processor itself.
    pub own: OwnRegisters,
    /// The page-directory pointers of PAE paging, where the processor keeps them.
    pub pae_pointers: [u64; 4],
    /// Debug exceptions that wait for the next instruction boundary (VT-x).
    pub pending_debug: u64,
    /// Interrupts are held back.
    pub shadow: Shadow,
    /// The guest's handler of NMIs runs.
    pub nmi_masked: bool,
    /// The processor holds an NMI back behind that.
    pub nmi_pending: bool,
    /// It stands in a HLT that does not exit.
    pub halted: bool,
    /// The last exit was an exception: DR6 says already why, where it was #DB.
    pub left_by_exception: bool,
    /// The event whose delivery the last exit interrupted.
    pub delivery: Option<Event>,
}

impl SavedProcessor {
    /// What `state` tells, whichever processor is behind it. The rest is as after a reset.
    pub fn of(state: &impl ProcessorState) -> Self {
        Self {
            registers: core::array::from_fn(|index| state.register(index)),
            rip: state.rip(),
            rflags: state.rflags(),
            control: state.control(),
            segments: SegmentName::ALL.map(|name| state.segment(name)),
            msrs: SAVED_MSRS.map(|number| state.read_msr(number).unwrap_or(0)),
            ..Self::default()
        }
    }

    /// Puts into `state` what it takes, whichever processor is behind it.
    pub fn put_into(&self, state: &mut impl ProcessorState) {
        for (index, value) in self.registers.into_iter().enumerate() {
            state.set_register(index, value);
        }
        state.set_rip(self.rip);
        state.set_rflags(self.rflags);
        state.set_control(self.control);
        for (name, segment) in SegmentName::ALL.into_iter().zip(self.segments) {
            state.set_segment(name, segment);
        }
        for (is_interrupt, (base, limit)) in [false, true].into_iter().zip(self.tables) {
            state.set_descriptor_table(is_interrupt, base, limit);
        }
        for (number, value) in SAVED_MSRS.into_iter().zip(self.msrs) {
            state.write_msr(number, value);
        }
        state.set_pae_pointers(self.pae_pointers);
    }
}

/// A virtual processor whose state can be taken out and put back.
pub trait Saving {
    /// The state of a vCPU that has left its guest, on its own processor, while no local APIC is
    /// kept by that ([`InterruptMode::Emulated`](super::InterruptMode::Emulated)).
    fn save(&self) -> SavedProcessor;
    /// Puts a state into a vCPU that was just reset, on its own processor. It was found
    /// [acceptable](Self::accepts); an entry may refuse it all the same, which ends the guest.
    fn restore(&mut self, saved: &SavedProcessor);
    /// Whether every register takes what `saved` has for it, on whatever processor of the machine
    /// this is asked.
    fn accepts(&self, saved: &SavedProcessor) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(offset: usize, byte: u8) -> ExtendedState {
        let mut state = ExtendedState::default();
        state.0.as_flattened_mut()[offset] = byte;
        state
    }

    #[test]
    fn an_area_that_would_fault_is_not_loadable() {
        assert!(ExtendedState::default().is_loadable(3, 0xffbf));
        assert!(with(512, 3).is_loadable(7, 0xffbf));
        assert!(!with(512, 7).is_loadable(3, 0xffbf), "AVX on a processor without");
        assert!(!with(512, 9).is_loadable(u64::MAX, 0xffbf), "a component without room");
        for offset in 520..576 {
            assert!(!with(offset, 1).is_loadable(7, 0xffbf), "byte {offset} of the header");
        }
        assert!(!with(24, 0x40).is_loadable(7, 0xffbf), "DAZ where there is none");
        assert!(with(24, 0x40).is_loadable(7, 0xffff));
        assert!(!with(26, 1).is_loadable(7, 0xffff), "a reserved bit of MXCSR");
    }
}
