//! A virtio console (section 5.3) of one port.
//!
//! Nobody polls it: the driver's own access prints. What is in the queue then is taken in pieces
//! ([`Device::output`](crate::Device::output)), so that nobody waits for the device for longer than one of
//! them takes. The driver tells of no buffers for what is typed: they are looked for when something is.

use super::transport::Function;
use super::{Broken, Chain, Queue};
use crate::device::{Context, DeviceEffect, Work};
use crate::journal::Journal;
use crate::snapshot::RestoreFault;
use crate::virtio::copy::{gather, scatter, total};
use spec::virtio::console::{QUEUES, queue};
use spec::virtio::feature;

mod state;
#[cfg(test)]
mod tests;
mod words;

pub use state::STATE_BYTES;

/// Descriptors of a queue.
pub const QUEUE_SIZE: u16 = 16;
/// The most bytes of a buffer that are printed; what is behind them is lost. Linux sends 16 at a time.
pub const MOST_BYTES: usize = 4096;

/// Words of what it says to go on after it was lost: how much of the buffer was printed and one more, or nothing; what
/// it did; the buffer.
pub(crate) const STATE_WORDS: usize = 1 + Work::WORDS + Chain::words(QUEUE_SIZE);

/// That something is printed.
pub(crate) const MOST_EFFECTS: usize = 1;

/// The device.
pub struct Console {
    /// What is printed, as long as `printed` says how much of it was.
    chain: Chain,
    printed: Option<usize>,
    /// The chain is another than when it was committed.
    is_touched: bool,
    /// A buffer for what was typed.
    buffer: Chain,
    work: Work,
}

impl Console {
    /// A device at power-up.
    pub fn new() -> Self {
        let [chain, buffer] = [QUEUE_SIZE; 2].map(Chain::with_capacity);
        Self { chain, printed: None, is_touched: false, buffer, work: Work::default() }
    }

    /// Takes the next piece of what is printed. How many bytes it has; there is nothing more once it is
    /// shorter than `into`.
    fn print(&mut self, queue: &mut Queue, into: &mut [u8], context: &Context<'_>) -> Result<usize, Broken> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            if self.printed.is_none() {
                if !queue.take(context.memory, &mut self.chain)? {
                    break;
                }
                (self.printed, self.is_touched) = (Some(0), true);
            }
            let printed = self.printed.unwrap_or(0);
            let bytes = total(self.chain.readable()).min(MOST_BYTES);
            let now = bytes.saturating_sub(printed).min(rest.len());
            let rest = rest.get_mut(..now).unwrap_or_default();
            gather(self.chain.readable(), printed, context.memory, rest).ok_or(Broken)?;
            filled += now;
            self.work.bytes += now as u64;
            self.printed = Some(printed + now);
            if printed + now == bytes {
                self.printed = None;
                self.work.requests += 1;
                queue.put(context.memory, self.chain.taken, 0)?;
            }
        }
        Ok(filled)
    }

    fn type_in(&mut self, queue: &mut Queue, byte: u8, context: &Context<'_>) -> Result<bool, Broken> {
        if !queue.take(context.memory, &mut self.buffer)? {
            return Ok(false);
        }
        scatter(self.buffer.writable(), 0, context.memory, &[byte]).ok_or(Broken)?;
        queue.put(context.memory, self.buffer.taken, 1)?;
        self.work.requests += 1;
        self.work.bytes += 1;
        Ok(true)
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// Its configuration is there only with features that it does not have (section 5.3.4).
impl Function for Console {
    fn features(&self) -> u64 {
        feature::IN_ORDER
    }

    fn queues(&self) -> (u16, u16) {
        (QUEUES, QUEUE_SIZE)
    }

    fn most_effects(&self) -> usize {
        MOST_EFFECTS
    }

    /// Nothing is taken yet: it is printed once whoever calls has let the device go.
    fn poll(&mut self, _: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        context.effects.push(DeviceEffect::Output);
        Ok(false)
    }

    fn output(
        &mut self,
        into: &mut [u8],
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<usize, Broken> {
        let queue = queues.get_mut(queue::TRANSMIT).ok_or(Broken)?;
        self.print(queue, into, context).inspect_err(|Broken| {
            self.printed = None;
            self.work.errors += 1;
        })
    }

    fn input(&mut self, byte: u8, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        let queue = queues.get_mut(queue::RECEIVE).ok_or(Broken)?;
        self.type_in(queue, byte, context).inspect_err(|Broken| self.work.errors += 1)
    }

    fn is_notified(&self, queue: usize) -> bool {
        queue == queue::TRANSMIT
    }

    fn is_idle(&self) -> bool {
        self.printed.is_none()
    }

    fn orphan(&mut self) {
        self.printed = None;
    }

    fn orphan_queue(&mut self, queue: usize) {
        if queue == queue::TRANSMIT {
            self.printed = None;
        }
    }

    fn reset(&mut self) {
        self.printed = None;
    }

    fn work(&self) -> Work {
        self.work
    }

    fn state_words(&self) -> usize {
        STATE_WORDS
    }

    fn journal(&mut self, at: usize, journal: &mut Journal<'_>) {
        self.say(at, journal);
    }

    fn restore_words(&mut self, words: &[u64], queues: &[Queue]) -> Result<(), RestoreFault> {
        self.take_over_words(words, queues)
    }
}
