//! A part of a drive, which one emulated device has.

use crate::coalescing::Coalescing;
use crate::table::{Partition, TableFault};
use alloc::string::String;
use core::fmt;
use devices::endpoint::Which;
use spec::Iova;

/// What was done for a part.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Commands that the drive was given, parts of one command of the guest's counted once where
    /// they were given together.
    pub requests: u64,
    /// Bytes that were read and written.
    pub bytes: u64,
    /// Those of the requests that failed.
    pub errors: u64,
    /// Those whose data the drive moved to or from the guest's memory itself.
    pub lent: u64,
}

impl Counters {
    /// What was done for two parts.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bytes: self.bytes.saturating_add(other.bytes),
            errors: self.errors.saturating_add(other.errors),
            lent: self.lent.saturating_add(other.lent),
        }
    }
}

/// A part and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The device: its guest's number, and its own among the guest's endpoints.
    pub guest: usize,
    pub endpoint: usize,
    /// Which of the device's drives.
    pub which: Which,
    pub first_block: u64,
    pub blocks: u64,
    pub counters: Counters,
    /// Requests that the drive has.
    pub under_way: usize,
    /// The life of the device in which they were given to it, all of them in the same.
    pub life: u32,
    /// What is done and its guest does not know of.
    pub coalescing: Coalescing,
    pub cache: Cache,
    /// Where the drive finds the guest's gpa 0, if it reaches the guest's memory.
    pub memory: Option<Iova>,
}

/// What a drive's cache may hold of a part.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Cache {
    /// Nothing that the guest was told is written.
    #[default]
    Clean,
    /// Something that was written, and that no flush has made sure of.
    Dirty,
    /// The drive failed with such data in it, and may have lost its power. The next flush says so.
    Lost,
}

impl Cache {
    /// A request that changes the medium is over.
    pub const fn written(&mut self) {
        if matches!(self, Self::Clean) {
            *self = Self::Dirty;
        }
    }

    /// A flush is given to the drive; what is written from now on is not its affair. `false` where
    /// it is not to be given there, for it would confirm what may be lost.
    pub const fn flush(&mut self) -> bool {
        let is_lost = matches!(self, Self::Lost);
        *self = Self::Clean;
        !is_lost
    }

    /// The drive failed.
    pub const fn drive_failed(&mut self) {
        if matches!(self, Self::Dirty) {
            *self = Self::Lost;
        }
    }
}

impl Part {
    pub fn new((guest, endpoint, which): (usize, usize, Which), first_block: u64, blocks: u64) -> Self {
        let (counters, coalescing) = (Counters::default(), Coalescing::default());
        let (cache, memory) = (Cache::Clean, None);
        Self {
            guest,
            endpoint,
            which,
            first_block,
            blocks,
            counters,
            under_way: 0,
            life: 0,
            coalescing,
            cache,
            memory,
        }
    }

    /// The drive's block behind `at` bytes of the part, if `bytes` bytes from there are whole
    /// blocks of it.
    pub fn translate(&self, at: u64, bytes: u64, block_bytes: u32) -> Option<(u64, u64)> {
        let unit = u64::from(block_bytes);
        let (first, blocks) = (at.checked_div(unit)?, bytes.checked_div(unit)?);
        let is_whole = at.is_multiple_of(unit) && bytes.is_multiple_of(unit);
        let is_inside = first.checked_add(blocks).is_some_and(|end| end <= self.blocks);
        (is_whole && is_inside).then(|| (self.first_block.saturating_add(first), blocks))
    }
}

/// Why nobody gets a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartFault {
    /// The drive's table.
    Table(TableFault),
    /// The table has no partition that is called so.
    Missing(String),
    /// The table has several that are called so.
    Ambiguous(String),
    /// Somebody has the same blocks already.
    Taken(String),
}

impl fmt::Display for PartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(fault) => fault.fmt(f),
            Self::Missing(name) => write!(f, "there is no partition {name}"),
            Self::Ambiguous(name) => write!(f, "several partitions are called {name}"),
            Self::Taken(name) => write!(f, "partition {name} has blocks that another function has already"),
        }
    }
}

/// The one partition of `table` that is called `name`: by number, name or UUID.
pub(crate) fn find<'t>(table: &'t [Partition], name: &str) -> Result<&'t Partition, PartFault> {
    let number: Option<u32> = name.parse().ok();
    let is_it = |partition: &&Partition| match number {
        Some(number) => partition.number == number,
        None => partition.name == name || partition.uuid.eq_ignore_ascii_case(name),
    };
    let mut found = table.iter().filter(is_it);
    let first = found.next().ok_or_else(|| PartFault::Missing(name.into()))?;
    if found.next().is_some() { Err(PartFault::Ambiguous(name.into())) } else { Ok(first) }
}
