//! Finding tables: RSDP, XSDT or RSDT, and the header that all have
//! (ACPI Specification 6.5, sections 5.2.5 to 5.2.8).

use crate::bytes::{array, field, u32_at, u64_at};
use crate::finding::{Findings, finding};
use crate::memory::PhysicalMemory;
use ::acpi::rsdp::Rsdp;
use ::acpi::sdt::SdtHeader;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;
use spec::Hpa;

/// Bytes of the header of every table.
pub(super) const HEADER_BYTES: usize = size_of::<SdtHeader>();
/// A longer table is taken for a wild length. The longest DSDTs have some 500 KiB.
const LONGEST_TABLE: u32 = 8 << 20;
/// More tables than any machine has.
const MOST_TABLES: usize = 512;

/// Signature and bytes of a table, its header included.
pub(super) type Table = ([u8; 4], Vec<u8>);

/// Every table that the root table lists and that can be read. Each is read once,
/// however often it is listed.
pub(super) fn all(memory: &dyn PhysicalMemory, rsdp: Hpa, findings: &mut Findings<'_>) -> Vec<Table> {
    let Some(root) = find_rsdp(memory, rsdp, findings) else {
        finding!(findings, "no root pointer (RSDP) found, so this machine has no ACPI tables");
        return Vec::new();
    };
    let mut addresses = root_entries(memory, root, findings);
    let mut seen: Vec<Hpa> = Vec::new();
    addresses.retain(|address| {
        let new = address.0 != 0 && !seen.contains(address);
        seen.push(*address);
        new
    });
    addresses.into_iter().filter_map(|address| read(memory, address, findings)).collect()
}

/// Reads the table at `hpa`; `None`, with a finding, where there is none.
pub(super) fn read(memory: &dyn PhysicalMemory, hpa: Hpa, findings: &mut Findings<'_>) -> Option<Table> {
    let mut header = [0; HEADER_BYTES];
    if !memory.read(hpa, &mut header) {
        finding!(findings, "the table at {hpa} cannot be read");
        return None;
    }
    let signature: [u8; 4] = array(&header, 0)?;
    let length = field!(&header, SdtHeader.length: u32)?;
    let name = signature.escape_ascii();
    if length < HEADER_BYTES as u32 || length > LONGEST_TABLE {
        finding!(findings, "the table {name} at {hpa} says it has {length} bytes; ignored");
        return None;
    }
    let mut bytes = vec![0; length as usize];
    if !memory.read(hpa, &mut bytes) {
        finding!(findings, "the table {name} at {hpa} of {length} bytes cannot be read to its end; ignored");
        return None;
    }
    // The firmware ACPI control structure has no checksum (section 5.2.10).
    if signature != *b"FACS" && checksum(&bytes) != 0 {
        // Common in the field, and the contents are checked anyway.
        finding!(findings, "the table {name} at {hpa} has a wrong checksum; used nevertheless");
    }
    Some((signature, bytes))
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The addresses of the root tables.
struct Root {
    /// 0 for none.
    rsdt: Hpa,
    /// 0 for none.
    xsdt: Hpa,
}

fn find_rsdp(memory: &dyn PhysicalMemory, rsdp: Hpa, findings: &mut Findings<'_>) -> Option<Root> {
    if rsdp.0 != 0 {
        let root = read_rsdp(memory, rsdp);
        match &root {
            Some((_, true)) => {}
            Some((_, false)) => finding!(findings, "the root pointer at {rsdp} has a wrong checksum"),
            None => finding!(findings, "there is no root pointer at {rsdp}, where the loader says"),
        }
        if let Some((root, _)) = root {
            return Some(root);
        }
    }
    // Where a BIOS leaves it (section 5.2.5.1): the first KiB of the extended BIOS
    // data area, else the BIOS's read-only memory, at a multiple of 16.
    let mut ebda = [0; 2];
    let ebda = if memory.read(Hpa(0x40e), &mut ebda) { u64::from(u16::from_le_bytes(ebda)) << 4 } else { 0 };
    let ebda = if (0x400..0xa_0000).contains(&ebda) { ebda..ebda + 1024 } else { 0..0 };
    ebda.step_by(16)
        .chain((0xe_0000..0x10_0000).step_by(16))
        .find_map(|address| read_rsdp(memory, Hpa(address)).filter(|(_, valid)| *valid))
        .map(|(root, _)| root)
}

/// The root pointer at `hpa`, and whether its checksum is right.
fn read_rsdp(memory: &dyn PhysicalMemory, hpa: Hpa) -> Option<(Root, bool)> {
    let mut first = [0; offset_of!(Rsdp, length)];
    if !memory.read(hpa, &mut first) || !first.starts_with(b"RSD PTR ") {
        return None;
    }
    let rsdt = Hpa(field!(&first, Rsdp.rsdt_address: u32)?.into());
    let mut valid = checksum(&first) == 0;
    let mut xsdt = Hpa(0);
    let mut whole = [0; size_of::<Rsdp>()];
    if field!(&first, Rsdp.revision: u8)? >= 2 && memory.read(hpa, &mut whole) {
        valid &= checksum(&whole) == 0;
        xsdt = Hpa(field!(&whole, Rsdp.xsdt_address: u64)?);
    }
    Some((Root { rsdt, xsdt }, valid))
}

/// The addresses that the XSDT lists, or where there is none the RSDT.
fn root_entries(memory: &dyn PhysicalMemory, root: Root, findings: &mut Findings<'_>) -> Vec<Hpa> {
    for (hpa, signature, entry_bytes) in [(root.xsdt, b"XSDT", 8), (root.rsdt, b"RSDT", 4)] {
        if hpa.0 == 0 {
            continue;
        }
        let Some((found, bytes)) = read(memory, hpa, findings) else { continue };
        if found != *signature {
            finding!(
                findings,
                "the root table at {hpa} is {} and not {}; ignored",
                found.escape_ascii(),
                signature.escape_ascii()
            );
            continue;
        }
        let entries = bytes.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(entry_bytes);
        if entries.len() > MOST_TABLES {
            finding!(findings, "the root table lists {} tables; only the first are read", entries.len());
        }
        return entries
            .take(MOST_TABLES)
            .filter_map(|entry| match entry_bytes {
                8 => u64_at(entry, 0).map(Hpa),
                _ => u32_at(entry, 0).map(|address| Hpa(address.into())),
            })
            .collect();
    }
    finding!(findings, "neither XSDT nor RSDT can be read");
    Vec::new()
}
