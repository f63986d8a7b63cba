//! The interface's state, as it is saved: all that its guest can tell, its memory included.

use super::Ne2000;
use super::remote::{BUFFER_BYTES, Way, copy};
use super::ring::Ring;
use crate::Device;
use crate::journal::{self, Journal, bit};
use crate::snapshot::{self, RestoreFault, SaveFault, has, is_of};
use network::MacAddress;
use serde::{Deserialize, Serialize};
use spec::dp8390::{COUNTER_MOST, PAGE_BYTES, command, interrupt};

/// Changes with each change of [`State`] or of what it holds.
const VERSION: u16 = 1;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 128 + BUFFER_BYTES;

/// The state but for the memory, which is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) mac: MacAddress,
    pub(super) command: u8,
    pub(super) is_running: bool,
    pub(super) ring: Ring,
    pub(super) address: u16,
    pub(super) left: u16,
    pub(super) way: Way,
    pub(super) data_config: u8,
    pub(super) transmit_page: u8,
    pub(super) transmit_bytes: u16,
    pub(super) transmit_config: u8,
    pub(super) transmit_status: u8,
    pub(super) status: u8,
    pub(super) mask: u8,
    pub(super) missed: u8,
    pub(super) link_is_up: bool,
}

/// Words of the registers, as they are committed.
const REGISTERS: usize = 5;
/// In the byte of flags: which way remote DMA goes is above.
mod flag {
    pub const RUNS: u32 = 0;
    pub const LINK: u32 = 1;
    pub const WAY: u32 = 2;
}
/// Ways by number.
const WAYS: [Way; 3] = [Way::Off, Way::ToGuest, Way::FromGuest];
/// Words of the committed state: the level that was told, the registers, the memory.
pub(crate) const STATE_WORDS: usize = MEMORY_AT + BUFFER_BYTES / 8;
const REGISTERS_AT: usize = 1;
const MEMORY_AT: usize = REGISTERS_AT + REGISTERS;

impl Ne2000 {
    /// The memory is 16 KiB, of which a call changes some pages: those are said, whole.
    pub(super) fn say(&mut self, journal: &mut Journal<'_>) {
        if !core::mem::take(&mut self.touched) {
            return;
        }
        journal.put(0, self.told.into());
        journal.put_all(REGISTERS_AT, &self.register_words());
        let memory = &mut self.remote.memory;
        let mut changed = core::mem::take(&mut memory.changed);
        while changed != 0 {
            let page = changed.trailing_zeros() as usize * PAGE_BYTES;
            changed &= changed - 1;
            let bytes = memory.buffer.get(page..page + PAGE_BYTES).unwrap_or_default();
            journal.put_bytes(MEMORY_AT + page / 8, bytes);
        }
    }

    /// The registers, but for the address's memory, which nothing changes.
    fn register_words(&self) -> [u64; REGISTERS] {
        let way = WAYS.iter().position(|way| *way == self.remote.way).unwrap_or_default();
        let flags = u8::from(self.is_running) << flag::RUNS
            | u8::from(self.link_is_up) << flag::LINK
            | (way as u8) << flag::WAY;
        let Ring { start, stop, boundary, current, config, status, station: [a, b, c, d, e, f], multicast } =
            self.ring;
        let ([from, from_above], [left, left_above]) =
            (self.remote.address.to_le_bytes(), self.remote.left.to_le_bytes());
        let [bytes, bytes_above] = self.transmit_bytes.to_le_bytes();
        [
            u64::from_le_bytes([
                from,
                from_above,
                left,
                left_above,
                self.command,
                self.status,
                flags,
                self.missed,
            ]),
            u64::from_le_bytes([
                start,
                stop,
                boundary,
                current,
                config,
                status,
                self.mask,
                self.remote.config,
            ]),
            u64::from_le_bytes([
                self.transmit_page,
                bytes,
                bytes_above,
                self.transmit_config,
                self.transmit_status,
                0,
                0,
                0,
            ]),
            u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            multicast,
        ]
    }

