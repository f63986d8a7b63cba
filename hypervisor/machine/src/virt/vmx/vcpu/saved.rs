//! All of a vCPU's state at once.

use super::{SHADOW, UNSETTLED, VmxVcpu};
use crate::cpu::registers;
use crate::virt::guest_registers;
use crate::virt::vmx::events::Injection;
use access::vcpu::{SavedProcessor, Saving, Shadow};
use spec::processor::CR0_PE;
use spec::vmx::field::{self, Field};
use spec::vmx::{exit, interruptibility};
use x86_64::registers::debug::Dr6;

impl Saving for VmxVcpu {
    fn save(&self) -> SavedProcessor {
        let state = self.read(field::GUEST_INTERRUPTIBILITY) as u32;
        let table = |base, limit| (self.read(base), self.read(limit) as u16);
        let pointer = |entry: u32| self.read(Field(field::GUEST_PDPTE.0 + 2 * entry));
        SavedProcessor {
            tables: [
                table(field::GUEST_GDTR_BASE, field::GUEST_GDTR_LIMIT),
                table(field::GUEST_IDTR_BASE, field::GUEST_IDTR_LIMIT),
            ],
            debug: [Dr6::read_raw(), self.read(field::GUEST_DR7)],
            // SAFETY: this vCPU's guest has left its processor, which is this one.
            own: unsafe { guest_registers::save() },
            pae_pointers: [0, 1, 2, 3].map(pointer),
            pending_debug: self.read(field::PENDING_DEBUG),
            shadow: match state & SHADOW {
                0 => Shadow::None,
                interruptibility::STI => Shadow::Sti,
                _ => Shadow::MovSs,
            },
            nmi_masked: state & interruptibility::NMI != 0,
            halted: self.read(field::GUEST_ACTIVITY) as u32 == interruptibility::HALTED,
            left_by_exception: self.reason & exit::BASIC == exit::EXCEPTION,
            delivery: self.interrupted.and_then(Injection::event),
            ..SavedProcessor::of(self)
        }
    }

    fn restore(&mut self, saved: &SavedProcessor) {
        saved.put_into(self);
        let shadow = match saved.shadow {
            Shadow::None => 0,
            Shadow::Sti => interruptibility::STI,
            Shadow::MovSs => interruptibility::MOV_SS,
        };
        let nmis = if saved.nmi_masked { interruptibility::NMI } else { 0 };
        let activity = if saved.halted { interruptibility::HALTED } else { interruptibility::ACTIVE };
        let [dr6, dr7] = saved.debug;
        for (field, value) in [
            (field::GUEST_DR7, dr7),
            (field::PENDING_DEBUG, saved.pending_debug),
            (field::GUEST_INTERRUPTIBILITY, u64::from(shadow | nmis)),
            (field::GUEST_ACTIVITY, activity.into()),
        ] {
            self.write(field, value);
        }
        self.reason = if saved.left_by_exception { exit::EXCEPTION } else { exit::CPUID };
        let is_protected = saved.control.cr0 & CR0_PE != 0;
        self.interrupted = saved.delivery.map(|event| Injection::of(event, is_protected));
        self.pending_work |= UNSETTLED;
        // SAFETY: this processor is the vCPU's, whose guest has not entered it, and the caller asked
        // `accepts`.
        unsafe {
            registers::write_dr6(dr6);
            guest_registers::restore(&saved.own);
        }
    }

    fn accepts(&self, saved: &SavedProcessor) -> bool {
        guest_registers::accepts(saved)
    }
}
