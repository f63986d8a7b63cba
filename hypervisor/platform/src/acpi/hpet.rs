//! High precision event timer (IA-PC HPET Specification 1.0a, section 3.2.4).

use crate::bytes::field;
use crate::finding::{Findings, finding};
use ::acpi::sdt::hpet::HpetTable;
use serde::{Deserialize, Serialize};
use spec::Hpa;

/// An event timer block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hpet {
    /// Its registers.
    pub base: Hpa,
    /// Its number, as DMAR scopes name it.
    pub number: u8,
    /// Fewest ticks between two periodic interrupts.
    pub minimum_tick: u16,
}

impl Hpet {
    pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Option<Self> {
        let (Some(space), Some(base), Some(number), Some(minimum_tick)) = (
            field!(table, HpetTable.base_address.address_space: u8),
            field!(table, HpetTable.base_address.address: u64),
            field!(table, HpetTable.hpet_number: u8),
            field!(table, HpetTable.clock_tick_unit: u16),
        ) else {
            finding!(findings, "the table has only {} bytes; ignored", table.len());
            return None;
        };
        // Address space 0 is memory (ACPI Specification 6.5, table 5.1).
        if space != 0 || base == 0 || base == u64::MAX || base % 8 != 0 {
            finding!(
                findings,
                "the timer is at {} of address space {space}, which cannot be; ignored",
                Hpa(base)
            );
            return None;
        }
        Some(Self { base: Hpa(base), number, minimum_tick })
    }
}
