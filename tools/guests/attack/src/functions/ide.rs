//! An IDE disk: sequences of registers that no standard has, data that moves the wrong way or too
//! much of it, tables of memory that make no sense, resets in the middle of transfers, and a second
//! processor that does the same at the same time.

use super::rings::{DATA, DATA_BYTES};
use super::{ARENA, NOWHERE, Numbers, Outcome, PATIENCE, PATTERN, fill, hold, is_filled, second};
use crate::Environment;
use support::cpu::{in8, in16, in32, out8, out16, out32, read8, read16, read32, write32};
use support::ide::master::{EVENTS, START, TO_MEMORY};
use support::ide::register::{COMMAND, CONTROL, COUNT, DEVICE, ERROR, TASK};
use support::ide::{BUSY, Controller, FAILED, LAST, READY, REQUEST, master, write_entry};
use support::pci::Function;
use support::time::{wait_until, wait_us};

const READ: u8 = 0x20;
const WRITE: u8 = 0x30;
const READ_LONG: u8 = 0x24;
const VERIFY: u8 = 0x40;
const READ_DMA: u8 = 0xc8;
const WRITE_DMA: u8 = 0xca;
const READ_DMA_LONG: u8 = 0x25;
const FLUSH: u8 = 0xe7;
const IDENTIFY: u8 = 0xec;

/// Where the table is.
const TABLE: u64 = ARENA;
const TABLE_BYTES: u64 = 0x1000;
const SECTOR: u64 = 512;

/// The primary channel's disk.
struct Disk {
    controller: Controller,
    sectors: u32,
    is_writable: bool,
    turn: u32,
}

impl Disk {
    fn find() -> Option<Self> {
        let controller = Controller::find()?;
        let mut disk = Self { controller, sectors: 0, is_writable: false, turn: 0 };
        disk.reset();
        disk.issue(IDENTIFY, 0, 1);
        if !disk.waits() || disk.status() & REQUEST == 0 {
            return None;
        }
        controller.get_words(DATA, SECTOR / 2);
        disk.sectors = read32(DATA + 120);
        // The last sector, as it is: whoever takes no writes refuses it.
        disk.dma(READ_DMA, disk.sectors - 1, 1, &[(DATA, 512)]);
        disk.is_writable = disk.dma(WRITE_DMA, disk.sectors - 1, 1, &[(DATA, 512)]) == READY;
        Some(disk)
    }

    /// Resets the disk and stops the bus master. Whether that ended.
    fn reset(&self) -> bool {
        self.stop();
        self.controller.write_master(master::STATUS, EVENTS);
        self.controller.reset();
        self.waits() && self.status() == READY
    }

    /// Stops the bus master.
    fn stop(&self) {
        self.controller.write_master(master::COMMAND, 0);
    }

    /// Of the disk, without answering its interrupt.
    fn status(&self) -> u8 {
        self.controller.status()
    }

    /// Waits until it is at rest, or wants data.
    fn waits(&self) -> bool {
        wait_until(PATIENCE, || self.status() & BUSY == 0)
    }

    fn issue(&self, command: u8, sector: u32, count: u8) {
        self.controller.select(sector, count);
        self.controller.command(command);
    }

    fn issue_long(&self, command: u8, sector: u64, count: u16) {
        self.controller.select_long(sector, count);
        self.controller.command(command);
    }

    /// Starts the bus master with the table at `table`.
    fn start(&self, table: u32, direction: u8) {
        self.controller.set_table(table);
        self.controller.write_master(master::STATUS, EVENTS);
        self.controller.write_master(master::COMMAND, direction);
        self.controller.write_master(master::COMMAND, direction | START);
    }

    fn direction(command: u8) -> u8 {
        if matches!(command, WRITE_DMA | 0x35) { 0 } else { TO_MEMORY }
    }

    /// Moves sectors by DMA; the status in the end.
    fn dma(&self, command: u8, sector: u32, count: u8, memory: &[(u64, u32)]) -> u8 {
        write_table(memory);
        self.issue(command, sector, count);
        self.start(TABLE as u32, Self::direction(command));
        let is_over = self.waits();
        self.stop();
        if is_over { in8(COMMAND) } else { BUSY }
    }

