//! What an entry that failed, or an exit that nobody asked for, means in words: kept for the
//! guest's end, which tells it in the guest's name and on its budget of lines.

use super::VmxVcpu;
use crate::virt::vmx::guest_state::{GuestState, SegmentState};
use crate::virt::vmx::{exits, world};
use access::vcpu::{Exit, ProcessorState};
use spec::vmx::control::EntryControls;
use spec::vmx::{error, exit, field};

impl VmxVcpu {
    #[cold]
    pub(super) fn explain_failure(&mut self, reason: u32) {
        let qualification = self.read(field::QUALIFICATION);
        let why = match exits::entry_failure(reason, qualification) {
            Some(why) => why,
            None => self.state().fault().unwrap_or("a register of the guest"),
        };
        self.explanation = Some((why, qualification));
    }

    /// What the checks of an entry look at.
    #[cold]
    fn state(&self) -> GuestState {
        let segments = core::array::from_fn(|index| SegmentState {
            selector: self.read(field::GUEST_SELECTOR.of_segment(index)) as u16,
            rights: self.read(field::GUEST_RIGHTS.of_segment(index)) as u32,
            limit: self.read(field::GUEST_LIMIT.of_segment(index)) as u32,
            base: self.read(field::GUEST_BASE.of_segment(index)),
        });
        GuestState {
            cr0: self.read(field::GUEST_CR0),
            cr4: self.read(field::GUEST_CR4),
            efer: self.read(field::GUEST_EFER),
            long_mode: self.read(field::ENTRY_CONTROLS) as u32 & EntryControls::LONG_MODE.bits() != 0,
            rflags: self.rflags(),
            rip: self.rip(),
            segments,
            interruptibility: self.read(field::GUEST_INTERRUPTIBILITY) as u32,
            event: self.read(field::ENTRY_EVENT) as u32,
        }
    }

    #[cold]
    pub(super) fn explain_exit(&mut self, reason: u32) {
        let number = match reason & exit::BASIC {
            // The address at which the nested tables are wrong.
            exit::EPT_MISCONFIGURATION => self.read(field::GUEST_PHYSICAL),
            _ => self.read(field::QUALIFICATION),
        };
        self.explanation = Some((exit::name(reason & exit::BASIC), number));
    }

    /// The entry failed before it began: the VMCS is wrong, which is a bug.
    #[cold]
    pub(super) fn refused(&mut self, result: u32) -> Exit {
        let number = self.read(field::INSTRUCTION_ERROR) as u32;
        let why = match result {
            world::FAILED => error::name(number).unwrap_or("an unknown error"),
            _ => "no VMCS is current",
        };
        self.explanation = Some((why, number.into()));
        self.reason = exit::ENTRY_FAILURE | exit::INVALID_STATE;
        Exit::InvalidState
    }
}
