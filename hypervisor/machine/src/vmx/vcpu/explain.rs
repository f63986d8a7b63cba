//! What an entry that failed, or an exit that nobody asked for, means in words.

use super::VmxVcpu;
use crate::vmx::guest_state::{GuestState, SegmentState};
use crate::vmx::{exits, world};
use access::vcpu::{Exit, Vcpu};
use spec::vmx::control::entry;
use spec::vmx::{error, exit, field};

impl VmxVcpu {
    #[cold]
    pub(super) fn explain_failure(&mut self, reason: u32) {
        let qualification = self.read(field::QUALIFICATION);
        let why = match exits::entry_failure(reason, qualification) {
            Some(why) => why,
            None => self.state().fault().unwrap_or("a register of the guest"),
        };
        log::error!("the processor does not enter the guest: {why} ({qualification:#x})");
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
            long_mode: self.read(field::ENTRY_CONTROLS) as u32 & entry::LONG_MODE != 0,
            rflags: self.rflags(),
            rip: self.rip(),
            segments,
            interruptibility: self.read(field::GUEST_INTERRUPTIBILITY) as u32,
            event: self.read(field::ENTRY_EVENT) as u32,
        }
    }

    #[cold]
    pub(super) fn explain_exit(&mut self, reason: u32) {
        let name = exit::name(reason & exit::BASIC);
        let (gpa, qualification) = (self.read(field::GUEST_PHYSICAL), self.read(field::QUALIFICATION));
        match reason & exit::BASIC {
            exit::EPT_MISCONFIGURATION => {
                log::error!("the nested tables are wrong at gpa {gpa:#x}: {name}. This is a bug");
            }
            _ => log::error!("{name} made a guest exit ({qualification:#x}), which was not asked for"),
        }
    }

    /// The entry failed before it began: the VMCS is wrong, which is a bug.
    #[cold]
    pub(super) fn refused(&mut self, result: u32) -> Exit {
        let number = self.read(field::INSTRUCTION_ERROR) as u32;
        let why = match result {
            world::FAILED => error::name(number).unwrap_or("an unknown error"),
            _ => "no VMCS is current",
        };
        log::error!("the processor does not enter the guest: {why} (error {number}). This is a bug");
        self.reason = exit::ENTRY_FAILURE | exit::INVALID_STATE;
        Exit::InvalidState
    }
}
