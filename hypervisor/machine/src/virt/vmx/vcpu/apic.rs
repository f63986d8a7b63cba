//! Who takes interrupts, and the local APIC of the virtual-APIC page.

use super::VmxVcpu;
use access::vcpu::{ApicVirtualization, InterruptMode, KeptApic, Posting};
use spec::local_apic::TASK_PRIORITY;

impl ApicVirtualization for VmxVcpu {
    #[inline]
    fn cr8(&self) -> u8 {
        self.virtual_apic.task_priority() >> 4
    }

    fn set_task_priority(&mut self, value: u8) {
        self.virtual_apic.write(TASK_PRIORITY, value.into());
    }

    fn set_interrupts(&mut self, interrupts: InterruptMode) {
        if interrupts != self.interrupts {
            self.change_interrupts(interrupts);
        }
    }

    fn request(&mut self, vector: u8, level: bool) {
        self.request_kept(vector, level);
    }

    /// The processor has ended it, in the page.
    fn end_kept(&mut self, _: u8) {}

    fn kept_write(&self, register: u8) -> u64 {
        self.virtual_apic.read(register).into()
    }

    fn kept_apic(&mut self) -> KeptApic {
        let mut kept = self.virtual_apic.take_interrupts();
        if let Some(posted) = self.posted {
            posted.take().into_iter().zip(&mut kept.requests).for_each(|(posted, word)| *word |= posted);
        }
        kept
    }

    fn posting(&self) -> Option<&'static dyn Posting> {
        self.posted.map(|posted| posted as &dyn Posting)
    }
}
