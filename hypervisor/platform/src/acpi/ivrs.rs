//! I/O virtualization reporting (AMD I/O Virtualization Technology Specification 3.08,
//! chapter 5).

use crate::bytes::{array, u8_at, u16_at, u32_at, u64_at};
use crate::finding::{Findings, finding};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::{Bdf, Hpa, RequesterRange};

/// What the IVRS table says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ivrs {
    /// Bits of a physical address that the platform has (IVinfo, PASize).
    pub physical_address_bits: u8,
    /// Bits of a virtual address that the units translate (IVinfo, VASize).
    pub virtual_address_bits: u8,
    /// Remapping units, each by its highest block.
    pub units: Vec<Ivhd>,
    /// Memory that the firmware's devices keep using.
    pub reserved: Vec<Ivmd>,
    /// A block could not be read, so units may be missing.
    #[serde(default)]
    pub incomplete: bool,
}

/// A remapping unit (I/O virtualization hardware definition, section 5.2.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ivhd {
    /// The type of the block: 0x10, 0x11 or 0x40.
    pub kind: u8,
    /// What of the unit's control register is to be set ([`flag`]).
    pub flags: u8,
    /// The unit's own PCI function.
    pub function: Bdf,
    /// Offset of its capability block in that function's configuration space.
    pub capability: u16,
    /// Its registers.
    pub base: Hpa,
    /// PCI segment.
    pub segment: u16,
    /// Which of its function's MSI messages is the event interrupt.
    pub msi_number: u8,
    /// What its extended feature register reads; `None` in blocks of type 0x10.
    pub features: Option<u64>,
    /// Whom it serves.
    pub entries: Vec<Entry>,
    /// It serves more, which could not be read.
    #[serde(default)]
    pub incomplete: bool,
}

impl Ivhd {
    /// Whether registers can be there.
    pub fn has_registers(&self) -> bool {
        self.base.0 != 0
            && self.base.is_aligned(REGISTERS_ALIGNMENT)
            && self.base.checked_add(REGISTERS_ALIGNMENT).is_some()
    }
}

/// Flags of a block (section 5.2.2.1).
pub mod flag {
    /// Translate HyperTransport tunnel traffic.
    pub const HT_TUNNEL: u8 = 1 << 0;
    /// Pass posted writes.
    pub const PASS_POSTED_WRITES: u8 = 1 << 1;
    /// Responses may pass posted writes.
    pub const RESPONSES_PASS: u8 = 1 << 2;
    /// Isochronous table walks.
    pub const ISOCHRONOUS: u8 = 1 << 3;
    /// Table walks snoop the processors' caches.
    pub const COHERENT: u8 = 1 << 5;
}

/// One device entry of a block, or the two of a range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Whom it is about.
    pub who: Who,
    /// What is let through untranslated of them (data setting, section 5.2.2.3).
    pub settings: u8,
}

/// Whom a device entry is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Every requester ID of the segment.
    All,
    /// Requester IDs of functions.
    Functions {
        /// First one.
        first: Bdf,
        /// Last one; the first for an entry about one function.
        last: Bdf,
        /// Under which requester ID their requests arrive, where not their own.
        alias: Option<Bdf>,
    },
    /// An I/O APIC.
    IoApic {
        /// Its ID.
        id: u8,
        /// The requester ID of its interrupts.
        requester: Bdf,
    },
    /// A timer block.
    Hpet {
        /// Its number.
        number: u8,
        /// The requester ID of its interrupts.
        requester: Bdf,
    },
    /// A device of the ACPI name space.
    AcpiDevice {
        /// Its hardware ID.
        id: String,
        /// Its requester ID.
        requester: Bdf,
    },
}

