//! The guest's ACPI tables (ACPI Specification 6.5, chapter 5).
//!
//! They describe what [`crate::layout`] fixes, so they differ between guests only in
//! the number of processors. Built once, before the guest starts; a guest that
//! overwrites them harms nobody but itself.

mod dsdt;
mod fixed;
mod maker;
#[cfg(test)]
mod tests;

use crate::layout::{ACPI_AREA, ACPI_AREA_BYTES, GuestLayout};
use access::{GuestMemory, OutOfBounds};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{facs::FACS, mcfg::MCFG};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use maker::{OEM, OEM_REVISION, OEM_TABLE, bytes_of};
use spec::Gpa;

/// Alignment of every table; the FACS asks for this much.
const ALIGNMENT: usize = 64;

/// Why the tables were not built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcpiError {
    /// They do not fit into their area.
    TooLarge,
    /// The area is not in the guest's memory.
    Memory,
}

impl From<OutOfBounds> for AcpiError {
    fn from(_: OutOfBounds) -> Self {
        Self::Memory
    }
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the guest's ACPI tables take more than {ACPI_AREA_BYTES} bytes"),
            Self::Memory => write!(f, "the guest has no memory at {ACPI_AREA} for its ACPI tables"),
        }
    }
}

/// Builds the tables and writes them to their area; what they leave of it is zeros.
/// Returns where the RSDP is: the start of the area.
pub fn build(memory: &impl GuestMemory, layout: &GuestLayout) -> Result<Gpa, AcpiError> {
    let mut area = Area::new();
    // The RSDP comes first, and is the last to know what it points to.
    area.put(&vec![0; Rsdp::len()])?;

    let dsdt = area.put(&dsdt::build(layout))?;
    let facs = area.put(&bytes_of(&FACS::new()))?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(area.put(&fixed::fadt(dsdt, facs))?.0);
    xsdt.add_entry(area.put(&fixed::madt(layout))?.0);
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(crate::layout::ECAM.0, 0, 0, 0);
    xsdt.add_entry(area.put(&bytes_of(&mcfg))?.0);
    let xsdt = area.put(&bytes_of(&xsdt))?;

    area.replace_start(&bytes_of(&Rsdp::new(OEM, xsdt.0)));
    memory.write(ACPI_AREA, &area.bytes)?;
    Ok(ACPI_AREA)
}

/// The contents of the area while they are put together.
struct Area {
    bytes: Vec<u8>,
    used: usize,
}

impl Area {
    fn new() -> Self {
        Self { bytes: vec![0; ACPI_AREA_BYTES as usize], used: 0 }
    }

    /// Appends a table; returns where it will be.
    fn put(&mut self, table: &[u8]) -> Result<Gpa, AcpiError> {
        let start = self.used.next_multiple_of(ALIGNMENT);
        let end = start.checked_add(table.len()).ok_or(AcpiError::TooLarge)?;
        self.bytes.get_mut(start..end).ok_or(AcpiError::TooLarge)?.copy_from_slice(table);
        self.used = end;
        Ok(ACPI_AREA + start as u64)
    }

    /// Replaces what is at the start of the area.
    fn replace_start(&mut self, table: &[u8]) {
        for (to, from) in self.bytes.iter_mut().zip(table) {
            *to = *from;
        }
    }
}
