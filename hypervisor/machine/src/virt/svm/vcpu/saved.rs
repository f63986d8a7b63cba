//! All of a vCPU's state at once.

use super::super::control::{self, SHADOW};
use super::SvmVcpu;
use crate::virt::guest_registers;
use access::vcpu::{SavedProcessor, Saving, Shadow};
use spec::svm::{Clean, exit_code, virtual_interrupt};

impl Saving for SvmVcpu {
    fn save(&self) -> SavedProcessor {
        let (control, save) = (&self.vmcb.control, &self.vmcb.save);
        SavedProcessor {
            tables: [(save.gdtr.base, save.gdtr.limit as u16), (save.idtr.base, save.idtr.limit as u16)],
            debug: [save.dr6, save.dr7],
            // SAFETY: this vCPU's guest has left its processor, which is this one.
            own: unsafe { guest_registers::save() },
            shadow: if control.interrupt_shadow & SHADOW != 0 { Shadow::MovSs } else { Shadow::None },
            nmi_masked: self.entry.masks_nmis(control),
            nmi_pending: control.virtual_interrupt & virtual_interrupt::NMI_PENDING != 0,
            left_by_exception: control::is_exception(control.exit_code),
            delivery: self.entry.interrupted(),
            // It reads page-directory pointers at each walk (APM section 15.25.10), steps by RFLAGS.TF, and has
            // RIP behind a HLT that has begun.
            ..SavedProcessor::of(self)
        }
    }

    fn restore(&mut self, saved: &SavedProcessor) {
        self.clean_processor();
        saved.put_into(self);
        let vmcb = &mut *self.vmcb;
        [vmcb.save.dr6, vmcb.save.dr7] = saved.debug;
        vmcb.control.interrupt_shadow = if saved.shadow == Shadow::None { 0 } else { SHADOW };
        vmcb.control.exit_code = if saved.left_by_exception { exit_code::EXCEPTION + 1 } else { 0 };
        vmcb.control.clean.remove(Clean::DEBUG_REGISTERS);
        self.entry.restore(&mut vmcb.control, saved);
        // SAFETY: this processor is the vCPU's, whose guest has not entered it, and the caller asked
        // `accepts`.
        unsafe { guest_registers::restore(&saved.own) };
    }

    fn accepts(&self, saved: &SavedProcessor) -> bool {
        guest_registers::accepts(saved)
    }
}
