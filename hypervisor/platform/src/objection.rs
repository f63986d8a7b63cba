//! What the addresses that a function claims with its BARs may not be.
//!
//! Firmware placed them, and a function may lie about them: where they are is a claim. A
//! guest reaches what it is given there, so a BAR must lie over nothing that is somebody
//! else's, and where the bridges above lead accesses to it.

use crate::acpi::SerialAddress;
use crate::pci::{Bar, Function};
use crate::topology::Platform;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use spec::Hpa;
use spec::apic::MESSAGES;

/// Why a BAR cannot be where it says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Objection<'a> {
    /// No processor can address all of it.
    Unaddressable {
        /// How many bits an address has.
        bits: u8,
    },
    /// It is over memory.
    Memory,
    /// It is over what the firmware reserves.
    Reserved,
    /// It is over memory that firmware uses with functions.
    ReservedMemory,
    /// It is over the registers of an IOMMU.
    RemappingUnit,
    /// It is over those of an I/O APIC.
    IoApic,
    /// It is over those of the local APICs, where interrupts are sent to.
    LocalApic,
    /// It is over those of the event timer.
    Hpet,
    /// It is over configuration space.
    ConfigurationSpace,
    /// It is outside of the windows of a bridge above.
    OutsideWindows(&'a Function),
    /// It is in a window of a bridge that the function is not behind.
    InsideWindow(&'a Function),
    /// It is over a BAR of a function, which may be its own.
    Bar(&'a Function, u8),
    /// It is over I/O ports of the board's own.
    BoardPorts,
}

impl fmt::Display for Objection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaddressable { bits } => {
                write!(f, "is beyond what the processors can address ({bits} bits)")
            }
            Self::Memory => f.write_str("is over memory"),
            Self::Reserved => f.write_str("is over a range that the firmware's memory map reserves"),
            Self::ReservedMemory => f.write_str("is over memory that the firmware uses with devices"),
            Self::RemappingUnit => f.write_str("is over the registers of an IOMMU"),
            Self::IoApic => f.write_str("is over the registers of an I/O APIC"),
            Self::LocalApic => f.write_str("is over the registers of the local APICs"),
            Self::Hpet => f.write_str("is over the registers of the event timer (HPET)"),
            Self::ConfigurationSpace => f.write_str("is over the configuration space of PCI"),
            Self::OutsideWindows(bridge) => {
                write!(f, "is outside of what the bridge {} leads to", bridge.path)
            }
            Self::InsideWindow(bridge) => {
                write!(f, "is in what the bridge {} leads to, and the device is not behind it", bridge.path)
            }
            Self::BoardPorts => f.write_str("is over I/O ports that are the board's own"),
            Self::Bar(other, bar) => write!(f, "is over BAR {bar} of {}", other.path),
        }
    }
}

const PAGE: u64 = 4096;
const BUS: u64 = 1 << 20;
/// How many other devices must be in a reserved range before it is taken for a range of
/// devices: some firmware reserves all of what its host bridge leads to.
const DEVICES_IN_WINDOW: usize = 2;

