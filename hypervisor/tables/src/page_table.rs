//! The table itself: its shape, and looking things up in it.

use crate::changed::{Changed, FrameList};
use crate::format::{ADDRESS, Format, MemoryType, PageSize, Permissions, entry_bytes};
use access::TableMemory;
use core::fmt;
use core::marker::PhantomData;
use spec::{Hpa, address::PAGE_BYTES};

/// Shape of a table, as the hardware that walks it allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Levels: 4 translate 48 bits of input, each more or less 9 bits more or less.
    pub levels: u8,
    /// The largest page that the walker takes.
    pub max_page: PageSize,
    /// What can be executed is mapped in the smallest pages: some processors stop the machine
    /// when such a page changes its size under them.
    pub small_code: bool,
    /// The walker snoops the processors' caches; else entries are written back.
    pub coherent: bool,
    /// Leaves ask for snooping of every transaction ([`Format::FORCE_SNOOP`]).
    pub force_snoop: bool,
}

impl Geometry {
    /// For a processor's walker with `levels` levels and pages up to `max_page`.
    pub const fn processor(levels: u8, max_page: PageSize) -> Self {
        Self { levels, max_page, small_code: false, coherent: true, force_snoop: false }
    }

    /// The largest page that maps something with `permissions`.
    pub const fn max_page_for(self, permissions: Permissions) -> PageSize {
        if self.small_code && permissions.execute { PageSize::Size4KiB } else { self.max_page }
    }

    /// The shape as what has `permissions` sees it, for [`crate::frames_needed`].
    pub const fn of(self, permissions: Permissions) -> Self {
        Self { max_page: self.max_page_for(permissions), ..self }
    }

    /// Width of an input address in bits; 6 levels translate more than there are.
    pub const fn input_bits(self) -> u32 {
        let bits = 12 + 9 * self.levels as u32;
        if bits < u64::BITS { bits } else { u64::BITS }
    }

    /// Whether addresses below `end` are within the width.
    const fn translates_up_to(self, end: u64) -> bool {
        self.input_bits() == u64::BITS || end <= 1 << self.input_bits()
    }
}

/// Why a table was not changed. It is as it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The format cannot have that many levels.
    Levels(u8),
    /// An address or the length is no multiple of 4 KiB, or the length is 0.
    Misaligned,
    /// The range leaves the input addresses of the table or the output addresses
    /// of the format.
    OutOfRange,
    /// The format cannot express the permissions.
    Permissions,
    /// The input address translates to something else already.
    Overlap {
        /// Where.
        input: u64,
    },
    /// The pool has too few frames.
    OutOfFrames,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Levels(levels) => write!(f, "the format has no tables of {levels} levels"),
            Self::Misaligned => write!(f, "the range is empty or not made of whole 4 KiB pages"),
            Self::OutOfRange => write!(f, "the range leaves the addresses that the table can translate"),
            Self::Permissions => write!(f, "the format cannot express these permissions"),
            Self::Overlap { input } => write!(f, "address {input:#x} is mapped to something else already"),
            Self::OutOfFrames => write!(f, "the pool of table frames is used up"),
        }
    }
}

impl core::error::Error for MapError {}

/// What an input address translates to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The byte's output address.
    pub output: Hpa,
    /// What may be done to it.
    pub permissions: Permissions,
    /// How caches treat it.
    pub memory_type: MemoryType,
    /// The page that maps it.
    pub page: PageSize,
}

/// A page table in format `F`. It owns its frames; its memory is passed to every
/// call, since many tables share one pool.
#[derive(Debug)]
pub struct PageTable<F: Format> {
    root: Hpa,
    pub(crate) geometry: Geometry,
    format: PhantomData<F>,
}

impl<F: Format> PageTable<F> {
    /// An empty table.
    pub fn new(memory: &mut (impl TableMemory + ?Sized), geometry: Geometry) -> Result<Self, MapError> {
        if !F::LEVELS.contains(&geometry.levels) {
            return Err(MapError::Levels(geometry.levels));
        }
        let root = memory.allocate().ok_or(MapError::OutOfFrames)?;
        let table = Self { root, geometry, format: PhantomData };
        table.write_back(memory, root, PAGE_BYTES);
        Ok(table)
    }

