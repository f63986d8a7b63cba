//! The guest's machine: Bulkhead's chipset, local APIC and PCI bus, with its functions behind that.
//!
//! The models are those that the hypervisor links in, and none of them knows who runs it: an access goes in, and
//! what it caused comes out as effects, which are applied here. Time is in nanoseconds since the
//! machine began: the models are told that their time-stamp counter ticks so.

use std::io::Write as _;
use std::time::{Duration, Instant};

use devices::device::CONFIG_REGISTERS;
use devices::{ApicEffect, Chipset, ChipsetConfig, Effect, Effects, Endpoint, LocalApic, Surroundings};
use guest::layout::{self, GuestLayout};
use spec::apic::{DeliveryMode, InterruptMessage};
use spec::{Gpa, Width, msr};
use vpci::{EmulatedFunction, Enables, GuestBus, PciEffect, Slot};

use crate::functions::Built;
use crate::memory::Memory;

/// Ticks of guest time a second.
const HZ: u64 = 1_000_000_000;
/// The place of the first function; the others follow.
const FIRST_DEVICE: u8 = 1;
/// Number of the one processor, and ID of its local APIC.
const PROCESSOR: u32 = 0;
const PAGE: u64 = 0x1000;

/// Why a guest runs no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It powered itself off.
    PowerOff,
    /// It asked for a reset.
    Reset,
    /// A triple fault.
    TripleFault,
    /// It waits for an interrupt and takes none.
    Halted,
    /// A model lost what it caused.
    DeviceFailed,
    /// Whoever sits at the terminal has had enough.
    Quit,
}

impl End {
    /// What is said about it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::PowerOff => "the guest powered itself off",
            Self::Reset => "the guest asked for a reset",
            Self::TripleFault => "the guest ended by a triple fault",
            Self::Halted => "the guest halted its processor for ever",
            Self::DeviceFailed => {
                "a device of the guest's failed: it caused more at once than it has room for"
            }
            Self::Quit => "the session was ended",
        }
    }
}

/// The machine of one guest.
pub struct Machine {
    memory: Memory,
    started: Instant,
    chipset: Chipset,
    effects: Effects,
    apic: LocalApic,
    bus: GuestBus<EmulatedFunction>,
    /// In the order of their slots.
    endpoints: Vec<(Slot, Endpoint)>,
    /// A non-maskable interrupt waits.
    nmi: bool,
    end: Option<End>,
    /// Accesses to where nothing is.
    unclaimed: u64,
}

impl Machine {
    /// The machine at power-up, when it is `epoch` since 1970, with these functions.
    pub fn new(layout: &GuestLayout, memory: Memory, functions: Vec<Built>, epoch: Duration) -> Self {
        let [low, high] = layout.ram();
        let chipset = Chipset::new(ChipsetConfig {
            tsc_hz: HZ,
            epoch_seconds: epoch.as_secs(),
            start: 0,
            ioapic_id: layout.ioapic_id(),
            low_memory_bytes: low.bytes,
            high_memory_bytes: high.bytes,
        });
        let mut bus = GuestBus::new(layout.windows(), functions.len());
        let mut endpoints = Vec::new();
        for (device, (function, endpoint)) in (FIRST_DEVICE..).zip(functions) {
            let slot = Slot::new(device, 0);
            bus.insert(slot, function).expect("each function has a place of its own");
            endpoints.push((slot, endpoint));
        }
        Self {
            memory,
            started: Instant::now(),
            chipset,
            effects: Effects::new(),
            apic: LocalApic::new(PROCESSOR, true),
            bus,
            endpoints,
            nmi: false,
            end: None,
            unclaimed: 0,
        }
    }

    /// Guest time.
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Why it runs no longer.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// Ends it.
    pub const fn stop(&mut self, end: End) {
        self.end = Some(end);
    }

    /// How many accesses reached nothing.
    pub const fn unclaimed(&self) -> u64 {
        self.unclaimed
    }

    /// Reads a port.
    pub fn port_read(&mut self, port: u16, width: Width) -> u32 {
        if let Some(value) = self.bus.port_read(port, width) {
            let register = self.bus.port_register(port, width);
            return match self.device_register(register, width) {
                Some((number, at)) => self.endpoint_read(number, at, width) as u32,
                None => value,
            };
        }
        let now = self.now();
        let value = self.chipset.port_read(port, width, now, &mut self.effects);
        self.apply_effects();
        value
    }

    /// Writes a port.
    pub fn port_write(&mut self, port: u16, width: Width, value: u32) {
        if self.bus.port_write(port, width, value) {
            let register = self.bus.port_register(port, width);
            let register = self.device_register(register, width);
            self.configuration_written(register, width, value.into());
            return;
        }
        let now = self.now();
        self.chipset.port_write(port, width, value, now, &mut self.effects);
        self.apply_effects();
    }

