//! Tables made by hand: right ones, and what real firmware does wrong.

mod dmar;
mod ivrs;
mod serial;

use super::*;
use crate::memory::MemoryImage;
use crate::names::DevFn;
use alloc::string::{String, ToString};
use alloc::vec;
use proptest::prelude::*;
use spec::Bdf;

/// A table with a right length and checksum.
fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend((36 + body.len() as u32).to_le_bytes());
    bytes.resize(36, 0);
    bytes.extend(body);
    seal(&mut bytes, 9);
    bytes
}

/// Makes the bytes add up to 0 by the one at `at`.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

const RSDP: Hpa = Hpa(0xf_5b20);
const ROOT: u64 = 0x7ffe_1000;
/// Tables follow the root table at odd addresses: nothing promises alignment.
const FIRST: u64 = 0x7ffe_2001;

/// A memory image with a root pointer of revision 2, an XSDT, and `tables`.
fn firmware(tables: &[Vec<u8>]) -> MemoryImage {
    let mut image = MemoryImage::default();
    let mut entries = Vec::new();
    let mut next = FIRST;
    for table in tables {
        entries.extend(next.to_le_bytes());
        image.pieces.push((Hpa(next), table.clone()));
        next += 0x10_0001;
    }
    image.pieces.push((Hpa(ROOT), table(b"XSDT", &entries)));
    let mut rsdp = b"RSD PTR \0BHKHD \x02".to_vec();
    rsdp.extend(0u32.to_le_bytes());
    rsdp.extend(36u32.to_le_bytes());
    rsdp.extend(ROOT.to_le_bytes());
    rsdp.resize(36, 0);
    seal(&mut rsdp[..20], 8);
    seal(&mut rsdp, 32);
    image.pieces.push((RSDP, rsdp));
    image
}

fn read(tables: &[Vec<u8>]) -> Tables {
    Tables::read(&firmware(tables), RSDP)
}

/// The findings, without those of what these few tables lack.
fn told(tables: &Tables) -> Vec<String> {
    let lacking = ["no processor is listed", "no literal _S5"];
    let all = tables.findings.iter().map(ToString::to_string);
    all.filter(|text| !lacking.iter().any(|lack| text.contains(lack))).collect()
}

/// A MADT with these entries.
fn madt(entries: &[&[u8]]) -> Vec<u8> {
    let mut body = 0xfee0_0000u32.to_le_bytes().to_vec();
    body.extend(1u32.to_le_bytes());
    body.extend(entries.concat());
    table(b"APIC", &body)
}

fn local_apic(uid: u8, id: u8, flags: u8) -> [u8; 8] {
    [0, 8, uid, id, flags, 0, 0, 0]
}

fn x2apic(uid: u32, id: u32) -> Vec<u8> {
    [&[9, 16, 0, 0], &id.to_le_bytes()[..], &1u32.to_le_bytes(), &uid.to_le_bytes()].concat()
}

