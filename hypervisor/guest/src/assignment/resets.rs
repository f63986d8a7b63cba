//! Resets of its functions that a guest asks for.

use super::{AssignedBus, passed_through};
use crate::host::Host;
use crate::mailbox;
use crate::partition::Partition;
use access::{Clock, ConfigSpace, RegisterWindow};
use iommu::Iommu;
use vpci::Slot;

/// How long an access waits for siblings that may still reach a function in their
/// guest: a kick takes microseconds. One that waits for the bus itself takes longer, and
/// does not hold the access up.
const SIBLINGS_NS: u64 = 2_000_000;

impl<C, W, I, T> AssignedBus<C, W, I, T>
where
    C: ConfigSpace,
    W: RegisterWindow,
    I: Iommu,
    T: Clock,
{
    /// The guest asked for a reset of its function. In a reset nothing answers for the
    /// function's BARs, and a sibling that has not flushed could still reach them: on
    /// some machines such an access ends everybody. So the reset waits until each has, and
    /// the function does not answer meanwhile, as one in its reset does not.
    pub(super) fn ask_reset(&mut self, slot: Slot) {
        if let Some(assignment) = self.assignments.iter_mut().find(|assignment| assignment.slot == slot)
            && let Some(function) = passed_through(&mut self.bus, slot)
        {
            function.hold();
            assignment.reset_asked = true;
            self.resets_asked = true;
        }
    }

    /// Whether a processor of the guest may still use translations that are gone.
    pub(super) fn is_flush_due<H: Host<Bus = Self>>(&self, partition: &Partition<H>) -> bool {
        partition.mailboxes.iter().any(|mailbox| mailbox.has(mailbox::FLUSH))
    }

    /// Before each access: resets that wait for siblings happen, once these have flushed.
    /// Whoever makes the access has, since its own note is taken before it enters the
    /// guest.
    pub(super) fn catch_up<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>) {
        if self.resets_asked
            && access::wait_until(&self.clock, SIBLINGS_NS, || !self.is_flush_due(partition)).is_ok()
        {
            self.reset_asked(partition);
        }
    }

    #[cold]
    pub(super) fn reset_asked<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>) {
        self.resets_asked = false;
        for index in 0..self.assignments.len() {
            let Some(assignment) = self.assignments.get_mut(index) else { return };
            if core::mem::take(&mut assignment.reset_asked) {
                self.reset_one(partition, index);
            }
        }
    }

    fn reset_one<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, index: usize) {
        let Some(assignment) = self.assignments.get(index) else { return };
        let attached = assignment.attached;
        let result = assignment.reset(&self.config, &self.clock, partition, false);
        let Some(function) = passed_through(&mut self.bus, assignment.slot) else { return };
        match result {
            Ok(_) => {
                function.start();
                function.allow_bus_master(attached);
            }
            Err(quarantine) => {
                function.quarantine();
                self.refuse(partition, format_args!("{quarantine}"));
            }
        }
    }
}
