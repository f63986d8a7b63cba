//! The port's state, as it is saved: all that its driver can tell, and what waits for it.

use super::Serial;
use crate::snapshot::{self, RestoreFault, SaveFault};
use crate::uart::{Uart, WAITING_BYTES};

/// Changes with each change of [`Uart`].
const VERSION: u16 = 1;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 64 + WAITING_BYTES;

impl Serial {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has.
    ///
    /// # Errors
    /// While something that was printed is not taken there is none.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        if self.used > 0 {
            return Err(SaveFault::Busy);
        }
        snapshot::encode(VERSION, &self.uart, into)
    }

    /// Becomes as the port was that `from` was saved of. Whoever calls this looks at the line afterwards.
    ///
    /// # Errors
    /// This port is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let uart: Uart = snapshot::decode(VERSION, from)?;
        uart.check()?;
        self.told = uart.line();
        self.uart = uart;
        self.used = 0;
        Ok(())
    }
}
