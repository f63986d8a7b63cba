//! An AMD-Vi unit that caches whatever the manual lets it cache, for as long as it may:
//! a missing flush shows as a translation that should be gone.

use crate::fake_ram::Ram;
use access::RegisterWindow;
use spec::Bdf;
use spec::amdvi::{Control, Status, command, register};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// The unit of QEMU with `xtsup=on`.
pub const QEMU_FEATURES: u64 = 0x29d7;

/// How the unit misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    #[default]
    Well,
    /// Takes no command any more.
    Stuck,
    /// Its control register does nothing.
    Deaf,
    /// Finds the next so many commands that are no waits illegal.
    Refuses(u32),
}

type Quarters = [u64; 4];
type Page = Option<(u64, u64)>;

pub struct State {
    pub ram: Ram,
    pub features: u64,
    /// It caches what is absent.
    pub greedy: bool,
    /// Its events are QEMU's.
    pub qemu: bool,
    /// The tail of the event log moves before the entry is there.
    pub late: bool,
    pub mood: Mood,
    pub registers: BTreeMap<usize, u64>,
    status: u64,
    head: u64,
    event_tail: u64,
    ppr_tail: u64,
    devices: BTreeMap<u16, Quarters>,
    pages: BTreeMap<(u16, u64), Page>,
    /// Tables of level 1 that the unit remembers the way to.
    ways: BTreeMap<(u16, u64), u64>,
    entries: BTreeMap<(u16, u32), [u64; 2]>,
    /// Every value that the control register was given.
    pub controls: Vec<u64>,
    /// Codes of the commands that were carried out, in order.
    pub log: Vec<u8>,
}

#[derive(Clone)]
pub struct MockUnit(pub Rc<RefCell<State>>);

impl MockUnit {
    pub fn new(ram: Ram, features: u64, greedy: bool) -> Self {
        Self(Rc::new(RefCell::new(State {
            ram,
            features,
            greedy,
            qemu: false,
            late: false,
            mood: Mood::Well,
            registers: BTreeMap::new(),
            status: 0,
            head: 0,
            event_tail: 0,
            ppr_tail: 0,
            devices: BTreeMap::new(),
            pages: BTreeMap::new(),
            ways: BTreeMap::new(),
            entries: BTreeMap::new(),
            controls: Vec::new(),
            log: Vec::new(),
        })))
    }

    pub fn set_mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    pub fn log(&self) -> Vec<u8> {
        core::mem::take(&mut self.0.borrow_mut().log)
    }

    /// DMA of `requester`: the hpa that it reaches.
    pub fn dma(&self, requester: Bdf, address: u64, write: bool) -> Option<u64> {
        self.0.borrow_mut().dma(requester.0, address, write)
    }

    /// A message of `requester`: vector and APIC ID of the interrupt that arrives.
    pub fn interrupt(&self, requester: Bdf, address: u64, data: u32) -> Option<(u8, u32)> {
        self.0.borrow_mut().interrupt(requester.0, address, data)
    }

    /// A page request of `requester`.
    pub fn page_request(&self, requester: Bdf, page: u64, tag: u16) {
        let mut state = self.0.borrow_mut();
        let entry = [1 << 60 | u64::from(tag) << 32 | u64::from(requester.0), page];
        state.append(register::PPR_LOG, entry);
    }

    /// An event as it is.
    pub fn event(&self, entry: [u64; 2]) {
        self.0.borrow_mut().append(register::EVENT_LOG, entry);
    }
}

impl State {
    fn control(&self) -> u64 {
        self.registers.get(&register::CONTROL).copied().unwrap_or(0)
    }

    fn register(&self, at: usize) -> u64 {
        self.registers.get(&at).copied().unwrap_or(0)
    }