    /// Whether it works: what is read by DMA is what is read by PIO, and what was written.
    fn is_well(&mut self) -> bool {
        if !self.reset() {
            return false;
        }
        self.turn = self.turn.wrapping_add(0x0107);
        let sector = self.turn % (self.sectors - 8);
        let other = DATA + 0x8000;
        if self.is_writable {
            fill(DATA, 0x1000, self.turn);
            let is_written = self.dma(WRITE_DMA, sector, 8, &[(DATA, 0x1000)]) == READY;
            self.issue(FLUSH, 0, 0);
            if !is_written || !self.waits() || self.status() != READY {
                return false;
            }
        }
        fill(DATA, 0x1000, PATTERN);
        let is_read = self.dma(READ_DMA, sector, 8, &[(DATA, 0x800), (DATA + 0x800, 0x800)]) == READY;
        self.issue(READ, sector, 8);
        for number in 0..8 {
            if !self.waits() || self.status() & REQUEST == 0 {
                return false;
            }
            self.controller.get_words(other + number * SECTOR, SECTOR / 2);
        }
        let is_same = (0..0x1000).step_by(4).all(|at| read32(DATA + at) == read32(other + at));
        is_read && is_same && (!self.is_writable || is_filled(DATA, 0x1000, self.turn))
    }
}

/// Entries of these bytes; behind the last nothing is memory.
fn write_table(memory: &[(u64, u32)]) {
    (TABLE..TABLE + TABLE_BYTES).step_by(8).for_each(|at| write_entry(at, NOWHERE[0] as u32, 0x1_0000));
    support::ide::write_table(TABLE, memory);
}

/// Tries it all; the disk must work as at first afterwards.
pub fn run(environment: &Environment) -> Outcome {
    let mut disk = Disk::find().ok_or("there is no IDE disk")?;
    hold(disk.is_well(), "the disk does not work to begin with")?;
    commands(&mut disk)?;
    ranges(&mut disk)?;
    pio(&mut disk)?;
    tables(&mut disk, environment)?;
    resets(&mut disk)?;
    by_two(&mut disk, environment)
}

/// Every command with registers that say anything, and data whatever it wants.
fn commands(disk: &mut Disk) -> Outcome {
    let mut numbers = Numbers::new(0x1de);
    for command in 0..=u8::MAX {
        for register in ERROR..=DEVICE {
            out8(register, numbers.next() as u8);
            out8(register, numbers.next() as u8);
        }
        out8(DEVICE, numbers.one_of(&[0xe0, 0xa0, 0xf0, 0x40]));
        out8(COMMAND, command);
        disk.start(TABLE as u32, numbers.one_of(&[0, TO_MEMORY]));
        for _ in 0..3 {
            disk.controller.get_words(DATA, 200);
            disk.controller.put_words(DATA, 300);
            let _ = (in8(TASK), in32(TASK), in32(COMMAND - 3), in8(COMMAND));
            out8(TASK, command);
            out16(COUNT, u16::from(command) * 0x101);
            out32(TASK + 4, u32::from(command) * 0x101_0101);
        }
        hold(disk.reset(), "a reset does not end")?;
        if command % 16 == 15 {
            hold(disk.is_well(), "a command broke it")?;
        }
    }
    Ok(())
}

/// Sectors past the end, in every way that there is to say them.
fn ranges(disk: &mut Disk) -> Outcome {
    let end = disk.sectors;
    let fails = |what| hold(disk.waits() && disk.status() & (FAILED | REQUEST) == FAILED, what);
    for command in [READ, WRITE, VERIFY, READ_DMA, WRITE_DMA, 0xc4, 0xc5, 0x21, 0x31] {
        for (sector, count) in [(end - 1, 2), (end, 1), (end - 255, 0), (0x0fff_ffff, 1), (0x0fff_ffff, 0)] {
            disk.issue(command, sector, count);
            fails("sectors past the end")?;
        }
        // Without logical block addresses.
        out8(DEVICE, 0xa0);
        out8(COMMAND, command);
        fails("cylinders that there are not")?;
    }
    for command in [READ_LONG, 0x34, 0x42, READ_DMA_LONG, 0x35, 0x29, 0x39] {
        let last = u64::from(end) - 1;
        for (sector, count) in [
            (last, 2),
            (last.saturating_sub(0xfffe), 0),
            ((1 << 48) - 1, 1),
            (last | 1 << 40, 1),
            (1 << 47, 0),
        ] {
            if sector < 1 << 48 {
                disk.issue_long(command, sector, count);
                fails("sectors past the end of long commands")?;
            }
        }
    }
    // A slave that is not there does nothing.
    out8(DEVICE, 0xf0);
    out8(COMMAND, READ);
    hold(disk.status() == 0, "a disk that is not there")?;
    hold(disk.is_well(), "sectors past the end broke it")
}

