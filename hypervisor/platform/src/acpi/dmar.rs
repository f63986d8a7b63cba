//! DMA remapping reporting (Intel VT-d Specification 4.1, chapter 8).

use crate::bytes::{u8_at, u16_at, u64_at};
use crate::finding::{Findings, finding};
use crate::names::DevFn;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::Hpa;

/// What the DMAR table says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Dmar {
    /// Bits of a DMA address that the platform has.
    pub address_bits: u8,
    /// Interrupt remapping may be used (flag INTR_REMAP).
    pub interrupt_remapping: bool,
    /// The firmware asks not to enable x2APIC mode (flag X2APIC_OPT_OUT).
    pub x2apic_opt_out: bool,
    /// Remapping units.
    pub units: Vec<Drhd>,
    /// Memory that the firmware's devices keep using.
    pub reserved: Vec<Rmrr>,
    /// A structure could not be read, so units may be missing.
    #[serde(default)]
    pub incomplete: bool,
}

/// A remapping unit (DRHD, section 8.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drhd {
    /// Its registers.
    pub base: Hpa,
    /// Bytes of its registers.
    pub register_bytes: u64,
    /// PCI segment.
    pub segment: u16,
    /// It covers every function of the segment that no other unit's scope names.
    pub include_all: bool,
    /// What it covers by name; I/O APICs and timers even where it covers all.
    pub scopes: Vec<Scope>,
    /// It covers more by name, which could not be read.
    #[serde(default)]
    pub incomplete: bool,
}

impl Drhd {
    /// Whether registers can be there.
    pub fn has_registers(&self) -> bool {
        self.base.0 != 0 && self.base.is_aligned(4096) && self.base.checked_add(self.register_bytes).is_some()
    }
}

/// A range that the firmware's devices keep using (RMRR, section 8.4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rmrr {
    /// First byte, page-aligned.
    pub start: Hpa,
    /// Bytes, whole pages.
    pub bytes: u64,
    /// PCI segment.
    pub segment: u16,
    /// Functions that use it.
    pub scopes: Vec<Scope>,
}

/// What kind of thing a scope names (table 34).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScopeKind {
    /// One function.
    Endpoint,
    /// A bridge and everything below it.
    Bridge,
    /// The I/O APIC of this ID; the path gives its source ID.
    IoApic(u8),
    /// The timer block of this number; the path gives its source ID.
    Hpet(u8),
    /// A device of the ACPI name space, by its number.
    AcpiDevice(u8),
}

/// One scope of a unit or of a reserved range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scope {
    /// What it names.
    pub kind: ScopeKind,
    /// The bus on which the path starts.
    pub start_bus: u8,
    /// Device and function, bridge after bridge. For I/O APICs and timers it leads to
    /// the source ID of their interrupts, which need not be a function that can be seen.
    pub path: Vec<DevFn>,
}

/// Where the structures begin.
const STRUCTURES: usize = 48;
/// A longer path has more bridges than there are buses.
const LONGEST_PATH: usize = 255;

impl Dmar {
    pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Self {
        let flags = u8_at(table, 37).unwrap_or(0);
        let mut dmar = Self {
            address_bits: u8_at(table, 36).unwrap_or(0).saturating_add(1).min(64),
            interrupt_remapping: flags & 1 != 0,
            x2apic_opt_out: flags & 2 != 0,
            ..Self::default()
        };
        let mut rest = table.get(STRUCTURES..).unwrap_or_default();
        while let (Some(kind), Some(length)) = (u16_at(rest, 0), u16_at(rest, 2)) {
            let length = usize::from(length);
            if length < 4 || length > rest.len() {
                finding!(
                    findings,
                    "a structure of type {kind} says it has {length} bytes; the rest is ignored"
                );
                dmar.incomplete = true;
                break;
            }
            let (structure, after) = rest.split_at(length);
            let complete = match kind {
                0 => dmar.unit(structure, findings),
                1 => dmar.reserved_memory(structure, findings),
                // ATSR, RHSA, ANDD, SATC, SIDP: hints that are not needed.
                2..=6 => Some(()),
                _ => {
                    finding!(findings, "a structure of unknown type {kind}; ignored");
                    Some(())
                }
            };
            if complete.is_none() {
                finding!(findings, "a structure of type {kind} has only {length} bytes; ignored");
                dmar.incomplete |= kind == 0;
            }
            rest = after;
        }
        if dmar.units.iter().filter(|unit| unit.include_all && unit.segment == 0).count() > 1 {
            finding!(findings, "two units claim to cover all of segment 0; the first counts");
        }
        dmar
    }