    /// Reads what is not memory; ones where nothing is.
    pub fn memory_read(&mut self, gpa: Gpa, width: Width) -> u64 {
        let offset = gpa.0 & (PAGE - 1);
        if self.is_local_apic(gpa) {
            let now = self.now();
            let value = self.apic.mmio_read(offset as u32 & !3, now);
            return u64::from(value) >> (8 * (offset & 3)) & width.mask();
        }
        if gpa.0 & !(PAGE - 1) == layout::IOAPIC.0 {
            return u64::from(self.chipset.ioapic_read(offset as u32)) & width.mask();
        }
        if let Some(offset) = ecam_offset(gpa) {
            let value = self.bus.ecam_read(offset, width);
            return match self.device_register(self.bus.ecam_register(offset), width) {
                Some((number, at)) => self.endpoint_read(number, at, width),
                None => value,
            };
        }
        match self.target(gpa) {
            Some((number, offset)) => self.endpoint_read(number, offset, width),
            None => {
                self.unclaimed += 1;
                width.mask()
            }
        }
    }

    /// Writes what is not memory.
    pub fn memory_write(&mut self, gpa: Gpa, width: Width, value: u64) {
        let offset = gpa.0 & (PAGE - 1);
        if self.is_local_apic(gpa) {
            if width == Width::Dword && offset & 3 == 0 {
                let now = self.now();
                let effect = self.apic.mmio_write(offset as u32, value as u32, now);
                self.apply_apic(effect);
            }
        } else if gpa.0 & !(PAGE - 1) == layout::IOAPIC.0 {
            self.chipset.ioapic_write(offset as u32, value as u32, &mut self.effects);
            self.apply_effects();
        } else if let Some(offset) = ecam_offset(gpa) {
            self.bus.ecam_write(offset, width, value);
            let register = self.device_register(self.bus.ecam_register(offset), width);
            self.configuration_written(register, width, value);
        } else if let Some((number, offset)) = self.target(gpa) {
            self.endpoint_write(number, offset, width, value);
        } else {
            self.unclaimed += 1;
        }
    }

