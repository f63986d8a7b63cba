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
    fn port_read(&mut self, partition: &Partition<H>, port: u16, width: Width) -> Reply<u32> {
        self.catch_up(partition);
        if let Some((number, offset)) = BusAccess::<H>::port_endpoint(self, port) {
            return Reply::Endpoint { number, offset };
        }
        if let Some(value) = self.bus.port_read(port, width) {
            return Reply::Done(value);
        }
        // Ports of a BAR of a passed-through function are nobody's: the machine decodes none of them.
        match self.bus.port_bar_target(port) {
            Some(_) => Reply::Done(width.mask() as u32),
            None => Reply::Nothing,
        }
    }

    fn port_write(&mut self, partition: &Partition<H>, port: u16, width: Width, value: u32) -> Reply<()> {
        self.catch_up(partition);
        if let Some((number, offset)) = BusAccess::<H>::port_endpoint(self, port) {
            return Reply::Endpoint { number, offset };
        }
        if self.bus.port_write(port, width, value) {
            self.apply_effects(partition);
            return Reply::Done(());
        }
        match self.bus.port_bar_target(port) {
            Some(_) => Reply::Done(()),
            None => Reply::Nothing,
        }
    }

    fn port_endpoint(&self, port: u16) -> Option<(usize, u64)> {
        let target = self.bus.port_bar_target(port)?;
        match self.bus.function(target.slot)? {
            BusFunction::Emulated { function, endpoint } => {
                Some((*endpoint, function.device_offset(target.bar, target.offset)))
            }
            BusFunction::PassedThrough(_) => None,
        }
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
