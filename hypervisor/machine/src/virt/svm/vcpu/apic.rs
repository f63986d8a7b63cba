//! Who takes interrupts, and the local APIC of AVIC.

use super::super::{control, world};
use super::SvmVcpu;
use crate::cpu::apic;
use crate::virt::apic_page::Bitmap;
use access::vcpu::{ApicVirtualization, InterruptMode, KeptApic, Posting};
use spec::local_apic::{COMMAND, TASK_PRIORITY};
use spec::svm::Clean;

impl ApicVirtualization for SvmVcpu {
    fn cr8(&self) -> u8 {
        match self.avic {
            Some(avic) if self.interrupts == InterruptMode::Accelerated => avic.page.0.task_priority() >> 4,
            _ => self.vmcb.control.virtual_interrupt as u8 & 0xf,
        }
    }

    fn set_task_priority(&mut self, value: u8) {
        if let Some(avic) = self.avic {
            avic.page.0.write(TASK_PRIORITY, value.into());
        }
        let word = self.vmcb.control.virtual_interrupt & !0xff | u64::from(value >> 4);
        if word != self.vmcb.control.virtual_interrupt {
            self.vmcb.control.virtual_interrupt = word;
            self.vmcb.control.clean.remove(Clean::VIRTUAL_INTERRUPT);
        }
    }

    fn set_interrupts(&mut self, interrupts: InterruptMode) {
        if interrupts == self.interrupts {
            return;
        }
        self.hold_events();
        // From one way of direct ones to the other nothing changes hands.
        if !(self.interrupts.is_direct() && interrupts.is_direct()) {
            // SAFETY: as for `take_events`.
            unsafe { world::window() }
        }
        self.interrupts = interrupts;
        match self.avic {
            Some(avic) if interrupts == InterruptMode::Accelerated => avic.begin(apic::id()),
            Some(avic) => avic.end(),
            None => {}
        }
        control::take_interrupts(&mut self.vmcb.control, interrupts, self.frames.msr_maps.of(interrupts).0);
    }

    fn request(&mut self, vector: u8, level: bool) {
        if let Some(avic) = self.avic {
            avic.page.0.set(Bitmap::TriggerMode, vector, level);
            avic.page.0.insert(Bitmap::Requests, vector);
        }
    }

    fn end_kept(&mut self, vector: u8) {
        if let Some(avic) = self.avic {
            avic.end_of_interrupt(vector);
        }
    }

    fn kept_write(&self, register: u8) -> u64 {
        match self.avic {
            Some(avic) if register != COMMAND => avic.page.0.read(register).into(),
            // The exit tells all of that register.
            _ => self.vmcb.control.exit_info1,
        }
    }

    fn kept_apic(&mut self) -> KeptApic {
        self.avic.map_or(KeptApic::default(), |avic| avic.page.0.take_interrupts())
    }

    fn posting(&self) -> Option<&'static dyn Posting> {
        self.avic.map(|avic| avic as &dyn Posting)
    }
}