/// A range that the firmware's devices keep using (I/O virtualization memory
/// definition, section 5.2.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ivmd {
    /// First byte, page-aligned.
    pub start: Hpa,
    /// Bytes, whole pages.
    pub bytes: u64,
    /// PCI segment.
    pub segment: u16,
    /// First requester ID that uses it.
    pub first: Bdf,
    /// Last one.
    pub last: Bdf,
    /// They read it.
    pub readable: bool,
    /// They write it.
    pub writable: bool,
    /// It is to be left untranslated rather than mapped one to one.
    pub exclusion: bool,
}

/// Where the blocks begin.
const BLOCKS: usize = 48;
/// Where the device entries begin: in blocks of type 0x10, and in later ones.
const ENTRIES: [usize; 2] = [24, 40];
/// Alignment of a unit's registers (capability block, BaseAddress).
const REGISTERS_ALIGNMENT: u64 = 0x4000;

impl Ivrs {
    pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Self {
        let info = u32_at(table, 36).unwrap_or(0);
        let mut ivrs = Self {
            physical_address_bits: (info >> 8) as u8 & 0x7f,
            virtual_address_bits: (info >> 15) as u8 & 0x7f,
            ..Self::default()
        };
        let mut rest = table.get(BLOCKS..).unwrap_or_default();
        while let (Some(kind), Some(length)) = (u8_at(rest, 0), u16_at(rest, 2)) {
            let length = usize::from(length);
            if length < 4 || length > rest.len() {
                finding!(
                    findings,
                    "a block of type {kind:#x} says it has {length} bytes; the rest is ignored"
                );
                ivrs.incomplete = true;
                break;
            }
            let (block, after) = rest.split_at(length);
            let complete = match kind {
                0x10 | 0x11 | 0x40 => ivrs.unit(kind, block, findings),
                0x20..=0x22 => ivrs.reserved_memory(kind, block, findings),
                _ => {
                    finding!(findings, "a block of unknown type {kind:#x}; ignored");
                    Some(())
                }
            };
            if complete.is_none() {
                finding!(findings, "a block of type {kind:#x} has only {length} bytes; ignored");
                ivrs.incomplete |= matches!(kind, 0x10 | 0x11 | 0x40);
            }
            rest = after;
        }
        let serves_all = |unit: &&Ivhd| unit.segment == 0 && unit.entries.iter().any(|e| e.who == Who::All);
        if ivrs.units.iter().filter(serves_all).count() > 1 {
            finding!(findings, "two units claim to cover all of segment 0; the first counts");
        }
        ivrs
    }

    fn unit(&mut self, kind: u8, block: &[u8], findings: &mut Findings<'_>) -> Option<()> {
        let [old, new] = ENTRIES;
        let unit = Ivhd {
            kind,
            flags: u8_at(block, 1)?,
            function: Bdf(u16_at(block, 4)?),
            capability: u16_at(block, 6)?,
            base: Hpa(u64_at(block, 8)?),
            segment: u16_at(block, 16)?,
            msi_number: u8_at(block, 18)? & 0x1f,
            features: if kind == 0x10 { None } else { Some(u64_at(block, 24)?) },
            entries: Vec::new(),
            incomplete: false,
        };
        let (entries, complete) =
            entries(unit.function, block.get(if kind == 0x10 { old } else { new }..)?, findings);
        self.add(Ivhd { entries, incomplete: !complete, ..unit }, findings);
        Some(())
    }

