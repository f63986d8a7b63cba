//! A virtio entropy device (section 5.4).
//!
//! Nobody polls it: the driver's own access fills its buffers. How much that is has a bound, whatever the
//! driver asks for.

use super::transport::Function;
use super::{Broken, Chain, Queue};
use crate::device::{Context, Work};
use crate::journal::Journal;
use crate::random::Tested;
use crate::snapshot::RestoreFault;
use crate::virtio::copy::scatter;
use spec::virtio::entropy::QUEUES;
use spec::virtio::feature;

mod state;
#[cfg(test)]
mod tests;

pub use state::STATE_BYTES;

/// Descriptors of the queue: the most buffers that one access fills.
pub const QUEUE_SIZE: u16 = 8;
/// The most bytes that a buffer is given: a device need not fill it (section 5.4.6.2), and Linux takes so
/// many at a time.
pub const MOST_BYTES: usize = 64;

/// The device.
pub struct Entropy {
    source: Tested,
    chain: Chain,
    work: Work,
}

impl Entropy {
    /// A device at power-up, which gives what `source` has.
    pub fn new(source: Tested) -> Self {
        Self { source, chain: Chain::with_capacity(QUEUE_SIZE), work: Work::default() }
    }

    /// Fills the buffer in `chain`. How many bytes it has then; a source that has failed has none, and
    /// the driver is told that the device cannot go on.
    fn fill(&mut self, context: &Context<'_>) -> Result<u32, Broken> {
        let room: u64 = self.chain.writable().iter().map(|segment| u64::from(segment.bytes)).sum();
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(MOST_BYTES);
        let mut bytes = [0; MOST_BYTES];
        for piece in bytes.get_mut(..count).unwrap_or_default().chunks_mut(8) {
            let word = self.source.word().map_err(|_| Broken)?;
            piece.iter_mut().zip(word.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        }
        let bytes = bytes.get(..count).unwrap_or_default();
        scatter(self.chain.writable(), 0, context.memory, bytes).ok_or(Broken)?;
        Ok(count as u32)
    }
}

impl Function for Entropy {
    fn features(&self) -> u64 {
        feature::IN_ORDER
    }

    fn queues(&self) -> (u16, u16) {
        (QUEUES, QUEUE_SIZE)
    }

    /// Fills one buffer. One without room for a byte, or with something to read, is one that no driver
    /// may give (section 5.4.6.1).
    fn poll(&mut self, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        let queue = queues.first_mut().ok_or(Broken)?;
        if !queue.take(context.memory, &mut self.chain)? {
            return Ok(false);
        }
        if !self.chain.readable().is_empty() || self.chain.writable().is_empty() {
            return Err(Broken);
        }
        let written = self.fill(context).inspect_err(|Broken| self.work.errors += 1)?;
        self.work.requests += 1;
        self.work.bytes += u64::from(written);
        queue.put(context.memory, self.chain.taken, written)?;
        Ok(true)
    }

    fn work(&self) -> Work {
        self.work
    }

    fn state_words(&self) -> usize {
        Work::WORDS
    }

    /// What comes next out of the source is nobody's to keep.
    fn journal(&mut self, at: usize, journal: &mut Journal<'_>) {
        journal.put_all(at, &self.work.to_words());
    }

    fn restore_words(&mut self, words: &[u64], _: &[Queue]) -> Result<(), RestoreFault> {
        self.work.take_over(words, 0)
    }
}
