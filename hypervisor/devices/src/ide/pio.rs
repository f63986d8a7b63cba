//! Data that a command moves through the data port, block by block: for each the disk asks once
//! (ATA/ATAPI-7 volume 2, the PIO data-in and data-out protocols).

use core::ops::Range;
use serde::{Deserialize, Serialize};

/// The most sectors of a block, which READ MULTIPLE and WRITE MULTIPLE move at a time.
pub const MOST_BLOCK_SECTORS: u32 = 16;
/// Bytes of a channel's buffer.
pub const BUFFER_BYTES: usize = SECTOR * MOST_BLOCK_SECTORS as usize;
/// Bytes of the buffers of both channels.
pub const BUFFERS_BYTES: usize = 2 * BUFFER_BYTES;
const SECTOR: usize = 512;
/// The most sectors of a command, which is that of a count of 16 bits.
pub const MOST_SECTORS: u32 = 0x1_0000;

/// What moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Data {
    /// What IDENTIFY DEVICE gives.
    Identify,
    /// Sectors, to the guest.
    Read,
    /// Sectors, from the guest.
    Write,
}

/// A command that moves data by PIO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pio {
    pub data: Data,
    /// The sector of the disk that the next request starts at.
    pub first: u64,
    /// Sectors from there to the end of the command.
    pub sectors: u32,
    /// Bytes of a block.
    block: usize,
    /// Bytes of the buffer that are data; of a write, that will be.
    filled: usize,
    /// Bytes of the buffer that went through the port.
    at: usize,
    /// Where in the buffer the block ends.
    end: usize,
}

impl Pio {
    pub fn new(data: Data, first: u64, sectors: u32, block_sectors: u32) -> Self {
        let block = SECTOR * block_sectors.clamp(1, MOST_BLOCK_SECTORS) as usize;
        let mut pio = Self { data, first, sectors, block, filled: 0, at: 0, end: 0 };
        match data {
            Data::Identify => pio.open(SECTOR),
            Data::Read => {}
            Data::Write => pio.open(pio.next_block()),
        }
        pio
    }

    /// The buffer has `bytes` bytes, or is to have them, and none of them went through the port.
    fn open(&mut self, bytes: usize) {
        (self.filled, self.at, self.end) = (bytes, 0, bytes.min(self.block));
    }

    fn next_block(&self) -> usize {
        self.block.min(SECTOR.saturating_mul(self.sectors as usize))
    }

    /// Whether all of the block went through the port.
    pub const fn is_block_over(&self) -> bool {
        self.at >= self.end
    }

    /// The place in the buffer of the next bytes of the block, `most` at most. They are gone then.
    pub fn take(&mut self, most: usize) -> Range<usize> {
        let start = self.at;
        self.at = self.end.min(start.saturating_add(most));
        start..self.at
    }

    /// Goes on to the next block that the buffer has, if it has one.
    pub fn next(&mut self) -> bool {
        self.end = self.filled.min(self.end.saturating_add(self.block));
        !self.is_block_over()
    }

    /// Sectors of the next request: of a read as many as fit into the buffer, of a write the block.
    pub fn request_sectors(&self) -> u32 {
        match self.data {
            Data::Write => (self.filled / SECTOR) as u32,
            _ => self.sectors.min(MOST_BLOCK_SECTORS),
        }
    }

    /// The request is done.
    pub fn requested(&mut self) {
        let sectors = self.request_sectors();
        self.first = self.first.saturating_add(sectors.into());
        self.sectors = self.sectors.saturating_sub(sectors);
        let bytes = if self.data == Data::Write { self.next_block() } else { SECTOR * sectors as usize };
        self.open(bytes);
    }

    /// Whether all that it says of the buffer is in it.
    pub const fn is_in_buffer(&self) -> bool {
        self.at <= self.end
            && self.end <= BUFFER_BYTES
            && self.filled <= BUFFER_BYTES
            && self.block <= BUFFER_BYTES
    }

    /// Whether a disk of `sectors` sectors can be so while it waits for the port, with blocks of one sector
    /// or of `multiple`.
    pub fn is_possible(&self, sectors: u64, multiple: u8) -> bool {
        let Self { data, block, filled, at, end, .. } = *self;
        let is_block = block == SECTOR || block == SECTOR * usize::from(multiple) && multiple != 0;
        if !is_block || filled == 0 || filled > BUFFER_BYTES || end > filled || at >= end {
            return false;
        }
        let start = (end - 1) / block * block;
        let is_in_block = at >= start && (end == filled || end.is_multiple_of(block));
        let is_there = self.first.checked_add(self.sectors.into()).is_some_and(|end| end <= sectors);
        let is_filled = match data {
            Data::Identify => (self.first, self.sectors, block, filled) == (0, 0, SECTOR, SECTOR),
            Data::Read => filled.is_multiple_of(SECTOR) && self.first >= (filled / SECTOR) as u64,
            Data::Write => filled == self.next_block(),
        };
        is_in_block && is_there && is_filled && self.sectors <= MOST_SECTORS
    }
}
