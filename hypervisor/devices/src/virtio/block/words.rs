//! What the device would have to be told to go on after it was lost: its requests at the medium, and whose turn it
//! is.

use super::{Block, MOST_AT_MEDIUM, Work};
use crate::journal::{self, Journal, bit, ends};
use crate::slots::{self, InWords, WORK_WORDS};
use crate::snapshot::{RestoreFault, has};
use crate::virtio::{Queue, Taken};
use spec::Gpa;

/// Words of the type's committed state.
pub(crate) const STATE_WORDS: usize = SLOTS_AT + slots::STATE_WORDS;
const SLOTS_AT: usize = 1;

/// What is above the head in the first word of a request.
mod field {
    pub const ENTRIES: u32 = 16;
    pub const QUEUE: u32 = 32;
    pub const FLUSH: u32 = 48;
    pub const FORGOTTEN: u32 = 49;
    pub const END: u32 = 50;
}

impl InWords for Work {
    fn to_words(self) -> [u64; WORK_WORDS] {
        let Taken { head, entries } = self.taken;
        let taken = u64::from(head) | u64::from(entries) << field::ENTRIES;
        let flags = u64::from(self.flush) << field::FLUSH | u64::from(self.is_forgotten) << field::FORGOTTEN;
        [
            taken | (self.queue as u64) << field::QUEUE | flags,
            self.status.0,
            u64::from(self.room) | u64::from(self.written) << 32,
        ]
    }

    fn of_words([head, status, bytes]: [u64; WORK_WORDS]) -> Result<Self, RestoreFault> {
        ends(head, field::END)?;
        Ok(Self {
            queue: usize::from((head >> field::QUEUE) as u16),
            taken: Taken { head: head as u16, entries: (head >> field::ENTRIES) as u16 },
            status: Gpa(status),
            room: bytes as u32,
            written: (bytes >> 32) as u32,
            flush: bit(head, field::FLUSH),
            is_forgotten: bit(head, field::FORGOTTEN),
        })
    }
}

impl Block {
    pub(super) fn say(&mut self, at: usize, journal: &mut Journal<'_>) {
        journal.put(at, self.turn as u64);
        self.slots.journal(at + SLOTS_AT, journal);
    }

    pub(super) fn take_over_words(&mut self, words: &[u64], queues: &[Queue]) -> Result<(), RestoreFault> {
        let turn = journal::word(words, 0)?;
        has(turn <= queues.len() as u64, "it is the turn of a queue that is not there")?;
        self.turn = turn as usize;
        self.slots.restore_words(words, SLOTS_AT)?;
        has(self.slots.pieces() <= MOST_AT_MEDIUM, "more is at the medium than the device gives it")?;
        has(
            self.slots.works().all(|work| work.queue < queues.len()),
            "a request is of a queue that is not there",
        )?;
        for (index, queue) in queues.iter().enumerate() {
            let works = self.slots.works().filter(|work| work.queue == index && !work.is_forgotten);
            let entries: u32 = works.map(|work| u32::from(work.taken.entries)).sum();
            has(entries <= queue.outstanding().into(), "requests wait that were not taken")?;
        }
        Ok(())
    }
}
