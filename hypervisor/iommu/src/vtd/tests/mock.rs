//! A VT-d unit that caches whatever the manual lets it cache, for as long as it
//! may: a missing flush shows as a translation that should be gone.

use crate::fake_ram::Ram;
use access::RegisterWindow;
use spec::Bdf;
use spec::vtd::{Global, TABLE_MODE, capability, extended, register};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::vec::Vec;

pub const FAULT_OFFSET: usize = 0x220;
pub const RECORDS: usize = 2;
/// The unit of QEMU: caching mode, not coherent, 2 MiB and 1 GiB pages.
pub const QEMU_CAP: u64 = 0x00d2_018c_222f_0686;
pub const QEMU_ECAP: u64 = 0x00f0_0f5e;

/// How the unit misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    #[default]
    Well,
    /// Takes no descriptor any more.
    Stuck,
    /// Answers no command.
    Deaf,
    /// Refuses the next so many descriptors that are no waits.
    Refuses(u32),
    /// Gives up on the next so many waits, as for a device that does not answer.
    GivesUp(u32),
}

type Page = Option<(u64, u64)>;

pub struct State {
    pub ram: Ram,
    pub cap: u64,
    pub ecap: u64,
    pub mood: Mood,
    pub status: Global,
    pub protected: u32,
    pub registers: BTreeMap<usize, u64>,
    root: u64,
    interrupts: u64,
    head: u64,
    fault_status: u32,
    records: VecDeque<(usize, [u64; 2])>,
    contexts: BTreeMap<u16, Option<(u64, u64)>>,
    pages: BTreeMap<(u16, u64), Page>,
    /// Tables of level 1 that the unit remembers the way to.
    ways: BTreeMap<(u16, u64), u64>,
    entries: BTreeMap<u16, Option<[u64; 2]>>,
    /// Names of what happened, in order.
    pub log: Vec<&'static str>,
}

#[derive(Clone)]
pub struct MockUnit(pub Rc<RefCell<State>>);

impl MockUnit {
    pub fn new(ram: Ram, cap: u64, ecap: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            ram,
            cap,
            ecap,
            mood: Mood::Well,
            status: Global::empty(),
            protected: 0,
            registers: BTreeMap::new(),
            root: 0,
            interrupts: 0,
            head: 0,
            fault_status: 0,
            records: VecDeque::new(),
            contexts: BTreeMap::new(),
            pages: BTreeMap::new(),
            ways: BTreeMap::new(),
            entries: BTreeMap::new(),
            log: Vec::new(),
        })))
    }

    pub fn set_mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    /// As firmware leaves a unit that it used, with tables of this mode.
    pub fn left_in_mode(&self, mode: u64) {
        let mut state = self.0.borrow_mut();
        state.status |= Global::TRANSLATION | Global::QUEUED_INVALIDATION | Global::SET_ROOT_TABLE;
        state.root = 0x5000 | mode << 10;
        let root = state.root;
        state.registers.insert(register::ROOT_TABLE, root);
    }

    pub fn log(&self) -> Vec<&'static str> {
        core::mem::take(&mut self.0.borrow_mut().log)
    }

    /// DMA of `requester`: the hpa that it reaches.
    pub fn dma(&self, requester: Bdf, address: u64, write: bool) -> Option<u64> {
        self.0.borrow_mut().dma(requester.0, address, write)
    }

    /// A write of `data` to `address` in the interrupt range: vector and APIC ID of
    /// the interrupt that arrives.
    pub fn interrupt(&self, requester: Bdf, address: u64, data: u32) -> Option<(u8, u32)> {
        self.0.borrow_mut().interrupt(requester.0, address, data)
    }
}

impl State {
    fn caching(&self) -> bool {
        self.cap & capability::CACHING_MODE != 0
    }

    fn fault(&mut self, source: u16, code: u64, address: u64, write: bool) {
        if self.fault_status & 1 != 0 {
            return;
        }
        let used: Vec<usize> = self.records.iter().map(|(index, _)| *index).collect();
        let Some(free) = (0..RECORDS).find(|index| !used.contains(index)) else {
            self.fault_status |= 1;
            return;
        };
        let high = 1 << 63 | u64::from(!write) << 62 | code << 32 | u64::from(source);
        self.records.push_back((free, [address, high]));
    }

    fn context(&mut self, requester: u16) -> Result<(u64, u64), u64> {
        if let Some(cached) = self.contexts.get(&requester) {
            return cached.ok_or(2);
        }
        let root = self.ram.fetch(self.root + u64::from(requester >> 8) * 16);
        let found = if root & 1 == 0 {
            Err(1)
        } else {
            let at = (root & !0xfff) + u64::from(requester & 0xff) * 16;
            let low = self.ram.fetch(at);
            if low & 1 == 0 { Err(2) } else { Ok((low, self.ram.fetch(at + 8))) }
        };
        if found.is_ok() || self.caching() {
            self.contexts.insert(requester, found.ok());
        }
        found
    }

