//! The device's state, as it is saved: all that its driver can tell, while nothing is at the medium.

use super::{Block, Config};
use crate::snapshot::{self, RestoreFault, SaveFault, has, is_of};
use crate::virtio::Transport;
use crate::virtio::transport::state::Registers;
use serde::{Deserialize, Serialize};

/// Changes with each change of [`State`] or of what it holds.
const VERSION: u16 = 4;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) registers: Registers,
    pub(super) turn: u16,
}

impl Transport<Block> {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has. It goes with the guest's memory and the medium as they are at this moment.
    ///
    /// # Errors
    /// While requests are at the medium there is none.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        snapshot::encode(VERSION, &self.state()?, into)
    }

    /// Becomes as the device was that `from` was saved of; both are made of the same. Requests that
    /// are at the medium are forgotten. Whoever calls this looks at the line afterwards, and polls the
    /// device if anybody does: requests may wait in its queues.
    ///
    /// # Errors
    /// This device is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let state: State = snapshot::decode(VERSION, from)?;
        let queues = self.function.config.queues;
        is_of(state.config == self.function.config)?;
        has(state.turn <= queues, "it is the turn of a queue that is not there")?;
        has(state.registers.has_all_put(), "a request is taken that nobody works on")?;
        self.take_over(&state.registers)?;
        self.function.turn = state.turn.into();
        Ok(())
    }

    pub(super) fn state(&self) -> Result<State, SaveFault> {
        let Block { config, turn, .. } = &self.function;
        Ok(State { config: *config, registers: self.registers()?, turn: *turn as u16 })
    }
}
