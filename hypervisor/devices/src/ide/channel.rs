//! One channel: the task file of its disk, the commands, and the interrupt.

use super::disk::Disk;
use super::dma::{Master, Transfer};
use super::identify::identify;
use super::pio::{BUFFER_BYTES, Data, MOST_BLOCK_SECTORS, Pio};
use super::ports::CONTROL;
use crate::device::{Completion, Context, DEVICE_BUFFER, DeviceEffect, Operation, Request, RequestFault};
use serde::{Deserialize, Serialize};
use spec::ata::{command as ata, error, status};
use spec::ide::{DEVICE_SLAVE, bus_master, command, control, register};
use spec::{Gpa, Width, ata::DEVICE_LBA};

mod state;

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
    disk: Option<Disk>,
    /// Count and address, as written last, and before.
    task: [[u8; 2]; 4],
    device: u8,
    pub(super) control: u8,
    pub(super) status: u8,
    pub(super) error: u8,
    features: u8,
    /// Sectors of a block of READ MULTIPLE and WRITE MULTIPLE; 0 where they are not to be used.
    pub(super) multiple: u8,
    pub(super) interrupt: bool,
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
}

impl Channel {
    pub fn new(disk: Option<Disk>, number: u32) -> Self {
        let mut channel = Self {
            disk,
            task: [[0; 2]; 4],
            device: 0,
            control: 0,
            status: 0,
            error: 0,
            features: 0,
            multiple: MOST_BLOCK_SECTORS as u8,
            interrupt: false,
            phase: Phase::Idle,
            master: Master::default(),
            outstanding: None,
            cut_off: None,
            tag: number,
        };
        channel.sign();
        channel
    }

    pub fn power_up(&mut self) {
        let tag = self.tag;
        *self = Self::new(self.disk, tag & 1);
        self.tag = tag;
    }

    pub const fn line(&self) -> bool {
        self.interrupt && self.control & control::NO_INTERRUPT == 0
    }

    /// What a disk says after a reset (ATA/ATAPI-7 volume 2, section 9.12).
    fn sign(&mut self) {
        self.task = [[1, 0], [1, 0], [0; 2], [0; 2]];
        self.device = 0;
        self.error = 1;
        self.status = status::READY;
        self.interrupt = false;
    }

