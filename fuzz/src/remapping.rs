//! A VT-d unit that works, but for what it lies about.

use crate::Input;
use crate::units::Disturb;
use access::frames::FakeFrames;
use access::{RegisterWindow, TableMemory};
use spec::Hpa;
use spec::vtd::{global, register};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// QEMU's unit.
const CAP: u64 = 0x00d2_018c_222f_0686;
const ECAP: u64 = 0x00f0_0f5e;
/// Type of a wait descriptor.
const WAIT: u64 = 5;
/// Descriptors that one write of the tail can be for.
const SLOTS: usize = 256;

/// Frames that the unit and its driver share.
#[derive(Clone)]
pub struct SharedFrames(Rc<RefCell<FakeFrames>>);

impl SharedFrames {
    /// A pool of `frames` frames.
    pub fn new(frames: usize) -> Self {
        Self(Rc::new(RefCell::new(FakeFrames::new(frames))))
    }

    /// How many frames are not used.
    pub fn left(&self) -> usize {
        self.0.borrow().left
    }

    /// What a unit reads; ones where there is no memory.
    pub fn fetch(&self, hpa: u64) -> u64 {
        let frames = self.0.borrow();
        frames.frames.get(&(hpa & !0xfff)).map_or(u64::MAX, |frame| frame[hpa as usize % 4096 / 8])
    }

    /// What a unit writes, if there is memory.
    pub fn store32(&self, hpa: u64, value: u32) {
        let mut frames = self.0.borrow_mut();
        let Some(frame) = frames.frames.get_mut(&(hpa & !0xfff)) else { return };
        let (word, shift) = (&mut frame[hpa as usize % 4096 / 8], 8 * (hpa & 4));
        *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
    }
}

impl SharedFrames {
    /// As [`SharedFrames::store32`], 8 bytes.
    pub fn store64(&self, hpa: u64, value: u64) {
        self.store32(hpa, value as u32);
        self.store32(hpa | 4, (value >> 32) as u32);
    }
}

impl TableMemory for SharedFrames {
    fn allocate(&mut self) -> Option<Hpa> {
        self.0.borrow_mut().allocate()
    }
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        self.0.borrow_mut().allocate_contiguous(frames)
    }
    fn free(&mut self, frame: Hpa) {
        self.0.borrow_mut().free(frame);
    }
    fn read(&self, hpa: Hpa) -> u64 {
        self.0.borrow().read(hpa)
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        let mut frames = self.0.borrow_mut();
        frames.write(hpa, value);
        frames.log.clear();
    }
    fn write_back(&self, hpa: Hpa, bytes: u64) {
        assert!(bytes != 0 && self.fetch(hpa.0) | 1 != 0);
        self.0.borrow_mut().write_backs.borrow_mut().clear();
    }
    fn left(&self) -> usize {
        self.0.borrow().left
    }
}

struct State {
    frames: SharedFrames,
    cap: u64,
    ecap: u64,
    status: u32,
    head: u64,
    registers: BTreeMap<usize, u64>,
    /// What the bits of each read are flipped with, in a circle.
    lies: Vec<u64>,
    reads: usize,
}

/// The unit's registers.
#[derive(Clone)]
pub struct LyingUnit(Rc<RefCell<State>>);

impl LyingUnit {
    /// Takes its capabilities and its lies from the input: a byte for whether the
    /// capabilities differ from QEMU's and 16 bytes by what, then how many lies and each.
    pub fn new(frames: SharedFrames, input: &mut Input<'_>) -> Self {
        let (cap, ecap) = if input.u8() & 1 == 0 { (0, 0) } else { (input.u64(), input.u64()) };
        let count = input.u8().saturating_sub(0x80);
        let state = State {
            frames,
            cap: CAP ^ cap,
            ecap: ECAP ^ ecap,
            status: 0,
            head: 0,
            registers: BTreeMap::new(),
            lies: (0..count).map(|_| input.u64()).collect(),
            reads: 0,
        };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Whether it is a unit of QEMU's kind that tells the truth.
    pub fn is_honest(&self) -> bool {
        let state = self.0.borrow();
        state.lies.is_empty() && (state.cap, state.ecap) == (CAP, ECAP)
    }
}

impl Disturb for LyingUnit {
    /// A register: a fault, or anything else.
    fn disturb(&self, input: &mut Input<'_>) {
        let offset = 4 * usize::from(input.u16() & 0x3ff);
        self.0.borrow_mut().registers.insert(offset, input.u64());
    }
}

impl State {
    fn read(&mut self, offset: usize) -> u64 {
        let value = match offset {
            register::VERSION => 0x10,
            register::CAPABILITY => self.cap,
            register::EXTENDED_CAPABILITY => self.ecap,
            register::GLOBAL_STATUS => self.status.into(),
            register::QUEUE_HEAD => self.head,
            _ => self.registers.get(&offset).copied().unwrap_or(0),
        };
        let lie = self.reads.checked_rem(self.lies.len()).map_or(0, |place| self.lies[place]);
        self.reads += 1;
        value ^ lie
    }

    fn write(&mut self, offset: usize, value: u64) {
        match offset {
            register::GLOBAL_COMMAND => {
                let done = value as u32 & (global::SET_ROOT_TABLE | global::SET_INTERRUPT_TABLE);
                self.status = value as u32 & global::STATES | self.status & !global::STATES | done;
                if value as u32 & global::QUEUED_INVALIDATION == 0 {
                    self.head = 0;
                }
            }
            register::FAULT_STATUS => {
                let status = self.registers.entry(offset).or_default();
                *status &= !(value & 0x7f);
            }
            register::QUEUE_TAIL => {
                self.registers.insert(offset, value);
                self.run_queue(value);
            }
            _ => drop(self.registers.insert(offset, value)),
        }
    }

    fn run_queue(&mut self, tail: u64) {
        let base = self.registers.get(&register::QUEUE_ADDRESS).copied().unwrap_or(0) & !0xfff;
        for _ in 0..SLOTS {
            if self.head == tail {
                break;
            }
            let low = self.frames.fetch(base + self.head);
            if low & 0xf == WAIT {
                self.frames.store32(self.frames.fetch(base + self.head + 8), (low >> 32) as u32);
            }
            self.head = (self.head + 16) % 4096;
        }
    }
}

impl RegisterWindow for LyingUnit {
    fn read32(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4));
        self.0.borrow_mut().read(offset) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4));
        self.0.borrow_mut().write(offset, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8));
        self.0.borrow_mut().read(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8));
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
