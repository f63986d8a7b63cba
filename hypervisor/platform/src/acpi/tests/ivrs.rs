//! AMD's table of remapping units: right ones, and what real firmware does wrong.

use super::*;
use crate::acpi::ivrs::{Entry, Ivhd, Who, flag};

/// An IVRS with these blocks.
fn ivrs(blocks: &[Vec<u8>]) -> Vec<u8> {
    // 48 bits of physical and 64 of virtual addresses.
    let mut body = (48u32 << 8 | 64 << 15 | 1).to_le_bytes().to_vec();
    body.resize(12, 0);
    body.extend(blocks.concat());
    table(b"IVRS", &body)
}

/// A unit's block, function 00:00.2, with these device entries.
fn ivhd(kind: u8, base: u64, entries: &[&[u8]]) -> Vec<u8> {
    ivhd_of(kind, 0x0002, base, entries)
}

fn ivhd_of(kind: u8, function: u16, base: u64, entries: &[&[u8]]) -> Vec<u8> {
    let mut block = vec![kind, flag::COHERENT | flag::ISOCHRONOUS, 0, 0];
    block.extend(function.to_le_bytes());
    block.extend(0x40u16.to_le_bytes());
    block.extend(base.to_le_bytes());
    block.extend([0, 0, 3, 1]);
    block.extend([0; 4]);
    if kind != 0x10 {
        block.extend(0x29d7u64.to_le_bytes());
        block.extend([0; 8]);
    }
    block.extend(entries.concat());
    let length = (block.len() as u16).to_le_bytes();
    block[2..4].copy_from_slice(&length);
    block
}

fn ivmd(kind: u8, flags: u8, device: u16, last: u16, start: u64, bytes: u64) -> Vec<u8> {
    let mut block = vec![kind, flags, 32, 0];
    block.extend([device.to_le_bytes(), last.to_le_bytes()].concat());
    block.extend([0; 8]);
    block.extend([start.to_le_bytes(), bytes.to_le_bytes()].concat());
    block
}

fn acpi_device(requester: u16, id: &[u8; 8], uid: &[u8]) -> Vec<u8> {
    let mut entry = vec![0xf0];
    entry.extend(requester.to_le_bytes());
    entry.push(0);
    entry.extend(id);
    entry.extend([0; 8]);
    entry.extend([if uid.is_empty() { 0 } else { 2 }, uid.len() as u8]);
    entry.extend(uid);
    entry
}

fn functions(first: u16, last: u16, alias: Option<u16>) -> Who {
    Who::Functions { first: Bdf(first), last: Bdf(last), alias: alias.map(Bdf) }
}

/// The one unit of a table, and what is odd about it.
fn unit(block: Vec<u8>) -> (Ivhd, Vec<String>) {
    let tables = read(&[ivrs(&[block])]);
    let told = told(&tables);
    let units = tables.ivrs.unwrap().units;
    assert_eq!(units.len(), 1, "{told:?}");
    (units[0].clone(), told)
}

fn whom(unit: &Ivhd) -> Vec<Who> {
    unit.entries.iter().map(|entry| entry.who.clone()).collect()
}

#[test]
fn every_entry_of_every_kind_of_unit() {
    for kind in [0x10, 0x11, 0x40] {
        let device = acpi_device(0xa5, b"AMDI0020", b"\\_SB.FUR0");
        let mut entries: Vec<&[u8]> = vec![
            &[0; 4],
            &[1, 0, 0, 0x80],
            &[2, 0x08, 0, 0],
            // A range, with padding before its end.
            &[3, 0x10, 0, 0xd7],
            &[0; 4],
            &[4, 0xff, 0, 0],
            // Behind the bridge 00:14.4.
            &[0x42, 0, 1, 0, 0, 0xa4, 0, 0],
            &[0x43, 0, 2, 0, 0, 0xa4, 0, 0],
            &[4, 0xff, 3, 0],
            // Without address translation services.
            &[0x46, 0, 4, 0, 0, 0, 0, 0x80],
            &[0x47, 0, 5, 0, 0, 0, 0, 0x80],
            &[4, 0xff, 5, 0],
            &[0x48, 0, 0, 0xd7, 33, 0xa0, 0, 1],
            &[0x48, 0, 0, 0, 0, 0xa0, 0, 2],
        ];
        if kind == 0x40 {
            entries.push(&device);
        }
        let (unit, told) = unit(ivhd(kind, 0xfed8_0000, &entries));
        assert_eq!(told, [""; 0]);
        let own = (unit.kind, unit.function, unit.capability, unit.base, unit.segment, unit.msi_number);
        assert_eq!(own, (kind, Bdf::new(0, 0, 2), 0x40, Hpa(0xfed8_0000), 0, 3));
        assert_eq!(unit.flags, flag::COHERENT | flag::ISOCHRONOUS);
        assert_eq!(unit.features, (kind != 0x10).then_some(0x29d7));
        let mut expected = vec![
            Who::All,
            functions(0x08, 0x08, None),
            functions(0x10, 0xff, None),
            functions(0x100, 0x100, Some(0xa4)),
            functions(0x200, 0x3ff, Some(0xa4)),
            functions(0x400, 0x400, None),
            functions(0x500, 0x5ff, None),
            Who::IoApic { id: 33, requester: Bdf::new(0, 0x14, 0) },
            Who::Hpet { number: 0, requester: Bdf::new(0, 0x14, 0) },
        ];
        if kind == 0x40 {
            expected.push(Who::AcpiDevice { id: "AMDI0020".to_string(), requester: Bdf::new(0, 0x14, 5) });
        }
        assert_eq!(whom(&unit), expected);
        assert_eq!(unit.entries[0], Entry { who: Who::All, settings: 0x80 });
        assert_eq!(unit.entries[2].settings, 0xd7, "a range has the settings of its beginning");
    }
}

