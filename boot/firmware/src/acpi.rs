//! The guest's ACPI tables (ACPI Specification 6.5, chapter 5).
//!
//! They describe what [`guest::layout`] fixes, so they differ between guests only in
//! the number of processors, and in what the boot patches: the 64-bit window for BARs, which is where
//! the machine's processors reach. A guest that overwrites them harms nobody but itself.

mod dsdt;
mod fixed;
mod maker;
#[cfg(test)]
mod tests;

use crate::error::LoadError;
use crate::place::Space;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{facs::FACS, mcfg::MCFG};
use guest::layout::{ACPI_AREA, ACPI_AREA_BYTES, ECAM, GuestLayout};
use guest::start_image::Patch;
use maker::{OEM, OEM_REVISION, OEM_TABLE, bytes_of};
use spec::Gpa;

/// Alignment of every table; the FACS asks for this much.
const ALIGNMENT: u64 = 64;

/// Builds the tables and writes them to their area, the RSDP at its start.
pub(crate) fn build(space: &mut Space, layout: &GuestLayout) -> Result<(), LoadError> {
    // The RSDP comes first, and is the last to know what it points to.
    let mut area = Area { space, used: Rsdp::len() as u64 };

    let (table, patches) = dsdt::build(layout);
    let dsdt = area.put(&table)?;
    for patch in patches {
        area.space.patches.push(Patch {
            gpa: dsdt.0 + patch.gpa,
            checksum: dsdt.0 + patch.checksum,
            ..patch
        });
    }
    let facs = area.put(&bytes_of(&FACS::new()))?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(area.put(&fixed::fadt(dsdt, facs))?.0);
    xsdt.add_entry(area.put(&fixed::madt(layout))?.0);
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(ECAM.0, 0, 0, 0);
    xsdt.add_entry(area.put(&bytes_of(&mcfg))?.0);
    let xsdt = area.put(&bytes_of(&xsdt))?;
    area.space.write(ACPI_AREA, &bytes_of(&Rsdp::new(OEM, xsdt.0)))
}

/// The area while tables are put there.
struct Area<'a> {
    space: &'a mut Space,
    used: u64,
}

impl Area<'_> {
    /// Appends a table; returns where it is.
    fn put(&mut self, table: &[u8]) -> Result<Gpa, LoadError> {
        let start = self.used.next_multiple_of(ALIGNMENT);
        let end = start.checked_add(table.len() as u64).filter(|end| *end <= ACPI_AREA_BYTES);
        self.used = end.ok_or(LoadError::AcpiTables)?;
        self.space.write(ACPI_AREA + start, table)?;
        Ok(ACPI_AREA + start)
    }
}
