//! Units as the firmware's tables describe them, and how large their tables are.

use alloc::vec::Vec;
use platform::remapping::Architecture;
use spec::RequesterRange;

/// A unit as the firmware's tables describe it.
pub struct UnitDescription<R> {
    /// Its registers; `None` where they cannot be reached. Such a unit keeps its
    /// requesters, which nobody else can hold.
    pub registers: Option<R>,
    /// How it is driven.
    pub architecture: Architecture,
    /// Its PCI segment.
    pub segment: u16,
    /// It serves what no other unit of the segment names.
    pub serves_rest: bool,
    /// What it names: functions, what is behind bridges, IOAPICs and HPETs.
    pub requesters: Vec<RequesterRange>,
    /// It names more, and nobody can tell whom.
    pub unsure: bool,
}

/// How large a unit's tables are; the Plan knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitLimits {
    /// PCI buses of its segment, counted from 0, that it can be asked about: 256, but
    /// for tests.
    pub buses: u16,
    /// Domain tags, counted from 0, under which it may have cached anything before it is taken
    /// over: [`UnitLimits::ALL_TAGS`], but for tests.
    pub tags: u32,
    /// Entries of interrupt tables.
    pub interrupts: u32,
    /// Requesters that are granted interrupts.
    pub interrupt_sources: usize,
    /// Destinations have 32 bits, as processors in x2APIC mode need.
    pub x2apic: bool,
}

impl UnitLimits {
    /// A tag has 16 bits.
    pub const ALL_TAGS: u32 = 1 << 16;
}