/// Data by PIO: less than the disk has, more, the other way, of other widths, and a command meanwhile.
fn pio(disk: &mut Disk) -> Outcome {
    disk.issue(READ, 0, 1);
    hold(disk.waits(), "it does not read")?;
    fill(DATA, 0x4000, PATTERN);
    disk.controller.get_words(DATA, 0x1000);
    hold(is_filled(DATA + 512, 0x1e00, 0), "there is more data than a sector")?;
    hold(is_filled(DATA + 0x2000, 0x2000, PATTERN), "there is more data than was asked for")?;
    hold(disk.status() == READY, "it is not done")?;
    // Less of it, and then a command: it is still at the first one.
    disk.issue(READ, 0, 2);
    hold(disk.waits(), "it does not read")?;
    disk.controller.get_words(DATA, 10);
    disk.controller.put_words(DATA, 0x1000);
    disk.issue(IDENTIFY, 0, 1);
    hold(disk.status() & REQUEST != 0, "it forgot its data")?;
    (0..500).for_each(|_| _ = in8(TASK));
    let _ = in32(TASK);
    hold(disk.reset() && disk.status() & REQUEST == 0, "it has data after a reset")?;
    hold(in16(TASK) == 0, "there is data that nobody asked for")?;
    // A write without its data.
    for bytes in [0, 1, 255, 256] {
        disk.issue(WRITE, disk.sectors - 2, 2);
        hold(disk.waits(), "it does not write")?;
        disk.controller.put_words(DATA, bytes);
        let _ = in16(TASK);
        hold(disk.reset(), "a reset does not end")?;
    }
    hold(disk.is_well(), "data by PIO broke it")
}

/// Tables that make no sense: an error, never a transfer to where the table does not lead.
fn tables(disk: &mut Disk, environment: &Environment) -> Outcome {
    let fails = |disk: &mut Disk, memory: &[(u64, u32)], what| {
        hold(disk.dma(READ_DMA, 0, 8, memory) & (BUSY | FAILED) == FAILED, what)
    };
    let end = environment.memory_end;
    for place in [NOWHERE[0], NOWHERE[3], NOWHERE[4], NOWHERE[5], end, end - 0x800] {
        fails(disk, &[(place, 0x1000)], "memory that is none")?;
        fails(disk, &[(DATA, 0x800), (place, 0x1000)], "memory that is none in the second entry")?;
    }
    fails(disk, &[(DATA, 0x800)], "a table that is too short")?;
    fails(disk, &[(DATA, 510)], "less than a sector")?;
    fails(disk, &[(DATA + 0x1000, 0)], "64 KiB over a border of 64 KiB")?;
    fails(disk, &[(DATA + 0xf000, 0x2000)], "an entry over a border")?;
    fails(disk, &[(DATA + 0xfffe, 4)], "a small entry over a border")?;
    fails(disk, &[(DATA, 256), (DATA + 0x1000, 0x1000)], "a sector in two places")?;
    fails(disk, &[(DATA, 2); 512], "a sector in one place")?;
    fails(disk, &[], "a table without an end")?;
    hold(disk.is_well(), "a table broke it")?;
    // Larger than what moves, odd, and of 64 KiB: right.
    fill(DATA, DATA_BYTES, PATTERN);
    hold(disk.dma(READ_DMA, 0, 1, &[(DATA | 1, 0)]) == READY, "an entry of 64 KiB")?;
    hold(is_filled(DATA + SECTOR, DATA_BYTES - SECTOR, PATTERN), "it moved more than was asked for")?;
    // A table that is nowhere, or in part, and the wrong way.
    let places = [NOWHERE[0], NOWHERE[3], NOWHERE[5], end, end - 4, 0xffff_fffc];
    for (place, direction) in places.map(|place| (place, TO_MEMORY)).into_iter().chain([(TABLE, 0)]) {
        write_table(&[(DATA, 0x1000)]);
        disk.issue(READ_DMA, 0, 8);
        disk.start(place as u32, direction);
        hold(disk.waits() && disk.status() & FAILED != 0, "a table that is nowhere")?;
        disk.stop();
    }
    hold(disk.is_well(), "a table that is nowhere broke it")
}

