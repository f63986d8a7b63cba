//! Commands, and the memory of a port in which they stand (section 4.2).

use crate::error::Error;
use access::{DmaBuffer, DmaMemory};
use block::{Operation, Piece};
use spec::ahci::fis::{self, Registers};
use spec::ahci::{MOST_PORTS, header, port, table};
use spec::ata::{DEVICE_LBA, command, identify, queued_error_log, trim};
use spec::{Iova, address};

/// Command slots of a port, at most.
pub(crate) const SLOTS: usize = 32;

/// The most that one command moves: what a single region has.
pub(crate) const MOST_BYTES: u64 = table::MOST_REGION_BYTES;
/// The most blocks of one command, which are counted in 16 bits; 0 is all of them.
const MOST_BLOCKS: u64 = 1 << 16;

/// Offsets into a port's memory: the command list, received FISes, what commands of the driver's
/// own read, and a table for each slot.
const LIST: usize = 0;
const RECEIVED: usize = LIST + header::LIST_BYTES;
pub(crate) const PAGE: usize = RECEIVED + port::RECEIVED_FIS_BYTES;
const TABLES: usize = 2048;
const TABLE_BYTES: usize = 256;
const BYTES: usize = TABLES + SLOTS * TABLE_BYTES;
/// Bytes of what commands of the driver's own read, and of what is trimmed: none of these is in flight
/// beside another command.
const PAGE_BYTES: usize = identify::BYTES;

const _: () = {
    assert!(PAGE + PAGE_BYTES <= TABLES && PAGE_BYTES == queued_error_log::BYTES);
    assert!(PAGE.is_multiple_of(8) && PAGE_BYTES == trim::BYTES && trim::BYTES == 8 * trim::RANGES as usize);
    assert!(
        RECEIVED.is_multiple_of(port::RECEIVED_FIS_BYTES) && TABLE_BYTES.is_multiple_of(table::ALIGNMENT)
    );
    assert!(table::REGIONS + table::REGION_BYTES <= TABLE_BYTES && SLOTS == MOST_PORTS as usize);
};

/// What a device is told to do, and where its data is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    registers: Registers,
    data: Iova,
    bytes: u64,
    is_write: bool,
}

impl Command {
    /// What carries out `piece`, which is no flush, in the slot `tag`: queued, or alone.
    pub fn transfer(piece: &Piece, tag: u16, is_queued: bool) -> Self {
        let is_write = piece.operation == Operation::Write;
        // 65536 blocks are said as 0.
        let blocks = piece.blocks as u16;
        let (command, features, count) = match (is_queued, is_write) {
            (true, false) => (command::READ_FPDMA_QUEUED, blocks, tag << 3),
            (true, true) => (command::WRITE_FPDMA_QUEUED, blocks, tag << 3),
            (false, false) => (command::READ_DMA_EXT, 0, blocks),
            (false, true) => (command::WRITE_DMA_EXT, 0, blocks),
        };
        let registers = Registers { command, features, lba: piece.first_block, device: DEVICE_LBA, count };
        Self { registers, data: piece.data, bytes: piece.bytes, is_write }
    }

    /// One without data.
    pub fn plain(command: u8) -> Self {
        let registers = Registers { command, ..Registers::default() };
        Self { registers, data: Iova(0), bytes: 0, is_write: false }
    }

    pub const fn code(&self) -> u8 {
        self.registers.command
    }
}

/// The most blocks of `block_bytes` bytes that one command for `operation` is for.
pub(crate) fn most_blocks(operation: Operation, block_bytes: u32) -> u32 {
    let most = match operation {
        Operation::Discard => trim::RANGES * trim::MOST_BLOCKS,
        _ => MOST_BYTES.checked_div(block_bytes.into()).unwrap_or(0).min(MOST_BLOCKS),
    };
    most as u32
}

/// A port's memory.
#[derive(Debug)]
pub(crate) struct Memory<B>(pub B);

impl Memory<()> {
    /// What it takes, in whole pages.
    pub const PAGES: usize = BYTES.div_ceil(address::PAGE_BYTES as usize);
}

impl<B: DmaBuffer> Memory<B> {
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D) -> Option<Self> {
        dma.allocate(BYTES, address::PAGE_BYTES as usize).map(Self)
    }

    /// What trims the blocks of `piece`, of which the page has the list.
    pub fn trim(&self, piece: &Piece) -> Result<Command, Error> {
        let end = piece.first_block + u64::from(piece.blocks);
        let mut first = piece.first_block;
        for place in (PAGE..PAGE + trim::BYTES).step_by(8) {
            let blocks = (end - first).min(trim::MOST_BLOCKS);
            self.0.write64(place, trim::range(first, blocks as u16))?;
            first += blocks;
        }
        let data = self.0.iova().checked_add(PAGE as u64).ok_or(Error::Buffer)?;
        let command = command::DATA_SET_MANAGEMENT;
        let registers = Registers { command, features: trim::TRIM, lba: 0, device: 0, count: 1 };
        Ok(Command { registers, data, bytes: trim::BYTES as u64, is_write: true })
    }

    /// Where the command list and received FISes are.
    pub fn places(&self) -> Option<(Iova, Iova)> {
        let start = self.0.iova();
        Some((start.checked_add(LIST as u64)?, start.checked_add(RECEIVED as u64)?))
    }

    /// Whether all of it is below 4 GiB.
    pub fn is_low(&self) -> bool {
        self.0.iova().0 < (1 << 32) - BYTES as u64
    }

    /// Puts `command` into a slot. The HBA works on it once it is issued.
    pub fn put(&self, slot: usize, command: &Command) -> Result<(), Error> {
        let place = TABLES + slot * TABLE_BYTES;
        let table = self.0.iova().checked_add(place as u64).ok_or(Error::Buffer)?;
        let regions = u16::from(command.bytes != 0);
        let [d0, d1, d2, d3] = header::of(regions, command.is_write).to_le_bytes();
        let [a0, a1, a2, a3, a4, a5, a6, a7] = table.0.to_le_bytes();
        // Dword 1 counts what was moved.
        let head = [d0, d1, d2, d3, 0, 0, 0, 0, a0, a1, a2, a3, a4, a5, a6, a7];
        self.0.write(place, &command.registers.encode())?;
        if let Some(last) = command.bytes.checked_sub(1) {
            self.0.write64(place + table::REGIONS, command.data.0)?;
            self.0.write64(place + table::REGIONS + 8, last << 32)?;
        }
        self.0.write(LIST + slot * header::BYTES, &head)?;
        Ok(())
    }

    /// A command of the driver's own that reads into the page, which is cleared: a device that says
    /// that it is done and wrote nothing has said nothing.
    pub fn read_page(&self, command: u8, lba: u64) -> Result<Command, Error> {
        for offset in (0..PAGE_BYTES).step_by(64) {
            self.0.write(PAGE + offset, &[0; 64])?;
        }
        let data = self.0.iova().checked_add(PAGE as u64).ok_or(Error::Buffer)?;
        // The count of IDENTIFY DEVICE means nothing, that of READ LOG EXT is of pages.
        let registers = Registers { command, features: 0, lba, device: 0, count: 1 };
        Ok(Command { registers, data, bytes: PAGE_BYTES as u64, is_write: false })
    }
}

const _: () = assert!(fis::BYTES <= table::REGIONS);
