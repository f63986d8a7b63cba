//! The memory map that a guest is told.

use guest::layout::{
    ACPI_AREA, ACPI_AREA_BYTES, EBDA, ECAM, ECAM_BYTES, HIGH_MEMORY, IOAPIC, LEGACY_HOLE, LEGACY_HOLE_END,
    LOCAL_APIC,
};
use guest::start_image::Fact;
use spec::Gpa;

/// What a range of the map is to the guest's operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum MemoryKind {
    /// Memory to use; e820 type 1.
    Usable = 1,
    /// Not to be touched, or a device; e820 type 2.
    Reserved = 2,
}

/// A range of the guest's physical address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemoryRange {
    /// First address.
    pub start: Gpa,
    /// Length; where the boot adds to it, without that.
    pub bytes: u64,
    /// What the boot adds to the length.
    pub fact: Option<Fact>,
    /// What it is.
    pub kind: MemoryKind,
}

const fn reserved(start: Gpa, bytes: u64) -> MemoryRange {
    MemoryRange { start, bytes, fact: None, kind: MemoryKind::Reserved }
}

/// The map that firmware would report (e820), in ascending order. Devices that
/// have a fixed place are listed as reserved: Linux uses ECAM only where the
/// map or a motherboard device reserves it. The last range is there only where the guest has
/// memory above 4 GiB, see [`RANGES_WITHOUT_HIGH`].
pub(crate) const MEMORY_MAP: [MemoryRange; 8] = [
    MemoryRange { start: Gpa(0), bytes: EBDA.0, fact: None, kind: MemoryKind::Usable },
    reserved(EBDA, LEGACY_HOLE.0 - EBDA.0),
    reserved(ACPI_AREA, ACPI_AREA_BYTES),
    MemoryRange {
        start: LEGACY_HOLE_END,
        bytes: LEGACY_HOLE_END.0.wrapping_neg(),
        fact: Some(Fact::LowBytes),
        kind: MemoryKind::Usable,
    },
    reserved(ECAM, ECAM_BYTES),
    reserved(IOAPIC, 0x1000),
    reserved(LOCAL_APIC, 0x1000),
    MemoryRange { start: HIGH_MEMORY, bytes: 0, fact: Some(Fact::HighBytes), kind: MemoryKind::Usable },
];

/// Ranges of the map that every guest has; [`Fact::HighRanges`] is added.
pub(crate) const RANGES_WITHOUT_HIGH: u8 = MEMORY_MAP.len() as u8 - 1;