    fn walk(&mut self, low: u64, high: u64, address: u64) -> Page {
        let (domain, levels) = ((high >> 8) as u16, (high & 7) + 2);
        let (mut table, mut level) = match self.ways.get(&(domain, address >> 21)) {
            Some(way) => (*way, 1),
            None => (low & !0xfff, levels),
        };
        loop {
            let shift = 12 + 9 * (level - 1);
            let entry = self.ram.fetch(table + (address >> shift) % 512 * 8);
            if entry & 3 == 0 {
                return None;
            }
            if level == 1 || entry & 0x80 != 0 {
                let offset = address & ((1 << shift) - 1) & !0xfff;
                return Some(((entry & 0x000f_ffff_ffff_f000) + offset, entry & 3));
            }
            table = entry & 0x000f_ffff_ffff_f000;
            level -= 1;
            if level == 1 {
                self.ways.insert((domain, address >> 21), table);
            }
        }
    }

    fn dma(&mut self, requester: u16, address: u64, write: bool) -> Option<u64> {
        if !self.status.contains(Global::TRANSLATION) {
            return Some(address);
        }
        let page = address & !0xfff;
        let (low, high) = match self.context(requester) {
            Ok(context) => context,
            Err(code) => {
                self.fault(requester, code, page, write);
                return None;
            }
        };
        let key = ((high >> 8) as u16, page);
        let found = match self.pages.get(&key) {
            Some(cached) => *cached,
            None => self.walk(low, high, address),
        };
        if found.is_some() || self.caching() {
            self.pages.insert(key, found);
        }
        match found {
            Some((output, permissions)) if permissions & if write { 2 } else { 1 } != 0 => {
                Some(output | address & 0xfff)
            }
            _ => {
                self.fault(requester, if write { 5 } else { 6 }, page, write);
                None
            }
        }
    }

    fn interrupt(&mut self, requester: u16, address: u64, data: u32) -> Option<(u8, u32)> {
        assert_eq!(address >> 20, 0xfee);
        if !self.status.contains(Global::INTERRUPT_REMAPPING) {
            return Some((data as u8, (address >> 12) as u32 & 0xff));
        }
        if address & 1 << 4 == 0 {
            let passes = self.status.contains(Global::COMPATIBILITY_INTERRUPTS);
            if !passes {
                self.fault(requester, 0x25, 0, true);
            }
            return passes.then_some((data as u8, (address >> 12) as u32 & 0xff));
        }
        let handle = (address >> 5 & 0x7fff | (address >> 2 & 1) << 15) as u32;
        let index = handle + if address & 8 != 0 { data & 0xffff } else { 0 };
        let fault_address = u64::from(index) << 48;
        if index >= 2 << (self.interrupts & 0xf) {
            self.fault(requester, 0x21, fault_address, true);
            return None;
        }
        let index = index as u16;
        let entry = match self.entries.get(&index) {
            Some(cached) => *cached,
            None => {
                let at = (self.interrupts & !0xfff) + u64::from(index) * 16;
                let entry = [self.ram.fetch(at), self.ram.fetch(at + 8)];
                (entry[0] & 1 != 0).then_some(entry)
            }
        };
        if entry.is_some() || self.caching() {
            self.entries.insert(index, entry);
        }
        let Some([low, high]) = entry else {
            self.fault(requester, 0x22, fault_address, true);
            return None;
        };
        let verified = match high >> 18 & 3 {
            0 => true,
            1 => high as u16 == requester,
            2 => (high as u16 >> 8..=high as u16 & 0xff).contains(&(requester >> 8)),
            _ => false,
        };
        if !verified {
            self.fault(requester, 0x26, fault_address, true);
            return None;
        }
        let extended = self.interrupts & 1 << 11 != 0;
        Some(((low >> 16) as u8, if extended { (low >> 32) as u32 } else { (low >> 40) as u32 & 0xff }))
    }

    /// Works off the queue, as far as the mood allows.
    pub fn run_queue(&mut self) {
        if !self.status.contains(Global::QUEUED_INVALIDATION) {
            return;
        }
        let tail = self.registers.get(&register::QUEUE_TAIL).copied().unwrap_or(0);
        let base = self.registers[&register::QUEUE_ADDRESS] & !0xfff;
        if self.cap & capability::WRITE_BUFFER_FLUSH != 0 {
            // Write buffers hold back tables, not the queue.
            self.ram.drain_frame(base);
        }
        while self.mood != Mood::Stuck && self.fault_status & 0x50 == 0 && self.head != tail {
            let descriptor = [self.ram.fetch(base + self.head), self.ram.fetch(base + self.head + 8)];
            if !self.invalidate(descriptor) {
                self.fault_status |= 1 << 4;
                return;
            }
            self.head = (self.head + 16) % 4096;
        }
    }

