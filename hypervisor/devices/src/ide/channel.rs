//! One channel: its two devices, of which one is selected, the commands, and the interrupt.

use super::disk::Disk;
use super::dma::{Master, Transfer};
use super::geometry::Geometry;
use super::identify::identify;
use super::pio::{BUFFER_BYTES, Data, MOST_BLOCK_SECTORS, MOST_SECTORS, Pio};
use super::ports::CONTROL;
use super::unit::Unit;
use crate::device::{Completion, Context, DEVICE_BUFFER, DeviceEffect, Operation, Request, RequestFault};
use core::ops::Range;
use serde::{Deserialize, Serialize};
use spec::ata::{command as ata, error, status};
use spec::ide::{DEVICE_SLAVE, bus_master, command, control, register};
use spec::{Gpa, Width, ata::DEVICE_LBA};

mod state;

pub use state::STATE_WORDS;

/// Both channels, a bit each.
pub const ALL: u8 = 3;

/// What the disk is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    Idle,
    Pio(Pio),
    Dma(Transfer),
    /// The flush was asked for, and is submitted once nothing older is outstanding.
    Flush {
        submitted: bool,
    },
}

/// What follows a command that was cut off, once its request moves no data any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// The reset goes on.
    Reset,
    /// The reset is over.
    Sign,
    /// The command failed.
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Channel {
    /// Devices 0 and 1, of which one is selected. A command is of that one, and no other is selected
    /// before it is over.
    pub(super) units: [Unit; 2],
    /// As written to both.
    device: u8,
    pub(super) control: u8,
    features: u8,
    pub(super) phase: Phase,
    pub master: Master,
    /// The one request that is not complete. What cuts the command off does not end the request, so the
    /// disk is busy until it is complete: it may move data until then, and a guest which resets over and
    /// over has one outstanding, and not as many as it likes.
    #[serde(skip)]
    outstanding: Option<u32>,
    /// The request belongs to a command that was cut off.
    #[serde(skip)]
    cut_off: Option<Then>,
    /// Bit 0 is the channel; the others count requests.
    #[serde(skip)]
    tag: u32,
    /// Bytes of the buffer, from where to where, that may be others than when they were committed.
    #[serde(skip)]
    changed: (usize, usize),
}

impl Channel {
    pub fn new(disks: [Option<Disk>; 2], number: u32) -> Self {
        Self {
            units: disks.map(Unit::new),
            device: 0,
            control: 0,
            features: 0,
            phase: Phase::Idle,
            master: Master::default(),
            outstanding: None,
            cut_off: None,
            tag: number,
            changed: (0, 0),
        }
    }

    pub fn power_up(&mut self) {
        let tag = self.tag;
        *self = Self::new(self.units.map(|unit| unit.disk), tag & 1);
        self.tag = tag;
        self.buffer_changed();
    }

    /// All of the buffer has changed.
    pub fn buffer_changed(&mut self) {
        self.changes(0..BUFFER_BYTES);
    }

    /// These bytes of the buffer have changed.
    fn changes(&mut self, place: Range<usize>) {
        let (start, end) = self.changed;
        self.changed = if start == end {
            (place.start, place.end)
        } else {
            (start.min(place.start), end.max(place.end))
        };
    }

    /// Only the device that is selected drives it.
    pub const fn line(&self) -> bool {
        self.unit().interrupt && self.control & control::NO_INTERRUPT == 0
    }

    /// The device that is selected.
    const fn unit(&self) -> &Unit {
        let [first, second] = &self.units;
        if self.device & DEVICE_SLAVE == 0 { first } else { second }
    }

    const fn unit_mut(&mut self) -> &mut Unit {
        let [first, second] = &mut self.units;
        if self.device & DEVICE_SLAVE == 0 { first } else { second }
    }

    /// The device that answers: one that is there does so in place of the other that is not
    /// (ATA/ATAPI-7 volume 2, section 9.16). Its status is then none.
    const fn answering(&self) -> &Unit {
        let [first, second] = &self.units;
        let is_second = self.device & DEVICE_SLAVE != 0 && second.disk.is_some() || first.disk.is_none();
        if is_second { second } else { first }
    }

