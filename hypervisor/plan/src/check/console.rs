//! Which serial port is the console's: what the configuration names, or the firmware's tables
//! where they can be believed. Whose registers it is at belongs to the hypervisor.

use super::Report;
use crate::config::{Config, Console, ConsolePort, GuestConfig, SerialCard};
use crate::plan::{ConsolePlan, Plan, PortName};
use crate::problem::Problem;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::acpi::{SerialAddress, SerialInterrupt, SerialRate};
use platform::pci::Bar;
use platform::{Function, Platform};
use spec::{Bdf, Hpa};

/// The key that this is about.
const KEY: &str = "hypervisor.console";
/// The serial ports of a PC: their I/O ports and their ISA interrupts.
const PC_PORTS: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
/// Registers of a 16550.
const REGISTERS: u64 = 8;
/// Class of simple communication controllers, serial ports among them.
const COMMUNICATION: u32 = 0x07;

impl ConsolePlan {
    /// A PC's port, by its place among the four.
    fn com(place: usize) -> Option<Self> {
        let &(port, isa) = PC_PORTS.get(place)?;
        Some(Self {
            name: PortName::Com(u8::try_from(place).ok()?.saturating_add(1)),
            address: SerialAddress::Port(port),
            rate: SerialRate::PC,
            interrupt: Some(SerialInterrupt::Isa(isa)),
            function: None,
        })
    }

    /// Whether it is one of the four that every PC may have.
    pub fn is_pc(&self) -> bool {
        matches!(self.name, PortName::Com(_))
    }
}

/// Notes the ports in the plan, and what is wrong with them.
pub(crate) fn choose(config: &Config, platform: &Platform, plan: &mut Plan) {
    match &config.hypervisor.console {
        Console::Named(ConsolePort::None) => {}
        Console::Named(ConsolePort::Auto) => {
            let (ports, warnings) = of_tables(platform);
            plan.console = ports;
            plan.warnings.extend(warnings);
            let com1 = ConsolePlan::com(0);
            let is_new = |com1: &ConsolePlan| plan.console.iter().all(|port| port.address != com1.address);
            let com1 = com1.filter(is_new);
            plan.console.extend(com1);
        }
        Console::Named(ConsolePort::Com1) => plan.console.extend(ConsolePlan::com(0)),
        Console::Named(ConsolePort::Com2) => plan.console.extend(ConsolePlan::com(1)),
        Console::Named(ConsolePort::Com3) => plan.console.extend(ConsolePlan::com(2)),
        Console::Named(ConsolePort::Com4) => plan.console.extend(ConsolePlan::com(3)),
        Console::Card(card) => match of_card(card, platform) {
            Ok(port) => plan.console.push(port),
            Err(problem) => plan.problems.push(problem),
        },
    }
}

/// The ports that the tables name, with a warning for each that cannot be one.
fn of_tables(platform: &Platform) -> (Vec<ConsolePlan>, Vec<Problem>) {
    let mut ports = Vec::new();
    let mut warnings = Vec::new();
    for found in &platform.tables.serial_ports {
        if let Some(objection) = platform.serial_objection(found.address) {
            warnings.push(Problem {
                path: KEY.to_string(),
                message: format!("the serial port that the firmware's tables name {objection}"),
                help: "it is not used; name another, such as \"com1\"".to_string(),
            });
            continue;
        }
        let of_pc = PC_PORTS.iter().position(|(port, _)| found.address == SerialAddress::Port(*port));
        let plain = of_pc.and_then(ConsolePlan::com);
        let interrupt = found.interrupt.or(plain.as_ref().and_then(|plain| plain.interrupt));
        ports.push(ConsolePlan {
            name: plain.map_or(PortName::OfTables(found.address), |plain| plain.name),
            address: found.address,
            rate: found.rate,
            interrupt,
            function: owner(platform, found.address),
        });
    }
    (ports, warnings)
}

/// The BAR of a function that some registers are in, if one is.
fn bar_with(function: &Function, address: SerialAddress) -> Option<&Bar> {
    let registers = address.range();
    let is_memory = matches!(address, SerialAddress::Memory { .. });
    function.bars.iter().find(|bar| {
        let end = bar.address.0.saturating_add(bar.bytes);
        bar.is_memory() == is_memory && bar.address.0 < registers.end && registers.start < end
    })
}

/// The function in one of whose BARs some registers are.
fn owner(platform: &Platform, address: SerialAddress) -> Option<Bdf> {
    let owner = platform.functions.iter().find(|function| bar_with(function, address).is_some());
    owner.map(|function| function.bdf)
}