    /// Appends to the event log or the PPR log.
    fn append(&mut self, log: usize, entry: [u64; 2]) {
        let (runs, overflow, interrupt, head, tail) = match log {
            register::EVENT_LOG => (
                Status::EVENT_LOG_RUNS.bits(),
                Status::EVENT_OVERFLOW.bits(),
                Status::EVENT_INTERRUPT.bits(),
                register::EVENT_HEAD,
                &mut self.event_tail,
            ),
            _ => (
                Status::PPR_LOG_RUNS.bits(),
                Status::PPR_OVERFLOW.bits(),
                Status::PPR_INTERRUPT.bits(),
                register::PPR_HEAD,
                &mut self.ppr_tail,
            ),
        };
        if self.status & runs == 0 {
            return;
        }
        let at = *tail;
        let next = (at + 16) % 4096;
        if next == self.registers.get(&head).copied().unwrap_or(0) {
            self.status = (self.status | overflow) & !runs;
            return;
        }
        *tail = next;
        self.status |= interrupt;
        if !self.late {
            let base = self.register(log) & 0x000f_ffff_ffff_f000;
            self.ram.store64(base + at, entry[0]);
            self.ram.store64(base + at + 8, entry[1]);
        }
    }

    /// An IO_PAGE_FAULT with `flags` from bit 48 on.
    fn fault(&mut self, requester: u16, address: u64, flags: u64, write: bool) {
        let low = if self.qemu {
            let asked = if write { 2 } else { 1 };
            2 << 60 | (1 << 3 | asked) << 48 | u64::from(requester & 0xff)
        } else {
            2 << 60 | (flags | u64::from(write) << 5) << 48 | u64::from(requester)
        };
        self.append(register::EVENT_LOG, [low, address]);
    }

    fn device(&mut self, requester: u16) -> Quarters {
        if let Some(cached) = self.devices.get(&requester) {
            return *cached;
        }
        let base = self.register(register::DEVICE_TABLE);
        let at = (base & !0xfff) + u64::from(requester) * 32;
        // Beyond the table's end everything is refused.
        if u64::from(requester) * 32 >= ((base & 0x1ff) + 1) * 4096 {
            return [3, 0, 1, 0];
        }
        let found = [0, 8, 16, 24].map(|offset| self.ram.fetch(at + offset));
        self.devices.insert(requester, found);
        found
    }

    fn walk(&mut self, [first, second, ..]: Quarters, address: u64) -> Page {
        let domain = second as u16;
        let levels = first >> 9 & 7;
        assert!((1..=6).contains(&levels));
        if levels < 6 && address >> (12 + 9 * levels) != 0 {
            return None;
        }
        let allowed = first >> 61 & 3;
        let (mut table, mut level, mut allowed) = match self.ways.get(&(domain, address >> 21)) {
            Some(way) => (*way, 1, allowed),
            None => (first & 0x000f_ffff_ffff_f000, levels, allowed),
        };
        loop {
            let shift = 12 + 9 * (level - 1);
            let entry = self.ram.fetch(table + (address >> shift) % 512 * 8);
            if entry & 1 == 0 {
                return None;
            }
            allowed &= entry >> 61 & 3;
            let output = entry & 0x000f_ffff_ffff_f000;
            let next = entry >> 9 & 7;
            if next == 0 {
                return Some((output + (address & ((1 << shift) - 1) & !0xfff), allowed));
            }
            assert_eq!(next, level - 1, "a level is skipped");
            (table, level) = (output, next);
            if level == 1 {
                self.ways.insert((domain, address >> 21), table);
            }
        }
    }

    fn dma(&mut self, requester: u16, address: u64, write: bool) -> Option<u64> {
        if self.control() & Control::ENABLE.bits() == 0 {
            return Some(address);
        }
        let device = self.device(requester);
        let asked = if write { 2 } else { 1 };
        let page = address & !0xfff;
        if device[0] & 1 == 0 || device[0] & 2 == 0 {
            return Some(address);
        }
        let found = if device[0] >> 9 & 7 == 0 {
            Some((page, device[0] >> 61 & 3))
        } else if device[0] >> 61 & asked == 0 {
            None
        } else {
            let key = (device[1] as u16, page);
            let found = match self.pages.get(&key) {
                Some(cached) => *cached,
                None => self.walk(device, address),
            };
            if found.is_some() || self.greedy {
                self.pages.insert(key, found);
            }
            found
        };
        match found {
            Some((output, allowed)) if allowed & asked != 0 => Some(output | address & 0xfff),
            Some(_) => {
                self.fault(requester, address, 1 << 4, write);
                None
            }
            None => {
                // RW is set all the same, and does not count without PR.
                self.fault(requester, address, 0, write);
                None
            }
        }
    }