    const fn is_empty(&self) -> bool {
        let [first, second] = &self.units;
        first.disk.is_none() && second.disk.is_none()
    }

    /// Both devices are as after a reset, and device 0 is selected.
    fn sign(&mut self) {
        self.units.iter_mut().for_each(Unit::sign);
        self.device = 0;
    }

    /// Forgets the command; `then` comes when nothing of it is under way.
    fn cut_off(&mut self, then: Then) {
        self.phase = Phase::Idle;
        match then {
            Then::Abort => self.unit_mut().work(),
            Then::Reset | Then::Sign => self.units.iter_mut().for_each(Unit::work),
        }
        match self.outstanding {
            Some(_) => self.cut_off = Some(then),
            None => self.settle(then),
        }
    }

    fn settle(&mut self, then: Then) {
        match then {
            Then::Reset => {}
            Then::Sign => self.sign(),
            Then::Abort => self.fail(error::ABORTED),
        }
    }

    /// Reads one of the registers but the data port.
    pub fn read(&mut self, at: u64) -> u8 {
        if self.is_empty() {
            return 0xff;
        }
        let high = usize::from(self.control & control::HIGH_ORDER != 0);
        match at {
            register::ERROR => self.answering().error,
            register::COUNT..=register::LBA_HIGH => self.answering().field(at, high),
            register::DEVICE => self.device,
            register::STATUS => {
                self.unit_mut().interrupt = false;
                self.unit().status
            }
            CONTROL => self.unit().status,
            _ => 0xff,
        }
    }