#[test]
fn processors_and_interrupt_controllers() {
    let tables = read(&[madt(&[
        &local_apic(0, 0, 1),
        &local_apic(1, 2, 1),
        &local_apic(2, 4, 0),
        &x2apic(3, 300),
        &[1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        &[2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0],
        &[3, 8, 5, 0, 7, 0, 0, 0],
        &[4, 6, 0xff, 0, 0, 1],
        &[10, 12, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[5, 12, 0, 0, 0, 0, 0, 0xfd, 1, 0, 0, 0],
        &[0x10, 16, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0],
    ])]);
    assert_eq!(told(&tables), [""; 0]);
    let madt = &tables.madt;
    let ids: Vec<_> = madt.processors.iter().map(|p| (p.apic_id, p.acpi_uid, p.enabled)).collect();
    assert_eq!(ids, [(0, 0, true), (2, 1, true), (4, 2, false), (300, 3, true)]);
    assert_eq!(madt.io_apics, [IoApic { id: 2, base: Hpa(0xfec0_0000), gsi_base: 0 }]);
    let low_level = Trigger { active_low: Some(true), level: Some(true) };
    assert_eq!(madt.overrides, [InterruptOverride { isa_irq: 9, gsi: 20, trigger: low_level }]);
    assert_eq!(madt.nmi_sources[0].trigger, Trigger { active_low: Some(false), level: Some(false) });
    let uids: Vec<_> = madt.local_nmis.iter().map(|nmi| (nmi.acpi_uid, nmi.lint)).collect();
    assert_eq!(uids, [(None, 1), (Some(3), 0)]);
    assert_eq!(madt.local_apic, Hpa(0x1_fd00_0000));
    assert_eq!(madt.wakeup_mailbox, Some(Hpa(0x1000)));
    assert!(madt.has_pic);
}

#[test]
fn processors_that_cannot_be() {
    let tables = read(&[madt(&[
        &local_apic(0, 7, 0),
        &local_apic(1, 7, 1),
        &x2apic(9, 7),
        &local_apic(2, 0xff, 0),
        &local_apic(3, 0xff, 1),
        &x2apic(4, u32::MAX),
    ])]);
    assert_eq!(tables.madt.processors, [Processor { apic_id: 7, acpi_uid: 1, enabled: true }]);
    assert_eq!(
        told(&tables),
        [
            "MADT: the APIC ID 7 is listed twice; the first counts",
            "MADT: a processor has the APIC ID 0xff, which addresses all; ignored",
        ]
    );
}

#[test]
fn truncated_madt_entries() {
    let least = [(0, 8), (1, 12), (2, 10), (3, 8), (4, 6), (5, 12), (9, 16), (10, 9), (16, 16)];
    for (kind, bytes) in least {
        let mut short = vec![0; bytes - 1];
        short[0] = kind;
        short[1] = short.len() as u8;
        let tables = read(&[madt(&[&short, &local_apic(0, 0, 1)])]);
        let expected = alloc::format!("MADT: an entry of type {kind} has only {} bytes; ignored", bytes - 1);
        assert_eq!(told(&tables), [expected]);
        assert_eq!(tables.madt.processors.len(), 1);
    }
}

#[test]
fn madt_entries_of_length_0() {
    for length in [0, 1] {
        let tables = read(&[madt(&[&local_apic(0, 0, 1), &[0, length], &local_apic(1, 1, 1)])]);
        let expected =
            alloc::format!("MADT: an entry of type 0 says it has {length} bytes; the rest is ignored");
        assert_eq!(told(&tables), [expected]);
        assert_eq!(tables.madt.processors.len(), 1);
    }
}

#[test]
fn madt_entries_longer_than_the_table() {
    let tables = read(&[madt(&[&local_apic(0, 0, 1), &[0, 200]])]);
    assert_eq!(told(&tables), ["MADT: an entry of type 0 says it has 200 bytes; the rest is ignored"]);
    assert_eq!(tables.madt.processors.len(), 1);
}

#[test]
fn madt_entries_of_unknown_type() {
    // Interrupt controllers of other machines, and what no specification has.
    let tables = read(&[madt(&[&[11, 4, 0, 0], &[0x7f, 2], &[0xff, 3, 9], &local_apic(0, 0, 1)])]);
    assert_eq!(told(&tables), [""; 0]);
    assert_eq!(tables.madt.processors.len(), 1);
}

#[test]
fn io_apics_and_overrides_that_cannot_be() {
    let tables = read(&[madt(&[
        &[1, 12, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        &[1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0],
        &[2, 10, 0, 16, 20, 0, 0, 0, 0, 0],
    ])]);
    assert_eq!(
        told(&tables),
        [
            "MADT: the I/O APIC 1 is at hpa 0x0, which cannot be; ignored",
            "MADT: the I/O APIC 3 at hpa 0xfec00000 is listed twice; the first counts",
            "MADT: an override of ISA interrupt 16, which does not exist; ignored",
        ]
    );
}

fn mcfg(entries: &[(u64, u16, u8, u8)]) -> Vec<u8> {
    let mut body = vec![0; 8];
    for (base, segment, first, last) in entries {
        body.extend(base.to_le_bytes());
        body.extend(segment.to_le_bytes());
        body.extend([*first, *last, 0, 0, 0, 0]);
    }
    table(b"MCFG", &body)
}

#[test]
fn configuration_space() {
    let tables = read(&[mcfg(&[(0xb000_0000, 0, 0x10, 0x1f), (0xc000_0000, 1, 0, 255)])]);
    assert_eq!(told(&tables), [""; 0]);
    let ecam = tables.ecam[0];
    assert_eq!(ecam.address(Bdf::new(0x12, 3, 4)), Some(Hpa(0xb000_0000 + (0x12 << 20 | 3 << 15 | 4 << 12))));
    assert_eq!(ecam.address(Bdf::new(0x20, 0, 0)), None);
    assert_eq!(ecam.range(), (Hpa(0xb100_0000), 16 << 20));
}

#[test]
fn configuration_space_that_cannot_be() {
    let tables = read(&[mcfg(&[
        (0, 0, 0, 255),
        (0xb000_1000, 0, 0, 255),
        (u64::MAX << 20, 0, 0, 255),
        (0xb000_0000, 0, 9, 3),
        (0xb000_0000, 0, 0, 15),
        (0xc000_0000, 0, 15, 31),
    ])]);
    assert_eq!(tables.ecam.len(), 1);
    assert_eq!(
        told(&tables),
        [
            "MCFG: segment 0 is at hpa 0x0, which cannot be; ignored",
            "MCFG: segment 0 is at hpa 0xb0001000, which cannot be; ignored",
            "MCFG: segment 0 is at hpa 0xfffffffffff00000, which cannot be; ignored",
            "MCFG: segment 0 has the buses 0x9 to 0x3; ignored",
            "MCFG: the buses 0xf to 0x1f of segment 0 are listed twice; the first entry counts",
        ]
    );
}

/// A FADT of revision 6 as QEMU writes it, but for what `change` does to it.
fn fadt(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = table(b"FACP", &[0; 240]);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(40, &0x7fff_0000u32.to_le_bytes());
    put(46, &[9, 0]);
    put(48, &0xb2u32.to_le_bytes());
    put(52, &[2, 3]);
    put(56, &0x600u32.to_le_bytes());
    put(64, &0x604u32.to_le_bytes());
    put(76, &0x608u32.to_le_bytes());
    put(88, &[4, 2, 0, 4]);
    put(108, &[0x32]);
    put(112, &(1u32 << 10 | 1 << 8).to_le_bytes());
    put(116, &[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 0x0f]);
    change(&mut bytes);
    seal(&mut bytes, 9);
    bytes
}

#[test]
fn fixed_hardware() {
    let tables = read(&[fadt(|_| ())]);
    let fadt = tables.fadt.unwrap();
    assert_eq!(fadt.pm1a_event, Some(Register::Port(0x600)));
    assert_eq!(fadt.pm1a_control, Some(Register::Port(0x604)));
    assert_eq!((fadt.pm1b_event, fadt.pm1b_control), (None, None));
    assert_eq!((fadt.pm_timer, fadt.pm_timer_32_bits), (Some(Register::Port(0x608)), true));
    assert_eq!(fadt.reset, Some((Register::Port(0xcf9), 0x0f)));
    assert_eq!((fadt.sci, fadt.smi_command, fadt.acpi_enable, fadt.century), (9, 0xb2, 2, 0x32));
    assert_eq!(fadt.dsdt, Hpa(0x7fff_0000));
}

#[test]
fn wide_addresses_win_where_they_make_sense() {
    let wide = self::fadt(|bytes| {
        bytes[172..184].copy_from_slice(&[1, 16, 0, 2, 4, 0x18, 0, 0, 0, 0, 0, 0]);
        bytes[208..220].copy_from_slice(&[0, 32, 0, 3, 0, 0, 0, 0xfe, 0, 0, 0, 0]);
        bytes[148..160].copy_from_slice(&[77, 32, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0]);
        bytes[116..128].copy_from_slice(&[2, 8, 0, 1, 0x44, 0, 0, 0, 0x1f, 0, 0, 0]);
        bytes[140..148].copy_from_slice(&0x1_0000_0000u64.to_le_bytes());
    });
    let tables = read(&[wide]);
    let fadt = tables.fadt.as_ref().unwrap();
    assert_eq!(fadt.pm1a_control, Some(Register::Port(0x1804)));
    assert_eq!(fadt.pm_timer, Some(Register::Memory(Hpa(0xfe00_0000))));
    assert_eq!(fadt.pm1a_event, Some(Register::Port(0x600)));
    assert_eq!(fadt.reset, Some((Register::Config { function: Bdf::new(0, 0x1f, 0), offset: 0x44 }, 0x0f)));
    assert_eq!(fadt.dsdt, Hpa(0x1_0000_0000));
    assert!(told(&tables).iter().any(|text| text
        == "FADT: the PM1a event register is at 0x1 of address space 77, which cannot be; ignored"));
}

#[test]
fn short_and_empty_fadts() {
    let mut short = fadt(|_| ());
    short.truncate(100);
    short[4..8].copy_from_slice(&100u32.to_le_bytes());
    seal(&mut short, 9);
    let tables = read(&[short]);
    assert_eq!(tables.fadt, None);
    assert_eq!(told(&tables), ["FADT: the table has only 100 bytes; ignored"]);
    let tables = read(&[fadt(|bytes| bytes[64..68].fill(0))]);
    assert_eq!(
        told(&tables)[0],
        "FADT: there is no PM1a control register, so the machine cannot be powered off"
    );
}

#[test]
fn the_timer() {
    let hpet = |space: u8, base: u64| {
        let body = [&[0; 4], &[space, 64, 0, 0], &base.to_le_bytes()[..], &[3, 0x80, 0, 0]].concat();
        read(&[table(b"HPET", &body)])
    };
    let found = hpet(0, 0xfed0_0000).hpet.unwrap();
    assert_eq!((found.base, found.number, found.minimum_tick), (Hpa(0xfed0_0000), 3, 0x80));
    assert_eq!(
        told(&hpet(0, 0)),
        ["HPET: the timer is at hpa 0x0 of address space 0, which cannot be; ignored"]
    );
    assert!(hpet(1, 0xfed0_0000).hpet.is_none());
}

#[test]
fn soft_off() {
    let find = |aml: &[u8]| sleep::find_soft_off(aml).map(|found| (found.pm1a, found.pm1b));
    assert_eq!(find(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00"), Some((0, 0)));
    assert_eq!(find(b"\x08\\_S5_\x12\x08\x04\x0a\x05\x0a\x06\x00\x00"), Some((5, 6)));
    assert_eq!(find(b"\x08_S5_\x12\x48\x00\x02\x0b\x07\x00\x01"), Some((7, 1)));
    assert_eq!(find(b"\x08_S5_\x12\x03\x01\x0a\x07"), Some((7, 0)));
    // Mentioned in a comment or a method, then defined.
    assert_eq!(find(b"xx_S5_yy\x08_S5_\x12\x06\x04\x01\x01\x00\x00"), Some((1, 1)));
    assert_eq!(find(b"_S5_"), None);
    assert_eq!(find(b"\x08_S5_\x12"), None);
    assert_eq!(find(b"\x08_S5_\x12\x06\x04\x0a"), None);
    assert_eq!(find(b"\x08_S5_\x12\x06\x04\x0a\x08\x00"), None);
    assert_eq!(find(b"\x08_S5_\x14\x06\x04\x00\x00"), None);
}

#[test]
fn soft_off_from_the_dsdt_or_else_an_ssdt() {
    let aml = |value: u8| [b"\x08_S5_\x12\x08\x04\x0a", &[value][..], b"\x0a\x00\x00\x00"].concat();
    let mut image = firmware(&[table(b"SSDT", &aml(3)), fadt(|_| ())]);
    image.pieces.push((Hpa(0x7fff_0000), table(b"DSDT", &aml(5))));
    assert_eq!(Tables::read(&image, RSDP).soft_off, Some(SoftOff { pm1a: 5, pm1b: 0 }));
    image.pieces.pop();
    let tables = Tables::read(&image, RSDP);
    assert_eq!(tables.soft_off, Some(SoftOff { pm1a: 3, pm1b: 0 }));
    assert_eq!(told(&tables), ["DSDT: the table at hpa 0x7fff0000 cannot be read"]);
}

#[test]
fn tables_with_wild_headers() {
    let mut short = madt(&[]);
    short[4..8].copy_from_slice(&8u32.to_le_bytes());
    let mut long = mcfg(&[]);
    long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut cut = dmar::dmar(&[]);
    cut[4..8].copy_from_slice(&4000u32.to_le_bytes());
    let mut summed = table(b"HPET", &[0; 20]);
    summed[10] ^= 1;
    let tables = read(&[short, long, cut, summed]);
    assert_eq!(
        told(&tables)[..4],
        [
            "ACPI: the table APIC at hpa 0x7ffe2001 says it has 8 bytes; ignored",
            "ACPI: the table MCFG at hpa 0x800e2002 says it has 4294967295 bytes; ignored",
            "ACPI: the table DMAR at hpa 0x801e2003 of 4000 bytes cannot be read to its end; ignored",
            "ACPI: the table HPET at hpa 0x802e2004 has a wrong checksum; used nevertheless",
        ]
    );
}

#[test]
fn a_root_pointer_where_a_bios_leaves_it() {
    let image = firmware(&[madt(&[&local_apic(0, 0, 1)])]);
    assert_eq!(Tables::read(&image, Hpa(0)).madt.processors.len(), 1);
    // In the extended BIOS data area, at segment 0x9fc0.
    let mut moved = image.clone();
    moved.pieces.last_mut().unwrap().0 = Hpa(0x9_fc40);
    moved.pieces.push((Hpa(0x40e), vec![0xc0, 0x9f]));
    assert_eq!(Tables::read(&moved, Hpa(0)).madt.processors.len(), 1);
    // A searched one must be right; one that the loader names is believed.
    let mut broken = image.clone();
    broken.pieces.last_mut().unwrap().1[9] ^= 1;
    assert!(told(&Tables::read(&broken, Hpa(0)))[0].starts_with("ACPI: no root pointer (RSDP) found"));
    let named = Tables::read(&broken, RSDP);
    assert_eq!(named.madt.processors.len(), 1);
    assert_eq!(told(&named), ["ACPI: the root pointer at hpa 0xf5b20 has a wrong checksum"]);
    // One that the loader names wrongly is searched.
    let searched = Tables::read(&image, Hpa(0x1234));
    assert_eq!(searched.madt.processors.len(), 1);
    assert_eq!(told(&searched), ["ACPI: there is no root pointer at hpa 0x1234, where the loader says"]);
}

#[test]
fn a_root_table_of_32_bits() {
    let mut image = MemoryImage::default();
    let address = 0x7ffe_2001u32;
    image.pieces.push((Hpa(address.into()), madt(&[&local_apic(0, 0, 1)])));
    // Entries of 0 and repeated ones do no harm.
    let entries = [0, address, address].map(u32::to_le_bytes).concat();
    image.pieces.push((Hpa(ROOT), table(b"RSDT", &entries)));
    let mut rsdp = b"RSD PTR \0BHKHD \0".to_vec();
    rsdp.extend((ROOT as u32).to_le_bytes());
    seal(&mut rsdp, 8);
    image.pieces.push((RSDP, rsdp));
    let tables = Tables::read(&image, RSDP);
    assert_eq!(tables.madt.processors.len(), 1);
    assert_eq!(told(&tables), [""; 0]);
}

#[test]
fn a_root_table_that_is_none() {
    let mut image = firmware(&[]);
    let root = image.pieces.iter_mut().find(|(hpa, _)| hpa.0 == ROOT).unwrap();
    root.1 = table(b"SSDT", &[]);
    assert_eq!(
        told(&Tables::read(&image, RSDP)),
        [
            "ACPI: the root table at hpa 0x7ffe1000 is SSDT and not XSDT; ignored",
            "ACPI: neither XSDT nor RSDT can be read",
        ]
    );
}

#[test]
fn nothing_at_all() {
    let tables = Tables::read(&MemoryImage::default(), Hpa(0));
    assert!(tables.madt.processors.is_empty());
    assert_eq!(tables.findings.len(), 2);
}

#[test]
fn findings_are_limited() {
    let mut entries = Vec::new();
    for _ in 0..5000 {
        entries.extend([1, 2]);
    }
    assert_eq!(read(&[madt(&[&entries])]).findings.len(), Findings::MOST);
}

proptest! {
    /// Any bytes under any signature are read without a panic.
    #[test]
    fn no_table_panics(
        signature in prop::sample::select(vec![b"APIC", b"MCFG", b"DMAR", b"IVRS", b"FACP", b"HPET", b"SSDT"]),
        body in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..20], 0..300),
    ) {
        read(&[table(signature, &body)]);
    }

    /// A right firmware with some bytes changed is read without a panic.
    #[test]
    fn no_changed_firmware_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let mut image = firmware(&[
            madt(&[&local_apic(0, 0, 1), &x2apic(3, 300), &[1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]]),
            mcfg(&[(0xb000_0000, 0, 0, 255)]),
            dmar::dmar(&[dmar::drhd(1, 0xfed9_0000, &[1, 8, 0, 0, 0, 0, 2, 0]), dmar::rmrr(0x7e00_0000, 0x7e7f_ffff, &[])]),
            ivrs::whole(),
            fadt(|_| ()),
        ]);
        for (index, value) in changes {
            let total: usize = image.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
            let mut at = index.index(total);
            for (_, bytes) in &mut image.pieces {
                if at < bytes.len() {
                    bytes[at] = value;
                    break;
                }
                at -= bytes.len();
            }
        }
        Tables::read(&image, RSDP);
    }
}

#[test]
fn of_two_tables_of_one_kind_the_first_counts() {
    let madt = |ids: &[u8]| {
        let mut body = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
        ids.iter().for_each(|id| body.extend([0, 8, *id, *id, 1, 0, 0, 0]));
        table(b"APIC", &body)
    };
    let mcfg =
        |base: u64| table(b"MCFG", &[&[0; 8], &base.to_le_bytes()[..], &[0, 0, 0, 255, 0, 0, 0, 0]].concat());
    let hpet = |base: u64| table(b"HPET", &[&[0; 4], &[0; 4][..], &base.to_le_bytes(), &[0; 4]].concat());
    let tables = read(&[
        madt(&[0, 1, 2, 3]),
        mcfg(0xb000_0000),
        hpet(0xfed0_0000),
        madt(&[0]),
        mcfg(0xe000_0000),
        // A second one that makes no sense takes nothing away.
        hpet(0),
        table(b"MCFG", &[]),
    ]);
    let second = |name| alloc::format!("{name}: there is a second table of this kind; the first counts");
    let said = told(&tables);
    assert_eq!(said, [second("MADT"), second("MCFG"), second("HPET"), second("MCFG")]);
    assert_eq!(tables.madt.processors.len(), 4);
    assert_eq!(tables.ecam.iter().map(|ecam| ecam.base).collect::<Vec<_>>(), [Hpa(0xb000_0000)]);
    assert_eq!(tables.hpet.map(|hpet| hpet.base), Some(Hpa(0xfed0_0000)));
}

#[test]
fn facs_has_no_checksum() {
    let mut facs = table(b"FACS", &[0; 28]);
    facs[9] = facs[9].wrapping_add(1);
    assert_eq!(
        told(&read(&[facs.clone(), table(b"APIC", &[0, 0, 0xe0, 0xfe, 1, 0, 0, 0, 0, 8, 0, 7, 1, 0, 0, 0])])),
        [""; 0]
    );
    // Every other table has one.
    facs[..4].copy_from_slice(b"FACX");
    assert!(told(&read(&[facs]))[0].contains("wrong checksum"));
}
