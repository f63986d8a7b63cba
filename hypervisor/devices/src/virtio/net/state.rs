//! The interface's state, as it is saved: all that its driver can tell.

use super::filter::Filter;
use super::pairs::Pairs;
use super::{Config, Net};
use crate::snapshot::{self, RestoreFault, SaveFault, has, is_of};
use crate::virtio::Transport;
use crate::virtio::transport::state::Registers;
use serde::{Deserialize, Serialize};
use spec::virtio::status;

/// Changes with each change of [`State`] or of what it holds.
const VERSION: u16 = 4;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 1536;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) registers: Registers,
    pub(super) filter: Filter,
    pub(super) pairs: Pairs,
    pub(super) link_is_up: bool,
}

impl Transport<Net> {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has. It goes with the guest's memory as it is at this moment.
    ///
    /// # Errors
    /// Where `into` is too small.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        snapshot::encode(VERSION, &self.state()?, into)
    }

    /// Becomes as the interface was that `from` was saved of; both are made of the same. Whoever calls
    /// this looks at the line afterwards, says whether the network is there, and takes the frames
    /// that wait.
    ///
    /// # Errors
    /// This interface is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let state: State = snapshot::decode(VERSION, from)?;
        let count = self.function.pairs.count();
        is_of(state.config == self.function.config && state.pairs.count() == count)?;
        has(state.registers.has_all_put(), "a chain is taken that nobody works on")?;
        has(state.filter.is_possible(), "a table of addresses has more than its room")?;
        let is_set_up = state.registers.status & status::DRIVER_OK != 0;
        has(state.pairs.is_possible(count), "more pairs of queues are used than there are")?;
        let is_new = state.filter == Filter::new(state.config.mac) && state.pairs == Pairs::new(count);
        has(is_set_up || is_new, "a driver that is not set up has given commands")?;
        has(
            state.config.any_source || state.filter.mac() == state.config.mac,
            "the address is not the network's",
        )?;
        self.take_over(&state.registers)?;
        self.function.filter = state.filter;
        self.function.pairs = state.pairs;
        self.function.link_is_up = state.link_is_up;
        Ok(())
    }

    pub(super) fn state(&self) -> Result<State, SaveFault> {
        let Net { config, filter, pairs, link_is_up, .. } = self.function;
        Ok(State { config, registers: self.registers()?, filter, pairs, link_is_up })
    }
}
