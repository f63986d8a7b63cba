//! Who answers a guest's access to its PCI bus.

use super::AssignedBus;
use crate::bus_function::BusFunction;
use crate::host::{BusAccess, Host, Reply};
use crate::layout;
use crate::partition::Partition;
use access::{Clock, ConfigSpace, RegisterWindow};
use devices::device::CONFIG_REGISTERS;
use iommu::Iommu;
use spec::{Gpa, Width};
use vpci::GuestBus;

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
        match self.bus.port_read(port, width) {
            Some(value) => by_device(self.bus.port_register(port, width), width, value),
            None => at_port(&self.bus, port, width.mask() as u32),
        }
    }

    fn port_write(&mut self, partition: &Partition<H>, port: u16, width: Width, value: u32) -> Reply<()> {
        self.catch_up(partition);
        if !self.bus.port_write(port, width, value) {
            return at_port(&self.bus, port, ());
        }
        self.apply_effects(partition);
        by_device(self.bus.port_register(port, width), width, ())
    }

    fn port_endpoint(&self, port: u16) -> Option<(usize, u64)> {
        match at_port(&self.bus, port, ()) {
            Reply::Endpoint { number, offset } => Some((number, offset)),
            Reply::Done(()) | Reply::Nothing => None,
        }
    }

    fn decodes(&self, gpa: Gpa) -> bool {
        ecam_offset(gpa).is_some() || self.bus.memory_target(gpa).is_some()
    }

    fn memory_read(&mut self, partition: &Partition<H>, gpa: Gpa, width: Width) -> Reply<u64> {
        self.catch_up(partition);
        if let Some(offset) = ecam_offset(gpa) {
            let value = self.bus.ecam_read(offset, width);
            return by_device(self.bus.ecam_register(offset), width, value);
        }
        let Some(target) = self.bus.memory_target(gpa) else { return Reply::Nothing };
        let reply = self.bus.with_bar(target, |function, bar, offset, _| match function {
            BusFunction::PassedThrough(function) => Reply::Done(function.bar_read(bar, offset, width)),
            // The processor reaches it; the interpreter does not, and finds nothing.
            BusFunction::Emulated { function, .. } if function.is_memory(bar) => Reply::Done(width.mask()),
            BusFunction::Emulated { endpoint, .. } => Reply::Endpoint { number: *endpoint, offset },
        });
        reply.unwrap_or(Reply::Nothing)
    }

    fn memory_write(&mut self, partition: &Partition<H>, gpa: Gpa, width: Width, value: u64) -> Reply<()> {
        self.catch_up(partition);
        if let Some(offset) = ecam_offset(gpa) {
            self.bus.ecam_write(offset, width, value);
            self.apply_effects(partition);
            return by_device(self.bus.ecam_register(offset), width, ());
        }
        let Some(target) = self.bus.memory_target(gpa) else { return Reply::Nothing };
        let reply = self.bus.with_bar(target, |function, bar, offset, asked| match function {
            BusFunction::PassedThrough(function) => {
                function.bar_write(bar, offset, width, value, asked);
                Reply::Done(())
            }
            BusFunction::Emulated { function, .. } if function.is_memory(bar) => Reply::Done(()),
            BusFunction::Emulated { endpoint, .. } => Reply::Endpoint { number: *endpoint, offset },
        });
        self.apply_effects(partition);
        reply.unwrap_or(Reply::Nothing)
    }
}

/// Who answers at a port that is not one of configuration mechanism 1. Those of a passed-through
/// function's BAR are nobody's, which gives `nobody`: the machine decodes none of them.
fn at_port<C: ConfigSpace, W: RegisterWindow, T>(
    bus: &GuestBus<BusFunction<C, W>>,
    port: u16,
    nobody: T,
) -> Reply<T> {
    let Some(target) = bus.port_bar_target(port) else { return Reply::Nothing };
    match bus.function(target.slot) {
        Some(BusFunction::Emulated { function, endpoint }) => {
            Reply::Endpoint { number: *endpoint, offset: function.device_offset(target.bar, target.offset) }
        }
        Some(BusFunction::PassedThrough(_)) | None => Reply::Done(nobody),
    }
}

/// Who answers an access to configuration space: the device, where all of it is in registers of the
/// device's. What the bus did before with a reply of its own is nothing then.
fn by_device<C: ConfigSpace, W: RegisterWindow, T>(
    register: Option<(&BusFunction<C, W>, u16)>,
    width: Width,
    reply: T,
) -> Reply<T> {
    if let Some((BusFunction::Emulated { function, endpoint }, offset)) = register
        && let Some(at) = function.device_register(offset, width)
    {
        return Reply::Endpoint { number: *endpoint, offset: CONFIG_REGISTERS + at };
    }
    Reply::Done(reply)
}

fn ecam_offset(gpa: Gpa) -> Option<u64> {
    gpa.0.checked_sub(layout::ECAM.0).filter(|&offset| offset < layout::ECAM_BYTES)
}
