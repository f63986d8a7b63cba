//! What the device would have to be told to go on after it was lost: what it did, and the buffer in the middle of
//! which it is, if it is in one.

use super::{Console, MOST_BYTES};
use crate::device::Work;
use crate::journal::{self, Journal};
use crate::snapshot::{RestoreFault, has};
use crate::virtio::Queue;
use crate::virtio::copy::total;
use spec::virtio::console::queue;

const WORK_AT: usize = 1;
const CHAIN_AT: usize = WORK_AT + Work::WORDS;

impl Console {
    pub(super) fn say(&mut self, at: usize, journal: &mut Journal<'_>) {
        journal.put(at, self.printed.map_or(0, |printed| printed as u64 + 1));
        journal.put_all(at + WORK_AT, &self.work.to_words());
        if self.printed.is_some() && core::mem::take(&mut self.is_touched) {
            self.chain.say(at + CHAIN_AT, journal);
        }
    }

    pub(super) fn take_over_words(&mut self, words: &[u64], queues: &[Queue]) -> Result<(), RestoreFault> {
        let printed = journal::word(words, 0)?.checked_sub(1);
        self.work.take_over(words, WORK_AT)?;
        has(printed.is_none_or(|printed| printed < MOST_BYTES as u64), "more is printed than is")?;
        let outstanding = queues.get(queue::TRANSMIT).map_or(0, Queue::outstanding);
        if printed.is_some() {
            self.chain.take_over(words, CHAIN_AT)?;
            has(self.chain.taken.entries <= outstanding, "a buffer is printed that was not taken")?;
            let bytes = total(self.chain.readable()).min(MOST_BYTES) as u64;
            has(printed < Some(bytes), "a buffer is printed that is over")?;
        }
        self.printed = printed.map(|printed| printed as usize);
        Ok(())
    }
}