    /// Adds a block to what is known of its unit. A unit may be described once for each
    /// generation of software; the highest type says most (section 5.2.2). Whatever is
    /// wrong with a unit, what it serves is not the others'.
    fn add(&mut self, unit: Ivhd, findings: &mut Findings<'_>) {
        let Ivhd { base, function, kind, .. } = unit;
        if !unit.has_registers() {
            finding!(findings, "the remapping unit {function} is at {base}, which cannot be");
        }
        let same = |other: &Ivhd| other.segment == unit.segment && other.function == function;
        if unit.has_registers() && self.units.iter().any(|other| other.base == base && !same(other)) {
            finding!(
                findings,
                "the remapping unit at {base} is listed twice; what only the second serves is nobody's"
            );
        }
        let place = self.units.iter().position(same);
        match place.and_then(|place| self.units.get_mut(place)) {
            None => self.units.push(unit),
            Some(other) if other.kind < kind => {
                let base = if unit.has_registers() { base } else { other.base };
                if other.base != base && other.has_registers() {
                    finding!(
                        findings,
                        "the remapping unit {function} is at {} and at {base}; the second counts",
                        other.base
                    );
                }
                *other = Ivhd { base, ..unit };
            }
            Some(other) if other.kind == kind && *other == unit => {
                finding!(findings, "the remapping unit {function} is listed twice; the first counts");
            }
            Some(other) if other.kind == kind => {
                finding!(
                    findings,
                    "the remapping unit {function} is listed twice; what only the second serves is nobody's"
                );
                self.units.push(unit);
            }
            Some(other) if !other.has_registers() => other.base = base,
            Some(_) => {}
        }
    }

    fn reserved_memory(&mut self, kind: u8, block: &[u8], findings: &mut Findings<'_>) -> Option<()> {
        let (flags, device, last) = (u8_at(block, 1)?, Bdf(u16_at(block, 4)?), Bdf(u16_at(block, 6)?));
        let (segment, start, bytes) = (u16_at(block, 8)?, Hpa(u64_at(block, 16)?), u64_at(block, 24)?);
        let users = match kind {
            0x20 => RequesterRange::ALL,
            0x21 => RequesterRange::one(device),
            _ => RequesterRange { first: device, last },
        };
        let (unity, exclusion) = (flags & 1 != 0, flags & 8 != 0);
        let end = start.0.checked_add(bytes).and_then(|end| Hpa(end).align_up(4096));
        let Some(end) = end.filter(|_| start.0 != 0 && bytes != 0) else {
            finding!(findings, "the reserved memory at {start} of {bytes:#x} bytes cannot be; ignored");
            return Some(());
        };
        if users.last < users.first {
            finding!(
                findings,
                "the reserved memory at {start} is for {users}, which is the wrong way round; ignored"
            );
            return Some(());
        }
        if !unity && !exclusion {
            finding!(findings, "nobody is to reach the reserved memory at {start}; ignored");
            return Some(());
        }
        if !start.is_aligned(4096) || !bytes.is_multiple_of(4096) {
            finding!(
                findings,
                "the reserved memory at {start} of {bytes:#x} bytes is not whole pages; rounded outward"
            );
        }
        let start = start.align_down(4096);
        self.reserved.push(Ivmd {
            start,
            bytes: end - start,
            segment,
            first: users.first,
            last: users.last,
            // An exclusion range is not looked at by the unit, so both go through.
            readable: exclusion || flags & 2 != 0,
            writable: exclusion || flags & 4 != 0,
            exclusion,
        });
        Some(())
    }
}

/// Types of device entries (section 5.2.2.3).
mod kind {
    pub const PADDING: u8 = 0;
    pub const ALL: u8 = 1;
    pub const SELECT: u8 = 2;
    pub const START: u8 = 3;
    pub const END: u8 = 4;
    pub const ALIAS_SELECT: u8 = 0x42;
    pub const ALIAS_START: u8 = 0x43;
    pub const EXTENDED_SELECT: u8 = 0x46;
    pub const EXTENDED_START: u8 = 0x47;
    pub const SPECIAL: u8 = 0x48;
    pub const ACPI_DEVICE: u8 = 0xf0;
}

/// Bytes of the device entry at the beginning of `rest`; `None` where its type does not
/// tell.
fn entry_bytes(rest: &[u8]) -> Option<usize> {
    match u8_at(rest, 0)? {
        0..0x40 => Some(4),
        0x40..0x80 => Some(8),
        0x80..0xc0 => Some(16),
        0xc0..0xf0 => Some(32),
        kind::ACPI_DEVICE => Some(22 + usize::from(u8_at(rest, 21)?)),
        _ => None,
    }
}

