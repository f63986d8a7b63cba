//! The interface's memory, and remote DMA: the way of the guest into it.

use alloc::boxed::Box;
use network::MacAddress;
use serde::{Deserialize, Serialize};
use spec::Width;
use spec::dp8390::{MEMORY, PAGE_BYTES, PROM_BYTES, PROM_IS_16_BIT, command, data_config};

/// Bytes of the buffer memory.
pub const BUFFER_BYTES: usize = (MEMORY.1 - MEMORY.0) as usize;

const _: () = assert!(BUFFER_BYTES == u64::BITS as usize * PAGE_BYTES);

/// What the chip's addresses lead to: the station address's memory, the buffer, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    prom: [u8; PROM_BYTES],
    pub buffer: Box<[u8]>,
    /// A bit for each page of the buffer that may be another than when it was committed.
    pub changed: u64,
}

impl Memory {
    /// `bytes` bytes of the buffer from address `at` on. `None` where it is not so far.
    pub fn piece(&self, at: usize, bytes: usize) -> Option<&[u8]> {
        let start = at.checked_sub(MEMORY.0.into())?;
        self.buffer.get(start..start.checked_add(bytes)?)
    }

    /// As [`piece`](Self::piece), to be changed.
    pub fn piece_mut(&mut self, at: usize, bytes: usize) -> Option<&mut [u8]> {
        let start = at.checked_sub(MEMORY.0.into())?;
        let end = start.checked_add(bytes)?;
        let piece = self.buffer.get_mut(start..end)?;
        let pages = (start / PAGE_BYTES)..end.div_ceil(PAGE_BYTES);
        self.changed |= pages.fold(0, |bits, page| bits | 1 << page);
        Some(piece)
    }

    /// Copies from the addresses from `at` on; where nothing is, ones are read.
    fn read(&self, at: usize, into: &mut [u8]) {
        if let Some(piece) = self.piece(at, into.len()) {
            return copy(piece, into);
        }
        for (byte, address) in into.iter_mut().zip(at..) {
            let buffer = || self.piece(address, 1)?.first();
            *byte = self.prom.get(address).or_else(buffer).copied().unwrap_or(0xff);
        }
    }

    /// Copies to the addresses from `at` on; where no buffer is, nothing is written.
    fn write(&mut self, at: usize, from: &[u8]) {
        if let Some(piece) = self.piece_mut(at, from.len()) {
            return copy(from, piece);
        }
        for (byte, address) in from.iter().zip(at..) {
            if let Some([place]) = self.piece_mut(address, 1) {
                *place = *byte;
            }
        }
    }
}

/// Copies `from` to the start of `to`, which has room for it.
pub fn copy(from: &[u8], to: &mut [u8]) {
    for (place, byte) in to.iter_mut().zip(from) {
        *place = *byte;
    }
}

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Way {
    /// Nowhere: reads give ones, writes are lost.
    Off,
    ToGuest,
    FromGuest,
}

/// Remote DMA.
#[derive(Clone, Debug)]
pub struct Remote {
    pub memory: Memory,
    /// CRDA: where the next byte is.
    pub address: u16,
    /// RBCR: bytes that are left.
    pub left: u16,
    /// DCR.
    pub config: u8,
    pub way: Way,
}

/// The pages of the receive ring (PSTART, PSTOP): behind its last one remote DMA goes on with its first.
pub type Pages = (u8, u8);

impl Remote {
    pub fn new(mac: MacAddress) -> Self {
        let mut prom = [0; PROM_BYTES];
        let once = mac.0.iter().chain([0; 8].iter()).chain([PROM_IS_16_BIT; 2].iter());
        for (pair, byte) in prom.chunks_mut(2).zip(once) {
            pair.fill(*byte);
        }
        let buffer = core::iter::repeat_n(0, BUFFER_BYTES).collect();
        Self { memory: Memory { prom, buffer, changed: 0 }, address: 0, left: 0, config: 0, way: Way::Off }
    }

    /// As after power-up. The PROM cannot be written.
    pub fn reset(&mut self) {
        self.memory.buffer.fill(0);
        self.memory.changed = u64::MAX;
        self.address = 0;
        self.left = 0;
        self.config = 0;
        self.way = Way::Off;
    }

