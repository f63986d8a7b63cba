//! The controller's state, as it is saved: all that its driver can tell, the buffers included, while
//! nothing is at the medium.

use super::Ide;
use super::channel::{self, ALL, Channel};
use super::pio::{BUFFER_BYTES, BUFFERS_BYTES};
use crate::journal::Journal;
use crate::snapshot::{self, RestoreFault, SaveFault};
use serde::{Deserialize, Serialize};

/// Changes with each change of [`State`] or of what it holds.
pub(super) const VERSION: u16 = 2;
/// Bytes of the buffers of both channels.
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 512 + BUFFERS_BYTES;

/// The state but for the buffers, which are behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) channels: [Channel; 2],
}

/// Words of the committed state.
pub(crate) const STATE_WORDS: usize = 2 * channel::STATE_WORDS;

impl Ide {
    /// Says the channels that were touched.
    pub(super) fn say(&mut self, journal: &mut Journal<'_>) {
        let touched = core::mem::take(&mut self.touched);
        let buffers = self.buffer.chunks(BUFFER_BYTES);
        let channels = self.channels.iter_mut().zip(&mut self.committed).zip(buffers).enumerate();
        for (index, ((channel, committed), buffer)) in channels {
            if touched >> index & 1 != 0 {
                channel.say(committed, buffer, index * channel::STATE_WORDS, journal);
            }
        }
    }

    pub(super) fn take_over(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let buffers = self.buffer.chunks_mut(BUFFER_BYTES);
        for (index, (channel, buffer)) in self.channels.iter_mut().zip(buffers).enumerate() {
            channel.take_over(words, buffer, index * channel::STATE_WORDS)?;
        }
        Ok(())
    }

    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it has.
    /// It goes with the guest's memory and the media as they are at this moment. A command that moves data
    /// through the port, or waits for its bus master, is in it.
    ///
    /// # Errors
    /// While a request is at the medium there is none.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        if self.channels.iter().any(Channel::is_busy) {
            return Err(SaveFault::Busy);
        }
        let head = snapshot::encode(VERSION, &self.state(), into)?;
        let end = head + BUFFERS_BYTES;
        let place = into.get_mut(head..end).ok_or(SaveFault::TooLong)?;
        place.iter_mut().zip(&self.buffer).for_each(|(to, from)| *to = *from);
        Ok(end)
    }

    /// Becomes as the controller was that `from` was saved of; both have the same disks. Requests that are
    /// at the medium are forgotten, but one that reads fills a buffer yet: whoever calls this has waited
    /// for them, or serves them no more. He looks at the lines afterwards.
    ///
    /// # Errors
    /// This controller is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let head = from.len().checked_sub(BUFFERS_BYTES).ok_or(RestoreFault::Malformed)?;
        let (head, buffers) = from.split_at_checked(head).ok_or(RestoreFault::Malformed)?;
        let state: State = snapshot::decode(VERSION, head)?;
        for (saved, own) in state.channels.iter().zip(&self.channels) {
            saved.check(own)?;
        }
        for (own, saved) in self.channels.iter_mut().zip(state.channels) {
            *own = own.restored(saved);
        }
        self.buffer.iter_mut().zip(buffers).for_each(|(to, from)| *to = *from);
        self.channels.iter_mut().for_each(Channel::buffer_changed);
        self.touched = ALL;
        Ok(())
    }

    pub(super) const fn state(&self) -> State {
        State { channels: self.channels }
    }
}
