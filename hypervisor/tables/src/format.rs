//! What distinguishes one page-table format from another.

use core::ops::RangeInclusive;
use spec::Hpa;

/// Bits of an address that an entry holds, in every format here: 12 to 51.
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The sizes of page that a leaf entry can map. The number is the level of the
/// table that holds the leaf, counted from 1 as the manuals count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum PageSize {
    /// 4 KiB.
    Size4KiB = 1,
    /// 2 MiB.
    Size2MiB = 2,
    /// 1 GiB.
    Size1GiB = 3,
}

impl PageSize {
    /// Bytes in the page.
    pub const fn bytes(self) -> u64 {
        entry_bytes(self as u8)
    }

    /// The page that a leaf in a table of `level` maps; `None` above level 3.
    pub const fn of_level(level: u8) -> Option<Self> {
        match level {
            1 => Some(Self::Size4KiB),
            2 => Some(Self::Size2MiB),
            3 => Some(Self::Size1GiB),
            _ => None,
        }
    }
}

/// Bytes that one entry of a table of `level` (1 to 6) translates.
pub(crate) const fn entry_bytes(level: u8) -> u64 {
    1 << (12 + 9 * (level as u32 - 1))
}

/// What may be done to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Permissions {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Instruction fetches. Devices fetch none; VT-d tables leave it out.
    pub execute: bool,
}

impl Permissions {
    /// Everything: a guest's RAM.
    pub const ALL: Self = Self { read: true, write: true, execute: true };
    /// Reads and writes: registers, and memory for DMA.
    pub const READ_WRITE: Self = Self { read: true, write: true, execute: false };
    /// Reads only.
    pub const READ: Self = Self { read: true, write: false, execute: false };
}

/// How a processor's caches treat the page. A device's tables have no such field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MemoryType {
    /// Write-back: RAM.
    WriteBack,
    /// Uncacheable: a device's registers.
    Uncached,
}

/// One format: functions from meaning to bits and back. Entries have 64 bits, a
/// table has 512 of them; an entry whose low 12 bits are 0 is not present in any
/// format, which the list of retired frames relies on.
pub trait Format {
    /// Name for messages.
    const NAME: &'static str;
    /// How many levels a table may have.
    const LEVELS: RangeInclusive<u8>;
    /// Bits of a leaf that hardware sets by itself (accessed, dirty).
    const SET_BY_HARDWARE: u64;
    /// Bits of a leaf that make the walker snoop caches for transactions that ask
    /// not to be snooped; 0 where the format has no such thing.
    const FORCE_SNOOP: u64;

    /// Whether a leaf can express exactly `permissions`.
    fn supports(permissions: Permissions) -> bool;
    /// An entry of a table of `level` that leads to the table at `next`.
    fn table(next: Hpa, level: u8) -> u64;
    /// An entry that maps `page` bytes at `output`, a multiple of them.
    fn leaf(output: Hpa, page: PageSize, permissions: Permissions, memory_type: MemoryType) -> u64;
    /// Whether hardware uses the entry.
    fn is_present(entry: u64) -> bool;
    /// Whether a present entry of a table of `level` maps a page.
    fn is_leaf(entry: u64, level: u8) -> bool;
    /// Permissions of a leaf.
    fn permissions(leaf: u64) -> Permissions;
    /// Memory type of a leaf.
    fn memory_type(leaf: u64) -> MemoryType;
}
