//! Where a queue is, and how far: what both kinds of ring have in common.

use super::Broken;
use serde::{Deserialize, Serialize};
use spec::Gpa;

/// Where the driver put a queue, and what was agreed on about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// Its descriptors.
    pub size: u16,
    /// Where the descriptors are.
    pub descriptors: Gpa,
    /// Where the driver's area is, which the device reads: the available ring, or event suppression.
    pub driver: Gpa,
    /// Where the device's area is, which the driver reads: the used ring, or event suppression.
    pub device: Gpa,
    /// Whether a descriptor may stand for a table of them (VIRTIO_F_INDIRECT_DESC).
    pub indirect: bool,
    /// Whether the sides tell by an index when they want to be told (VIRTIO_F_EVENT_IDX).
    pub event_index: bool,
}

impl Places {
    /// Whether a queue can be there, of whose descriptors, driver's area and device's area these are the
    /// alignments and the bytes: each is aligned and does not end beyond the address space.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn check(&self, parts: [(u64, u64); 3]) -> Result<(), Broken> {
        let fits = |(gpa, (align, bytes)): (Gpa, (u64, u64))| {
            gpa.is_aligned(align) && gpa.0.checked_add(bytes).is_some()
        };
        let places = [self.descriptors, self.driver, self.device];
        if places.into_iter().zip(parts).all(fits) { Ok(()) } else { Err(Broken) }
    }
}

/// How far a queue is: where it takes and puts next, and how many entries of the ring it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) next_available: u16,
    pub(super) next_used: u16,
    /// Entries that were put since it was last decided on an interrupt.
    pub(super) untold: u16,
    /// Entries that were taken and not put.
    pub(super) outstanding: u16,
}

impl Progress {
    pub(super) const fn to_word(self) -> u64 {
        let Self { next_available, next_used, untold, outstanding } = self;
        next_available as u64 | (next_used as u64) << 16 | (untold as u64) << 32 | (outstanding as u64) << 48
    }

    pub(super) const fn of_word(word: u64) -> Self {
        Self {
            next_available: word as u16,
            next_used: (word >> 16) as u16,
            untold: (word >> 32) as u16,
            outstanding: (word >> 48) as u16,
        }
    }
}

/// What bounds that which is taken, as a word: the number, and above it that there is one.
pub(super) fn admission_word(admitted: Option<u16>) -> u64 {
    admitted.map_or(0, |admitted| u64::from(admitted) | 1 << 16)
}

/// Reads it back. `None` where more is said.
pub(super) fn admission_of(word: u64) -> Option<Option<u16>> {
    (word >> 17 == 0).then_some((word >> 16 != 0).then_some(word as u16))
}

/// `offset` bytes behind the start of a part.
pub(super) fn at(start: Gpa, offset: u64) -> Result<Gpa, Broken> {
    start.0.checked_add(offset).map(Gpa).ok_or(Broken)
}
