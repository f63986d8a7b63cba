//! Serial ports that the firmware names: the console redirection table (Microsoft, "Serial
//! Port Console Redirection Table (SPCR)", revision 4) and debug port table 2 (Microsoft,
//! "Debug Port Table 2 (DBG2)").

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::finding::{Findings, finding};
use alloc::vec::Vec;
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
        /// Each is a dword at a multiple of 4; else a byte beside a byte.
        dwords: bool,
    },
}

/// A 16550 that the firmware names; its rate is set already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SerialPort {
    /// Where its registers are.
    pub address: SerialAddress,
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
    port(table, 40, findings)
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
            && let Some(address) = u16_at(device, 18)
        {
            ports.extend(port(device, address.into(), findings));
        }
        offset = offset.saturating_add(length.into());
    }
    ports
}

/// The port whose generic address (ACPI Specification 6.5, section 5.2.3.2) is at `offset`.
fn port(table: &[u8], offset: usize, findings: &mut Findings<'_>) -> Option<SerialPort> {
    const DWORD: u8 = 3;
    let address = table.get(offset..).unwrap_or_default();
    let (Some(space), Some(width), Some(access), Some(base)) =
        (u8_at(address, 0), u8_at(address, 1), u8_at(address, 3), u64_at(address, 4))
    else {
        finding!(findings, "a port has no address; ignored");
        return None;
    };
    // Address 0 is how firmware says that there is no console.
    if base == 0 {
        return None;
    }
    let dwords = width == 32 || access == DWORD;
    let bytes = if dwords { 4 * REGISTERS } else { REGISTERS };
    let found = match space {
        0 if base.checked_add(bytes).is_some() && (!dwords || base % 4 == 0) => {
            Some(SerialAddress::Memory { base: Hpa(base), dwords })
        }
        1 => u16::try_from(base).ok().filter(|port| *port <= u16::MAX - 7).map(SerialAddress::Port),
        _ => None,
    };
    if found.is_none() {
        finding!(findings, "a port is at {base:#x} of address space {space}, which cannot be; ignored");
    }
    Some(SerialPort { address: found? })
}
