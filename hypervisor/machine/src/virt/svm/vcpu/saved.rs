//! All of a vCPU's state at once.

use super::super::control::{self, SHADOW};
use super::SvmVcpu;
use crate::virt::guest_registers;
use access::vcpu::{ProcessorState, SAVED_MSRS, SavedProcessor, Saving, SegmentName, Shadow};
use spec::svm::{Clean, exit_code, virtual_interrupt};

impl Saving for SvmVcpu {
    fn save(&self) -> SavedProcessor {
        let (control, save) = (&self.vmcb.control, &self.vmcb.save);
        SavedProcessor {
            registers: core::array::from_fn(|index| self.register(index)),
            rip: self.rip(),
            rflags: self.rflags(),
            control: self.control(),
            segments: SegmentName::ALL.map(|name| self.segment(name)),
            tables: [(save.gdtr.base, save.gdtr.limit as u16), (save.idtr.base, save.idtr.limit as u16)],
            msrs: SAVED_MSRS.map(|number| self.read_msr(number).unwrap_or(0)),
            debug: [save.dr6, save.dr7],
            // SAFETY: this vCPU's guest has left its processor, which is this one.
            own: unsafe { guest_registers::save() },
            // The processor reads them at each walk (APM section 15.25.10), and steps by RFLAGS.TF.
            pae_pointers: [0; 4],
            pending_debug: 0,
            shadow: if control.interrupt_shadow & SHADOW != 0 { Shadow::MovSs } else { Shadow::None },
            nmi_masked: self.entry.masks_nmis(control),
            nmi_pending: control.virtual_interrupt & virtual_interrupt::NMI_PENDING != 0,
            // RIP is behind a HLT that has begun.
            halted: false,
            left_by_exception: control::is_exception(control.exit_code),
            delivery: self.entry.interrupted(),
        }
    }

    fn restore(&mut self, saved: &SavedProcessor) {
        self.clean_processor();
        for (index, value) in saved.registers.into_iter().enumerate() {
            self.set_register(index, value);
        }
        self.set_rip(saved.rip);
        self.set_rflags(saved.rflags);
        self.set_control(saved.control);
        for (name, segment) in SegmentName::ALL.into_iter().zip(saved.segments) {
            self.set_segment(name, segment);
        }
        for (interrupt, (base, limit)) in [false, true].into_iter().zip(saved.tables) {
            self.set_descriptor_table(interrupt, base, limit);
        }
        for (number, value) in SAVED_MSRS.into_iter().zip(saved.msrs) {
            self.write_msr(number, value);
        }
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
