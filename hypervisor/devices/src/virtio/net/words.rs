//! What the interface would have to be told to go on after it was lost: whose turn it is, the filter, and where
//! flows come to.

use super::Net;
use super::filter::Filter;
use super::pairs::{Pairs, STEERING_WORDS};
use crate::journal::{self, Journal, bit};
use crate::snapshot::{RestoreFault, has};

/// Words of the type's committed state.
pub(crate) const STATE_WORDS: usize = STEERING_AT + STEERING_WORDS;
/// Bytes of the filter, as it is committed.
const FILTER_BYTES: usize = 408;
/// The first word has the pairs in its lowest bytes, and above them these and the frames since commands were looked
/// for.
mod field {
    pub const LINK: u32 = 17;
    pub const TURN: u32 = 24;
    pub const FRAMES: u32 = 32;
}
const FILTER_AT: usize = 1;
const STEERING_AT: usize = FILTER_AT + FILTER_BYTES / 8;

impl Net {
    pub(super) fn say(&mut self, at: usize, journal: &mut Journal<'_>) {
        journal.put(
            at,
            self.pairs.to_word()
                | u64::from(self.link_is_up) << field::LINK
                | (self.turn as u64) << field::TURN
                | u64::from(self.frames) << field::FRAMES,
        );
        if core::mem::take(&mut self.is_touched) {
            journal.encode::<_, FILTER_BYTES>(at + FILTER_AT, &self.filter);
        }
        self.steering.say(at + STEERING_AT, journal);
    }

    pub(super) fn take_over_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let head = journal::word(words, 0)?;
        let (count, turn) = (self.pairs.count(), (head >> field::TURN) as u8);
        let pairs = Pairs::of_word(head, count);
        has(pairs.is_possible(count), "more pairs of queues are used than there are")?;
        has(u16::from(turn) <= count, "it is the turn of a pair that is not there")?;
        let filter: Filter = journal::decode::<_, FILTER_BYTES>(words, FILTER_AT)?;
        has(filter.is_possible(), "a table of addresses has more than its room")?;
        let is_own = self.config.any_source || filter.mac() == self.config.mac;
        has(is_own, "the address is not the network's")?;
        self.steering.take_over_words(words, STEERING_AT)?;
        (self.pairs, self.filter, self.turn) = (pairs, filter, turn.into());
        self.link_is_up = bit(head, field::LINK);
        self.frames = (head >> field::FRAMES) as u32;
        Ok(())
    }
}
