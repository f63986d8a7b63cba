//! Memory-mapped configuration space (PCI Firmware Specification 3.3,
//! section 4.1.2).

use crate::bytes::field;
use crate::finding::{Findings, finding};
use ::acpi::sdt::mcfg::{Mcfg, McfgEntry};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::{Bdf, Hpa};

/// The configuration space of some buses of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ecam {
    /// Where bus 0 of the segment is or would be; bus `n` is 1 MiB times `n` higher.
    pub base: Hpa,
    /// PCI segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

impl Ecam {
    /// The 4 KiB of a function; `None` where its bus is not in this range.
    pub fn address(&self, function: Bdf) -> Option<Hpa> {
        let here = (self.first_bus..=self.last_bus).contains(&function.bus());
        here.then(|| self.base.checked_add(u64::from(function.0) << 12)).flatten()
    }

    /// The range of memory, as its first address and its bytes.
    pub fn range(&self) -> (Hpa, u64) {
        let buses = u64::from(self.last_bus.saturating_sub(self.first_bus)) + 1;
        (self.base + (u64::from(self.first_bus) << 20), buses << 20)
    }
}

pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Vec<Ecam> {
    let mut segments: Vec<Ecam> = Vec::new();
    for entry in table.get(size_of::<Mcfg>()..).unwrap_or_default().chunks_exact(size_of::<McfgEntry>()) {
        let (Some(base), Some(segment), Some(first_bus), Some(last_bus)) = (
            field!(entry, McfgEntry.base_address: u64),
            field!(entry, McfgEntry.pci_segment_group: u16),
            field!(entry, McfgEntry.bus_number_start: u8),
            field!(entry, McfgEntry.bus_number_end: u8),
        ) else {
            break;
        };
        let ecam = Ecam { base: Hpa(base), segment, first_bus, last_bus };
        let overlaps = |other: &Ecam| {
            other.segment == segment && other.first_bus <= last_bus && first_bus <= other.last_bus
        };
        if base == 0 || base & 0xf_ffff != 0 || base.checked_add(256 << 20).is_none() {
            finding!(findings, "segment {segment} is at {}, which cannot be; ignored", ecam.base);
        } else if last_bus < first_bus {
            finding!(findings, "segment {segment} has the buses {first_bus:#x} to {last_bus:#x}; ignored");
        } else if segments.iter().any(overlaps) {
            finding!(
                findings,
                "the buses {first_bus:#x} to {last_bus:#x} of segment {segment} are listed twice; the first entry counts"
            );
        } else {
            segments.push(ecam);
        }
    }
    segments
}
