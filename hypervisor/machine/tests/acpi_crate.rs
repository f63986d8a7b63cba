//! Why the firmware's tables are read by `platform`, which takes the layouts of crate `acpi`
//! and not its readers: what each test shows would stop a machine as it boots, or read what is
//! no part of a table. A test that fails here after an update of the crate means that one
//! reason less is left.
// What the checks of a debug build find, a release build does.
#![cfg(debug_assertions)]

use acpi::sdt::madt::{Madt, MadtEntry};
use acpi::sdt::mcfg::Mcfg;
use acpi::{AcpiTables, Handler, PciAddress, PhysicalMapping};
use std::panic::catch_unwind;
use std::process::Command;
use std::ptr::NonNull;

/// Memory from address 0, in which nothing is where it may not be read.
#[derive(Clone, Copy)]
struct Memory(&'static [u8]);

impl Memory {
    /// Zeros, with `pieces` at these addresses, from an address that is a multiple of 8.
    fn with(pieces: &[(usize, &[u8])]) -> Self {
        let words: &'static mut [u64] = Vec::leak(vec![0; 1024]);
        // SAFETY: the words are 8 times as many bytes, which nobody else has.
        let bytes = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), 8 * 1024) };
        for (at, piece) in pieces {
            bytes[*at..at + piece.len()].copy_from_slice(piece);
        }
        Self(bytes)
    }

    fn mapping<T>(self, address: usize, bytes: usize) -> PhysicalMapping<Self, T> {
        // SAFETY: `address` is in the memory.
        let start = unsafe { self.0[..address + size_of::<T>()].as_ptr().add(address) };
        PhysicalMapping {
            physical_start: address,
            virtual_start: NonNull::new(start.cast_mut().cast()).unwrap(),
            region_length: bytes,
            mapped_length: bytes,
            handler: self,
        }
    }
}

/// What a [`Handler`] needs not have here: tables are memory.
macro_rules! not_needed {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self, $(_: $argument),*) $(-> $result)? { unreachable!() })*
    };
}

impl Handler for Memory {
    unsafe fn map_physical_region<T>(&self, address: usize, bytes: usize) -> PhysicalMapping<Self, T> {
        self.mapping(address, bytes)
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}

    not_needed! {
        read_u8(usize) -> u8; read_u16(usize) -> u16; read_u32(usize) -> u32; read_u64(usize) -> u64;
        write_u8(usize, u8); write_u16(usize, u16); write_u32(usize, u32); write_u64(usize, u64);
        read_io_u8(u16) -> u8; read_io_u16(u16) -> u16; read_io_u32(u16) -> u32;
        write_io_u8(u16, u8); write_io_u16(u16, u16); write_io_u32(u16, u32);
        read_pci_u8(PciAddress, u16) -> u8; read_pci_u16(PciAddress, u16) -> u16;
        read_pci_u32(PciAddress, u16) -> u32; write_pci_u8(PciAddress, u16, u8);
        write_pci_u16(PciAddress, u16, u16); write_pci_u32(PciAddress, u16, u32);
        nanos_since_boot() -> u64; stall(u64); sleep(u64);
    }
}

/// A table of revision 1 that says it has `length` bytes.
fn table(signature: &[u8; 4], length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = [&signature[..], &length.to_le_bytes(), &[1; 28]].concat();
    bytes.extend(body);
    bytes
}

/// A root pointer of revision 2 that says it has `length` bytes and leads to an XSDT at `xsdt`.
fn root_pointer(length: u32, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0BHKHD \x02\0\0\0\0".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.resize(36, 0);
    bytes[32] = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    bytes
}

/// The entries of a MADT whose header says `length` bytes: the first 100, if it has so many.
fn count_madt_entries(length: u32, entries: &[u8]) -> usize {
    let memory = Memory::with(&[(64, &table(b"APIC", length, &[&[0; 8], entries].concat()))]);
    let madt: PhysicalMapping<Memory, Madt> = memory.mapping(64, length as usize);
    madt.get().entries().take(100).count()
}

