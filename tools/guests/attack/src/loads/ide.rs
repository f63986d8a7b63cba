//! An IDE disk by DMA, with the registers that Linux reads and writes for a command.

use super::{ARENA, DATA, Reader, spin_until};
use support::cpu::{read32, write32};
use support::ide::master::{EVENTS, START, TO_MEMORY};
use support::ide::register::COMMAND;
use support::ide::{BUSY, Controller, FAILED, REQUEST, master, write_table};
use support::ports;

const READ_DMA: u8 = 0xc8;
/// Where the table of memory is.
const TABLE: u64 = ARENA;
/// What memory holds that was not read yet. The disk is empty.
const UNREAD: u32 = 0x0bad_f00d;

pub struct Ide {
    controller: Controller,
    next: u32,
}

impl Ide {
    pub fn start() -> Option<Self> {
        let controller = Controller::find()?;
        controller.reset();
        spin_until(|| controller.status() & BUSY == 0).then_some(Self { controller, next: 0 })
    }

    /// As Linux starts a command.
    fn issue(&self, sectors: u32) {
        let controller = self.controller;
        controller.select(self.next, sectors as u8);
        controller.set_table(TABLE as u32);
        let command = controller.read_master(master::COMMAND) & !TO_MEMORY;
        controller.write_master(master::COMMAND, command | TO_MEMORY);
        controller.command(READ_DMA);
        let command = controller.read_master(master::COMMAND);
        controller.write_master(master::COMMAND, command | START);
    }

    /// As its handler ends one. Whether it succeeded.
    fn end(&self) -> bool {
        let controller = self.controller;
        let status = controller.read_master(master::STATUS);
        let command = controller.read_master(master::COMMAND);
        controller.write_master(master::COMMAND, command & !START);
        let _ = controller.status();
        let disk = ports::read8(COMMAND);
        controller.write_master(master::STATUS, status | EVENTS);
        disk & (BUSY | REQUEST | FAILED) == 0
    }
}

impl Reader for Ide {
    fn read(&mut self, _: u16, bytes: u32) -> bool {
        let sectors = bytes / 512;
        write_table(TABLE, &[(DATA, bytes)]);
        let last = DATA + u64::from(bytes) - 4;
        write32(last, UNREAD);
        self.issue(sectors);
        self.next = (self.next + sectors) % 0x8000;
        let has_come = spin_until(|| read32(last) != UNREAD);
        has_come && self.end()
    }
}
