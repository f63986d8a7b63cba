//! The console's serial port: which of those that the plan names answers, where its
//! interrupt arrives, and whether it does.

use crate::host::IOMMUS;
use crate::lines;
use access::ConfigSpace;
use guest::host::KICK_VECTOR;
use iommu::{Iommu, RemappedInterrupt, Requester};
use machine::chipset::config_space::MachineConfigSpace;
use machine::console;
use machine::console::serial::{COM1, PC_DIVISOR, Registers, divisor};
use machine::cpu::{apic, interrupts, registers};
use plan::{ConsolePlan, Plan};
use platform::acpi::{SerialAddress, SerialInterrupt, SerialRate};
use platform::{IoApicPin, Platform};
use spec::Bdf;
use spec::apic::DeliveryMode;
use spec::pci_config::{COMMAND, command};

/// Inputs of the ISA bus, which are triggered by edges unless the firmware says otherwise.
const ISA_INTERRUPTS: u32 = platform::lines::ISA_INTERRUPTS;
/// Part of a second within which an interrupt that was asked for must have come.
const ARRIVES_WITHIN: u64 = 100;
/// Highest APIC ID in a redirection entry that nobody remaps.
const LAST_PLAIN_ID: u32 = 254;

/// Where the port's interrupt ends.
#[derive(Clone, Copy)]
pub struct Line {
    pin: IoApicPin,
    active_low: bool,
}

impl Line {
    /// That of a port; `None` where no IOAPIC has it, or it is not triggered by an edge as
    /// those of the ISA bus are. How a line of PCI is triggered a table of ports does not say.
    pub fn of(port: &ConsolePlan, platform: &Platform) -> Option<Self> {
        let overrides = platform.overrides();
        let (gsi, moved) = match port.interrupt? {
            SerialInterrupt::Isa(isa) => {
                let moved = overrides.iter().find(|moved| moved.isa_irq == isa);
                (moved.map_or(isa.into(), |moved| moved.gsi), moved)
            }
            SerialInterrupt::Global(gsi) => {
                let moved = overrides.iter().find(|moved| moved.gsi == gsi);
                if gsi >= ISA_INTERRUPTS && moved.is_none() {
                    return None;
                }
                (gsi, moved)
            }
        };
        let trigger = moved.map(|moved| moved.trigger);
        if trigger.and_then(|trigger| trigger.level) == Some(true) {
            return None;
        }
        let active_low = trigger.and_then(|trigger| trigger.active_low) == Some(true);
        Some(Self { pin: platform.io_apic_pin(gsi)?, active_low })
    }

    /// Under whose ID the IOMMU sees it, and as which of that one's interrupts: the one whose
    /// number is the vector, so that the redirection entry has that in it. An IOMMU that leaves
    /// out what IOAPICs send lets no exception's vector through then.
    pub fn remapped(&self) -> Option<(Bdf, u16)> {
        let (_, source) = self.pin.source?;
        Some((source, KICK_VECTOR.into()))
    }

    /// The same, unless the Plan has a guest's line as that interrupt.
    pub fn beside(self, plan: &Plan) -> Option<Self> {
        let mut lines =
            plan.guests.iter().flat_map(|guest| &guest.functions).filter_map(|function| function.line);
        let taken = lines.any(|line| self.remapped() == Some((line.source, lines::index(line.pin))));
        (!taken).then_some(self)
    }

    /// The redirection entry that has it wake the housekeeping CPU.
    fn entry(&self) -> Option<u64> {
        const ACTIVE_LOW: u64 = 1 << 13;
        const DESTINATION_SHIFT: u32 = 56;
        let destination = apic::id();
        let Some((source, index)) = self.remapped() else {
            let plain = IOMMUS.get().is_none_or(|units| units.lock().is_empty());
            let polarity = if self.active_low { ACTIVE_LOW } else { 0 };
            let entry = u64::from(destination) << DESTINATION_SHIFT | polarity | u64::from(KICK_VECTOR);
            return (plain && destination <= LAST_PLAIN_ID).then_some(entry);
        };
        let mode = DeliveryMode::Fixed;
        let interrupt = RemappedInterrupt { vector: KICK_VECTOR, destination, mode, level: false };
        let mut units = IOMMUS.get()?.lock();
        units.remap_pin(Requester::new(0, source), index, interrupt, self.active_low).ok()
    }

    /// Opens it and has the port raise it once; whether that came. Where not, it is closed.
    /// No guest may run yet: nobody else wakes this processor.
    fn arrives(&self, tsc_hz: u64) -> bool {
        let Some(entry) = self.entry() else { return false };
        let (io_apic, pin) = (self.pin.io_apic.base, self.pin.pin);
        if !lines::route(io_apic, pin, entry) {
            return false;
        }
        interrupts::take_vectors();
        console::raise_interrupt(true);
        let end = registers::read_tsc() + tsc_hz / ARRIVES_WITHIN;
        let mut came = false;
        while !came && registers::read_tsc() < end {
            interrupts::take_pending();
            let [first, ..] = interrupts::take_vectors();
            came = first & 1 << KICK_VECTOR != 0;
        }
        console::raise_interrupt(false);
        if !came {
            lines::silence(io_apic, pin);
        }
        came
    }
}

/// Moves the console to the first of the plan's ports that answers, and gives that. Where none
/// does, it stays at COM1, where the log began, if it is there.
pub fn choose<'p>(plan: &'p Plan, config: &MachineConfigSpace) -> Option<&'p ConsolePlan> {
    plan.console.iter().find(|port| is_here(port) || go_to(port, config))
}

/// Whether the log is there already, as it began.
fn is_here(port: &ConsolePlan) -> bool {
    let is_as_it_is = divisor_of(port.rate).is_none_or(|divisor| divisor == PC_DIVISOR);
    port.address == SerialAddress::Port(COM1) && is_as_it_is && console::has_port()
}

fn divisor_of(rate: SerialRate) -> Option<u16> {
    match rate {
        SerialRate::Keep => None,
        SerialRate::Set { baud, clock_hz } => divisor(clock_hz, baud),
    }
}

fn go_to(port: &ConsolePlan, config: &MachineConfigSpace) -> bool {
    const DECODES: u16 = command::IO_SPACE | command::MEMORY_SPACE;
    let name = &port.name;
    let before = port.function.map(|bdf| (bdf, config.read16(bdf, COMMAND)));
    if let Some((bdf, command)) = before {
        config.write16(bdf, COMMAND, command | DECODES);
    }
    log::info!("the console goes on at {name}");
    let registers = match port.address {
        SerialAddress::Port(base) => Ok(Registers::Ports(base)),
        SerialAddress::Memory { base, stride, wide } => Registers::map(base, stride, wide),
    };
    match registers.and_then(|registers| console::use_port(registers, divisor_of(port.rate))) {
        Ok(()) => log::info!("the console is at {name}; what comes before this was on COM1, if there is one"),
        Err(why) => {
            if let Some((bdf, command)) = before {
                config.write16(bdf, COMMAND, command);
            }
            log::warn!("there is no 16550 at {name}: {why}; the console stays where it is");
            return false;
        }
    }
    true
}

/// Lets the console's port interrupt the housekeeping CPU, if it can.
pub fn open(line: Option<Line>, tsc_hz: u64) {
    if !console::has_port() {
        return;
    }
    let arrives = line.is_some_and(|line| line.arrives(tsc_hz));
    console::set_line(arrives);
    if !arrives {
        let why = if line.is_some() { "arrives" } else { "is known" };
        log::info!("no interrupt of the serial port {why}; it is looked at by the timer");
    }
}
