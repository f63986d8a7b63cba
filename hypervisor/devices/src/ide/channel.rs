//! One channel: the task file of its disk, the commands, and the interrupt.

use super::disk::Disk;
use super::dma::{Master, Transfer};
use super::identify::identify;
use super::ports::CONTROL;
use crate::device::{Completion, Context, DeviceEffect, Operation, Request, RequestFault};
use spec::ata::{command as ata, error, status};
use spec::ide::{DEVICE_SLAVE, bus_master, command, control, register};
use spec::{Gpa, Width, ata::DEVICE_LBA};

/// What the disk is at.
pub enum Phase {
    Idle,
    /// The guest reads what IDENTIFY DEVICE gives; so many bytes are gone.
    Identify(usize),
    Dma(Transfer),
    /// The flush was asked for, and is submitted once nothing older is outstanding.
    Flush {
        submitted: bool,
    },
}

pub struct Channel {
    disk: Option<Disk>,
    /// Count and address, as written last, and before.
    task: [[u8; 2]; 4],
    device: u8,
    control: u8,
    status: u8,
    error: u8,
    features: u8,
    interrupt: bool,
    phase: Phase,
    pub master: Master,
    /// The one request that is not complete. A reset forgets the command, not the request, so
    /// that a guest which resets over and over has one outstanding, and not as many as it likes.
    outstanding: Option<u32>,
    /// The request belongs to a command that is over.
    stale: bool,
    /// Bit 0 is the channel; the others count requests.
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
            interrupt: false,
            phase: Phase::Idle,
            master: Master::default(),
            outstanding: None,
            stale: false,
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
        self.cancel();
        self.task = [[1, 0], [1, 0], [0; 2], [0; 2]];
        self.device = 0;
        self.error = 1;
        self.status = status::READY;
        self.interrupt = false;
    }

    fn cancel(&mut self) {
        self.phase = Phase::Idle;
        self.stale = self.outstanding.is_some();
    }

    const fn is_slave(&self) -> bool {
        self.device & DEVICE_SLAVE != 0
    }

    pub fn read(&mut self, at: u64, width: Width) -> u64 {
        let Some(disk) = self.disk else { return u64::MAX };
        let high = usize::from(self.control & control::HIGH_ORDER != 0);
        let byte = match at {
            register::DATA => return self.read_data(&disk, width),
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
        };
        byte.into()
    }

    fn read_data(&mut self, disk: &Disk, width: Width) -> u64 {
        let Phase::Identify(gone) = &mut self.phase else { return 0 };
        let bytes = identify(disk);
        let mut value = 0;
        for place in 0..width.bytes() as usize {
            value |= u64::from(bytes.get(*gone + place).copied().unwrap_or(0)) << (8 * place);
        }
        *gone += width.bytes() as usize;
        if *gone >= bytes.len() {
            self.phase = Phase::Idle;
            self.status = status::READY;
        }
        value
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
            self.cancel();
            self.interrupt = false;
            self.status = status::BUSY;
        } else if was & control::RESET != 0 {
            self.sign();
        }
    }

    fn command(&mut self, value: u8, context: &mut Context<'_>) {
        self.interrupt = false;
        self.error = 0;
        self.status = status::BUSY;
        match value {
            ata::IDENTIFY_DEVICE => {
                self.phase = Phase::Identify(0);
                self.end(status::READY | status::DATA_REQUEST, 0);
            }
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
        if core::mem::replace(&mut self.stale, false) {
            return self.advance(context);
        }
        match (&mut self.phase, completion.outcome) {
            (Phase::Flush { .. }, Ok(())) => {
                self.phase = Phase::Idle;
                self.end(status::READY, 0);
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
        let writes = matches!(self.phase, Phase::Dma(Transfer { write: true, .. }));
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
            self.cancel();
            self.fail(error::ABORTED);
        }
        if !was && self.master.is_started() {
            self.advance(context);
        }
    }
}