    fn invalidate(&mut self, [low, high]: [u64; 2]) -> bool {
        let domain = (low >> 16) as u16;
        let granularity = low >> 4 & 3;
        if let Mood::Refuses(left) = self.mood
            && left > 0
            && low & 0xf != 5
        {
            self.mood = Mood::Refuses(left - 1);
            return false;
        }
        match (low & 0xf, granularity) {
            (1, 1) => self.contexts.clear(),
            (1, 3) => {
                let source = (low >> 32) as u16;
                // A cached entry is found by the domain that it is tagged with.
                let tagged = |context: &Option<(u64, u64)>| context.map_or(0, |(_, high)| (high >> 8) as u16);
                if self.contexts.get(&source).is_some_and(|context| tagged(context) == domain) {
                    self.contexts.remove(&source);
                }
            }
            (2, 1) => {
                self.pages.clear();
                self.ways.clear();
            }
            (2, 2) => {
                self.pages.retain(|(tag, _), _| *tag != domain);
                self.ways.retain(|(tag, _), _| *tag != domain);
            }
            (4, kind) if kind & 1 == 0 => self.entries.clear(),
            (4, _) => drop(self.entries.remove(&((low >> 32) as u16))),
            (5, _) => {
                if let Mood::GivesUp(left) = self.mood
                    && left > 0
                {
                    self.mood = Mood::GivesUp(left - 1);
                    self.fault_status |= 1 << 6;
                    return true;
                }
                if low & 1 << 5 != 0 {
                    self.ram.store32(high, (low >> 32) as u32);
                }
            }
            _ => return false,
        }
        self.log.push(match low & 0xf {
            1 => "context",
            2 => "iotlb",
            4 => "interrupts",
            _ => "wait",
        });
        true
    }

    fn command(&mut self, value: Global) {
        if self.mood == Mood::Deaf {
            return;
        }
        let states = value & Global::STATES;
        if states.contains(Global::TRANSLATION) && !self.status.contains(Global::TRANSLATION) {
            self.log.push("translation on");
        }
        if !states.contains(Global::TRANSLATION) && self.status.contains(Global::TRANSLATION) {
            self.log.push("translation off");
        }
        if states.contains(Global::INTERRUPT_REMAPPING) && !self.status.contains(Global::INTERRUPT_REMAPPING)
        {
            self.log.push("remapping on");
        }
        self.status = self.status.difference(Global::STATES) | states;
        if value.contains(Global::SET_ROOT_TABLE) {
            let root = self.registers[&register::ROOT_TABLE];
            let translates = self.status.contains(Global::TRANSLATION);
            assert!(!translates || (self.root ^ root) & TABLE_MODE == 0, "the table mode changes under DMA");
            self.root = root;
            self.status |= Global::SET_ROOT_TABLE;
            self.log.push("root");
        }
        if value.contains(Global::SET_INTERRUPT_TABLE) {
            self.interrupts = self.registers[&register::INTERRUPT_TABLE];
            self.status |= Global::SET_INTERRUPT_TABLE;
            self.log.push("table");
        }
        if value.contains(Global::WRITE_BUFFER_FLUSH) {
            self.ram.drain_buffers();
            self.log.push("write buffer");
        }
        if !states.contains(Global::QUEUED_INVALIDATION) {
            self.head = 0;
        }
    }

    fn read(&self, offset: usize) -> u64 {
        let record = |offset: usize| {
            let index = (offset - FAULT_OFFSET) / 16;
            self.records.iter().find(|(at, _)| *at == index).map_or(0, |(_, record)| record[offset / 8 % 2])
        };
        match offset {
            register::VERSION => 0x10,
            register::CAPABILITY => self.cap,
            register::EXTENDED_CAPABILITY => self.ecap,
            register::GLOBAL_STATUS => self.status.bits().into(),
            register::FAULT_STATUS => {
                let first = self.records.front().map_or(0, |(index, _)| 2 | *index << 8);
                u64::from(self.fault_status) | first as u64
            }
            register::PROTECTED_MEMORY => self.protected.into(),
            register::QUEUE_HEAD => self.head,
            FAULT_OFFSET.. => record(offset),
            _ => self.registers.get(&offset).copied().unwrap_or(0),
        }
    }

    fn write(&mut self, offset: usize, value: u64) {
        match offset {
            register::GLOBAL_COMMAND => self.command(Global::from_bits_retain(value as u32)),
            register::FAULT_STATUS => {
                self.fault_status &= !(value as u32);
            }
            register::PROTECTED_MEMORY => {
                let on = value as u32 & 1 << 31;
                if self.protected == 0 && on != 0 {
                    self.log.push("protected memory on");
                }
                if self.protected != 0 && on == 0 {
                    self.log.push("protected memory off");
                }
                self.protected = on | on >> 31;
            }
            register::QUEUE_TAIL => {
                self.registers.insert(offset, value);
                self.run_queue();
            }
            FAULT_OFFSET.. => {
                let index = (offset - FAULT_OFFSET) / 16;
                assert_eq!((offset % 16, value), (12, 1 << 31));
                self.records.retain(|(at, _)| *at != index);
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

/// ECAP of a unit that snoops.
pub const COHERENT_ECAP: u64 = QEMU_ECAP | extended::COHERENT;
/// CAP of a unit that caches only what is present.
pub const PLAIN_CAP: u64 = QEMU_CAP & !capability::CACHING_MODE;
