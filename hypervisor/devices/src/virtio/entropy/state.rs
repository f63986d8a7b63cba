//! The device's state, as it is saved: all that its driver can tell. What comes next out of the source is
//! nobody's to keep.

use super::Entropy;
use crate::snapshot::{self, RestoreFault, SaveFault, has};
use crate::virtio::Transport;
use crate::virtio::transport::state::Registers;

/// Changes with each change of [`Registers`].
const VERSION: u16 = 3;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 128;

impl Transport<Entropy> {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has. It goes with the guest's memory as it is at this moment.
    ///
    /// # Errors
    /// Where `into` is too small.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        snapshot::encode(VERSION, &self.registers()?, into)
    }

    /// Becomes as the device was that `from` was saved of. Whoever calls this looks at the line
    /// afterwards.
    ///
    /// # Errors
    /// This device is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let state: Registers = snapshot::decode(VERSION, from)?;
        has(state.has_all_put(), "a buffer is taken that nobody fills")?;
        self.take_over(&state)
    }
}
