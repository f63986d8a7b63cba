//! Who answers a guest's access to its PCI bus.

use super::AssignedBus;
use crate::bus_function::BusFunction;
use crate::host::{BusAccess, Host, Reply};
use crate::layout;
use crate::partition::Partition;
use access::{Clock, ConfigSpace, RegisterWindow};
use iommu::Iommu;
use spec::{Gpa, Width};

impl<H, C, W, I, T> BusAccess<H> for AssignedBus<C, W, I, T>
where
    H: Host<Bus = Self>,
    C: ConfigSpace + Send,
    W: RegisterWindow + Send,
    I: Iommu + Send,
    T: Clock + Send,
{
    fn port_read(&mut self, partition: &Partition<H>, port: u16, width: Width) -> Option<u32> {
        self.catch_up(partition);
        if let Some(value) = self.bus.port_read(port, width) {
            return Some(value);
        }
        // Ports of a BAR are nobody's: no function of the machine decodes them, and no emulated
        // one has any.
        self.bus.port_bar_target(port).map(|_| width.mask() as u32)
    }

    fn port_write(&mut self, partition: &Partition<H>, port: u16, width: Width, value: u32) -> bool {
        self.catch_up(partition);
        if !self.bus.port_write(port, width, value) {
            return self.bus.port_bar_target(port).is_some();
        }
        self.apply_effects(partition);
        true
    }

    fn decodes(&self, gpa: Gpa) -> bool {
        ecam_offset(gpa).is_some() || self.bus.memory_target(gpa).is_some()
    }

    fn memory_read(&mut self, partition: &Partition<H>, gpa: Gpa, width: Width) -> Reply<u64> {
        self.catch_up(partition);
        if let Some(offset) = ecam_offset(gpa) {
            return Reply::Done(self.bus.ecam_read(offset, width));
        }
        let Some(target) = self.bus.memory_target(gpa) else { return Reply::Nothing };
        let reply = self.bus.with_bar(target, |function, bar, offset, _| match function {
            BusFunction::PassedThrough(function) => Reply::Done(function.bar_read(bar, offset, width)),
            BusFunction::Emulated { endpoint, .. } => Reply::Endpoint { number: *endpoint, offset },
        });
        reply.unwrap_or(Reply::Nothing)
    }

    fn memory_write(&mut self, partition: &Partition<H>, gpa: Gpa, width: Width, value: u64) -> Reply<()> {
        self.catch_up(partition);
        if let Some(offset) = ecam_offset(gpa) {
            self.bus.ecam_write(offset, width, value);
            self.apply_effects(partition);
            return Reply::Done(());
        }
        let Some(target) = self.bus.memory_target(gpa) else { return Reply::Nothing };
        let reply = self.bus.with_bar(target, |function, bar, offset, asked| match function {
            BusFunction::PassedThrough(function) => {
                function.bar_write(bar, offset, width, value, asked);
                Reply::Done(())
            }
            BusFunction::Emulated { endpoint, .. } => Reply::Endpoint { number: *endpoint, offset },
        });
        self.apply_effects(partition);
        reply.unwrap_or(Reply::Nothing)
    }
}

fn ecam_offset(gpa: Gpa) -> Option<u64> {
    gpa.0.checked_sub(layout::ECAM.0).filter(|&offset| offset < layout::ECAM_BYTES)
}
