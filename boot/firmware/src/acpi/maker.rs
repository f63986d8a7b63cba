//! What every table has alike: who made it, and that it is bytes in the end.

use acpi_tables::Aml;
use alloc::vec::Vec;

/// Who made the tables.
pub(super) const OEM: [u8; 6] = *b"BLKHD ";
/// Which tables.
pub(super) const OEM_TABLE: [u8; 8] = *b"BULKHEAD";
/// In which revision.
pub(super) const OEM_REVISION: u32 = 1;

/// The bytes of a table.
pub(super) fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}
