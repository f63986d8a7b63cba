//! The device's state, as it is saved: all that its driver can tell, while nothing is being printed.

use super::Console;
use crate::snapshot::{self, RestoreFault, SaveFault, has};
use crate::virtio::Transport;
use crate::virtio::transport::state::Registers;

/// Changes with each change of [`Registers`].
const VERSION: u16 = 3;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 192;

impl Transport<Console> {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has. It goes with the guest's memory as it is at this moment.
    ///
    /// # Errors
    /// While a part of a buffer is printed there is none.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        snapshot::encode(VERSION, &self.registers()?, into)
    }

    /// Becomes as the device was that `from` was saved of. Whoever calls this looks at the line
    /// afterwards, and takes the output that may wait.
    ///
    /// # Errors
    /// This device is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let state: Registers = snapshot::decode(VERSION, from)?;
        has(state.has_all_put(), "a buffer is taken that nobody prints")?;
        self.take_over(&state)
    }
}