/// Transfers under way when the disk is reset, the bus master stopped, or not let master the bus any
/// more: once that is done no byte of them may come.
fn resets(disk: &mut Disk) -> Outcome {
    for round in 0..60 {
        hold(disk.reset(), "a reset does not end")?;
        fill(DATA, DATA_BYTES, 0);
        write_table(&[(DATA, 0), (DATA + 0x1_0000, 0)]);
        disk.issue(READ_DMA, 0, 0);
        disk.start(TABLE as u32, TO_MEMORY);
        let what = match round % 4 {
            0 => {
                hold(disk.reset(), "a reset does not end")?;
                "it moved data after a reset"
            }
            1 => {
                disk.controller.reset();
                hold(disk.waits(), "a reset does not end")?;
                "it moved data after a reset with the bus master on"
            }
            2 => {
                disk.stop();
                hold(disk.waits(), "a transfer that is stopped does not end")?;
                "it moved data after the bus master was stopped"
            }
            _ => {
                disk.controller.function.write_ecam(4, 1);
                "it moved data when it might not any more"
            }
        };
        fill(DATA, DATA_BYTES, PATTERN);
        wait_us(3000);
        hold(is_filled(DATA, DATA_BYTES, PATTERN), what)?;
        disk.controller.function.write_ecam(4, 5);
    }
    hold(disk.is_well(), "transfers that were cut off broke it")
}

/// Registers of both kinds, the table, and the function's own.
fn rewrite() -> ! {
    let [master, function, ..] = second::words();
    let controller = Controller { function: Function(function as u16), master: master as u16 };
    let function = controller.function;
    let mut numbers = Numbers::new(0x7111);
    let home = function.read_ecam(0x20);
    while second::goes_on() {
        let value = numbers.next();
        let place = numbers.one_of(&[DATA as u32, DATA as u32 + 0xf001, 0x3000_0000, 0xfee0_0000]);
        match value >> 8 & 15 {
            0 => out8(CONTROL, numbers.one_of(&[0, 2, 4, 0x80])),
            1 => controller.write_master(master::COMMAND, value as u8),
            2 => controller.write_master(master::STATUS, value as u8),
            3 => {
                controller.set_table(numbers.one_of(&[TABLE as u32, TABLE as u32 + 8, 0x3000_0000, u32::MAX]))
            }
            4 => out8(COMMAND, numbers.one_of(&[READ, READ_DMA, READ_LONG, IDENTIFY, FLUSH, 0xc6, 0x90])),
            5 => controller.get_words(DATA + 0x1_8000, value >> 16 & 0x1ff),
            6 => controller.put_words(DATA + 0x1_8000, value >> 16 & 0x1ff),
            7 => [0, 1, 4, 5].into_iter().for_each(|command| function.write_ecam(4, command)),
            8 => {
                function.write_ecam(0x20, 0x1f1);
                function.write_ecam(0x20, home);
            }
            9 | 10 => out8(ERROR + (value >> 16) as u16 % 6, value as u8),
            _ => {
                let at = TABLE + (value >> 16 & 0xf8);
                write32(at, place);
                write32(at + 4, numbers.one_of(&[0, 2, 512, 0x1000, 512 | LAST, LAST]));
            }
        }
    }
    function.write_ecam(0x20, home);
    function.write_ecam(4, 5);
    second::end()
}

fn by_two(disk: &mut Disk, environment: &Environment) -> Outcome {
    let words = [disk.controller.master.into(), disk.controller.function.0.into(), 0, 0];
    hold(second::start(words, rewrite), "the second processor did not come")?;
    for round in 0..environment.number("rounds", 200) * 2 {
        out8(CONTROL, 0);
        write_table(&[(DATA, 0x1000), (DATA + 0x8000, 0x1000)]);
        disk.issue(if round % 2 == 0 { READ_DMA } else { WRITE_DMA }, 8, 16);
        disk.start(TABLE as u32, if round % 2 == 0 { TO_MEMORY } else { 0 });
        disk.controller.get_words(DATA + 0x1_8000, 256);
        let _ = (in8(COMMAND), read8(DATA), read16(DATA));
    }
    hold(second::stop(), "the second processor did nothing")?;
    hold(wait_until(PATIENCE, || disk.is_well()), "the disk does not come back")
}