    fn interrupt(&mut self, requester: u16, address: u64, data: u32) -> Option<(u8, u32)> {
        assert_eq!(address >> 20, 0xfee);
        let untouched = Some((data as u8, (address >> 12) as u32 & 0xff));
        if self.control() & Control::ENABLE.bits() == 0 {
            return untouched;
        }
        let third = self.device(requester)[2];
        if third & 1 == 0 {
            return untouched;
        }
        let (base, entries) = (third & 0x000f_ffff_ffff_ffc0, 1 << (third >> 1 & 0xf));
        let index = data & 0x7ff;
        let remaps = match third >> 60 & 3 {
            0 => false,
            1 => return untouched,
            _ => index < entries && data >> 8 & 7 <= 1,
        };
        if !remaps {
            self.fault(requester, address, 1 << 3, true);
            return None;
        }
        let wide = self.control() & Control::WIDE_INTERRUPT_ENTRIES.bits() != 0;
        let key = (requester, index);
        let entry = match self.entries.get(&key) {
            Some(cached) => *cached,
            None if wide => {
                let at = base + u64::from(index) * 16;
                [self.ram.fetch(at), self.ram.fetch(at + 8)]
            }
            None => {
                let at = base + u64::from(index) * 4;
                [self.ram.fetch(at & !7) >> (8 * (at & 4)) & 0xffff_ffff, 0]
            }
        };
        if entry[0] & 1 != 0 || self.greedy {
            self.entries.insert(key, entry);
        }
        if entry[0] & 1 == 0 {
            self.fault(requester, address, 1 << 3, true);
            return None;
        }
        assert!(entry[0] >> 2 & 7 <= 1 && entry[0] >> 6 & 3 == 0);
        Some(match (wide, self.control() & Control::X2APIC.bits() != 0) {
            (false, _) => ((entry[0] >> 16) as u8, entry[0] as u32 >> 8 & 0xff),
            (true, false) => (entry[1] as u8, entry[0] as u32 >> 8 & 0xff),
            (true, true) => {
                (entry[1] as u8, entry[0] as u32 >> 8 & 0x00ff_ffff | (entry[1] >> 56 << 24) as u32)
            }
        })
    }

    /// Works off the command buffer, as far as the mood allows.
    pub fn run_commands(&mut self) {
        let tail = self.register(register::COMMAND_TAIL);
        let base = self.register(register::COMMAND_BUFFER) & 0x000f_ffff_ffff_f000;
        while self.mood != Mood::Stuck && self.status & Status::COMMANDS_RUN.bits() != 0 && self.head != tail
        {
            let at = base + self.head;
            if !self.carry_out([self.ram.fetch(at), self.ram.fetch(at + 8)]) {
                self.status &= !Status::COMMANDS_RUN.bits();
                self.append(register::EVENT_LOG, [5 << 60, at]);
                return;
            }
            self.head = (self.head + 16) % 4096;
        }
    }