    /// The station address.
    pub fn mac(&self) -> MacAddress {
        let [a, _, b, _, c, _, d, _, e, _, f, ..] = self.memory.prom;
        MacAddress([a, b, c, d, e, f])
    }

    pub const fn abort(&mut self) {
        self.way = Way::Off;
    }

    /// What CR says of remote DMA. Whether it is complete at once, for nothing is to be moved.
    pub const fn command(&mut self, value: u8) -> bool {
        let both = command::REMOTE_READ | command::REMOTE_WRITE;
        self.way = match value & (both | command::REMOTE_ABORT) {
            command::REMOTE_READ => Way::ToGuest,
            command::REMOTE_WRITE => Way::FromGuest,
            _ => Way::Off,
        };
        if self.left == 0 && !matches!(self.way, Way::Off) {
            self.way = Way::Off;
            return true;
        }
        false
    }

    const fn moves_words(&self) -> bool {
        self.config & data_config::WORDS != 0
    }

    /// Whether accesses of `width` move as many bytes as they are wide. Where data moves by words, an
    /// access of a byte moves a word, of which it is the low half.
    pub const fn takes_strings(&self, width: Width) -> bool {
        !self.moves_words() || width.bytes() > 1
    }

    /// An access to the data port. What is read, and whether the transfer is complete with it.
    pub fn read(&mut self, width: Width, ring: Pages) -> (u64, bool) {
        let mut bytes = [0xff; 8];
        let count = (width.bytes() as usize).max(1 + usize::from(self.moves_words()));
        let moved = bytes.get_mut(..count).unwrap_or_default();
        let is_complete = self.read_bytes(moved, ring);
        (u64::from_le_bytes(bytes), is_complete)
    }

    /// As [`read`](Self::read).
    pub fn write(&mut self, width: Width, value: u64, ring: Pages) -> bool {
        let bytes = (value & width.mask()).to_le_bytes();
        let count = (width.bytes() as usize).max(1 + usize::from(self.moves_words()));
        self.write_bytes(bytes.get(..count).unwrap_or_default(), ring)
    }

    /// Moves memory to `into`, as much as is left to be moved; behind it ones are read. Whether the
    /// transfer is complete with it.
    pub fn read_bytes(&mut self, into: &mut [u8], ring: Pages) -> bool {
        let mut rest = into;
        while self.way == Way::ToGuest && !rest.is_empty() {
            let run = self.run(rest.len(), ring);
            let Some((now, later)) = rest.split_at_mut_checked(run) else { return false };
            self.memory.read(self.address.into(), now);
            rest = later;
            if self.advance(run, ring) {
                rest.fill(0xff);
                return true;
            }
        }
        rest.fill(0xff);
        false
    }

    /// As [`read_bytes`](Self::read_bytes), the other way. What is more than is left to be moved is lost.
    pub fn write_bytes(&mut self, from: &[u8], ring: Pages) -> bool {
        let mut rest = from;
        while self.way == Way::FromGuest && !rest.is_empty() {
            let run = self.run(rest.len(), ring);
            let Some((now, later)) = rest.split_at_checked(run) else { return false };
            self.memory.write(self.address.into(), now);
            rest = later;
            if self.advance(run, ring) {
                return true;
            }
        }
        false
    }

    /// How many of `most` bytes, which are not none, are behind one another in memory and left to be
    /// moved: at least one, and where data moves by words two.
    fn run(&mut self, most: usize, (_, stop): Pages) -> usize {
        let unit = 1 + usize::from(self.moves_words());
        // Words are at even addresses (section 6.0).
        self.address &= !(unit as u16 - 1);
        let at = usize::from(self.address);
        let stop = usize::from(stop) * PAGE_BYTES;
        let end = if at < stop { stop } else { usize::from(u16::MAX) + 1 };
        let left = (usize::from(self.left) + unit - 1) & !(unit - 1);
        most.min(left).min(end - at)
    }

    /// `run` bytes are moved. Whether those were the last.
    fn advance(&mut self, run: usize, (start, stop): Pages) -> bool {
        self.address = self.address.wrapping_add(run as u16);
        if usize::from(self.address) == usize::from(stop) * PAGE_BYTES {
            self.address = u16::from(start) << 8;
        }
        self.left = self.left.saturating_sub(run as u16);
        if self.left == 0 {
            self.way = Way::Off;
        }
        self.left == 0
    }
}
