//! Serial ports that the firmware names: the console redirection table (Microsoft, "Serial
//! Port Console Redirection Table (SPCR)", revision 4) and debug port table 2 (Microsoft,
//! "Debug Port Table 2 (DBG2)").

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::finding::{Findings, finding};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use serde::{Deserialize, Serialize};
use spec::Hpa;

/// Kinds of 16550 (DBG2, table 3): full, with a subset of the registers, by its address.
const KINDS_16550: [u16; 3] = [0x00, 0x01, 0x12];
/// DBG2's type of a serial port.
const SERIAL: u16 = 0x8000;
/// More ports than any machine has.
const MOST_PORTS: u32 = 16;
/// Registers of a 16550.
const REGISTERS: u64 = 8;

/// Where the registers of a port are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SerialAddress {
    /// At I/O ports from here on.
    Port(u16),
    /// In memory.
    Memory {
        /// The first.
        base: Hpa,
        /// Bytes from one to the next.
        stride: u8,
        /// They are read and written as dwords; else as bytes.
        wide: bool,
    },
}

impl SerialAddress {
    /// The bytes of memory, or the I/O ports, that the registers take.
    pub fn range(self) -> Range<u64> {
        match self {
            Self::Port(port) => u64::from(port)..u64::from(port) + REGISTERS,
            Self::Memory { base, stride, .. } => base.0..base.0.saturating_add(REGISTERS * u64::from(stride)),
        }
    }
}

impl fmt::Display for SerialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "I/O port {port:#x}"),
            Self::Memory { base, .. } => write!(f, "{:#x} in memory", base.0),
        }
    }
}

/// How fast a port is to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SerialRate {
    /// As the firmware has set it.
    #[default]
    Keep,
    /// At this rate.
    Set {
        /// Bits in a second.
        baud: u32,
        /// What the port divides to have it, in Hz.
        clock_hz: u32,
    },
}

impl SerialRate {
    /// What a PC's ports divide, in Hz.
    pub const PC_CLOCK_HZ: u32 = 1_843_200;
    /// 115,200 bits in a second, by a PC's clock.
    pub const PC: Self = Self::Set { baud: 115_200, clock_hz: Self::PC_CLOCK_HZ };
}

/// The interrupt of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SerialInterrupt {
    /// One of the ISA bus, by its number there.
    Isa(u8),
    /// A global system interrupt.
    Global(u32),
}

/// A 16550 that the firmware names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SerialPort {
    /// Where its registers are.
    pub address: SerialAddress,
    /// Its rate.
    #[serde(default)]
    pub rate: SerialRate,
    /// Its interrupt, where the table says it.
    #[serde(default)]
    pub interrupt: Option<SerialInterrupt>,
}

/// The port of an SPCR.
pub(crate) fn parse_spcr(table: &[u8], findings: &mut Findings<'_>) -> Option<SerialPort> {
    let Some(kind) = u8_at(table, 36) else {
        finding!(findings, "the table has only {} bytes; ignored", table.len());
        return None;
    };
    // Before revision 2 every kind is a 16550.
    if u8_at(table, 8)? >= 2 && !KINDS_16550.contains(&kind.into()) {
        finding!(findings, "the console's port is of kind {kind:#x} and no 16550; ignored");
        return None;
    }
    let address = address(table, 40, findings)?;
    let (rate, interrupt) = (rate(table, address), interrupt(table));
    Some(SerialPort { address, rate, interrupt })
}

/// The rate of an SPCR, where it says one and of what clock the port divides it: that of a
/// PC's port is known.
fn rate(table: &[u8], address: SerialAddress) -> SerialRate {
    // A rate to the bit, of revision 4, goes before one of those that have a number.
    let precise = u32_at(table, 80).filter(|baud| *baud != 0 && u8_at(table, 8) >= Some(4));
    let numbered = match u8_at(table, 58) {
        Some(3) => Some(9600),
        Some(4) => Some(19_200),
        Some(6) => Some(57_600),
        Some(7) => Some(115_200),
        _ => None,
    };
    let said = u32_at(table, 76).filter(|clock_hz| *clock_hz != 0 && u8_at(table, 8) >= Some(3));
    let clock_hz = match address {
        SerialAddress::Port(_) => said.or(Some(SerialRate::PC_CLOCK_HZ)),
        SerialAddress::Memory { .. } => said,
    };
    match (precise.or(numbered), clock_hz) {
        (Some(baud), Some(clock_hz)) => SerialRate::Set { baud, clock_hz },
        _ => SerialRate::Keep,
    }
}

