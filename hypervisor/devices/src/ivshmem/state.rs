//! The registers' state, as it is saved: all that a guest can tell of them. The memory is not theirs.

use super::Ivshmem;
use crate::journal::{self, Journal};
use crate::snapshot::{self, RestoreFault, SaveFault, has, is_of};
use serde::{Deserialize, Serialize};

/// Changes with each change of [`State`] or of what it holds.
const VERSION: u16 = 1;
/// Every state fits in so many bytes, and as many more as there are peers.
pub const STATE_BYTES: usize = 16;

/// The state but for the doorbells, which are behind it, a byte a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct State {
    position: u16,
    mask: u32,
}

/// Words of the committed state with so many peers: the mask, the doorbells that were taken, those that were rung, a
/// byte a peer.
pub(crate) const fn state_words(peers: usize) -> usize {
    RUNG_AT + peers.div_ceil(8)
}
const RUNG_AT: usize = 2;

impl Ivshmem {
    pub(super) fn say(&self, journal: &mut Journal<'_>) {
        journal.put_all(0, &[self.mask.into(), self.taken]);
        for (at, peers) in (RUNG_AT..).zip(self.rung.chunks(8)) {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(peers).for_each(|(place, rung)| *place = *rung);
            journal.put(at, u64::from_le_bytes(bytes));
        }
    }

    pub(super) fn take_over(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let (mask, taken) = (journal::word(words, 0)?, journal::word(words, 1)?);
        journal::ends(mask, 32)?;
        for (at, peers) in (RUNG_AT..).zip(self.rung.chunks_mut(8)) {
            let bytes = journal::word(words, at)?.to_le_bytes();
            let (own, none) = bytes.split_at_checked(peers.len()).unwrap_or_default();
            has(none.iter().all(|rung| *rung == 0), "a peer is rung that is not there")?;
            peers.iter_mut().zip(own).for_each(|(place, rung)| *place = *rung);
        }
        (self.mask, self.taken) = (mask as u32, taken);
        Ok(())
    }

    /// Writes the state into `into`, of which [`STATE_BYTES`] and a byte for each peer are enough, and says
    /// how many bytes it has. A doorbell that was rung and not carried is in it.
    ///
    /// # Errors
    /// Where `into` is too small.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        let Self { position, mask, .. } = *self;
        let head = snapshot::encode(VERSION, &State { position, mask }, into)?;
        let end = head + self.rung.len();
        let place = into.get_mut(head..end).ok_or(SaveFault::TooLong)?;
        place.iter_mut().zip(&self.rung).for_each(|(to, from)| *to = *from);
        Ok(end)
    }

    /// Becomes as the registers were that `from` was saved of; both are those of the same peer among as
    /// many. Whoever calls this carries the doorbells afterwards.
    ///
    /// # Errors
    /// These registers are as they were.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let head = from.len().checked_sub(self.rung.len()).ok_or(RestoreFault::Malformed)?;
        let (head, rung) = from.split_at_checked(head).ok_or(RestoreFault::Malformed)?;
        let State { position, mask } = snapshot::decode(VERSION, head)?;
        is_of(position == self.position)?;
        self.mask = mask;
        self.rung.iter_mut().zip(rung).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}
