//! The display's state, as it is saved: its registers. The video memory is the guest's.

use super::Display;
use super::dispi::Dispi;
use super::vga::Vga;
use crate::snapshot::{self, RestoreFault, SaveFault, is_of};
use serde::{Deserialize, Serialize};

/// Changes with each change of [`State`].
const VERSION: u16 = 1;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 1024;

#[derive(Serialize, Deserialize)]
struct State {
    dispi: Dispi,
    vga: Vga,
    is_big_endian: bool,
}

impl Display {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has.
    ///
    /// # Errors
    /// There is not enough room.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        let Self { dispi, vga, is_big_endian, .. } = self;
        let state = State { dispi: dispi.clone(), vga: vga.clone(), is_big_endian: *is_big_endian };
        snapshot::encode(VERSION, &state, into)
    }

    /// Becomes as the display was that `from` was saved of.
    ///
    /// # Errors
    /// This display is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let State { dispi, vga, is_big_endian } = snapshot::decode(VERSION, from)?;
        is_of(dispi.memory_bytes == self.dispi.memory_bytes)?;
        vga.check()?;
        (self.dispi, self.vga, self.is_big_endian) = (dispi, vga, is_big_endian);
        Ok(())
    }
}
