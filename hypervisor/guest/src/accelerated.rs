//! A vCPU whose processor keeps its local APIC.
//!
//! Where interrupts are virtual, newer processors keep the part of a local APIC that is on
//! the way of every interrupt: which are pending and in service, the task priority, the end
//! of an interrupt, and the interrupt that comes next, which they deliver. The rest, with the
//! timer, the local vector table and the interrupt command, stays with
//! [`devices::LocalApic`]. Whatever that model accepts is forwarded before the next entry, so
//! its own requests are empty.
//!
//! As with interrupts that are the guest's own ([`crate::direct`]), a vCPU begins with the
//! model and changes over in x2APIC mode, when nothing is in service. It changes back when
//! the guest lets the 8259A in, whose interrupts have no place in a local APIC.

use crate::host::Host;
use crate::mailbox::Delivery;
use crate::partition::Partition;
use crate::processor::{Activity, VirtualProcessor};
use access::vcpu::{InterruptMode, Vcpu};

impl<V: Vcpu> VirtualProcessor<V> {
    /// Changes over to what the guest is allowed, if that is possible now. True: mail has
    /// to be looked at again, since a sender may have left some while this was decided.
    #[inline]
    pub(crate) fn change_over<H: Host>(&mut self, partition: &Partition<H>) -> bool {
        if self.direct.is_on() || self.accelerated {
            return false;
        }
        let allowed = partition.direct_interrupts || partition.accelerated_interrupts;
        if !allowed || self.activity != Activity::Running || !self.apic.can_hand_over() {
            return false;
        }
        match partition.direct_interrupts {
            true if self.apic.can_hand_over_timer() => self.go_direct(partition),
            // No processor delivers what the 8259A gives.
            false if !self.apic.accepts_external() => self.go_accelerated(partition),
            _ => return false,
        }
        true
    }

    #[cold]
    fn go_accelerated<H: Host>(&mut self, partition: &Partition<H>) {
        self.cpu.set_task_priority(self.apic.task_priority());
        self.cpu.set_interrupts(InterruptMode::Accelerated);
        self.collect_interrupts(partition);
        self.accelerated = true;
        if let Some(mailbox) = partition.mailboxes.get(self.index) {
            mailbox.set_delivery(Delivery::Posted);
        }
    }

    /// Back to the model, whatever hardware did of its work: see [`Self::leave_direct`].
    pub(crate) fn leave_hardware<H: Host>(&mut self, partition: &Partition<H>) {
        self.leave_direct(partition);
        self.leave_accelerated(partition);
    }

    /// Back to the model, which is as after INIT or gone: nothing of what was pending or in
    /// service is kept.
    #[cold]
    fn leave_accelerated<H: Host>(&mut self, partition: &Partition<H>) {
        if !self.accelerated {
            return;
        }
        if let Some(mailbox) = partition.mailboxes.get(self.index) {
            mailbox.set_delivery(Delivery::Mailbox);
        }
        self.cpu.set_interrupts(InterruptMode::Emulated);
        self.cpu.set_task_priority(self.apic.task_priority());
        self.accelerated = false;
        self.collect_interrupts(partition);
    }

    /// Back to the model, which goes on with what is pending and in service: the guest wants
    /// the 8259A's interrupts.
    #[cold]
    pub(crate) fn take_back<H: Host>(&mut self, partition: &Partition<H>) {
        if let Some(mailbox) = partition.mailboxes.get(self.index) {
            mailbox.set_delivery(Delivery::Mailbox);
        }
        let kept = self.cpu.kept_apic();
        self.apic.take_back(&kept);
        self.leave_accelerated(partition);
    }

    /// What the model has accepted goes to the processor.
    pub(crate) fn forward_accepted(&mut self) {
        while let Some((vector, level)) = self.apic.take_pending() {
            self.cpu.request(vector, level);
        }
    }
}