#[test]
fn sizes_of_addresses() {
    let found = read(&[ivrs(&[])]).ivrs.unwrap();
    assert_eq!((found.physical_address_bits, found.virtual_address_bits), (48, 64));
    assert!(found.units.is_empty() && found.reserved.is_empty());
}

#[test]
fn the_highest_block_of_a_unit_counts_once() {
    let entry = |device: u8| [2, device, 0, 0];
    let block = |kind, device| ivhd(kind, 0xfed8_0000, &[&entry(device)]);
    let other = ivhd_of(0x10, 0x2002, 0xfed9_0000, &[]);
    for blocks in [
        [block(0x10, 1), block(0x11, 2), block(0x40, 3), other.clone()],
        [block(0x40, 3), block(0x10, 1), block(0x11, 2), other.clone()],
        [block(0x11, 2), block(0x40, 3), other.clone(), block(0x10, 1)],
    ] {
        let tables = read(&[ivrs(&blocks)]);
        assert_eq!(told(&tables), [""; 0]);
        let units = tables.ivrs.unwrap().units;
        let all: Vec<_> = units.iter().map(|unit| (unit.kind, unit.function.0)).collect();
        assert_eq!(all, [(0x40, 2), (0x10, 0x2002)]);
        assert_eq!(whom(&units[0]), [functions(3, 3, None)]);
    }
}

#[test]
fn units_that_are_listed_twice() {
    let tables = read(&[ivrs(&[
        ivhd(0x11, 0xfed8_0000, &[]),
        ivhd(0x11, 0xfed8_0000, &[]),
        ivhd(0x11, 0xfed8_0000, &[&[2, 1, 0, 0]]),
        // Another function, the same registers.
        ivhd_of(0x11, 0x2002, 0xfed8_0000, &[]),
        // Other registers in the higher block.
        ivhd(0x40, 0xfed9_0000, &[]),
    ])]);
    assert_eq!(
        told(&tables),
        [
            "IVRS: the remapping unit 00:00.2 is listed twice; the first counts",
            "IVRS: the remapping unit 00:00.2 is listed twice; what only the second serves is nobody's",
            "IVRS: the remapping unit at hpa 0xfed80000 is listed twice; what only the second serves is nobody's",
            "IVRS: the remapping unit 00:00.2 is at hpa 0xfed80000 and at hpa 0xfed90000; the second counts",
        ]
    );
    let units = tables.ivrs.unwrap().units;
    // None is lost but the copy and the lower block.
    let bases: Vec<u64> = units.iter().map(|unit| unit.base.0).collect();
    assert_eq!(bases, [0xfed9_0000, 0xfed8_0000, 0xfed8_0000]);
}