    fn unit(&mut self, structure: &[u8], findings: &mut Findings<'_>) -> Option<()> {
        let base = Hpa(u64_at(structure, 8)?);
        let pages_log2 = u8_at(structure, 5)? & 15;
        let (scopes, complete) = scopes(structure.get(16..)?, findings);
        let unit = Drhd {
            base,
            register_bytes: 4096 << pages_log2,
            segment: u16_at(structure, 6)?,
            include_all: u8_at(structure, 4)? & 1 != 0,
            scopes,
            incomplete: !complete,
        };
        // Whatever is wrong with a unit, what it covers is not the others'.
        if self.units.contains(&unit) {
            finding!(findings, "the remapping unit at {base} is listed twice; the first counts");
            return Some(());
        }
        if !unit.has_registers() {
            finding!(findings, "a remapping unit is at {base}, which cannot be; what it covers is nobody's");
        } else if self.units.iter().any(|other| other.base == base) {
            finding!(
                findings,
                "the remapping unit at {base} is listed twice; what only the second covers is nobody's"
            );
        }
        self.units.push(unit);
        Some(())
    }

    fn reserved_memory(&mut self, structure: &[u8], findings: &mut Findings<'_>) -> Option<()> {
        let segment = u16_at(structure, 6)?;
        let (base, limit) = (Hpa(u64_at(structure, 8)?), Hpa(u64_at(structure, 16)?));
        let (scopes, _) = scopes(structure.get(24..)?, findings);
        // Some firmware leaves empty ones, from 0 to 0.
        if limit < base || limit.0 == 0 || limit.0 | 4095 == u64::MAX {
            finding!(findings, "the reserved memory from {base} to {limit} cannot be; ignored");
            return Some(());
        }
        if !base.is_aligned(4096) || limit.page_offset() != 4095 {
            finding!(
                findings,
                "the reserved memory from {base} to {limit} is not whole pages; rounded outward"
            );
        }
        let start = base.align_down(4096);
        let bytes = (limit.0 | 4095) - start.0 + 1;
        self.reserved.push(Rmrr { start, bytes, segment, scopes });
        Some(())
    }
}

/// The device scopes in `rest` (section 8.3.1), and whether these are all.
fn scopes(mut rest: &[u8], findings: &mut Findings<'_>) -> (Vec<Scope>, bool) {
    let mut scopes = Vec::new();
    let mut complete = true;
    while let (Some(kind), Some(length)) = (u8_at(rest, 0), u8_at(rest, 1)) {
        let length = usize::from(length);
        if length < 8 || length % 2 != 0 || length > rest.len() {
            finding!(
                findings,
                "a device scope of type {kind} says it has {length} bytes; the rest is ignored"
            );
            complete = false;
            break;
        }
        let (scope, after) = rest.split_at(length);
        rest = after;
        match self::scope(scope, findings) {
            Some(scope) => scopes.push(scope),
            None => complete = false,
        }
    }
    (scopes, complete)
}

fn scope(scope: &[u8], findings: &mut Findings<'_>) -> Option<Scope> {
    let number = u8_at(scope, 4)?;
    let kind = match u8_at(scope, 0)? {
        1 => ScopeKind::Endpoint,
        2 => ScopeKind::Bridge,
        3 => ScopeKind::IoApic(number),
        4 => ScopeKind::Hpet(number),
        5 => ScopeKind::AcpiDevice(number),
        unknown => {
            finding!(findings, "a device scope of unknown type {unknown}; ignored");
            return None;
        }
    };
    let mut path = Vec::new();
    for hop in scope.get(6..)?.chunks_exact(2).take(LONGEST_PATH) {
        let (device, function) = (u8_at(hop, 0)?, u8_at(hop, 1)?);
        if device > 31 || function > 7 {
            finding!(
                findings,
                "a device scope leads through device {device:#x} function {function}; ignored"
            );
            return None;
        }
        path.push(DevFn::new(device, function));
    }
    Some(Scope { kind, start_bus: u8_at(scope, 5)?, path })
}
