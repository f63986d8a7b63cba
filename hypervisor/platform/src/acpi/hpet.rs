//! High precision event timer (IA-PC HPET Specification 1.0a, section 3.2.4).

use crate::bytes::{u8_at, u16_at, u64_at};
use crate::finding::{Findings, finding};
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
        let (Some(space), Some(base), Some(number), Some(minimum_tick)) =
            (u8_at(table, 40), u64_at(table, 44), u8_at(table, 52), u16_at(table, 53))
        else {
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
