//! The root ports of a guest's bus: where configuration accesses go by the bus numbers that the
//! guest has written, and what ports forward of memory accesses and of requests.

use spec::{Gpa, Width};

use super::{Entry, GuestBus, InsertError};
use crate::bar::Bar;
use crate::effect::PciEffects;
use crate::function::PciFunction;
use crate::root_port::RootPort;
use crate::slot::Slot;

impl<F: PciFunction> GuestBus<F> {
    /// Puts a root port on the root bus and gives its number: functions are put behind it at
    /// [`Slot::behind`] that. At boot only: it allocates.
    ///
    /// # Errors
    /// The slot is taken or behind a root port, or there are 255 ports.
    pub fn insert_port(&mut self, slot: Slot) -> Result<u8, InsertError> {
        if self.is_there(slot) {
            return Err(InsertError::Taken(slot));
        }
        if slot.port() != 0 {
            return Err(InsertError::NoPort(slot));
        }
        let number = u8::try_from(self.ports.len() + 1).map_err(|_| InsertError::Full)?;
        self.ports.push((slot, RootPort::new()));
        Ok(number)
    }

    /// The root port in `slot`.
    pub(super) fn port_in(&self, slot: Slot) -> Option<&(Slot, RootPort)> {
        self.ports.iter().find(|(at, _)| *at == slot)
    }

    /// The place that a configuration access reaches; `id` is bus, device and function number, as
    /// the guest numbers them. `None`: no bus has that number, or there is no such place on it.
    pub(super) fn route(&self, id: u16) -> Option<Slot> {
        let (bus, devfn) = ((id >> 8) as u8, id as u8);
        if bus == 0 {
            return Some(Slot(id));
        }
        // Of two that claim a number the first has it.
        let (_, number) = self.ports.iter().zip(1..).find(|((_, port), _)| port.leads_to(bus))?;
        // A link has one device.
        (devfn < 8).then(|| Slot::behind(number, devfn))
    }

    /// Writes a root port's configuration space; that of nobody where none is in `slot`.
    #[cold]
    pub(super) fn write_port(&mut self, slot: Slot, offset: u16, width: Width, value: u32) {
        let mut ports = self.ports.iter_mut().zip(1_u8..);
        let Some(((_, port), number)) = ports.find(|((at, _), _)| *at == slot) else { return };
        if port.config_write(offset, width, value) {
            for entry in self.functions.iter_mut().filter(|entry| entry.slot.port() == number) {
                entry.reset();
                entry.effects.reset_requested();
            }
        }
        self.settle_ports();
    }

    /// Makes what is behind root ports agree with what they forward.
    pub(super) fn settle_ports(&mut self) {
        for entry in &mut self.functions {
            entry.tell_forwarding(&self.ports);
        }
        self.reconcile();
    }
}

impl<F: PciFunction> Entry<F> {
    /// Tells the function whether its requests are forwarded.
    pub(super) fn tell_forwarding(&mut self, ports: &[(Slot, RootPort)]) {
        let mut asked = PciEffects::new();
        let forwarded = above(ports, self.slot).is_none_or(RootPort::masters);
        self.function.set_forwarded(forwarded, &mut asked);
        self.effects.collect(&asked);
    }
}

/// Where a BAR of the function in `slot` takes accesses: where the guest decodes it, as far as the
/// root port above it forwards accesses to all of it. Ports are forwarded by none.
pub(super) fn reached_at(ports: &[(Slot, RootPort)], slot: Slot, bar: &Bar) -> Option<Gpa> {
    let gpa = bar.decoded_at()?;
    let reached = match above(ports, slot) {
        Some(port) => bar.kind.is_memory() && port.forwards(gpa.0, bar.size),
        None => true,
    };
    reached.then_some(gpa)
}

/// The root port above a place; `None` on the root bus.
fn above(ports: &[(Slot, RootPort)], slot: Slot) -> Option<&RootPort> {
    let index = usize::from(slot.port()).checked_sub(1)?;
    ports.get(index).map(|(_, port)| port)
}
