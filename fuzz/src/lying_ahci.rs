//! An AHCI host bus adapter with a drive at each of its ports, for the driver's fuzz target: right as
//! long as nobody makes it lie.

use access::fake_dma::FakeDomain;
use access::{GuestMemory, RegisterWindow};
use spec::Gpa;
use spec::ahci::fis::{self, Registers};
use spec::ahci::port::{self, cmd, interrupt, link, signature};
use spec::ahci::{self as hba, cap, ghc, header, table};
use spec::ata::{command, identify, status};
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How many ports it has.
pub const PORTS: usize = 2;
/// Blocks of each drive.
pub const BLOCKS: u64 = 512;

const READY: u32 = status::READY as u32;

/// A command that a drive has.
#[derive(Clone, Copy)]
struct Issued {
    slot: u32,
    registers: Registers,
    table: u64,
}

/// A port and its drive.
pub struct Drive {
    pub registers: [u32; 32],
    pub is_plugged: bool,
    pub identify: Vec<u8>,
    pub medium: Vec<u8>,
    log: [u8; 4],
    has_failed: bool,
    pending: Vec<Issued>,
}

/// What the driver's window reaches.
pub struct State {
    pub capabilities: u32,
    control: u32,
    interrupts: u32,
    pub drives: [Drive; PORTS],
    /// What registers read in place of what they hold, by their offsets.
    pub lies: BTreeMap<usize, u32>,
    pub is_gone: bool,
    /// Whether commands wait to be carried out.
    pub holds: bool,
    pub messages: usize,
}

/// A handle on it; clones are the same HBA.
#[derive(Clone)]
pub struct LyingAhci {
    domain: Rc<FakeDomain>,
    state: Rc<RefCell<State>>,
}

impl Drive {
    fn new() -> Self {
        let mut drive = Self {
            registers: [0; 32],
            is_plugged: true,
            identify: vec![0; identify::BYTES],
            medium: vec![0; BLOCKS as usize * 512],
            log: [identify::CHECKED; 4],
            has_failed: false,
            pending: Vec::new(),
        };
        drive.be_honest();
        drive
    }

    /// Says what is so.
    pub fn be_honest(&mut self) {
        self.identify.fill(0);
        let sets = identify::VALID | identify::LBA48 | identify::FLUSH_EXT;
        for (number, word) in [
            (identify::CAPABILITIES, identify::DMA | identify::LBA),
            (identify::SATA_CAPABILITIES, identify::NATIVE_QUEUING),
            (identify::QUEUE_DEPTH, 31),
            (identify::COMMAND_SETS, sets),
            (identify::COMMAND_SETS_ENABLED, identify::WRITE_CACHE),
            (identify::BLOCKS, BLOCKS as u16),
            (identify::DATA_SET_MANAGEMENT, identify::TRIM),
        ] {
            self.identify[2 * number..][..2].copy_from_slice(&word.to_le_bytes());
        }
    }

    pub fn register(&mut self, register: usize) -> &mut u32 {
        &mut self.registers[register / 4]
    }

    fn address(&self, register: usize) -> u64 {
        u64::from(self.registers[register / 4]) | u64::from(self.registers[register / 4 + 1]) << 32
    }

    fn stop(&mut self) {
        self.pending.clear();
        self.has_failed = false;
        *self.register(port::ISSUE) = 0;
        *self.register(port::ACTIVE) = 0;
    }