    /// Reads an MSR of the local APIC's; `None` for any other.
    pub fn msr_read(&mut self, number: u32) -> Option<u64> {
        let now = self.now();
        match number {
            msr::APIC_BASE => Some(self.apic.base()),
            msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                self.apic.read((number - msr::X2APIC_FIRST) as u8, now).ok()
            }
            _ => None,
        }
    }

    /// Writes an MSR of the local APIC's. False where it is refused, or is any other.
    pub fn msr_write(&mut self, number: u32, value: u64) -> bool {
        let now = self.now();
        match number {
            msr::APIC_BASE => self.apic.set_base(value).is_ok(),
            msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                let effect = self.apic.write((number - msr::X2APIC_FIRST) as u8, value, now);
                effect.map(|effect| self.apply_apic(effect)).is_ok()
            }
            _ => false,
        }
    }

    /// A byte that was typed; false where the guest has no room for it now.
    pub fn receive(&mut self, byte: u8) -> bool {
        let taken = self.chipset.receive(byte, &mut self.effects);
        self.apply_effects();
        taken
    }

    /// Lets time go by: timers fire that are due. How long it is until the next is; `None` for ever.
    pub fn tick(&mut self) -> Option<Duration> {
        let now = self.now();
        if self.chipset.deadline().is_some_and(|due| due <= now) {
            self.chipset.tick(now, &mut self.effects);
            self.apply_effects();
        }
        if self.apic.deadline().is_some_and(|due| due <= now) {
            self.apic.expire(now);
        }
        let next = [self.chipset.deadline(), self.apic.deadline()].into_iter().flatten().min()?;
        Some(Duration::from_nanos(next.saturating_sub(now)))
    }

    /// The processor's CR8 is this: the class of its task priority.
    pub fn set_priority(&mut self, cr8: u64) {
        if cr8 != self.priority() {
            self.apic.set_cr8(cr8 as u8 & 0xf);
        }
    }

    /// What CR8 has to be.
    pub fn priority(&self) -> u64 {
        u64::from(self.apic.task_priority() >> 4)
    }

    /// Whether the processor has an interrupt to take.
    pub fn has_interrupt(&self) -> bool {
        self.has_external() || self.apic.deliverable().is_some()
    }

    /// The interrupt that the processor takes now.
    pub fn take_interrupt(&mut self) -> Option<u8> {
        if self.has_external() {
            return Some(self.chipset.acknowledge_external());
        }
        let vector = self.apic.deliverable()?;
        self.apic.acknowledge(vector);
        Some(vector)
    }

    /// Whether a non-maskable interrupt came since this was last asked.
    pub fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.nmi)
    }

    /// The 8259As interrupt, and the local APIC lets that through.
    fn has_external(&self) -> bool {
        self.chipset.external_pending() && self.apic.accepts_external()
    }

    fn is_local_apic(&self, gpa: Gpa) -> bool {
        gpa.0 & !(PAGE - 1) == layout::LOCAL_APIC.0 && self.apic.is_xapic()
    }

    /// The endpoint whose BAR is at `gpa`, and how far into it that is.
    fn target(&self, gpa: Gpa) -> Option<(usize, u64)> {
        let target = self.bus.memory_target(gpa)?;
        Some((self.number_of(target.slot)?, target.offset))
    }

    fn number_of(&self, slot: Slot) -> Option<usize> {
        self.endpoints.iter().position(|(other, _)| *other == slot)
    }

    /// The endpoint that has this register of configuration space itself, and where it finds the access.
    fn device_register(
        &self,
        register: Option<(&EmulatedFunction, u16)>,
        width: Width,
    ) -> Option<(usize, u64)> {
        let (function, offset) = register?;
        let at = function.device_register(offset, width)?;
        let (slot, _) = self.bus.functions().find(|(_, other)| std::ptr::eq(*other, function))?;
        Some((self.number_of(slot)?, CONFIG_REGISTERS + at))
    }

    /// Configuration space was written, perhaps a register there that is a device's.
    fn configuration_written(&mut self, register: Option<(usize, u64)>, width: Width, value: u64) {
        while let Some((slot, effect)) = self.bus.next_effect() {
            let Some(number) = self.number_of(slot) else { continue };
            match effect {
                PciEffect::Enables(Enables { bus_master, messages, masked, .. }) => {
                    self.with_endpoint(number, |endpoint, around| {
                        endpoint.set_enables(bus_master, messages, masked, around);
                    });
                }
                PciEffect::ResetRequested => self.with_endpoint(number, |endpoint, _| endpoint.reset()),
                PciEffect::BarRefused { bar, gpa, .. } => {
                    eprintln!("monitor: {slot}: BAR {bar} cannot be at {gpa}");
                }
                // Nothing of these functions is mapped, and the bus finds them where they are.
                _ => {}
            }
        }
        if let Some((number, at)) = register {
            self.endpoint_write(number, at, width, value);
        }
    }

    fn endpoint_read(&mut self, number: usize, offset: u64, width: Width) -> u64 {
        self.with_endpoint(number, |endpoint, around| endpoint.read(offset, width, around))
    }

    fn endpoint_write(&mut self, number: usize, offset: u64, width: Width, value: u64) {
        self.with_endpoint(number, |endpoint, around| endpoint.write(offset, width, value, around));
    }

    /// Lets `access` use an endpoint, then takes its messages to the local APIC. None of these functions has a
    /// line, prints, or has somebody to serve it.
    fn with_endpoint<R>(
        &mut self,
        number: usize,
        access: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R,
    ) -> R {
        let (mut sent, now) = (Vec::new(), self.now());
        let (_, endpoint) = &mut self.endpoints[number];
        let mut around = Surroundings {
            memory: &self.memory,
            now,
            send: &mut |message| sent.push(message),
            print: &mut |_| {},
        };
        let result = access(endpoint, &mut around);
        if endpoint.has_failed() {
            self.end = Some(End::DeviceFailed);
        }
        sent.into_iter().for_each(|message| self.route(message));
        result
    }

    fn apply_apic(&mut self, effect: ApicEffect) {
        match effect {
            ApicEffect::Send(message) => self.route(message),
            ApicEffect::EndOfInterrupt { vector, level: true } => {
                self.chipset.end_of_interrupt(vector, &mut self.effects);
                self.apply_effects();
            }
            // Timers and interrupts are looked at after every exit.
            ApicEffect::None
            | ApicEffect::Changed
            | ApicEffect::TimerChanged
            | ApicEffect::EndOfInterrupt { .. } => {}
        }
    }

    fn apply_effects(&mut self) {
        while let Some(effect) = self.effects.pop() {
            match effect {
                Effect::Message(message) => self.route(message),
                Effect::Transmit(byte) => print(byte),
                Effect::PowerOff { sleep_type: layout::SLEEP_TYPE_OFF } => self.end = Some(End::PowerOff),
                Effect::Reset => self.end = Some(End::Reset),
                // INTR is asked for when it counts, and no line is the host's.
                Effect::External(_) | Effect::Resample(_) | Effect::PowerOff { .. } => {}
            }
        }
        if self.effects.take_overflow() {
            self.end = Some(End::DeviceFailed);
        }
    }

    /// Takes a message to the one local APIC, if it is for that.
    fn route(&mut self, message: InterruptMessage) {
        if !self.apic.address().matches_from(&message.destination, PROCESSOR) {
            return;
        }
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.apic.accept(message.vector, message.level);
            }
            DeliveryMode::Nmi => self.nmi = true,
            // INIT would be the processor's own, a running one ignores start-up messages, INTR is asked for
            // when it counts, and there is no system management mode.
            DeliveryMode::Init | DeliveryMode::StartUp | DeliveryMode::ExtInt | DeliveryMode::Smi => {}
        }
    }
}

fn ecam_offset(gpa: Gpa) -> Option<u64> {
    gpa.0.checked_sub(layout::ECAM.0).filter(|&offset| offset < layout::ECAM_BYTES)
}

/// Shows a byte of the guest's console. Where nobody looks any more, nothing is shown.
fn print(byte: u8) {
    let _ = std::io::stdout().write_all(&[byte]);
}

#[cfg(test)]
mod tests;