#[test]
fn units_where_none_can_be() {
    let tables = read(&[ivrs(&[
        ivhd_of(0x10, 0x100, 0, &[]),
        ivhd_of(0x10, 0x200, u64::MAX, &[]),
        ivhd_of(0x10, 0x300, 0xfed8_1000, &[]),
        // The lower block has the registers.
        ivhd_of(0x40, 0x400, 0, &[]),
        ivhd_of(0x10, 0x400, 0xfed8_0000, &[]),
    ])]);
    let cannot_be = |function: &str, base: &str| {
        alloc::format!("IVRS: the remapping unit {function} is at hpa {base}, which cannot be")
    };
    assert_eq!(
        told(&tables),
        [
            cannot_be("01:00.0", "0x0"),
            cannot_be("02:00.0", "0xffffffffffffffff"),
            cannot_be("03:00.0", "0xfed81000"),
            cannot_be("04:00.0", "0x0"),
        ]
    );
    let units = tables.ivrs.unwrap().units;
    assert_eq!(
        units.iter().map(|unit| unit.has_registers()).collect::<Vec<_>>(),
        [false, false, false, true]
    );
    assert_eq!((units[3].kind, units[3].base), (0x40, Hpa(0xfed8_0000)));
}

#[test]
fn two_units_for_everything() {
    let all: &[u8] = &[1, 0, 0, 0];
    let tables =
        read(&[ivrs(&[ivhd(0x10, 0xfed8_0000, &[all]), ivhd_of(0x10, 0x2002, 0xfed9_0000, &[all])])]);
    assert_eq!(told(&tables), ["IVRS: two units claim to cover all of segment 0; the first counts"]);
}

#[test]
fn blocks_of_length_0() {
    let tables = read(&[ivrs(&[vec![0x10, 0, 0, 0, 1, 2, 3], ivhd(0x10, 0xfed8_0000, &[])])]);
    assert_eq!(told(&tables), ["IVRS: a block of type 0x10 says it has 0 bytes; the rest is ignored"]);
    assert!(tables.ivrs.unwrap().units.is_empty());
}

#[test]
fn blocks_longer_than_the_table() {
    let mut long = ivhd(0x10, 0xfed8_0000, &[]);
    long[2..4].copy_from_slice(&25u16.to_le_bytes());
    let tables = read(&[ivrs(&[ivhd(0x10, 0xfed9_0000, &[]), long])]);
    assert_eq!(told(&tables), ["IVRS: a block of type 0x10 says it has 25 bytes; the rest is ignored"]);
    let found = tables.ivrs.unwrap();
    assert_eq!((found.units.len(), found.incomplete), (1, true));
}

#[test]
fn truncated_blocks() {
    for (kind, least) in [(0x10, 24), (0x11, 40), (0x40, 40)] {
        let mut short = ivhd(kind, 0xfed8_0000, &[]);
        assert_eq!(short.len(), least);
        short.truncate(least - 1);
        short[2] -= 1;
        let tables = read(&[ivrs(&[short])]);
        let expected =
            alloc::format!("IVRS: a block of type {kind:#x} has only {} bytes; ignored", least - 1);
        assert_eq!(told(&tables), [expected]);
        let found = tables.ivrs.unwrap();
        assert!(found.units.is_empty() && found.incomplete);
    }
    let mut short = ivmd(0x20, 1, 0, 0, 0x1000, 0x1000);
    short.truncate(31);
    short[2] = 31;
    assert_eq!(told(&read(&[ivrs(&[short])])), ["IVRS: a block of type 0x20 has only 31 bytes; ignored"]);
}

#[test]
fn tables_that_end_anywhere() {
    let blocks = [
        ivhd(0x11, 0xfed8_0000, &[&[3, 8, 0, 0], &[4, 0xff, 0, 0]]),
        ivhd_of(0x40, 0x2002, 0xfed9_0000, &[&[2, 8, 0, 0]]),
        ivmd(0x20, 0b111, 0, 0, 0x7e00_0000, 0x1000),
    ];
    let whole = ivrs(&blocks);
    for end in 36..whole.len() {
        let mut cut = whole[..end].to_vec();
        cut[4..8].copy_from_slice(&(end as u32).to_le_bytes());
        seal(&mut cut, 9);
        let tables = read(&[cut]);
        let ends = blocks.iter().scan(48, |at, block| {
            *at += block.len();
            Some(*at)
        });
        let complete = ends.clone().filter(|at| *at <= end).count();
        let found = tables.ivrs.as_ref().unwrap();
        assert_eq!(found.units.len() + found.reserved.len(), complete, "cut at {end}");
        // Too few bytes for the header of a block are none.
        let into = end - ends.take(complete).last().unwrap_or(48).min(end);
        assert_eq!(told(&tables).len(), usize::from(into >= 4), "cut at {end}");
    }
}