    /// What these words say of the registers.
    fn state_of(&self, words: &[u64]) -> Result<State, RestoreFault> {
        let words =
            words.get(REGISTERS_AT..).and_then(<[u64]>::first_chunk).ok_or(RestoreFault::Malformed)?;
        let [first, second, third, station, multicast]: [u64; REGISTERS] = *words;
        let [from, from_above, left, left_above, command, status, flags, missed] = first.to_le_bytes();
        let [start, stop, boundary, current, config, received, mask, data_config] = second.to_le_bytes();
        let [transmit_page, bytes, bytes_above, transmit_config, transmit_status, ..] = third.to_le_bytes();
        journal::ends(third, 40)?;
        let [a, b, c, d, e, f, ..] = station.to_le_bytes();
        journal::ends(station, 48)?;
        let way = WAYS.get(usize::from(flags >> flag::WAY)).ok_or(RestoreFault::Malformed)?;
        Ok(State {
            mac: self.remote.mac(),
            command,
            is_running: bit(flags.into(), flag::RUNS),
            ring: Ring {
                start,
                stop,
                boundary,
                current,
                config,
                status: received,
                station: [a, b, c, d, e, f],
                multicast,
            },
            address: u16::from_le_bytes([from, from_above]),
            left: u16::from_le_bytes([left, left_above]),
            way: *way,
            data_config,
            transmit_page,
            transmit_bytes: u16::from_le_bytes([bytes, bytes_above]),
            transmit_config,
            transmit_status,
            status,
            mask,
            missed,
            link_is_up: bit(flags.into(), flag::LINK),
        })
    }

    pub(super) fn take_over_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let state = self.state_of(words)?;
        state.check()?;
        journal::copy(words, MEMORY_AT, &mut self.remote.memory.buffer)?;
        self.become_as(&state);
        self.told = journal::word(words, 0)? != 0;
        Ok(())
    }

    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes
    /// it has. A frame that is to be sent is one that is to be sent afterwards.
    ///
    /// # Errors
    /// Where `into` is too small.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        let head = snapshot::encode(VERSION, &self.state(), into)?;
        let end = head + BUFFER_BYTES;
        copy(&self.remote.memory.buffer, into.get_mut(head..end).ok_or(SaveFault::TooLong)?);
        Ok(end)
    }

    /// Becomes as the interface was that `from` was saved of; both have one address. Whoever calls this
    /// looks at the line afterwards, says whether the network is there, and takes the frame that waits.
    ///
    /// # Errors
    /// This interface is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let head = from.len().checked_sub(BUFFER_BYTES).ok_or(RestoreFault::Malformed)?;
        let (head, buffer) = from.split_at_checked(head).ok_or(RestoreFault::Malformed)?;
        let state: State = snapshot::decode(VERSION, head)?;
        is_of(state.mac == self.remote.mac())?;
        state.check()?;
        copy(buffer, &mut self.remote.memory.buffer);
        self.remote.memory.changed = u64::MAX;
        self.become_as(&state);
        self.told = self.line();
        Ok(())
    }

    const fn become_as(&mut self, state: &State) {
        self.touched = true;
        self.command = state.command;
        self.is_running = state.is_running;
        self.ring = state.ring;
        self.remote.address = state.address;
        self.remote.left = state.left;
        self.remote.way = state.way;
        self.remote.config = state.data_config;
        self.transmit_page = state.transmit_page;
        self.transmit_bytes = state.transmit_bytes;
        self.transmit_config = state.transmit_config;
        self.transmit_status = state.transmit_status;
        self.status = state.status;
        self.mask = state.mask;
        self.missed = state.missed;
        self.link_is_up = state.link_is_up;
    }

    pub(super) fn state(&self) -> State {
        State {
            mac: self.remote.mac(),
            command: self.command,
            is_running: self.is_running,
            ring: self.ring,
            address: self.remote.address,
            left: self.remote.left,
            way: self.remote.way,
            data_config: self.remote.config,
            transmit_page: self.transmit_page,
            transmit_bytes: self.transmit_bytes,
            transmit_config: self.transmit_config,
            transmit_status: self.transmit_status,
            status: self.status,
            mask: self.mask,
            missed: self.missed,
            link_is_up: self.link_is_up,
        }
    }
}

impl State {
    /// Whether an interface can be in this state. All that a guest can write is possible.
    fn check(&self) -> Result<(), RestoreFault> {
        let is_sending = self.command & command::TRANSMIT != 0;
        let is_reset = self.status & interrupt::RESET != 0;
        has(self.command & (command::START | command::STOP) == 0, "the command says whether it runs")?;
        has(is_reset != self.is_running, "it is in reset and runs, or neither")?;
        has(self.mask & interrupt::RESET == 0, "the reset interrupts")?;
        has(self.missed <= COUNTER_MOST, "a counter is higher than it counts")?;
        has(!is_sending || self.link_is_up, "a frame is to be sent without a link")
    }
}