    fn write(&mut self, register: usize, value: u32) {
        match register {
            port::COMMAND => {
                if value & cmd::START == 0 {
                    self.stop();
                }
                let running = if value & cmd::START != 0 { cmd::RUNNING } else { 0 };
                let receiving = if value & cmd::RECEIVE_ENABLE != 0 { cmd::RECEIVING } else { 0 };
                let rest = value & !(cmd::RUNNING | cmd::RECEIVING);
                *self.register(register) = rest | running | receiving;
            }
            port::INTERRUPT_STATUS => *self.register(register) &= !value,
            port::LINK_ERROR => {
                let changes = interrupt::LINK_CHANGE | interrupt::CONNECT_CHANGE;
                *self.register(port::INTERRUPT_STATUS) &= !changes;
            }
            port::LINK_CONTROL => {
                *self.register(register) = value;
                let is_up = self.is_plugged && link::detection(value) == 0;
                *self.register(port::LINK_STATUS) = if is_up { link::WORKS } else { 0 };
                *self.register(port::TASK_FILE) = if is_up { READY } else { 0x7f };
                *self.register(port::SIGNATURE) = signature::ATA;
                *self.register(port::INTERRUPT_STATUS) |= interrupt::CONNECT_CHANGE;
            }
            port::ACTIVE => *self.register(register) |= value,
            _ => *self.register(register) = value,
        }
    }
}

impl LyingAhci {
    pub fn new(domain: Rc<FakeDomain>, slots: u32) -> Self {
        let state = State {
            capabilities: cap::ADDRESSES_64 | cap::NATIVE_QUEUING | (slots & 0x1f) << 8,
            control: 0,
            interrupts: 0,
            drives: [Drive::new(), Drive::new()],
            lies: BTreeMap::new(),
            is_gone: false,
            holds: false,
            messages: 0,
        };
        Self { domain, state: Rc::new(RefCell::new(state)) }
    }

    pub fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Sends the message if a port has a cause for it.
    pub fn signal(&self, number: usize) {
        let mut state = self.state();
        let drive = &mut state.drives[number];
        if *drive.register(port::INTERRUPT_STATUS) & *drive.register(port::INTERRUPT_ENABLE) != 0 {
            state.interrupts |= 1 << number;
            state.messages = (state.messages + 1).min(64);
        }
    }

    /// Has a drive carry out the command at `place` of those that it has, which fails where there is
    /// a fault. Whether it did.
    pub fn complete(&self, number: usize, place: usize, fault: Option<u16>) -> bool {
        let mut state = self.state();
        let drive = &mut state.drives[number];
        if drive.has_failed || drive.pending.is_empty() {
            return false;
        }
        let place = place % drive.pending.len();
        let issued = drive.pending.remove(place);
        let is_queued =
            matches!(issued.registers.command, command::READ_FPDMA_QUEUED | command::WRITE_FPDMA_QUEUED);
        let cause = match fault.or_else(|| self.carry_out(drive, &issued).is_none().then_some(0x0441)) {
            Some(fault) => {
                let [status, error] = fault.to_le_bytes();
                drive.log = [issued.slot as u8, 0, status, error];
                drive.has_failed = true;
                *drive.register(port::TASK_FILE) = fault.into();
                interrupt::TASK_FILE_ERROR
            }
            None => {
                let bit = 1 << issued.slot;
                *drive.register(port::ISSUE) &= !bit;
                *drive.register(port::ACTIVE) &= !bit;
                *drive.register(port::TASK_FILE) = READY;
                if is_queued { interrupt::DEVICE_BITS } else { interrupt::REGISTERS }
            }
        };
        *drive.register(port::INTERRUPT_STATUS) |= cause;
        drop(state);
        self.signal(number);
        true
    }