/// The port of a card.
fn of_card(card: &SerialCard, platform: &Platform) -> Result<ConsolePlan, Problem> {
    let at = &card.path;
    let wrong = |key: &str, message, help: &str| Problem {
        path: format!("{KEY}.{key}"),
        message,
        help: help.to_string(),
    };
    let Some(function) = platform.function_at(at) else {
        return Err(wrong("path", format!("there is no device at {at}"), "use another path, or \"com1\""));
    };
    if function.id != card.id {
        let message = format!("the device at {at} is {} and not {}", function.id, card.id);
        return Err(wrong("id", message, &format!("use id = \"{}\" if that is the one", function.id)));
    }
    if function.class >> 16 != COMMUNICATION || function.is_bridge() {
        let message =
            format!("the device at {at} is no serial port but of class {:#06x}", function.class_code());
        return Err(wrong("path", message, "use another path, or \"com1\""));
    }
    if card.clock_hz == 0 {
        let message = "a port without a clock sends nothing".to_string();
        return Err(wrong("clock_hz", message, "leave the key out for a PC's 1843200"));
    }
    let bar = function.bars.iter().find(|bar| u32::from(bar.index) == card.bar);
    let Some(bar) = bar.filter(|bar| bar.address.0 != 0) else {
        let message = format!("{at} has no BAR {} with an address", card.bar);
        return Err(wrong("bar", message, &usable_bars(function)));
    };
    let offset = u64::from(card.offset);
    if offset.saturating_add(REGISTERS) > bar.bytes {
        let message =
            format!("8 registers at {offset} do not fit into the {} bytes of BAR {}", bar.bytes, card.bar);
        return Err(wrong("offset", message, "leave the key out for the first port"));
    }
    let start = bar.address.0.saturating_add(offset);
    let address = match bar.is_memory() {
        true => Some(SerialAddress::Memory { base: Hpa(start), stride: 1, wide: false }),
        false => u16::try_from(start).ok().filter(|port| *port <= u16::MAX - 7).map(SerialAddress::Port),
    };
    let objection = match address {
        None => Some("is at no I/O port that there is".to_string()),
        Some(address) => card_objection(platform, function, bar, address),
    };
    match (address, objection) {
        (Some(address), None) => Ok(ConsolePlan {
            name: PortName::OfCard(at.clone(), address),
            address,
            rate: SerialRate::Set { baud: 115_200, clock_hz: card.clock_hz },
            interrupt: None,
            function: Some(function.bdf),
        }),
        (_, objection) => {
            let message = format!("BAR {} of {at} {}", card.bar, objection.unwrap_or_default());
            Err(wrong("bar", message, "let the firmware assign resources anew, or use another port"))
        }
    }
}

/// What speaks against the BAR of a card, as the end of a sentence.
fn card_objection(
    platform: &Platform,
    function: &Function,
    bar: &Bar,
    address: SerialAddress,
) -> Option<String> {
    let objection = platform.objection(function, bar).or_else(|| platform.serial_objection(address));
    let over_another = || {
        let others = platform.functions.iter().filter(|other| other.bdf != function.bdf);
        others.filter_map(|other| Some((other, bar_with(other, address)?))).next()
    };
    match objection {
        Some(objection) => Some(objection.to_string()),
        None => over_another().map(|(other, bar)| format!("is over BAR {} of {}", bar.index, other.path)),
    }
}

fn usable_bars(function: &Function) -> String {
    let mut usable = function.bars.iter().filter(|bar| bar.address.0 != 0 && bar.bytes >= REGISTERS);
    match usable.next() {
        Some(bar) => format!("its first usable one is bar = {}", bar.index),
        None => "use another port".to_string(),
    }
}

/// No guest gets the function that the console is at, or may be at.
pub(crate) fn check(
    console: &[ConsolePlan],
    name: &str,
    guest: &GuestConfig,
    platform: &Platform,
) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    for (index, _, passthrough) in guest.passed_through() {
        let Some(function) = platform.function_at(&passthrough.path) else { continue };
        if console.iter().any(|port| bar_with(function, port.address).is_some()) {
            report.add(
                format_args!("pci[{index}].passthrough.path"),
                format_args!("the hypervisor's console is at {}", function.path),
                "name another port as `console` of [hypervisor], such as \"com1\", or pass through another device",
            );
        }
    }
    report.problems
}