#[test]
fn blocks_of_unknown_type() {
    let tables = read(&[ivrs(&[vec![0x77, 0, 6, 0, 1, 2], ivhd(0x10, 0xfed8_0000, &[])])]);
    assert_eq!(told(&tables), ["IVRS: a block of unknown type 0x77; ignored"]);
    assert_eq!(tables.ivrs.unwrap().units.len(), 1);
}

#[test]
fn entries_of_unknown_type() {
    let (unit, told) = unit(ivhd(
        0x40,
        0xfed8_0000,
        &[
            &[0x3f, 0, 0, 0],
            &[0x7f; 8],
            &[0x80; 16],
            &[0xef; 32],
            &[2, 8, 0, 0],
            &[0xf1, 0, 0, 0],
            &[2, 9, 0, 0],
        ],
    ));
    assert_eq!(
        told,
        [
            "IVRS: a device entry of unknown type 0x3f of the unit 00:00.2; ignored",
            "IVRS: a device entry of unknown type 0x7f of the unit 00:00.2; ignored",
            "IVRS: a device entry of unknown type 0x80 of the unit 00:00.2; ignored",
            "IVRS: a device entry of unknown type 0xef of the unit 00:00.2; ignored",
            "IVRS: a device entry of type 0xf1 of the unit 00:00.2 does not end; the rest is ignored",
        ]
    );
    assert!(unit.incomplete);
    assert_eq!(whom(&unit), [functions(8, 8, None)]);
}

#[test]
fn truncated_entries() {
    let device = acpi_device(0xa5, b"AMDI0020", b"");
    let cut: [(u8, &[u8]); 4] =
        [(2, &[2, 8, 0]), (0x48, &[0x48, 0, 0, 0, 1]), (0xf0, &device[..21]), (0xf0, &device[..4])];
    for (kind, entry) in cut {
        let (unit, told) = unit(ivhd(0x40, 0xfed8_0000, &[&[2, 1, 0, 0], entry]));
        let expected = alloc::format!(
            "IVRS: a device entry of type {kind:#x} of the unit 00:00.2 does not end; the rest is ignored"
        );
        assert_eq!(told, [expected]);
        assert!(unit.incomplete);
        assert_eq!(whom(&unit), [functions(1, 1, None)]);
    }
    // One whose name is said to go on beyond the block.
    let mut long = acpi_device(0xa5, b"AMDI0020", b"x");
    long[21] = 200;
    assert_eq!(whom(&unit(ivhd(0x40, 0xfed8_0000, &[&long])).0), []);
}

#[test]
fn names_of_devices_are_escaped() {
    let (unit, told) = unit(ivhd(0x40, 0xfed8_0000, &[&acpi_device(1, b"A\xff\n\0BCDE", b"")]));
    assert_eq!(told, [""; 0]);
    assert_eq!(whom(&unit), [Who::AcpiDevice { id: r"A\xff\n".to_string(), requester: Bdf(1) }]);
}

#[test]
fn ranges_without_an_end() {
    let start: &[u8] = &[3, 0x10, 0, 0];
    for (after, who) in [
        (&[][..], vec![]),
        (&[2, 0x20, 0, 0], vec![functions(0x20, 0x20, None)]),
        (&[0x43, 0x20, 0, 0, 0, 1, 0, 0, 4, 0x21, 0, 0], vec![functions(0x20, 0x21, Some(1))]),
    ] {
        let (unit, told) = unit(ivhd(0x11, 0xfed8_0000, &[start, after]));
        assert_eq!(told, ["IVRS: the range from 00:02.0 of the unit 00:00.2 has no end; ignored"]);
        assert!(unit.incomplete);
        assert_eq!(whom(&unit), who);
    }
}

#[test]
fn ranges_without_a_beginning() {
    let (unit, told) = unit(ivhd(0x11, 0xfed8_0000, &[&[4, 0x10, 0, 0], &[2, 1, 0, 0], &[4, 0x18, 0, 0]]));
    assert_eq!(
        told,
        [
            "IVRS: a range of the unit 00:00.2 ends at 00:02.0 and begins nowhere; ignored",
            "IVRS: a range of the unit 00:00.2 ends at 00:03.0 and begins nowhere; ignored",
        ]
    );
    assert!(unit.incomplete);
    assert_eq!(whom(&unit), [functions(1, 1, None)]);
}

#[test]
fn ranges_the_wrong_way_round() {
    let (unit, told) = unit(ivhd(0x11, 0xfed8_0000, &[&[3, 0x10, 0, 0], &[4, 0x0f, 0, 0]]));
    assert_eq!(told, ["IVRS: the range from 00:02.0 of the unit 00:00.2 ends before, at 00:01.7; ignored"]);
    assert!(unit.incomplete);
    assert_eq!(whom(&unit), []);
}