    /// Carries a command out. `None` where it cannot be: its memory is the driver's, and may have
    /// been changed.
    fn carry_out(&self, drive: &mut Drive, issued: &Issued) -> Option<()> {
        let Registers { command, features, lba, count, .. } = issued.registers;
        let region = issued.table + table::REGIONS as u64;
        let data = Gpa(self.domain.read64(Gpa(region)).ok()?);
        let bytes = table::region_bytes(self.domain.read32(Gpa(region + 12)).ok()?) as usize;
        let (blocks, is_read) = match command {
            command::FLUSH_CACHE | command::FLUSH_CACHE_EXT | command::DATA_SET_MANAGEMENT => return Some(()),
            command::IDENTIFY_DEVICE => return self.domain.write(data, &drive.identify).ok(),
            command::READ_LOG_EXT => {
                let mut log = [0; 512];
                log[..4].copy_from_slice(&drive.log);
                return self.domain.write(data, &log).ok();
            }
            command::READ_FPDMA_QUEUED => (features, true),
            command::WRITE_FPDMA_QUEUED => (features, false),
            command::READ_DMA_EXT => (count, true),
            command::WRITE_DMA_EXT => (count, false),
            _ => return None,
        };
        let start = usize::try_from(lba).ok()?.checked_mul(512)?;
        let end = start.checked_add((usize::from(blocks) * 512).min(bytes))?;
        let range = drive.medium.get_mut(start..end)?;
        if is_read { self.domain.write(data, range).ok() } else { self.domain.read(data, range).ok() }
    }

    fn issue(&self, number: usize, slots: u32) {
        let mut state = self.state();
        let holds = state.holds;
        let drive = &mut state.drives[number];
        *drive.register(port::ISSUE) |= slots;
        for slot in (0..32).filter(|slot| slots >> slot & 1 != 0) {
            let head = drive.address(port::COMMAND_LIST) + u64::from(slot) * header::BYTES as u64;
            let table = self.domain.read64(Gpa(head.wrapping_add(8))).unwrap_or(0) & 0xf_ffff_ffff;
            let mut frame = [0; fis::BYTES];
            let _ = self.domain.read(Gpa(table), &mut frame);
            let registers = Registers::decode(&frame).unwrap_or_default();
            drive.pending.push(Issued { slot, registers, table });
        }
        drop(state);
        while !holds && self.complete(number, 0, None) {}
    }
}

impl RegisterWindow for LyingAhci {
    fn read32(&self, offset: usize) -> u32 {
        let mut state = self.state();
        if state.is_gone {
            return u32::MAX;
        }
        if let Some(lie) = state.lies.get(&offset) {
            return *lie;
        }
        match offset {
            hba::CAPABILITIES => state.capabilities,
            hba::CONTROL => state.control,
            hba::INTERRUPT_STATUS => state.interrupts,
            hba::PORTS_IMPLEMENTED => (1 << PORTS) - 1,
            hba::CAPABILITIES_2 | hba::HANDOFF => 0,
            // A port that is there by a lie alone has no registers.
            _ => state
                .drives
                .get_mut((offset - 0x100) / 0x80)
                .map_or(0, |drive| *drive.register(offset & 0x7f)),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        let mut state = self.state();
        match offset {
            _ if state.is_gone => {}
            hba::CONTROL => {
                let is_reset = value & ghc::RESET != 0;
                state.control = if is_reset { 0 } else { value };
                if is_reset {
                    for drive in &mut state.drives {
                        drive.stop();
                        drive.registers = [0; 32];
                    }
                }
            }
            hba::INTERRUPT_STATUS => state.interrupts &= !value,
            hba::HANDOFF => {}
            _ => {
                let (number, register) = ((offset - 0x100) / 0x80, offset & 0x7f);
                if register == port::ISSUE {
                    drop(state);
                    self.issue(number, value);
                } else {
                    state.drives[number].write(register, value);
                }
            }
        }
    }

    fn read64(&self, _: usize) -> u64 {
        unreachable!("no register has 64 bits")
    }
    fn write64(&self, _: usize, _: u64) {
        unreachable!("no register has 64 bits")
    }
    fn read8(&self, _: usize) -> u8 {
        unreachable!("no register has 8 bits")
    }
    fn write8(&self, _: usize, _: u8) {
        unreachable!("no register has 8 bits")
    }
    fn read16(&self, _: usize) -> u16 {
        unreachable!("no register has 16 bits")
    }
    fn write16(&self, _: usize, _: u16) {
        unreachable!("no register has 16 bits")
    }
}