/// The interrupt of an SPCR.
fn interrupt(table: &[u8]) -> Option<SerialInterrupt> {
    const OF_PIC: u8 = 1 << 0;
    const OF_IO_APIC: u8 = 1 << 1;
    const ISA_INTERRUPTS: u8 = 16;
    let kinds = u8_at(table, 52)?;
    if kinds & OF_IO_APIC != 0 {
        // 0 is the timer's.
        return u32_at(table, 54).filter(|gsi| *gsi != 0).map(SerialInterrupt::Global);
    }
    let isa = u8_at(table, 53).filter(|isa| kinds & OF_PIC != 0 && (1..ISA_INTERRUPTS).contains(isa));
    isa.map(SerialInterrupt::Isa)
}

/// The 16550s of a DBG2.
pub(crate) fn parse_dbg2(table: &[u8], findings: &mut Findings<'_>) -> Vec<SerialPort> {
    let mut ports = Vec::new();
    let (Some(mut offset), Some(count)) = (u32_at(table, 36), u32_at(table, 40)) else {
        finding!(findings, "the table has only {} bytes; ignored", table.len());
        return ports;
    };
    for number in 0..count.min(MOST_PORTS) {
        let device = table.get(offset as usize..).unwrap_or_default();
        let Some(length) = u16_at(device, 1).filter(|length| (22..=device.len()).contains(&(*length).into()))
        else {
            finding!(findings, "device {number} does not fit into the table; it and what follows is ignored");
            break;
        };
        let device = device.get(..length.into()).unwrap_or_default();
        let kind = (u16_at(device, 12), u16_at(device, 14));
        if let (Some(SERIAL), Some(subtype)) = kind
            && KINDS_16550.contains(&subtype)
            && let Some(offset) = u16_at(device, 18)
        {
            let found = address(device, offset.into(), findings);
            let port = |address| SerialPort { address, rate: SerialRate::Keep, interrupt: None };
            ports.extend(found.map(port));
        }
        offset = offset.saturating_add(length.into());
    }
    ports
}

/// A port's place, by the generic address (ACPI Specification 6.5, section 5.2.3.2) at
/// `offset`. Its width is how far registers are apart, its access size how they are read.
fn address(table: &[u8], offset: usize, findings: &mut Findings<'_>) -> Option<SerialAddress> {
    const BYTE: u8 = 1;
    const DWORD: u8 = 3;
    let address = table.get(offset..).unwrap_or_default();
    let (Some(space), Some(width), Some(shift), Some(access), Some(base)) =
        (u8_at(address, 0), u8_at(address, 1), u8_at(address, 2), u8_at(address, 3), u64_at(address, 4))
    else {
        finding!(findings, "a port has no address; ignored");
        return None;
    };
    // Address 0 is how firmware says that there is no console.
    if base == 0 {
        return None;
    }
    let layout = match (width, access) {
        (8 | 0, 0 | BYTE) => Some((1, false)),
        (16, 0 | BYTE) => Some((2, false)),
        (32, BYTE) => Some((4, false)),
        (32, 0 | DWORD) | (8 | 0, DWORD) => Some((4, true)),
        _ => None,
    };
    let found = match (space, layout) {
        (0, Some((stride, wide))) if shift == 0 && (!wide || base % 4 == 0) => {
            let end = base.checked_add(REGISTERS * u64::from(stride));
            end.map(|_| SerialAddress::Memory { base: Hpa(base), stride, wide })
        }
        (1, _) => u16::try_from(base).ok().filter(|port| *port <= u16::MAX - 7).map(SerialAddress::Port),
        _ => None,
    };
    if found.is_none() {
        finding!(
            findings,
            "a port is at {base:#x} of address space {space}, in registers of {width} bits from bit {shift} on, \
             read by access size {access}, which cannot be; ignored"
        );
    }
    found
}
