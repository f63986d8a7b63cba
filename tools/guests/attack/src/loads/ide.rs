//! An IDE disk by DMA, with the registers that Linux reads and writes for a command.

use super::{ARENA, DATA, Reader, count_port, spin_until};
use support::cpu::{in8, out8, out32, read32, write32};
use support::pci;

const ID: u32 = 0x7111_8086;
const TASK: u16 = 0x1f0;
const CONTROL: u16 = 0x3f6;
const COUNT: u16 = TASK + 2;
const DEVICE: u16 = TASK + 6;
const COMMAND: u16 = TASK + 7;
const READ_DMA: u8 = 0xc8;
const BUSY: u8 = 0x80;
const REQUEST: u8 = 8;
const FAILED: u8 = 1;
/// Of the bus master's command.
const START: u8 = 1;
const TO_MEMORY: u8 = 8;
const LAST: u32 = 1 << 31;
/// Where the table of memory is.
const TABLE: u64 = ARENA;
/// What memory holds that was not read yet. The disk is empty.
const UNREAD: u32 = 0x0bad_f00d;

pub struct Ide {
    master: u16,
    next: u32,
}

fn read(port: u16) -> u8 {
    count_port();
    in8(port)
}

fn write(port: u16, value: u8) {
    count_port();
    out8(port, value);
}

impl Ide {
    pub fn start() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 5);
        let master = (function.read(0x20) & !3) as u16;
        write(CONTROL, 4);
        write(CONTROL, 0);
        spin_until(|| read(CONTROL) & BUSY == 0).then_some(Self { master, next: 0 })
    }

    /// As Linux starts a command.
    fn issue(&mut self, sectors: u32) {
        let [a, b, c, d] = self.next.to_le_bytes();
        for (register, value) in (COUNT..).zip([sectors as u8, a, b, c]) {
            write(register, value);
        }
        write(DEVICE, 0xe0 | d & 15);
        count_port();
        out32(self.master + 4, TABLE as u32);
        let command = read(self.master) & !TO_MEMORY;
        write(self.master, command | TO_MEMORY);
        write(COMMAND, READ_DMA);
        let command = read(self.master);
        write(self.master, command | START);
    }

    /// As its handler ends one. Whether it succeeded.
    fn end(&self) -> bool {
        let status = read(self.master + 2);
        let command = read(self.master);
        write(self.master, command & !START);
        let _ = read(CONTROL);
        let disk = read(COMMAND);
        write(self.master + 2, status | 6);
        disk & (BUSY | REQUEST | FAILED) == 0
    }
}

impl Reader for Ide {
    fn read(&mut self, _: u16, bytes: u32) -> bool {
        let sectors = bytes / 512;
        write32(TABLE, DATA as u32);
        write32(TABLE + 4, bytes & 0xffff | LAST);
        let last = DATA + u64::from(bytes) - 4;
        write32(last, UNREAD);
        self.issue(sectors);
        self.next = (self.next + sectors) % 0x8000;
        let has_come = spin_until(|| read32(last) != UNREAD);
        has_come && self.end()
    }
}