    /// The table of the highest level, for the register that starts the walk.
    pub const fn root(&self) -> Hpa {
        self.root
    }

    /// The table's shape.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What the walker makes of `input`; `None` where it faults.
    pub fn translate(&self, memory: &(impl TableMemory + ?Sized), input: u64) -> Option<Translation> {
        if !self.geometry.translates_up_to(input.saturating_add(1)) {
            return None;
        }
        let mut table = self.root;
        for level in (1..=self.geometry.levels).rev() {
            let entry = memory.read(entry_at(table, level, input));
            if !F::is_present(entry) {
                return None;
            }
            if F::is_leaf(entry, level) {
                let page = PageSize::of_level(level)?;
                return Some(Translation {
                    output: Hpa(leaf_output(entry, level).0 | input & (page.bytes() - 1)),
                    permissions: F::permissions(entry),
                    memory_type: F::memory_type(entry),
                    page,
                });
            }
            table = next_table(entry);
        }
        None
    }

    /// Ends the table. All its frames, the root too, come back once nothing walks
    /// it any more and what was cached of it is flushed.
    pub fn destroy(self, memory: &mut (impl TableMemory + ?Sized)) -> Changed {
        let mut retired = FrameList::default();
        self.retire(memory, self.root, self.geometry.levels, &mut retired);
        Changed { added: false, removed: true, retired }
    }

    /// Puts the table at `table`, of `level`, and all below it on the list. Its
    /// leaves stay as they are for a walker that still holds the way to it.
    pub(crate) fn retire(
        &self,
        memory: &mut (impl TableMemory + ?Sized),
        table: Hpa,
        level: u8,
        retired: &mut FrameList,
    ) {
        if level > 1 {
            for index in 0..512 {
                let entry = memory.read(table + index * 8);
                if F::is_present(entry) && !F::is_leaf(entry, level) {
                    self.retire(memory, next_table(entry), level - 1, retired);
                }
            }
        }
        retired.push(memory, table);
    }

    pub(crate) fn leaf(&self, at: Hpa, page: PageSize, can: Permissions, memory_type: MemoryType) -> u64 {
        let snoop = if self.geometry.force_snoop { F::FORCE_SNOOP } else { 0 };
        F::leaf(at, page, can, memory_type) | snoop
    }

    /// Checks that a range consists of whole pages that the table can translate.
    pub(crate) fn check_range(&self, input: u64, bytes: u64) -> Result<(), MapError> {
        if bytes == 0 || (input | bytes) & (PAGE_BYTES - 1) != 0 {
            return Err(MapError::Misaligned);
        }
        let end = input.checked_add(bytes).ok_or(MapError::OutOfRange)?;
        if self.geometry.translates_up_to(end) { Ok(()) } else { Err(MapError::OutOfRange) }
    }

    pub(crate) fn write_back(&self, memory: &(impl TableMemory + ?Sized), at: Hpa, bytes: u64) {
        if !self.geometry.coherent {
            memory.write_back(at, bytes);
        }
    }
}

/// The part of a range that one entry of a table translates.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// First input address.
    pub start: u64,
    /// Length.
    pub bytes: u64,
}

impl Slot {
    pub(crate) const fn is_whole(self, level: u8) -> bool {
        self.bytes == entry_bytes(level)
    }
}

/// Cuts a range at the borders of the entries of a table of `level`.
pub(crate) fn slots(level: u8, start: u64, bytes: u64) -> impl Iterator<Item = Slot> {
    let end = start + bytes;
    let mut at = start;
    core::iter::from_fn(move || {
        (at < end).then(|| {
            let start = at;
            at = end.min((at & !(entry_bytes(level) - 1)).saturating_add(entry_bytes(level)));
            Slot { start, bytes: at - start }
        })
    })
}

/// Where a table of `level` has the entry for `input`.
pub(crate) fn entry_at(table: Hpa, level: u8, input: u64) -> Hpa {
    table + (input / entry_bytes(level)) % 512 * 8
}

pub(crate) const fn next_table(entry: u64) -> Hpa {
    Hpa(entry & ADDRESS)
}

/// Output address of a leaf; large leaves keep attributes in low address bits.
pub(crate) const fn leaf_output(entry: u64, level: u8) -> Hpa {
    Hpa(entry & ADDRESS & !(entry_bytes(level) - 1))
}
