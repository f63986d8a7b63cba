use super::*;
use crate::entry::Entry;
use crate::prepared::Prepared;
use access::GuestMemory;
use access::memory::VecMemory;
use alloc::vec;
use alloc::vec::Vec;
use guest::layout::{ECAM, IOAPIC_PINS};
use guest::start_image::StartImage;

fn layout(vcpus: u32) -> GuestLayout {
    GuestLayout::new(4 << 20, vcpus).unwrap()
}

/// The area of a guest with `vcpus` processors.
fn area(vcpus: u32) -> Vec<u8> {
    area_on(layout(vcpus))
}

/// The area of a guest on a machine, of which the layout knows more than the image.
fn area_on(there: GuestLayout) -> Vec<u8> {
    let layout = layout(there.vcpus());
    let mut space = Space::new(&layout);
    build(&mut space, &layout).unwrap();
    let entry = Entry::pvh(&mut space, Gpa(0x10_0000), Gpa(0x2000)).unwrap();
    let image = Prepared::new(space, entry).into_image();
    let memory = VecMemory::new(4 << 20);
    StartImage::parse(&image).unwrap().place(&memory, &there, |_| None).unwrap();
    let mut area = vec![0; ACPI_AREA_BYTES as usize];
    memory.read(ACPI_AREA, &mut area).unwrap();
    // Nothing above the area was touched.
    let all = memory.0.borrow();
    assert!(all[(ACPI_AREA.0 + ACPI_AREA_BYTES) as usize..].iter().all(|byte| *byte == 0));
    area
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// The table at `gpa`, its signature, length and checksum checked.
fn table<'a>(area: &'a [u8], gpa: u64, signature: &[u8; 4]) -> &'a [u8] {
    let start = (gpa - ACPI_AREA.0) as usize;
    assert_eq!(&area[start..start + 4], signature);
    let table = &area[start..start + u32_at(area, start + 4) as usize];
    if signature != b"FACS" {
        assert_eq!(sum(table), 0, "checksum of {}", core::str::from_utf8(signature).unwrap());
    }
    table
}

/// The tables that the XSDT lists.
fn listed(area: &[u8]) -> Vec<u64> {
    assert_eq!(&area[..8], b"RSD PTR ");
    assert_eq!(sum(&area[..20]), 0);
    assert_eq!(sum(&area[..36]), 0);
    let xsdt = table(area, u64_at(area, 24), b"XSDT");
    (36..xsdt.len()).step_by(8).map(|offset| u64_at(xsdt, offset)).collect()
}

#[test]
fn every_pointer_leads_to_a_whole_table() {
    for vcpus in [1, 2, 254] {
        let area = area(vcpus);
        let tables = listed(&area);
        assert_eq!(tables.len(), 3);
        let fadt = table(&area, tables[0], b"FACP");
        table(&area, tables[1], b"APIC");
        table(&area, tables[2], b"MCFG");
        assert_eq!(u64::from(u32_at(fadt, 40)), u64_at(fadt, 140));
        table(&area, u64_at(fadt, 140), b"DSDT");
        let facs = u64::from(u32_at(fadt, 36));
        assert_eq!(facs % 64, 0);
        assert_eq!(table(&area, facs, b"FACS").len(), 64);
    }
}

#[test]
fn fadt_names_the_ports() {
    let area = area(1);
    let fadt = table(&area, listed(&area)[0], b"FACP");
    assert_eq!(u16::from_le_bytes([fadt[46], fadt[47]]), 9, "SCI");
    assert_eq!(u32_at(fadt, 48), 0, "no SMI command port");
    assert_eq!(u32_at(fadt, 56), 0x600);
    assert_eq!(u32_at(fadt, 64), 0x604);
    assert_eq!(u32_at(fadt, 76), 0x608);
    assert_eq!((fadt[88], fadt[89], fadt[91]), (4, 2, 4));
    assert_eq!(fadt[108], 0x32, "century");
    let flags = u32_at(fadt, 112);
    assert_eq!(flags >> 10 & 1, 1, "reset register");
    assert_eq!(flags >> 20 & 1, 0, "not hardware-reduced");
    assert_eq!(&fadt[116..128], [1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0]);
    assert_eq!(fadt[128], 6);
    assert_eq!(u16::from_le_bytes([fadt[109], fadt[110]]) & 2, 0, "no 8042");
}