/// The device entries of the unit `unit` in `rest`, and whether these are all.
fn entries(unit: Bdf, mut rest: &[u8], findings: &mut Findings<'_>) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    let mut complete = true;
    // A range whose end is still to come.
    let mut open: Option<Entry> = None;
    while let Some(kind) = u8_at(rest, 0) {
        let split = entry_bytes(rest).and_then(|bytes| rest.split_at_checked(bytes));
        let Some((entry, after)) = split else {
            finding!(
                findings,
                "a device entry of type {kind:#x} of the unit {unit} does not end; the rest is ignored"
            );
            complete = false;
            break;
        };
        rest = after;
        if kind == kind::PADDING {
            continue;
        }
        if kind == kind::END {
            let range = range(unit, open.take(), entry, findings);
            complete &= range.is_some();
            entries.extend(range);
            continue;
        }
        complete &= open.is_none();
        tell_open(unit, open.take(), findings);
        match self::entry(unit, kind, entry, findings) {
            Some(entry) if matches!(kind, kind::START | kind::ALIAS_START | kind::EXTENDED_START) => {
                open = Some(entry);
            }
            Some(entry) => entries.push(entry),
            None => complete = false,
        }
    }
    complete &= open.is_none();
    tell_open(unit, open, findings);
    (entries, complete)
}

/// Tells of a range without an end.
fn tell_open(unit: Bdf, open: Option<Entry>, findings: &mut Findings<'_>) {
    if let Some(Entry { who: Who::Functions { first, .. }, .. }) = open {
        finding!(findings, "the range from {first} of the unit {unit} has no end; ignored");
    }
}

/// The range that began with `open` and ends with the entry `end`.
fn range(unit: Bdf, open: Option<Entry>, end: &[u8], findings: &mut Findings<'_>) -> Option<Entry> {
    let end = Bdf(u16_at(end, 1)?);
    let Some(Entry { who: Who::Functions { first, alias, .. }, settings }) = open else {
        finding!(findings, "a range of the unit {unit} ends at {end} and begins nowhere; ignored");
        return None;
    };
    if end < first {
        finding!(findings, "the range from {first} of the unit {unit} ends before, at {end}; ignored");
        return None;
    }
    Some(Entry { who: Who::Functions { first, last: end, alias }, settings })
}

/// One device entry. That of a range's begin is about its first function.
fn entry(unit: Bdf, kind: u8, entry: &[u8], findings: &mut Findings<'_>) -> Option<Entry> {
    let (device, settings) = (Bdf(u16_at(entry, 1)?), u8_at(entry, 3)?);
    let functions = |alias| Who::Functions { first: device, last: device, alias };
    let who = match kind {
        kind::ALL => Who::All,
        kind::SELECT | kind::START | kind::EXTENDED_SELECT | kind::EXTENDED_START => functions(None),
        kind::ALIAS_SELECT | kind::ALIAS_START => functions(Some(Bdf(u16_at(entry, 5)?))),
        kind::SPECIAL => {
            let (handle, requester) = (u8_at(entry, 4)?, Bdf(u16_at(entry, 5)?));
            match u8_at(entry, 7)? {
                1 => Who::IoApic { id: handle, requester },
                2 => Who::Hpet { number: handle, requester },
                variety => {
                    finding!(
                        findings,
                        "a special device of unknown variety {variety} of the unit {unit}; ignored"
                    );
                    return None;
                }
            }
        }
        kind::ACPI_DEVICE => {
            let id: [u8; 8] = array(entry, 4)?;
            let id = id.split(|byte| *byte == 0).next().unwrap_or_default();
            Who::AcpiDevice { id: alloc::format!("{}", id.escape_ascii()), requester: device }
        }
        _ => {
            finding!(findings, "a device entry of unknown type {kind:#x} of the unit {unit}; ignored");
            return None;
        }
    };
    Some(Entry { who, settings })
}
