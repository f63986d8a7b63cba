//! ACPI tables and the firmware's memory map, as Linux shows them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use platform::memory::MemoryImage;
use platform::{MemoryKind, MemoryRegion};
use spec::Hpa;

/// Where the copies of the tables are put. Linux tells their contents and not their places, and
/// nothing of a board depends on these.
const ROOT_POINTER: u64 = 0x1000;
const ROOT_TABLE: u64 = 0x2000;
const FIRST_TABLE: u64 = 0x1_0000;

/// Offsets in the FADT (ACPI Specification 6.5, section 5.2.9).
const FADT_DSDT: usize = 40;
const FADT_X_DSDT: usize = 140;

/// The tables as they would lie in memory, and the root pointer's address.
///
/// # Errors
/// When they cannot be read, which takes root.
pub fn tables(folder: &Path) -> Result<(MemoryImage, Hpa)> {
    let mut image = MemoryImage::default();
    let mut addresses = Vec::new();
    let mut next = FIRST_TABLE;
    let mut dsdt = None;
    for (name, bytes) in files(folder)? {
        match name.as_str() {
            "DSDT" => {
                dsdt = Some(bytes);
                continue;
            }
            // Linux shows it beside the others, but the FADT leads to it and no root table.
            "FACS" => continue,
            _ => {}
        }
        addresses.push(next);
        let end = next + bytes.len() as u64;
        image.pieces.push((Hpa(next), bytes));
        next = end.next_multiple_of(0x1000);
    }
    ensure!(!addresses.is_empty(), "no ACPI tables in {}", folder.display());
    // The DSDT is found through the FADT only, so it must be where that says.
    let place = image
        .pieces
        .iter()
        .find(|(_, bytes)| bytes.starts_with(b"FACP"))
        .and_then(|(_, fadt)| place_of_dsdt(fadt));
    if let (Some(bytes), Some(place)) = (dsdt, place) {
        image.pieces.push((Hpa(place), bytes));
    }
    image.pieces.push((Hpa(ROOT_TABLE), root_table(&addresses)));
    image.pieces.push((Hpa(ROOT_POINTER), root_pointer()));
    Ok((image, Hpa(ROOT_POINTER)))
}

fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let cannot = || format!("cannot read {} (run this as root)", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((name, std::fs::read(&path).with_context(cannot)?));
        }
    }
    found.sort_by_cached_key(|(name, _)| order(name));
    Ok(found)
}

/// Tables of one kind are in the order in which the firmware lists them: APIC1, APIC2, and
/// SSDT10 after SSDT9.
fn order(name: &str) -> (String, u64) {
    let kind = name.get(..4).unwrap_or(name);
    (kind.to_owned(), name.get(4..).and_then(|number| number.parse().ok()).unwrap_or(0))
}

fn place_of_dsdt(fadt: &[u8]) -> Option<u64> {
    let wide = fadt.get(FADT_X_DSDT..FADT_X_DSDT + 8).and_then(|bytes| bytes.try_into().ok());
    let narrow = fadt.get(FADT_DSDT..FADT_DSDT + 4).and_then(|bytes| bytes.try_into().ok());
    wide.map(u64::from_le_bytes).filter(|place| *place != 0).or(narrow.map(u32::from_le_bytes).map(u64::from))
}

/// An XSDT with these entries (section 5.2.8).
fn root_table(addresses: &[u64]) -> Vec<u8> {
    let mut table = b"XSDT".to_vec();
    let length = u32::try_from(36 + 8 * addresses.len()).unwrap_or(u32::MAX);
    table.extend(length.to_le_bytes());
    table.extend([1, 0]);
    table.resize(36, 0);
    addresses.iter().for_each(|address| table.extend(address.to_le_bytes()));
    seal(&mut table, 9, 0);
    table
}

/// An RSDP of revision 2 (section 5.2.5.3).
fn root_pointer() -> Vec<u8> {
    let mut pointer = b"RSD PTR ".to_vec();
    pointer.resize(36, 0);
    pointer[15] = 2;
    pointer[20..24].copy_from_slice(&36_u32.to_le_bytes());
    pointer[24..32].copy_from_slice(&ROOT_TABLE.to_le_bytes());
    let mut first: Vec<u8> = pointer[..20].to_vec();
    seal(&mut first, 8, 0);
    pointer[..20].copy_from_slice(&first);
    seal(&mut pointer, 32, 0);
    pointer
}

/// Sets the byte at `at` so that all bytes add up to `sum`.
fn seal(bytes: &mut [u8], at: usize, sum: u8) {
    bytes[at] = 0;
    let rest = bytes.iter().fold(0_u8, |total, byte| total.wrapping_add(*byte));
    bytes[at] = sum.wrapping_sub(rest);
}