    /// Forgets the command; `then` comes when nothing of it is under way.
    fn cut_off(&mut self, then: Then) {
        self.phase = Phase::Idle;
        self.status = status::BUSY;
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

    const fn is_slave(&self) -> bool {
        self.device & DEVICE_SLAVE != 0
    }

    /// Reads one of the registers but the data port.
    pub fn read(&mut self, at: u64) -> u8 {
        if self.disk.is_none() {
            return 0xff;
        }
        let high = usize::from(self.control & control::HIGH_ORDER != 0);
        match at {
            register::ERROR => self.error,
            register::COUNT..=register::LBA_HIGH => {
                let field = self.task.get((at - register::COUNT) as usize);
                field.and_then(|field| field.get(high)).copied().unwrap_or(0xff)
            }
            register::DEVICE => self.device,
            _ if self.is_slave() => 0,
            register::STATUS => {
                self.interrupt = false;
                self.status
            }
            CONTROL => self.status,
            _ => 0xff,
        }
    }

    /// Reads the data port: fills `bytes` as far as the block goes, and says how far. Where there
    /// is no block to read, all of it is nothing.
    pub fn read_data(&mut self, bytes: &mut [u8], buffer: &[u8], context: &mut Context<'_>) -> usize {
        let Some(disk) = self.disk else {
            bytes.fill(0xff);
            return bytes.len();
        };
        bytes.fill(0);
        let pio = match &mut self.phase {
            Phase::Pio(pio) if pio.data != Data::Write && self.status & status::DATA_REQUEST != 0 => pio,
            _ => return bytes.len(),
        };
        let place = pio.take(bytes.len());
        let count = place.len();
        let identity;
        let source = if pio.data == Data::Identify {
            identity = identify(&disk, self.multiple);
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
        let pio = match &mut self.phase {
            Phase::Pio(pio) if pio.data == Data::Write && self.status & status::DATA_REQUEST != 0 => pio,
            _ => return bytes.len(),
        };
        let place = pio.take(bytes.len());
        let count = place.len();
        if let (Some(to), Some(from)) = (buffer.get_mut(place), bytes.get(..count)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
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
            self.status = status::BUSY;
            self.advance(context);
        } else if pio.next() {
            self.end(status::READY | status::DATA_REQUEST, 0);
        } else if pio.sectors > 0 {
            self.status = status::BUSY;
            self.advance(context);
        } else {
            self.phase = Phase::Idle;
            self.status = status::READY;
        }
    }

    pub fn write(&mut self, at: u64, value: u8, context: &mut Context<'_>) {
        if self.disk.is_none() {
            return;
        }
        if at == CONTROL {
            return self.write_control(value);
        }
        self.control &= !control::HIGH_ORDER;
        if self.status & (status::BUSY | status::DATA_REQUEST) != 0 {
            return;
        }
        match at {
            register::ERROR => self.features = value,
            register::COUNT..=register::LBA_HIGH => {
                if let Some([now, before]) = self.task.get_mut((at - register::COUNT) as usize) {
                    *before = core::mem::replace(now, value);
                }
            }
            register::DEVICE => self.device = value,
            register::STATUS if !self.is_slave() || value == command::DIAGNOSTIC => {
                self.command(value, context)
            }
            _ => {}
        }
    }

    fn write_control(&mut self, value: u8) {
        let was = core::mem::replace(&mut self.control, value);
        if value & control::RESET != 0 {
            self.interrupt = false;
            self.cut_off(Then::Reset);
        } else if was & control::RESET != 0 {
            self.cut_off(Then::Sign);
        } else if was & control::NO_INTERRUPT != 0 && self.line() {
            self.master.status |= bus_master::INTERRUPT;
        }
    }

    fn command(&mut self, value: u8, context: &mut Context<'_>) {
        self.interrupt = false;
        self.error = 0;
        self.status = status::BUSY;
        match value {
            ata::IDENTIFY_DEVICE => {
                self.phase = Phase::Pio(Pio::new(Data::Identify, 0, 0, 1));
                self.end(status::READY | status::DATA_REQUEST, 0);
            }
            command::READ_SECTORS | command::READ_SECTORS_ONCE => self.pio(Data::Read, false, 1, context),
            command::WRITE_SECTORS | command::WRITE_SECTORS_ONCE => self.pio(Data::Write, false, 1, context),
            command::READ_SECTORS_EXT => self.pio(Data::Read, true, 1, context),
            command::WRITE_SECTORS_EXT => self.pio(Data::Write, true, 1, context),
            command::READ_MULTIPLE => self.pio(Data::Read, false, self.multiple, context),
            command::WRITE_MULTIPLE => self.pio(Data::Write, false, self.multiple, context),
            command::READ_MULTIPLE_EXT => self.pio(Data::Read, true, self.multiple, context),
            command::WRITE_MULTIPLE_EXT => self.pio(Data::Write, true, self.multiple, context),
            command::SET_MULTIPLE => self.set_multiple(),
            command::READ_DMA => self.dma(false, false, context),
            command::WRITE_DMA => self.dma(true, false, context),
            ata::READ_DMA_EXT => self.dma(false, true, context),
            ata::WRITE_DMA_EXT => self.dma(true, true, context),
            ata::FLUSH_CACHE | ata::FLUSH_CACHE_EXT => {
                self.phase = Phase::Flush { submitted: false };
                self.advance(context);
            }
            command::VERIFY | command::VERIFY_EXT => match self.range(value == command::VERIFY_EXT) {
                Ok(_) => self.end(status::READY, 0),
                Err(error) => self.fail(error),
            },
            command::CHECK_POWER => {
                if let Some([now, _]) = self.task.first_mut() {
                    *now = 0xff;
                }
                self.end(status::READY, 0);
            }
            // Transfer mode, write cache on, and read ahead on: what is so anyway.
            command::SET_FEATURES if matches!(self.features, 0x03 | 0x02 | 0xaa) => {
                self.end(status::READY, 0)
            }
            command::INITIALIZE | command::STANDBY | command::IDLE => self.end(status::READY, 0),
            command::DIAGNOSTIC => {
                self.sign();
                self.end(status::READY, 1);
            }
            _ => self.fail(error::ABORTED),
        }
    }

    /// First sector and number of sectors that the task file names.
    fn range(&self, long: bool) -> Result<(u64, u32), u8> {
        let [count, low, middle, high] = self.task;
        let [a, b, c] = [low, middle, high].map(|[now, _]| u64::from(now));
        let [d, e, f] = [low, middle, high].map(|[_, before]| u64::from(before));
        if self.device & DEVICE_LBA == 0 {
            return Err(error::ABORTED);
        }
        let first = a | b << 8 | c << 16;
        let [now, before] = count.map(u32::from);
        let (first, count, most) = if long {
            (first | d << 24 | e << 32 | f << 40, now | before << 8, 0x1_0000)
        } else {
            (first | u64::from(self.device & 0xf) << 24, now, 0x100)
        };
        let count = if count == 0 { most } else { count };
        let sectors = self.disk.map_or(0, |disk| disk.sectors);
        let fits = first.checked_add(count.into()).is_some_and(|end| end <= sectors);
        if fits { Ok((first, count)) } else { Err(error::NOT_FOUND) }
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
        let [[count, _], ..] = self.task;
        if count == 0 || count.is_power_of_two() && u32::from(count) <= MOST_BLOCK_SECTORS {
            self.multiple = count;
            self.end(status::READY, 0);
        } else {
            self.fail(error::ABORTED);
        }
    }

    fn fail(&mut self, error: u8) {
        self.phase = Phase::Idle;
        self.end(status::READY | status::ERROR, error);
    }

    /// Ends the busy phase, and tells the guest.
    fn end(&mut self, status: u8, error: u8) {
        self.status = status;
        self.error = error;
        self.interrupt = true;
        if self.line() {
            self.master.status |= bus_master::INTERRUPT;
        }
    }

    /// Submits what is next, if nothing is outstanding.
    fn advance(&mut self, context: &mut Context<'_>) {
        let Some(disk) = self.disk.filter(|_| self.outstanding.is_none()) else { return };
        let (operation, at, gpa, bytes) = match &mut self.phase {
            Phase::Flush { submitted } => {
                *submitted = true;
                (Operation::Flush, 0, Gpa(0), 0)
            }
            // The first block of a write is asked for without an interrupt.
            Phase::Pio(pio) if pio.data == Data::Write && !pio.is_block_over() => {
                self.status = status::READY | status::DATA_REQUEST;
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
                pio.requested();
                if pio.is_block_over() {
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