/// The addresses that a memory BAR claims; `None` where it has none.
fn range(bar: &Bar) -> Option<Range<u64>> {
    let end = bar.address.0.saturating_add(bar.bytes);
    (bar.is_memory() && bar.address.0 != 0).then_some(bar.address.0..end)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn from(start: Hpa, bytes: u64) -> Range<u64> {
    start.0..start.0.saturating_add(bytes)
}

impl Platform {
    /// Why a memory BAR of a function cannot be where it says; `None` where nothing speaks
    /// against it, or it has no address.
    pub fn objection<'p>(&'p self, function: &'p Function, bar: &Bar) -> Option<Objection<'p>> {
        let claimed = range(bar)?;
        if bar.address.0.checked_add(bar.bytes).is_none() {
            return Some(Objection::Unaddressable { bits: self.bits() });
        }
        self.fixed_objection(&claimed)
            .or_else(|| self.memory_objection(function, &claimed))
            .or_else(|| self.window_objection(function, &claimed))
            .or_else(|| self.bar_objection(function, bar, &claimed))
    }

    /// Why a serial port cannot be where a table says; `None` where nothing speaks against
    /// it. Ranges that the firmware reserves are no objection: it reserves its own devices.
    pub fn serial_objection(&self, address: SerialAddress) -> Option<Objection<'_>> {
        let claimed = address.range();
        match address {
            SerialAddress::Port(_) => {
                let is_taken = self.board_ports().iter().any(|taken| overlap(taken, &claimed));
                is_taken.then_some(Objection::BoardPorts)
            }
            SerialAddress::Memory { .. } => self.fixed_objection(&claimed).or_else(|| {
                let mut usable = self.usable_ram(PAGE).into_iter();
                let is_ram = usable.any(|(start, bytes)| overlap(&from(start, bytes), &claimed));
                is_ram.then_some(Objection::Memory)
            }),
        }
    }

    /// I/O ports at which a look would do something: those of the first 256, which the board
    /// has for interrupt controllers, timers and the like, configuration space, and ACPI's.
    fn board_ports(&self) -> Vec<Range<u64>> {
        const FIRST: Range<u64> = 0..0x100;
        const CONFIGURATION: Range<u64> = 0xcf8..0xd00;
        const REGISTER_BYTES: u64 = 4;
        let mut taken = Vec::from([FIRST, CONFIGURATION]);
        let Some(fadt) = &self.tables.fadt else { return taken };
        let events = u64::from(fadt.pm1_event_bytes).max(REGISTER_BYTES);
        let reset = fadt.reset.map(|(register, _)| register);
        let registers = [
            (fadt.pm1a_event, events),
            (fadt.pm1b_event, events),
            (fadt.pm1a_control, REGISTER_BYTES),
            (fadt.pm1b_control, REGISTER_BYTES),
            (fadt.pm_timer, REGISTER_BYTES),
            (reset, REGISTER_BYTES),
        ];
        taken.extend(registers.into_iter().filter_map(|(register, bytes)| {
            let port = u64::from(register?.port()?);
            Some(port..port + bytes)
        }));
        taken
    }

    /// How many bits an address has.
    fn bits(&self) -> u8 {
        if self.address_bits == 0 { 52 } else { self.address_bits.min(52) }
    }

    /// What speaks against a range whoever claims it.
    fn fixed_objection(&self, claimed: &Range<u64>) -> Option<Objection<'_>> {
        let bits = self.bits();
        if claimed.end > 1 << bits {
            return Some(Objection::Unaddressable { bits });
        }
        self.registers().into_iter().find(|(taken, _)| overlap(taken, claimed)).map(|(_, claim)| claim)
    }

    /// What is at fixed places.
    fn registers(&self) -> Vec<(Range<u64>, Objection<'_>)> {
        let mut taken = Vec::from([(MESSAGES, Objection::LocalApic)]);
        let madt = &self.tables.madt;
        taken.push((from(madt.local_apic, PAGE), Objection::LocalApic));
        for io_apic in &madt.io_apics {
            taken.push((from(io_apic.base, PAGE), Objection::IoApic));
        }
        for unit in &self.remapping.units {
            taken.push((from(unit.base, unit.register_bytes.max(PAGE)), Objection::RemappingUnit));
        }
        if let Some(hpet) = &self.tables.hpet {
            taken.push((from(hpet.base, PAGE), Objection::Hpet));
        }
        for ecam in &self.tables.ecam {
            let start = Hpa(ecam.base.0.saturating_add(u64::from(ecam.first_bus) * BUS));
            let buses = u64::from(ecam.last_bus.saturating_sub(ecam.first_bus)) + 1;
            taken.push((from(start, buses * BUS), Objection::ConfigurationSpace));
        }
        for range in &self.remapping.reserved {
            taken.push((from(range.start, range.bytes), Objection::ReservedMemory));
        }
        taken
    }

    fn memory_objection(&self, function: &Function, claimed: &Range<u64>) -> Option<Objection<'_>> {
        let usable = self.usable_ram(PAGE);
        if usable.iter().any(|&(start, bytes)| overlap(&from(start, bytes), claimed)) {
            return Some(Objection::Memory);
        }
        let mut regions = self.memory.iter().map(|region| region.start.0..region.end().0);
        regions
            .any(|region| overlap(&region, claimed) && !self.is_window(function, &region, claimed))
            .then_some(Objection::Reserved)
    }

    /// Whether a range that the firmware reserves is one of devices: others are in it too,
    /// or interrupt controllers. Some firmware reserves all between memory and 4 GiB.
    fn is_window(&self, function: &Function, region: &Range<u64>, claimed: &Range<u64>) -> bool {
        let inside = |range: &Range<u64>| region.start <= range.start && range.end <= region.end;
        let device = |of: &Function| (of.bdf.bus(), of.bdf.device());
        let mut devices: Vec<_> = self
            .functions
            .iter()
            .filter(|other| device(other) != device(function))
            .filter(|other| other.bars.iter().filter_map(range).any(|range| inside(&range)))
            .map(device)
            .collect();
        devices.sort_unstable();
        devices.dedup();
        let controllers = self.tables.madt.io_apics.iter().map(|it| from(it.base, PAGE));
        let has_controller = controllers.chain([MESSAGES]).any(|range| inside(&range));
        inside(claimed) && (has_controller || devices.len() >= DEVICES_IN_WINDOW)
    }

    /// What bridges make of the range. One whose windows are not known says nothing.
    fn window_objection<'p>(&'p self, function: &'p Function, claimed: &Range<u64>) -> Option<Objection<'p>> {
        let windows = |bridge: &'p Function| bridge.windows.iter().map(|it| it.start.0..it.end().0);
        let mut above = self.bridges_above(function);
        let outside = above.find(|bridge| {
            // The class of a bridge that leads on whatever nobody else claims.
            let subtractive = bridge.class == 0x06_0401;
            !bridge.windows.is_empty()
                && !subtractive
                && !windows(bridge).any(|window| window.start <= claimed.start && claimed.end <= window.end)
        });
        if let Some(bridge) = outside {
            return Some(Objection::OutsideWindows(bridge));
        }
        let is_above = |bridge: &Function| self.bridges_above(function).any(|it| it.bdf == bridge.bdf);
        let other = self
            .functions
            .iter()
            .find(|bridge| windows(bridge).any(|window| overlap(&window, claimed)) && !is_above(bridge));
        other.map(Objection::InsideWindow)
    }

    fn bar_objection<'p>(
        &'p self,
        function: &Function,
        bar: &Bar,
        claimed: &Range<u64>,
    ) -> Option<Objection<'p>> {
        self.functions.iter().find_map(|other| {
            let over = other.bars.iter().find(|it| {
                let itself = other.bdf == function.bdf && it.index == bar.index;
                !itself && range(it).is_some_and(|range| overlap(&range, claimed))
            })?;
            Some(Objection::Bar(other, over.index))
        })
    }
}