/// The XSDT's entries are 8 bytes after a header of 36, and read as if they were aligned. That
/// is undefined, and with debug assertions it ends the program, for every XSDT at a multiple of 8:
/// so the test is run again by itself.
#[test]
fn an_xsdt_of_aligned_address_is_read_misaligned() {
    const NAME: &str = "an_xsdt_of_aligned_address_is_read_misaligned";
    if std::env::var_os("BULKHEAD_READ_XSDT").is_some() {
        let xsdt = table(b"XSDT", 44, &0x400_u64.to_le_bytes());
        let memory = Memory::with(&[(0x100, &root_pointer(36, 0x200)), (0x200, &xsdt)]);
        // SAFETY: all that the tables lead to is memory.
        let tables = unsafe { AcpiTables::from_rsdp(memory, 0x100) }.unwrap();
        assert_eq!(tables.table_entries().collect::<Vec<_>>(), [0x400]);
        return;
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("BULKHEAD_READ_XSDT", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("misaligned pointer dereference"), "{said}");
}

/// At an address that is 4 more than a multiple of 8, whose entries are aligned.
#[test]
fn any_table_passes_for_an_xsdt() {
    let other = table(b"OEM1", 44, &0x400_u64.to_le_bytes());
    let memory = Memory::with(&[(0x100, &root_pointer(36, 0x204)), (0x204, &other)]);
    // SAFETY: all that the tables lead to is memory.
    let tables = unsafe { AcpiTables::from_rsdp(memory, 0x100) }.unwrap();
    assert_eq!(tables.table_entries().collect::<Vec<_>>(), [0x400]);
}

#[test]
fn a_madt_entry_of_length_0_is_read_for_ever() {
    assert_eq!(count_madt_entries(60, &[0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1, 1, 0, 0, 0]), 2);
    assert_eq!(count_madt_entries(60, &[0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]), 100);
}

#[test]
fn a_short_madt_entry_is_read_beyond_its_table() {
    let entries = [0, 2, 0x77, 0x78, 0, 0, 0, 0];
    let memory = Memory::with(&[(64, &table(b"APIC", 46, &[&[0; 8], &entries[..]].concat()))]);
    let madt: PhysicalMapping<Memory, Madt> = memory.mapping(64, 46);
    let Some(MadtEntry::LocalApic(processor)) = madt.get().entries().next() else { panic!("no processor") };
    assert_eq!((processor.processor_id, processor.apic_id), (0x77, 0x78), "what follows the table");
}

#[test]
fn a_table_shorter_than_its_fixed_part_panics() {
    assert!(catch_unwind(|| count_madt_entries(40, &[])).is_err(), "MADT");
    let configuration_spaces = || {
        let memory = Memory::with(&[(64, &table(b"MCFG", 40, &[0; 8]))]);
        let mcfg: PhysicalMapping<Memory, Mcfg> = memory.mapping(64, 40);
        mcfg.entries().len()
    };
    assert!(catch_unwind(configuration_spaces).is_err(), "MCFG");
    let listed = || {
        let memory = Memory::with(&[(64, &table(b"RSDT", 8, &[]))]);
        // SAFETY: there is memory at this address.
        unsafe { AcpiTables::from_rsdt(memory, 0, 64) }.unwrap().table_entries().count()
    };
    assert!(catch_unwind(listed).is_err(), "RSDT");
}

/// The sum is over as many bytes as the root pointer says, and it may say 4 GiB.
#[test]
fn a_root_pointer_is_summed_beyond_its_end() {
    let right = |after: u8| {
        let memory = Memory::with(&[(64, &root_pointer(37, 0)), (100, &[after])]);
        let pointer: PhysicalMapping<Memory, acpi::rsdp::Rsdp> = memory.mapping(64, 36);
        pointer.validate().is_ok()
    };
    assert!(right(0) && !right(1));
}

#[test]
fn a_signature_that_is_no_text_panics_when_it_is_told() {
    let memory = Memory::with(&[(64, &table(&[0xff; 4], 36, &[]))]);
    let header: PhysicalMapping<Memory, acpi::sdt::SdtHeader> = memory.mapping(64, 36);
    let signature = header.signature;
    assert!(catch_unwind(|| signature.to_string()).is_err());
}