#[test]
fn special_devices_of_unknown_variety() {
    let (unit, told) = unit(ivhd(0x11, 0xfed8_0000, &[&[0x48, 0, 0, 0, 1, 0xa0, 0, 3]]));
    assert_eq!(told, ["IVRS: a special device of unknown variety 3 of the unit 00:00.2; ignored"]);
    assert!(unit.incomplete);
    assert_eq!(whom(&unit), []);
}

#[test]
fn reserved_memory() {
    let tables = read(&[ivrs(&[
        ivmd(0x20, 0b111, 0, 0, 0x7e00_0000, 0x1000),
        ivmd(0x21, 0b011, 0x10, 0xffff, 0x7e00_1000, 0x1000),
        ivmd(0x22, 0b101, 0x10, 0x1f, 0x7e00_2000, 0x1000),
        ivmd(0x21, 0b1000, 0x10, 0, 0x7e00_3000, 0x1000),
        ivmd(0x21, 0b111, 0x10, 0, 0x7e00_4010, 0xff0),
    ])]);
    assert_eq!(
        told(&tables),
        ["IVRS: the reserved memory at hpa 0x7e004010 of 0xff0 bytes is not whole pages; rounded outward"]
    );
    let found: Vec<_> = tables
        .ivrs
        .unwrap()
        .reserved
        .iter()
        .map(|r| (r.first.0, r.last.0, r.start.0, r.bytes, r.readable, r.writable, r.exclusion))
        .collect();
    assert_eq!(
        found,
        [
            (0, 0xffff, 0x7e00_0000, 0x1000, true, true, false),
            (0x10, 0x10, 0x7e00_1000, 0x1000, true, false, false),
            (0x10, 0x1f, 0x7e00_2000, 0x1000, false, true, false),
            (0x10, 0x10, 0x7e00_3000, 0x1000, true, true, true),
            (0x10, 0x10, 0x7e00_4000, 0x1000, true, true, false),
        ]
    );
}

#[test]
fn reserved_memory_that_cannot_be() {
    let tables = read(&[ivrs(&[
        ivmd(0x20, 0b111, 0, 0, 0, 0x1000),
        ivmd(0x20, 0b111, 0, 0, 0x1000, 0),
        ivmd(0x20, 0b111, 0, 0, u64::MAX - 0xfff, 0x1000),
        ivmd(0x20, 0b111, 0, 0, 0x1000, u64::MAX),
        ivmd(0x22, 0b111, 0x20, 0x10, 0x1000, 0x1000),
        ivmd(0x21, 0b110, 0x20, 0, 0x1000, 0x1000),
    ])]);
    let cannot_be =
        |range: &str| alloc::format!("IVRS: the reserved memory at hpa {range} bytes cannot be; ignored");
    assert_eq!(
        told(&tables),
        [
            cannot_be("0x0 of 0x1000"),
            cannot_be("0x1000 of 0x0"),
            cannot_be("0xfffffffffffff000 of 0x1000"),
            cannot_be("0x1000 of 0xffffffffffffffff"),
            "IVRS: the reserved memory at hpa 0x1000 is for 00:04.0 to 00:02.0, which is the wrong way round; ignored"
                .to_string(),
            "IVRS: nobody is to reach the reserved memory at hpa 0x1000; ignored".to_string(),
        ]
    );
    assert!(tables.ivrs.unwrap().reserved.is_empty());
}

/// A table with all there is, for changes to start from.
pub(super) fn whole() -> Vec<u8> {
    ivrs(&[
        ivhd(0x10, 0xfed8_0000, &[&[3, 0x08, 0, 0], &[4, 0xff, 0, 0], &[0x48, 0, 0, 0xd7, 0, 0xa0, 0, 1]]),
        ivhd(
            0x11,
            0xfed8_0000,
            &[&[0x43, 0, 1, 0, 0, 0x10, 0, 0], &[4, 0xff, 1, 0], &[0x46, 0, 4, 0, 0, 0, 0, 0]],
        ),
        ivhd(0x40, 0xfed8_0000, &[&acpi_device(0xa5, b"AMDI0020", b"\\_SB"), &[1, 0, 0, 0]]),
        ivmd(0x20, 0b111, 0, 0, 0x7e00_0000, 0x1000),
        ivmd(0x22, 0b111, 0x10, 0x20, 0x7e00_0000, 0x1000),
    ])
}