/// The map that the firmware gave Linux, before Linux took its own share.
///
/// # Errors
/// When it cannot be read.
pub fn memory_map(folder: &Path) -> Result<Vec<MemoryRegion>> {
    let cannot = || format!("cannot read {} (run this as root)", folder.display());
    let mut map = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?.path();
        let text = |name: &str| std::fs::read_to_string(entry.join(name)).with_context(cannot);
        map.push(region(&text("start")?, &text("end")?, &text("type")?).with_context(cannot)?);
    }
    map.sort_by_key(|region| region.start.0);
    Ok(map)
}

fn region(start: &str, end: &str, kind: &str) -> Option<MemoryRegion> {
    let number = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let (start, last) = (number(start)?, number(end)?);
    let bytes = last.checked_sub(start)?.checked_add(1)?;
    let kind = if kind.trim() == "System RAM" { MemoryKind::Usable } else { MemoryKind::Reserved };
    Some(MemoryRegion { start: Hpa(start), bytes, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::{PhysicalMemory as _, Tables};

    /// A MADT with one processor (section 5.2.12.2).
    fn madt() -> Vec<u8> {
        let mut table = b"APIC".to_vec();
        table.extend(52_u32.to_le_bytes());
        table.extend([5, 0]);
        table.resize(36, 0);
        table.extend(0xfee0_0000_u32.to_le_bytes());
        table.extend(1_u32.to_le_bytes());
        table.extend([0, 8, 0, 7, 1, 0, 0, 0]);
        seal(&mut table, 9, 0);
        table
    }

    #[test]
    fn copied_tables_are_found_through_the_root_pointer() {
        let folder = std::env::temp_dir().join(format!("hv-acpi-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder in the temporary one");
        std::fs::write(folder.join("APIC"), madt()).expect("written");
        let (memory, rsdp) = tables(&folder).expect("one table");
        std::fs::remove_dir_all(&folder).expect("removed");
        let found = Tables::read(&memory, rsdp);
        let ids: Vec<u32> = found.madt.processors.iter().map(|processor| processor.apic_id).collect();
        assert_eq!(ids, [7], "{:?}", found.findings);
    }

    #[test]
    fn tables_are_in_the_order_of_the_firmware_and_without_those_that_no_root_table_lists() {
        let folder = std::env::temp_dir().join(format!("hv-acpi-order-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder in the temporary one");
        let one = |id: u8| {
            let mut table = madt();
            table[47] = id;
            seal(&mut table, 9, 0);
            table
        };
        for number in 1..=11 {
            std::fs::write(folder.join(format!("APIC{number}")), one(number)).expect("written");
        }
        std::fs::write(folder.join("FACS"), b"FACS\x40\0\0\0 and what it has").expect("written");
        let (memory, rsdp) = tables(&folder).expect("tables");
        std::fs::remove_dir_all(&folder).expect("removed");
        let found = Tables::read(&memory, rsdp);
        let ids: Vec<u32> = found.madt.processors.iter().map(|processor| processor.apic_id).collect();
        assert_eq!(ids, [1], "{:?}", found.findings);
        assert!(found.findings.iter().all(|finding| finding.source == "MADT"), "{:?}", found.findings);
        assert!(order("APIC9") < order("APIC10") && order("SSDT") < order("SSDT1"));
    }

    #[test]
    fn the_wide_address_of_the_dsdt_counts_unless_it_is_zero() {
        let mut fadt = vec![0; 148];
        fadt[FADT_DSDT..FADT_DSDT + 4].copy_from_slice(&0x5000_u32.to_le_bytes());
        assert_eq!(place_of_dsdt(&fadt), Some(0x5000));
        fadt[FADT_X_DSDT..].copy_from_slice(&0x1_0000_0000_u64.to_le_bytes());
        assert_eq!(place_of_dsdt(&fadt), Some(0x1_0000_0000));
        assert_eq!(place_of_dsdt(&fadt[..44]), Some(0x5000));
        assert_eq!(place_of_dsdt(&fadt[..40]), None);
    }

    #[test]
    fn a_region_of_linux_names_its_last_byte() {
        let found = region("0x100000\n", "0x1fffff\n", "System RAM\n").expect("a region");
        assert_eq!((found.start, found.bytes, found.kind), (Hpa(0x10_0000), 0x10_0000, MemoryKind::Usable));
        assert_eq!(region("0x2", "0x1", "Reserved"), None);
        let reserved = region("0x0", "0xfff", "ACPI Tables").expect("a region");
        assert_eq!(reserved.kind, MemoryKind::Reserved);
    }

    #[test]
    fn the_root_pointer_has_both_checksums() {
        let mut bytes = [0; 36];
        let image = MemoryImage { pieces: vec![(Hpa(0), root_pointer())] };
        assert!(image.read(Hpa(0), &mut bytes));
        let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |total, byte| total.wrapping_add(*byte));
        assert_eq!((sum(&bytes[..20]), sum(&bytes)), (0, 0));
    }
}