    fn carry_out(&mut self, [low, high]: [u64; 2]) -> bool {
        let code = command::code(low);
        if let Mood::Refuses(left) = self.mood
            && left > 0
            && code != 1
        {
            self.mood = Mood::Refuses(left - 1);
            return false;
        }
        let domain = (low >> 32) as u16;
        match code {
            1 => self.ram.store64(low & 0x000f_ffff_ffff_fff8, high),
            2 => drop(self.devices.remove(&(low as u16))),
            3 => {
                assert_eq!(high, 0x7fff_ffff_ffff_f003);
                self.pages.retain(|(tag, _), _| *tag != domain);
                self.ways.retain(|(tag, _), _| *tag != domain);
            }
            5 => self.entries.retain(|(requester, _), _| *requester != low as u16),
            7 => {}
            8 if self.features & 1 << 6 != 0 => {
                self.devices.clear();
                self.pages.clear();
                self.ways.clear();
                self.entries.clear();
            }
            _ => return false,
        }
        self.log.push(code);
        true
    }

    fn set_control(&mut self, value: u64) {
        if self.mood == Mood::Deaf {
            return;
        }
        self.controls.push(value);
        let old = self.control();
        let changed = old ^ value;
        let formats = Control::WIDE_INTERRUPT_ENTRIES.bits() | Control::X2APIC.bits();
        if changed & formats != 0 && old & Control::ENABLE.bits() != 0 {
            let blocks = |device: &Quarters| device[2] & (3 << 60 | 1) == 1;
            assert!(self.devices.values().all(blocks), "a format changes under entries that are cached");
        }
        self.registers.insert(register::CONTROL, value);
        let runs = [
            (Control::COMMAND_BUFFER.bits(), Status::COMMANDS_RUN.bits()),
            (Control::EVENT_LOG.bits(), Status::EVENT_LOG_RUNS.bits()),
            (Control::PPR_LOG.bits(), Status::PPR_LOG_RUNS.bits()),
        ];
        for (bit, run) in runs {
            let on = value & bit != 0 && value & Control::ENABLE.bits() != 0;
            if on && (changed & bit != 0 || old & Control::ENABLE.bits() == 0) {
                self.status |= run;
            } else if !on {
                self.status &= !run;
            }
        }
        self.run_commands();
    }

    fn read(&self, offset: usize) -> u64 {
        match offset {
            register::EXTENDED_FEATURES => self.features,
            register::STATUS => self.status,
            register::COMMAND_HEAD => self.head,
            register::EVENT_TAIL => self.event_tail,
            register::PPR_TAIL => self.ppr_tail,
            _ => self.register(offset),
        }
    }

    fn write(&mut self, offset: usize, value: u64) {
        let off =
            |state: &Self, run| assert_eq!(state.status & run, 0, "{offset:#x} is written while in use");
        match offset {
            register::CONTROL => self.set_control(value),
            register::STATUS => {
                let runs =
                    Status::COMMANDS_RUN.bits() | Status::EVENT_LOG_RUNS.bits() | Status::PPR_LOG_RUNS.bits();
                self.status &= !value | runs;
            }
            register::COMMAND_HEAD => {
                off(self, Status::COMMANDS_RUN.bits());
                self.head = value;
            }
            register::EVENT_TAIL => {
                off(self, Status::EVENT_LOG_RUNS.bits());
                self.event_tail = value;
            }
            register::PPR_TAIL => {
                off(self, Status::PPR_LOG_RUNS.bits());
                self.ppr_tail = value;
            }
            register::COMMAND_TAIL => {
                self.registers.insert(offset, value);
                self.run_commands();
            }
            _ => drop(self.registers.insert(offset, value)),
        }
    }
}

impl RegisterWindow for MockUnit {
    fn read32(&self, offset: usize) -> u32 {
        self.0.borrow().read(offset) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        self.0.borrow_mut().write(offset, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        self.0.borrow().read(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.0.borrow_mut().write(offset, value);
    }
    fn read8(&self, _: usize) -> u8 {
        panic!("a unit has no registers of less than 32 bits")
    }
    fn write8(&self, _: usize, _: u8) {
        panic!("a unit has no registers of less than 32 bits")
    }
    fn read16(&self, _: usize) -> u16 {
        panic!("a unit has no registers of less than 32 bits")
    }
    fn write16(&self, _: usize, _: u16) {
        panic!("a unit has no registers of less than 32 bits")
    }
}
