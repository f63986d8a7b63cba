//! A chain of buffers that the driver made available, copied out of the guest's memory.

use super::Broken;
use crate::journal::{self, Journal};
use crate::snapshot::{RestoreFault, has};
use alloc::vec::Vec;
use spec::Gpa;

/// One piece of guest memory of a chain. Its end does not overflow; whether it is memory at all
/// shows when it is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it is.
    pub gpa: Gpa,
    /// Its bytes, at least one.
    pub bytes: u32,
}

/// What it takes to give a chain back to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Taken {
    /// What the driver knows it by: the number of its first descriptor, or in a packed queue its ID,
    /// which is any.
    pub head: u16,
    /// The entries that it has of the ring in which it was made available: one, or in a packed queue one
    /// for each descriptor that is in the ring.
    pub(super) entries: u16,
}

/// A chain. It is made once, with room for the longest that the queue can have, and filled again
/// for each ([`Queue::take`](super::Queue::take)).
#[derive(Debug)]
pub struct Chain {
    /// What it is given back by.
    pub taken: Taken,
    segments: Vec<Segment>,
    /// How many of the segments the device reads; it writes those behind them.
    readable: usize,
    /// Bytes of all.
    total: u32,
}

impl Chain {
    /// An empty chain, with room for `segments` segments.
    pub fn with_capacity(segments: u16) -> Self {
        Self { taken: Taken::default(), segments: Vec::with_capacity(segments.into()), readable: 0, total: 0 }
    }

    /// What the device reads, in order.
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.readable).unwrap_or_default()
    }

    /// What the device writes, in order.
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.readable..).unwrap_or_default()
    }

    /// Begins a chain without a segment.
    pub(super) fn begin(&mut self) {
        self.taken = Taken::default();
        self.segments.clear();
        self.readable = 0;
        self.total = 0;
    }

    /// Adds a segment. One without bytes leaves no trace.
    ///
    /// # Errors
    /// Where there is no room, the device would read what is behind something that it writes
    /// (section 2.7.4.2), the segment ends beyond the address space, or all of them together have
    /// 2^32 bytes or more (section 2.7.5.2 allows no more than that; a count of bytes has 32 bits).
    pub(super) fn add(&mut self, segment: Segment, writable: bool) -> Result<(), Broken> {
        if !writable && self.readable < self.segments.len() {
            return Err(Broken);
        }
        segment.gpa.0.checked_add(segment.bytes.into()).ok_or(Broken)?;
        self.total = self.total.checked_add(segment.bytes).ok_or(Broken)?;
        if segment.bytes == 0 {
            return Ok(());
        }
        if self.segments.len() == self.segments.capacity() {
            return Err(Broken);
        }
        self.segments.push(segment);
        self.readable += usize::from(!writable);
        Ok(())
    }
}

/// What is above the head in the first word of a chain.
mod field {
    pub const ENTRIES: u32 = 16;
    pub const COUNT: u32 = 32;
    pub const READABLE: u32 = 48;
}

impl Chain {
    /// Words of the committed state of a chain of at most `segments` segments.
    pub(super) const fn words(segments: u16) -> usize {
        1 + 2 * segments as usize
    }

    /// Says it from word `at` on.
    pub(super) fn say(&self, at: usize, journal: &mut Journal<'_>) {
        let Taken { head, entries } = self.taken;
        let taken = u64::from(head) | u64::from(entries) << field::ENTRIES;
        let (count, readable) = (self.segments.len() as u64, self.readable as u64);
        journal.put(at, taken | count << field::COUNT | readable << field::READABLE);
        for (segment, at) in self.segments.iter().zip((at + 1..).step_by(2)) {
            journal.put_all(at, &[segment.gpa.0, segment.bytes.into()]);
        }
    }

    /// Becomes as the chain that was said from word `at` on.
    ///
    /// # Errors
    /// No chain is so.
    pub(super) fn take_over(&mut self, words: &[u64], at: usize) -> Result<(), RestoreFault> {
        let head = journal::word(words, at)?;
        let (count, readable) =
            (usize::from((head >> field::COUNT) as u16), usize::from((head >> field::READABLE) as u16));
        self.begin();
        for (index, at) in (at + 1..).step_by(2).take(count).enumerate() {
            let bytes = u32::try_from(journal::word(words, at + 1)?).ok().filter(|bytes| *bytes > 0);
            let segment = Segment { gpa: Gpa(journal::word(words, at)?), bytes: bytes.ok_or(NONE)? };
            self.add(segment, index >= readable).map_err(|Broken| NONE)?;
        }
        self.taken = Taken { head: head as u16, entries: (head >> field::ENTRIES) as u16 };
        has(readable <= count, "a chain has more that is read than it has")
    }
}

const NONE: RestoreFault = RestoreFault::Impossible("a chain is none");
