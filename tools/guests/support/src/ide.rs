//! The primary channel of an IDE controller as its driver sees it (ATA/ATAPI-6; Programming Interface for Bus
//! Master IDE Controller 1.0), with the registers that Linux reads and writes. It may do everything wrong:
//! nothing is checked here. Accesses are counted ([`ports`]).

use crate::cpu::{read32, write32};
use crate::pci::{self, Function};
use crate::ports;

const ID: u32 = 0x7111_8086;

/// Ports of the channel.
pub mod register {
    /// The first of its registers, which is data.
    pub const TASK: u16 = 0x1f0;
    /// Why a command failed; written, what it is to do.
    pub const ERROR: u16 = TASK + 1;
    /// Sectors of a command; where they are follows in 3 registers.
    pub const COUNT: u16 = TASK + 2;
    /// Which disk, and the highest bits of where.
    pub const DEVICE: u16 = TASK + 6;
    /// The command; read, the status, which ends an interrupt.
    pub const COMMAND: u16 = TASK + 7;
    /// Resets; read, the status, and nothing else.
    pub const CONTROL: u16 = 0x3f6;
}
use register::*;

/// Of the bus master: its ports, from the first one.
pub mod master {
    /// 1 byte.
    pub const COMMAND: u16 = 0;
    /// 1 byte.
    pub const STATUS: u16 = 2;
    /// Where the table is; 4 bytes.
    pub const TABLE: u16 = 4;
    /// Of [`COMMAND`]: it works.
    pub const START: u8 = 1;
    /// Of [`COMMAND`]: data goes to memory.
    pub const TO_MEMORY: u8 = 8;
    /// Of [`STATUS`]: it failed, and it interrupted; both end by a 1.
    pub const EVENTS: u8 = 6;
}

/// Of the status.
pub const BUSY: u8 = 0x80;
/// See [`BUSY`].
pub const READY: u8 = 0x40;
/// It wants data, or has some. See [`BUSY`].
pub const REQUEST: u8 = 8;
/// See [`BUSY`].
pub const FAILED: u8 = 1;

/// Of a table's entry: it is the last one.
pub const LAST: u32 = 1 << 31;

/// The controller, whose channel has its usual ports.
#[derive(Clone, Copy)]
pub struct Controller {
    /// In configuration space.
    pub function: Function,
    /// The first of the bus master's ports.
    pub master: u16,
}

impl Controller {
    /// The guest's first one, which decodes its ports and masters the bus from now on.
    pub fn find() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 5);
        Some(Self { function, master: (function.read(0x20) & !3) as u16 })
    }

    /// Starts a reset of the channel's disks.
    pub fn reset(self) {
        ports::write8(CONTROL, 4);
        ports::write8(CONTROL, 0);
    }

    /// The first disk's status, which leaves its interrupt.
    pub fn status(self) -> u8 {
        ports::read8(CONTROL)
    }

    /// Says which sectors of the first disk the next command is about.
    pub fn select(self, sector: u32, count: u8) {
        let [a, b, c, d] = sector.to_le_bytes();
        for (register, value) in (COUNT..).zip([count, a, b, c]) {
            ports::write8(register, value);
        }
        ports::write8(DEVICE, 0xe0 | d & 15);
    }

    /// The same of a long command: the sector has 48 bits.
    pub fn select_long(self, sector: u64, count: u16) {
        let [a, b, c, d, e, f, ..] = sector.to_le_bytes();
        let [low, high] = count.to_le_bytes();
        ports::write8(DEVICE, 0xe0);
        for values in [[high, d, e, f], [low, a, b, c]] {
            (COUNT..).zip(values).for_each(|(register, value)| ports::write8(register, value));
        }
    }

    /// Gives the disk a command.
    pub fn command(self, command: u8) {
        ports::write8(COMMAND, command);
    }

    /// Writes a port of the bus master.
    pub fn write_master(self, register: u16, value: u8) {
        ports::write8(self.master + register, value);
    }

    /// Reads a port of the bus master.
    pub fn read_master(self, register: u16) -> u8 {
        ports::read8(self.master + register)
    }

    /// Says where the table of memory is.
    pub fn set_table(self, table: u32) {
        ports::write32(self.master + master::TABLE, table);
    }

    /// Reads words of data, as many as an instruction can.
    pub fn get_words(self, address: u64, words: u64) {
        ports::read16_all(TASK, address, words);
    }

    /// Writes words of data.
    pub fn put_words(self, address: u64, words: u64) {
        ports::write16_all(TASK, address, words);
    }
}

/// Writes a table of these bytes in memory.
pub fn write_table(table: u64, memory: &[(u64, u32)]) {
    for (at, (gpa, bytes)) in (table..).step_by(8).zip(memory) {
        write_entry(at, *gpa as u32, *bytes);
    }
    if !memory.is_empty() {
        let last = table + 8 * (memory.len() as u64 - 1) + 4;
        write32(last, read32(last) | LAST);
    }
}

/// Writes an entry that is not the last.
pub fn write_entry(at: u64, gpa: u32, bytes: u32) {
    write32(at, gpa);
    write32(at + 4, bytes & 0xffff);
}
