//! The device behind the BAR of an emulated function: the model with its MSI-X table and its
//! medium, and the one place where the model's effects are applied.
//!
//! One lock around an endpoint serves every vCPU of its guest; the guest's bus is not locked
//! meanwhile. The effects of one endpoint apply in order.

use crate::device::{Completion, Context, Device, DeviceEffect, Request};
use crate::effect::Effects;
use crate::medium::Medium;
use crate::msix::Messages;
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use spec::apic::InterruptMessage;
use spec::{Gpa, Width};

/// What an endpoint needs for the time of one call.
pub struct Surroundings<'a> {
    /// The guest's memory.
    pub memory: &'a dyn GuestMemory,
    /// Guest time, in ticks of the time-stamp counter.
    pub now: u64,
    /// Takes an interrupt message to the guest's local APICs.
    pub send: &'a mut dyn FnMut(InterruptMessage),
}

/// An emulated device, whole but for its configuration space.
pub struct Endpoint {
    device: Box<dyn Device>,
    medium: Box<dyn Medium>,
    effects: Effects<DeviceEffect>,
    messages: Messages,
    /// Bytes from the start of the BAR to the MSI-X table.
    table: u64,
    /// Bytes from the start of the BAR to the pending bits.
    pending: u64,
    bus_master: bool,
    failed: bool,
}

/// The guest's memory as far as the function may reach it.
struct Reach<'a> {
    memory: &'a dyn GuestMemory,
    bus_master: bool,
}

impl GuestMemory for Reach<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        if self.bus_master { self.memory.read(gpa, bytes) } else { Err(OutOfBounds) }
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        if self.bus_master { self.memory.write(gpa, bytes) } else { Err(OutOfBounds) }
    }
}

impl Endpoint {
    /// The endpoint of `device`, as after reset. Its registers take the first `table` bytes of
    /// the BAR; the table of its `messages` messages is there, and `pending` bytes into the
    /// BAR are their pending bits.
    pub fn new(
        device: Box<dyn Device>,
        medium: Box<dyn Medium>,
        messages: u16,
        table: u64,
        pending: u64,
    ) -> Self {
        let effects = Effects::with_capacity(device.most_effects());
        let messages = Messages::new(messages);
        Self { device, medium, effects, messages, table, pending, bus_master: false, failed: false }
    }

    /// Reads `width` bytes, `offset` bytes into the BAR.
    pub fn read(&mut self, offset: u64, width: Width, around: &mut Surroundings<'_>) -> u64 {
        if offset >= self.pending {
            return self.messages.read_pending(offset - self.pending, width);
        }
        if offset >= self.table {
            return self.messages.read(offset - self.table, width);
        }
        let value = self.with_device(around, |device, context| device.read(offset, width, context));
        self.apply(around);
        value
    }

    /// Writes `width` bytes, `offset` bytes into the BAR.
    pub fn write(&mut self, offset: u64, width: Width, value: u64, around: &mut Surroundings<'_>) {
        if offset >= self.pending {
            return;
        }
        if offset >= self.table {
            return self.messages.write(offset - self.table, width, value, &mut *around.send);
        }
        self.with_device(around, |device, context| device.write(offset, width, value, context));
        self.apply(around);
    }

    /// What the function's configuration space lets the device do: master the bus, and send
    /// messages, which wait while all of them are `masked`.
    pub fn set_enables(
        &mut self,
        bus_master: bool,
        messages: bool,
        masked: bool,
        around: &mut Surroundings<'_>,
    ) {
        self.bus_master = bus_master;
        self.messages.set_enables(messages, masked || !bus_master, &mut *around.send);
    }

    /// As after power-up.
    pub fn reset(&mut self) {
        self.device.reset();
        self.messages.reset();
        self.effects.clear();
        self.bus_master = false;
        self.failed = false;
    }

    /// Whether the model caused more effects than it said: the guest has lost something.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn with_device<R>(
        &mut self,
        around: &Surroundings<'_>,
        access: impl FnOnce(&mut dyn Device, &mut Context<'_>) -> R,
    ) -> R {
        let reach = Reach { memory: around.memory, bus_master: self.bus_master };
        let mut context = Context { memory: &reach, now: around.now, effects: &mut self.effects };
        access(&mut *self.device, &mut context)
    }

    fn apply(&mut self, around: &mut Surroundings<'_>) {
        while let Some(effect) = self.effects.pop() {
            match effect {
                DeviceEffect::Msi(index) => {
                    if let Some(message) = self.messages.raise(index) {
                        (around.send)(message);
                    }
                }
                DeviceEffect::Submit(request) => self.submit(request, around),
                // The function has no INTx pin.
                DeviceEffect::Line => {}
            }
        }
        self.failed |= self.effects.take_overflow();
    }

    fn submit(&mut self, request: Request, around: &mut Surroundings<'_>) {
        let reach = Reach { memory: around.memory, bus_master: self.bus_master };
        let outcome = self.medium.perform(&request, &reach);
        let completion = Completion { tag: request.tag, outcome };
        self.with_device(around, |device, context| device.complete(completion, context));
    }
}

#[cfg(test)]
mod tests;