#[test]
fn madt_lists_processors_and_overrides() {
    let area = area(3);
    let madt = table(&area, listed(&area)[1], b"APIC");
    assert_eq!(u32_at(madt, 36), 0xfee0_0000);
    assert_eq!(u32_at(madt, 40), 1);
    let mut at = 44;
    let mut structures = Vec::new();
    while at < madt.len() {
        let length = madt[at + 1] as usize;
        structures.push(&madt[at..at + length]);
        at += length;
    }
    assert_eq!(at, madt.len());
    for id in 0..3u8 {
        assert_eq!(structures[id as usize], [0, 8, id, id, 1, 0, 0, 0]);
    }
    assert_eq!(structures[3], [1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    assert_eq!(structures[4], [2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(structures[5], [2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0]);
    assert_eq!(structures[6], [4, 6, 0xff, 0, 0, 1]);
    assert_eq!(structures.len(), 7);
}

#[test]
fn mcfg_is_bus_0_alone() {
    let area = area(1);
    let mcfg = table(&area, listed(&area)[2], b"MCFG");
    assert_eq!(u64_at(mcfg, 44), ECAM.0);
    assert_eq!(&mcfg[52..56], [0, 0, 0, 0], "segment, first bus, last bus");
}

#[test]
fn dsdt_says_how_to_switch_off() {
    let area = area(1);
    let fadt = table(&area, listed(&area)[0], b"FACP");
    let dsdt = table(&area, u64_at(fadt, 140), b"DSDT");
    // Name (\_S5, Package { 5, 5, 0, 0 })
    let expected = [0x08, b'\\', b'_', b'S', b'5', b'_', 0x12, 8, 4, 0x0a, 5, 0x0a, 5, 0, 0];
    assert!(dsdt.windows(expected.len()).any(|window| window == expected));
}

/// An integer of one byte in AML.
fn integer(element: &mut Vec<u8>, value: u8) {
    match value {
        0 | 1 => element.push(value),
        _ => element.extend([0x0a, value]),
    }
}

#[test]
fn every_pin_is_routed() {
    let area = area(1);
    let fadt = table(&area, listed(&area)[0], b"FACP");
    let dsdt = table(&area, u64_at(fadt, 140), b"DSDT");
    for slot in 0..32u8 {
        for pin in 0..4u8 {
            let gsi = 16 + (slot + pin) % 8;
            assert!(gsi < IOAPIC_PINS);
            // Package { slot << 16 | 0xffff, pin, 0, gsi }
            let mut element = match slot {
                0 => vec![0x0b, 0xff, 0xff],
                _ => vec![0x0c, 0xff, 0xff, slot, 0],
            };
            integer(&mut element, pin);
            element.push(0);
            integer(&mut element, gsi);
            assert!(dsdt.windows(element.len()).any(|window| window == element), "slot {slot} pin {pin}");
        }
    }
}

#[test]
fn the_window_is_where_the_processors_reach() {
    // A QWord address space descriptor of memory, not cacheable, writable.
    let window = |bits| {
        let area = area_on(layout(1).on_processors(bits).unwrap());
        let fadt = table(&area, listed(&area)[0], b"FACP");
        let dsdt = table(&area, u64_at(fadt, 140), b"DSDT");
        let head = [0x8a, 0x2b, 0, 0];
        let at = dsdt.windows(4).position(|bytes| bytes == head).unwrap();
        (u64_at(dsdt, at + 14), u64_at(dsdt, at + 22), u64_at(dsdt, at + 38))
    };
    assert_eq!(window(46), (0x20_0000_0000, 0x3f_ffff_ffff, 0x20_0000_0000));
    assert_eq!(window(36), (0x8_0000_0000, 0xf_ffff_ffff, 0x8_0000_0000));
    assert_eq!(window(32), (0, 0, 0), "there is none");
}

#[test]
fn area_that_is_full_refuses() {
    let mut space = Space::new(&layout(1));
    let mut area = Area { space: &mut space, used: 0 };
    assert_eq!(area.put(&vec![1; ACPI_AREA_BYTES as usize]), Ok(ACPI_AREA));
    assert_eq!(area.put(&[1]), Err(LoadError::AcpiTables));
}

/// For a look with `iasl -d`: writes the tables to the folder that
/// `BULKHEAD_ACPI_DUMP` names.
#[test]
fn dump() {
    extern crate std;
    let Some(folder) = std::env::var_os("BULKHEAD_ACPI_DUMP") else { return };
    let area = area(2);
    let tables = listed(&area);
    let fadt = table(&area, tables[0], b"FACP");
    let dsdt = table(&area, u64_at(fadt, 140), b"DSDT");
    let madt = table(&area, tables[1], b"APIC");
    let mcfg = table(&area, tables[2], b"MCFG");
    for (file, bytes) in [("facp", fadt), ("dsdt", dsdt), ("apic", madt), ("mcfg", mcfg)] {
        std::fs::write(std::path::Path::new(&folder).join(file).with_extension("dat"), bytes).unwrap();
    }
}