    /// Reads the data port: fills `bytes` as far as the block goes, and says how far. Where there
    /// is no block to read, all of it is nothing.
    pub fn read_data(&mut self, bytes: &mut [u8], buffer: &[u8], context: &mut Context<'_>) -> usize {
        bytes.fill(if self.is_empty() { 0xff } else { 0 });
        let unit = *self.unit();
        let asks = unit.status & status::DATA_REQUEST != 0;
        let pio = match &mut self.phase {
            Phase::Pio(pio) if pio.data != Data::Write && asks => pio,
            _ => return bytes.len(),
        };
        let place = pio.take(bytes.len());
        let count = place.len();
        let identity;
        let source = if pio.data == Data::Identify {
            identity = identify(&unit);
            &identity
        } else {
            buffer
        };
        if let (Some(to), Some(from)) = (bytes.get_mut(..count), source.get(place)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        self.moved(context);
        count
    }

    /// Writes the data port: takes of `bytes` what is left of the block, and says how much. Where
    /// there is no block to write, all of it is lost.
    pub fn write_data(&mut self, bytes: &[u8], buffer: &mut [u8], context: &mut Context<'_>) -> usize {
        let asks = self.unit().status & status::DATA_REQUEST != 0;
        let pio = match &mut self.phase {
            Phase::Pio(pio) if pio.data == Data::Write && asks => pio,
            _ => return bytes.len(),
        };
        let place = pio.take(bytes.len());
        let count = place.len();
        if let (Some(to), Some(from)) = (buffer.get_mut(place.clone()), bytes.get(..count)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        self.changes(place);
        self.moved(context);
        count
    }

    /// Bytes went through the data port: goes on where the block is over.
    fn moved(&mut self, context: &mut Context<'_>) {
        let Phase::Pio(pio) = &mut self.phase else { return };
        if !pio.is_block_over() {
            return;
        }
        if pio.data == Data::Write {
            self.unit_mut().work();
            self.advance(context);
        } else if pio.next() {
            self.end(status::READY | status::DATA_REQUEST, 0);
        } else if pio.sectors > 0 {
            self.unit_mut().work();
            self.advance(context);
        } else {
            self.phase = Phase::Idle;
            self.unit_mut().status = status::READY;
        }
    }

    /// Writes one of the registers but the data port. Both devices have what is written.
    pub fn write(&mut self, at: u64, value: u8, context: &mut Context<'_>) {
        if self.is_empty() {
            return;
        }
        if at == CONTROL {
            return self.write_control(value);
        }
        self.control &= !control::HIGH_ORDER;
        if self.units.iter().any(Unit::is_at_work) {
            return;
        }
        match at {
            register::ERROR => self.features = value,
            register::COUNT..=register::LBA_HIGH => {
                self.units.iter_mut().for_each(|unit| unit.set_field(at, value));
            }
            register::DEVICE => self.changing_line(|channel| channel.device = value),
            register::STATUS if value == command::DIAGNOSTIC => self.diagnose(),
            register::STATUS if self.unit().disk.is_some() => self.command(value, context),
            _ => {}
        }
    }

    fn write_control(&mut self, value: u8) {
        let is_over = self.control & control::RESET != 0;
        if value & control::RESET != 0 {
            self.units.iter_mut().for_each(|unit| unit.interrupt = false);
            self.cut_off(Then::Reset);
        } else if is_over {
            self.cut_off(Then::Sign);
        }
        self.changing_line(|channel| channel.control = value);
    }

    /// A rising edge of the line is an interrupt to the bus master, whatever raises it.
    fn changing_line(&mut self, change: impl FnOnce(&mut Self)) {
        let was = self.line();
        change(self);
        if self.line() && !was {
            self.master.status |= bus_master::INTERRUPT;
        }
    }

    /// EXECUTE DEVICE DIAGNOSTIC is for both devices, and device 0 says what came of it: both passed.
    fn diagnose(&mut self) {
        self.sign();
        self.end(status::READY, 1);
    }

    fn command(&mut self, value: u8, context: &mut Context<'_>) {
        let unit = self.unit_mut();
        (unit.interrupt, unit.error) = (false, 0);
        unit.work();
        let multiple = unit.multiple;
        match value {
            ata::IDENTIFY_DEVICE => {
                self.phase = Phase::Pio(Pio::new(Data::Identify, 0, 0, 1));
                self.end(status::READY | status::DATA_REQUEST, 0);
            }
            command::READ_SECTORS | command::READ_SECTORS_ONCE => self.pio(Data::Read, false, 1, context),
            command::WRITE_SECTORS | command::WRITE_SECTORS_ONCE => self.pio(Data::Write, false, 1, context),
            command::READ_SECTORS_EXT => self.pio(Data::Read, true, 1, context),
            command::WRITE_SECTORS_EXT => self.pio(Data::Write, true, 1, context),
            command::READ_MULTIPLE => self.pio(Data::Read, false, multiple, context),
            command::WRITE_MULTIPLE => self.pio(Data::Write, false, multiple, context),
            command::READ_MULTIPLE_EXT => self.pio(Data::Read, true, multiple, context),
            command::WRITE_MULTIPLE_EXT => self.pio(Data::Write, true, multiple, context),
            command::SET_MULTIPLE => self.set_multiple(),
            command::READ_DMA => self.dma(false, false, context),
            command::WRITE_DMA => self.dma(true, false, context),
            ata::READ_DMA_EXT => self.dma(false, true, context),
            ata::WRITE_DMA_EXT => self.dma(true, true, context),
            ata::FLUSH_CACHE | ata::FLUSH_CACHE_EXT => {
                self.phase = Phase::Flush { submitted: false };
                self.advance(context);
            }
            command::VERIFY | command::VERIFY_ONCE | command::VERIFY_EXT => {
                let range = self.range(value == command::VERIFY_EXT);
                self.end_with(range.map(|_| ()));
            }
            command::SEEK => {
                let is_there = self.first(false).and_then(|(first, end)| fits(first, 1, end));
                self.end_with(is_there);
            }
            command::CHECK_POWER => {
                if let Some([now, _]) = self.unit_mut().task.first_mut() {
                    *now = 0xff;
                }
                self.end(status::READY, 0);
            }
            // Transfer mode, write cache on, and read ahead on: what is so anyway.
            command::SET_FEATURES if matches!(self.features, 0x03 | 0x02 | 0xaa) => {
                self.end(status::READY, 0)
            }
            command::INITIALIZE => self.initialize(),
            command::RECALIBRATE | command::STANDBY | command::IDLE => self.end(status::READY, 0),
            _ => self.fail(error::ABORTED),
        }
    }

    /// The first sector that the task file names, and where what it can name ends.
    fn first(&self, long: bool) -> Result<(u64, u64), u8> {
        let unit = self.unit();
        let sectors = unit.disk.map_or(0, |disk| disk.sectors);
        let [_, low, middle, high] = unit.task;
        let [a, b, c] = [low, middle, high].map(|[now, _]| u64::from(now));
        let [d, e, f] = [low, middle, high].map(|[_, before]| u64::from(before));
        let short = a | b << 8 | c << 16;
        let head = self.device & 0xf;
        if self.device & DEVICE_LBA != 0 {
            let above = if long { d << 24 | e << 32 | f << 40 } else { u64::from(head) << 24 };
            return Ok((short | above, sectors));
        }
        // Commands with 48-bit addresses have no others (ATA/ATAPI-6, section 6.2).
        if long {
            return Err(error::ABORTED);
        }
        let cylinder = (b | c << 8) as u16;
        let block = unit.geometry.block(sectors, cylinder, head, a as u8).ok_or(error::NOT_FOUND)?;
        Ok((block, unit.geometry.capacity(sectors).into()))
    }

    /// First sector and number of sectors that the task file names.
    fn range(&self, long: bool) -> Result<(u64, u32), u8> {
        let (first, end) = self.first(long)?;
        let [[now, before], ..] = self.unit().task.map(|field| field.map(u32::from));
        let (count, most) = if long { (now | before << 8, MOST_SECTORS) } else { (now, 0x100) };
        let count = if count == 0 { most } else { count };
        fits(first, count, end).map(|()| (first, count))
    }

    fn dma(&mut self, write: bool, long: bool, context: &mut Context<'_>) {
        match self.range(long) {
            Ok((first, sectors)) => {
                self.phase = Phase::Dma(Transfer { write, first, sectors, submitted: 0 });
                self.advance(context);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Moves the sectors by PIO, in blocks of `block` sectors; 0 is none.
    fn pio(&mut self, data: Data, long: bool, block: u8, context: &mut Context<'_>) {
        if block == 0 {
            return self.fail(error::ABORTED);
        }
        match self.range(long) {
            Ok((first, sectors)) => {
                self.phase = Phase::Pio(Pio::new(data, first, sectors, block.into()));
                self.advance(context);
            }
            Err(error) => self.fail(error),
        }
    }

    fn set_multiple(&mut self) {
        let [[count, _], ..] = self.unit().task;
        if count == 0 || count.is_power_of_two() && u32::from(count) <= MOST_BLOCK_SECTORS {
            self.unit_mut().multiple = count;
            self.end(status::READY, 0);
        } else {
            self.fail(error::ABORTED);
        }
    }

    /// INITIALIZE DEVICE PARAMETERS: cylinders, heads and sectors are others from now on.
    fn initialize(&mut self) {
        let [[track_sectors, _], ..] = self.unit().task;
        match Geometry::new(self.device & 0xf, track_sectors) {
            Some(geometry) => {
                self.unit_mut().geometry = geometry;
                self.end(status::READY, 0);
            }
            None => self.fail(error::ABORTED),
        }
    }

    fn end_with(&mut self, outcome: Result<(), u8>) {
        match outcome {
            Ok(()) => self.end(status::READY, 0),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: u8) {
        self.phase = Phase::Idle;
        self.end(status::READY | status::ERROR, error);
    }

    /// Ends the busy phase of the device that is selected, and tells the guest.
    fn end(&mut self, status: u8, error: u8) {
        let unit = self.unit_mut();
        if unit.disk.is_none() {
            return;
        }
        (unit.status, unit.error, unit.interrupt) = (status, error, true);
        if self.line() {
            self.master.status |= bus_master::INTERRUPT;
        }
    }

    /// Submits what is next, if nothing is outstanding.
    fn advance(&mut self, context: &mut Context<'_>) {
        let Some(disk) = self.unit().disk.filter(|_| self.outstanding.is_none()) else { return };
        let (operation, at, gpa, bytes) = match &mut self.phase {
            Phase::Flush { submitted } => {
                *submitted = true;
                (Operation::Flush, disk.start, Gpa(0), 0)
            }
            // The first block of a write is asked for without an interrupt.
            Phase::Pio(pio) if pio.data == Data::Write && !pio.is_block_over() => {
                self.unit_mut().status = status::READY | status::DATA_REQUEST;
                return;
            }
            Phase::Pio(pio) => {
                let write = pio.data == Data::Write;
                let operation = if write { Operation::Write } else { Operation::Read };
                let at = disk.start.saturating_add(pio.first.saturating_mul(512));
                let gpa = DEVICE_BUFFER + u64::from(self.tag & 1) * BUFFER_BYTES as u64;
                (operation, at, gpa, pio.request_sectors() * 512)
            }
            Phase::Dma(transfer) if self.master.is_started() => {
                let Some((gpa, bytes)) = self.master.next_run(transfer, context.memory) else {
                    self.master.fail();
                    return self.fail(error::ABORTED);
                };
                transfer.submitted = bytes / 512;
                let operation = if transfer.write { Operation::Write } else { Operation::Read };
                (operation, disk.start.saturating_add(transfer.first * 512), gpa, bytes)
            }
            _ => return,
        };
        self.tag = self.tag.wrapping_add(2);
        self.outstanding = Some(self.tag);
        context.effects.push(DeviceEffect::Submit(Request { tag: self.tag, operation, at, gpa, bytes }));
    }

    pub fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        if self.outstanding != Some(completion.tag) {
            return;
        }
        self.outstanding = None;
        if let Some(then) = self.cut_off.take() {
            return self.settle(then);
        }
        match (&mut self.phase, completion.outcome) {
            (Phase::Flush { .. }, Ok(())) => {
                self.phase = Phase::Idle;
                self.end(status::READY, 0);
            }
            (Phase::Pio(pio), Ok(())) => {
                let read = if pio.data == Data::Read { pio.request_sectors() as usize * 512 } else { 0 };
                pio.requested();
                let is_over = pio.is_block_over();
                self.changes(0..read);
                if is_over {
                    self.phase = Phase::Idle;
                    return self.end(status::READY, 0);
                }
                self.end(status::READY | status::DATA_REQUEST, 0);
            }
            (Phase::Dma(transfer), Ok(())) => {
                transfer.first += u64::from(transfer.submitted);
                transfer.sectors = transfer.sectors.saturating_sub(transfer.submitted);
                if transfer.sectors > 0 {
                    return self.advance(context);
                }
                self.phase = Phase::Idle;
                self.master.finish();
                self.end(status::READY, 0);
            }
            (_, Err(fault)) => self.fault(fault),
            (_, Ok(())) => {}
        }
    }

    fn fault(&mut self, fault: RequestFault) {
        let writes = matches!(
            self.phase,
            Phase::Dma(Transfer { write: true, .. }) | Phase::Pio(Pio { data: Data::Write, .. })
        );
        if fault == RequestFault::Memory {
            self.master.fail();
        }
        self.fail(match fault {
            RequestFault::Range => error::NOT_FOUND,
            RequestFault::Medium if !writes => error::UNCORRECTABLE,
            _ => error::ABORTED,
        });
    }

    pub fn read_master(&self, at: u64) -> u64 {
        self.master.read(at)
    }

    pub fn write_master(&mut self, at: u64, width: Width, value: u64, context: &mut Context<'_>) {
        let was = self.master.is_started();
        self.master.write(at, width, value);
        if was && !self.master.is_started() && matches!(self.phase, Phase::Dma(_)) {
            // The transfer was stopped before it was done: the command cannot end well.
            self.cut_off(Then::Abort);
        }
        if !was && self.master.is_started() {
            self.advance(context);
        }
    }
}

/// Whether `count` sectors from `first` are there.
fn fits(first: u64, count: u32, end: u64) -> Result<(), u8> {
    let is_there = first.checked_add(count.into()).is_some_and(|last| last <= end);
    if is_there { Ok(()) } else { Err(error::NOT_FOUND) }
}
