//! A VT-d unit that works, but for what it lies about.

use crate::Input;
use crate::units::Disturb;
use access::{RegisterWindow, TableMemory};
use spec::Hpa;
use spec::vtd::{Global, register};
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

/// Where the pool of frames starts.
const POOL: u64 = 0x10_0000;
const FRAME_BYTES: u64 = 4096;

/// Frames by their place in the pool. No address is used twice, so that whoever uses a frame
/// after it was freed is found out.
struct Pool {
    frames: Vec<Option<Box<[u64; 512]>>>,
    left: usize,
}

impl Pool {
    fn frame(&self, hpa: u64) -> Option<&[u64; 512]> {
        let place = hpa.checked_sub(POOL)? / FRAME_BYTES;
        self.frames.get(usize::try_from(place).ok()?)?.as_deref()
    }

    fn word(&mut self, hpa: u64) -> Option<&mut u64> {
        let place = hpa.checked_sub(POOL)? / FRAME_BYTES;
        let frame = self.frames.get_mut(usize::try_from(place).ok()?)?.as_deref_mut()?;
        frame.get_mut((hpa % FRAME_BYTES / 8) as usize)
    }
}

/// Frames that the unit and its driver share.
#[derive(Clone)]
pub struct SharedFrames(Rc<RefCell<Pool>>);

impl SharedFrames {
    /// A pool of `frames` frames.
    pub fn new(frames: usize) -> Self {
        Self(Rc::new(RefCell::new(Pool { frames: Vec::new(), left: frames })))
    }

    /// How many frames are not used.
    pub fn left(&self) -> usize {
        self.0.borrow().left
    }

    /// What a unit reads; ones where there is no memory.
    pub fn fetch(&self, hpa: u64) -> u64 {
        self.0.borrow().frame(hpa).map_or(u64::MAX, |frame| frame[(hpa % FRAME_BYTES / 8) as usize])
    }

    /// What a unit writes, if there is memory.
    pub fn store32(&self, hpa: u64, value: u32) {
        let mut pool = self.0.borrow_mut();
        let Some(word) = pool.word(hpa) else { return };
        let shift = 8 * (hpa & 4);
        *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
    }

    /// As [`SharedFrames::store32`], 8 bytes.
    pub fn store64(&self, hpa: u64, value: u64) {
        self.store32(hpa, value as u32);
        self.store32(hpa | 4, (value >> 32) as u32);
    }
}

impl TableMemory for SharedFrames {
    fn allocate(&mut self) -> Option<Hpa> {
        self.allocate_contiguous(1)
    }
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        let mut pool = self.0.borrow_mut();
        pool.left = pool.left.checked_sub(frames)?;
        // The pool starts at a multiple of every size that can be asked for.
        let place = pool.frames.len().next_multiple_of(frames.next_power_of_two());
        pool.frames.resize_with(place, || None);
        pool.frames.extend((0..frames).map(|_| Some(Box::new([0; 512]))));
        Some(Hpa(POOL + place as u64 * FRAME_BYTES))
    }
    fn free(&mut self, frame: Hpa) {
        assert!(frame.is_aligned(FRAME_BYTES), "freed {frame}, which is no frame");
        let mut pool = self.0.borrow_mut();
        let place = frame.0.checked_sub(POOL).map(|bytes| (bytes / FRAME_BYTES) as usize);
        let freed = place.and_then(|place| pool.frames.get_mut(place)).and_then(Option::take);
        assert!(freed.is_some(), "freed {frame} that was not allocated");
        pool.left += 1;
    }
    fn read(&self, hpa: Hpa) -> u64 {
        let pool = self.0.borrow();
        let frame = pool.frame(hpa.0).unwrap_or_else(|| panic!("read {hpa}, which is in no frame"));
        frame[hpa.page_offset() as usize / 8]
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        let mut pool = self.0.borrow_mut();
        *pool.word(hpa.0).unwrap_or_else(|| panic!("wrote {hpa}, which is in no frame")) = value;
    }
    fn write_pair(&mut self, hpa: Hpa, [low, high]: [u64; 2]) {
        assert!(hpa.is_aligned(16), "a pair at {hpa}");
        self.write(hpa + 8, high);
        self.write(hpa, low);
    }
    fn write_back(&self, hpa: Hpa, bytes: u64) {
        let pool = self.0.borrow();
        let last = hpa.0.checked_add(bytes).and_then(|end| end.checked_sub(1));
        let mut frames = (hpa.0..=last.expect("an end")).step_by(FRAME_BYTES as usize).chain(last);
        assert!(bytes != 0 && frames.all(|at| pool.frame(at).is_some()), "{hpa}, {bytes} bytes");
    }
    fn left(&self) -> usize {
        Self::left(self)
    }
}

struct State {
    frames: SharedFrames,
    cap: u64,
    ecap: u64,
    status: Global,
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
            status: Global::empty(),
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
            register::GLOBAL_STATUS => self.status.bits().into(),
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
                let command = Global::from_bits_retain(value as u32);
                let done = command & (Global::SET_ROOT_TABLE | Global::SET_INTERRUPT_TABLE);
                self.status = command & Global::STATES | self.status.difference(Global::STATES) | done;
                if !command.contains(Global::QUEUED_INVALIDATION) {
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
