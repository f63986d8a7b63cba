//! Who takes interrupts, and the local APIC that the processor keeps (Intel SDM vol. 3
//! chapter 31).

use super::{UNSETTLED, VmxVcpu};
use crate::cpu::apic;
use crate::cpu::interrupts::{self, POSTED};
use crate::virt::apic_page::Bitmap;
use crate::virt::vmx::events::Injection;
use crate::virt::vmx::features::KEEPS_APIC;
use crate::virt::vmx::posting::Posted;
use crate::virt::vmx::world;
use access::vcpu::{Exit, InterruptMode, Posting};
use spec::vmx::control::{PinControls, PrimaryControls};
use spec::vmx::event;
use spec::vmx::field::{self, Field};

impl VmxVcpu {
    /// Primary processor-based controls of an entry of which nothing is asked.
    pub(super) fn usual_controls(&self) -> PrimaryControls {
        let mut controls = self.features.controls.processor;
        if self.tsc_offset != 0 {
            controls |= PrimaryControls::TSC_OFFSET;
        }
        match self.interrupts {
            InterruptMode::Emulated => controls,
            // What comes wakes the guest from its HLT, or makes it exit from there.
            InterruptMode::Accelerated => controls.difference(PrimaryControls::HLT),
            // HLT and the task priority are the guest's and its processor's.
            InterruptMode::Direct | InterruptMode::DirectWithEoiExits => {
                controls.difference(PrimaryControls::HLT | PrimaryControls::TPR_SHADOW)
            }
        }
    }

    #[cold]
    pub(super) fn take_nmi(&mut self) {
        // SAFETY: processors run guests only after their interrupt table is in place.
        unsafe { world::take_nmi() };
        interrupts::was_kicked();
    }

    /// A kick came after the last look at the mailbox and before the entry, which did not
    /// take place. What it was to deliver waits for the next.
    #[cold]
    pub(super) fn kicked(&mut self) -> Exit {
        interrupts::was_kicked();
        let info = self.read(field::ENTRY_EVENT) as u32;
        if info & event::VALID != 0 {
            let error = self.read(field::ENTRY_ERROR) as u32;
            self.write(field::ENTRY_EVENT, 0);
            self.interrupted = Some(Injection { info, error });
        }
        self.pending_work |= UNSETTLED;
        Exit::Kick
    }

    #[cold]
    pub(super) fn change_interrupts(&mut self, interrupts: InterruptMode) {
        // From one way of direct ones to the other nothing changes hands.
        if !(self.interrupts.is_direct() && interrupts.is_direct()) {
            interrupts::take_pending();
        }
        self.interrupts = interrupts;
        let controls = self.features.controls;
        let (mut pins, mut secondary) = (controls.pin, controls.secondary);
        match interrupts {
            InterruptMode::Emulated => {}
            InterruptMode::Accelerated => {
                secondary |= KEEPS_APIC;
                if self.posted.is_some() {
                    pins |= PinControls::POSTED_INTERRUPTS;
                }
                self.begin_keeping();
            }
            InterruptMode::Direct | InterruptMode::DirectWithEoiExits => {
                pins.remove(PinControls::EXTERNAL_INTERRUPT);
            }
        }
        self.set_pins(pins | self.pins & PinControls::PREEMPTION_TIMER);
        self.write(field::SECONDARY_CONTROLS, secondary.bits().into());
        self.write(field::MSR_BITMAP, self.frames.msr_maps.of(interrupts).0);
        self.pending_work |= UNSETTLED;
    }

    /// Nothing is pending or in service; the task priority is what it was, and the entry
    /// works the processor priority out.
    fn begin_keeping(&mut self) {
        self.virtual_apic.take_interrupts();
        self.write(field::GUEST_INTERRUPT_STATUS, 0);
        self.watched_ends = [0; 4];
        for index in 0..self.watched_ends.len() {
            self.write(ends_field(index), 0);
        }
        if let (Some(posted), Some(hpa)) = (self.posted, self.frames.posted) {
            posted.begin(apic::id());
            self.write(field::POSTED_VECTOR, POSTED.into());
            self.write(field::POSTED_DESCRIPTOR, hpa.0);
        }
    }

    /// Section 31.2.1: the entry evaluates what is pending.
    pub(super) fn request_kept(&mut self, vector: u8, level: bool) {
        self.watch_end(vector, level);
        self.virtual_apic.insert(Bitmap::Requests, vector);
        let status = self.read(field::GUEST_INTERRUPT_STATUS);
        if vector > status as u8 {
            self.write(field::GUEST_INTERRUPT_STATUS, status & !0xff | u64::from(vector));
        }
    }

    /// The end of a level-triggered interrupt exits, so that IOAPICs hear of it.
    fn watch_end(&mut self, vector: u8, level: bool) {
        let (index, bit) = (usize::from(vector >> 6), 1 << (vector & 63));
        let before = self.watched_ends[index];
        let after = if level { before | bit } else { before & !bit };
        if after != before {
            self.watched_ends[index] = after;
            self.virtual_apic.set(Bitmap::TriggerMode, vector, level);
            self.write(ends_field(index), after);
        }
    }
}

/// The field with the ends that exit of vectors `64 * index` and up.
const fn ends_field(index: usize) -> Field {
    Field(field::EOI_EXIT.0 + 2 * (index as u32 & 3))
}

impl Posting for Posted {
    fn post(&self, vector: u8) {
        if let Some(processor) = self.leave(vector) {
            apic::send_interrupt(processor, POSTED);
        }
    }
}
