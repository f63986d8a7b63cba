//! Memory as the processor and as the unit see it.

use access::{TableMemory, frames::FakeFrames};
use spec::Hpa;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// What the unit finds where nothing was written back: an entry that leads to
/// memory of somebody else, or lets any requester send an interrupt.
/// In both vendors' formats.
const STALE: u64 = 0x6000_0000_6660_0003;

/// Where in its frame a word is.
const fn word(at: u64) -> usize {
    (at % 4096 / 8) as usize
}

struct State {
    frames: FakeFrames,
    /// The frames as the unit sees them where it does not snoop.
    seen: BTreeMap<u64, [u64; 512]>,
    snooped: bool,
    /// The unit read a frame after it was freed.
    read_freed: bool,
}

/// Frames shared by the driver and the unit.
#[derive(Clone)]
pub struct Ram(Rc<RefCell<State>>);

impl Ram {
    pub fn new(frames: usize, snooped: bool) -> Self {
        let frames = FakeFrames::new(frames);
        Self(Rc::new(RefCell::new(State { frames, seen: BTreeMap::new(), snooped, read_freed: false })))
    }

    pub fn left(&self) -> usize {
        self.0.borrow().frames.left
    }

    /// Whether the unit sees what is not written back.
    pub fn is_snooped(&self) -> bool {
        self.0.borrow().snooped
    }

    /// The writes since the last call, in order.
    pub fn writes(&self) -> Vec<(Hpa, u64)> {
        core::mem::take(&mut self.0.borrow_mut().frames.log)
    }

    pub fn read_freed(&self) -> bool {
        self.0.borrow().read_freed
    }

    /// What the unit reads.
    pub fn fetch(&self, at: u64) -> u64 {
        let mut state = self.0.borrow_mut();
        if !state.frames.frames.contains_key(&(at & !0xfff)) {
            state.read_freed = true;
            return STALE;
        }
        if state.snooped { state.frames.read(Hpa(at)) } else { state.seen[&(at & !0xfff)][word(at)] }
    }

    /// What the unit writes; processors snoop it.
    pub fn store32(&self, at: u64, value: u32) {
        let mut state = self.0.borrow_mut();
        let (frame, word) = (at & !0xfff, word(at));
        let old = state.frames.read(Hpa(at & !7));
        let shift = 8 * (at & 4);
        let new = old & !(0xffff_ffff << shift) | u64::from(value) << shift;
        state.frames.frames.get_mut(&frame).unwrap()[word] = new;
        if let Some(seen) = state.seen.get_mut(&frame) {
            seen[word] = new;
        }
    }

    /// As [`Ram::store32`], 8 bytes.
    pub fn store64(&self, at: u64, value: u64) {
        self.store32(at, value as u32);
        self.store32(at + 4, (value >> 32) as u32);
    }

    /// Where pairs were written since the last call.
    pub fn pairs(&self) -> Vec<Hpa> {
        core::mem::take(&mut self.0.borrow_mut().frames.pairs)
    }

    /// Everything reaches memory, as when write buffers are flushed.
    pub fn drain_buffers(&self) {
        let State { frames, seen, .. } = &mut *self.0.borrow_mut();
        seen.clone_from(&frames.frames);
    }
}

impl Ram {
    /// One frame reaches memory.
    pub fn drain_frame(&self, frame: u64) {
        self.write_back(Hpa(frame), 4096);
    }
}

impl TableMemory for Ram {
    fn allocate(&mut self) -> Option<Hpa> {
        self.allocate_contiguous(1)
    }
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        let mut state = self.0.borrow_mut();
        let start = state.frames.allocate_contiguous(frames)?;
        // Who snoops sees what the processor wrote.
        let unseen = if state.snooped { 0 } else { frames as u64 };
        for frame in 0..unseen {
            state.seen.insert(start.0 + frame * 4096, [STALE; 512]);
        }
        Some(start)
    }
    fn free(&mut self, frame: Hpa) {
        let mut state = self.0.borrow_mut();
        state.frames.free(frame);
        state.seen.remove(&frame.0);
    }
    fn read(&self, hpa: Hpa) -> u64 {
        self.0.borrow().frames.read(hpa)
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        self.0.borrow_mut().frames.write(hpa, value);
    }
    fn write_pair(&mut self, hpa: Hpa, halves: [u64; 2]) {
        self.0.borrow_mut().frames.write_pair(hpa, halves);
    }
    fn write_back(&self, hpa: Hpa, bytes: u64) {
        let State { frames, seen, .. } = &mut *self.0.borrow_mut();
        for line in (hpa.0 & !63..hpa.0 + bytes).step_by(64) {
            let (frame, first) = (line & !0xfff, word(line));
            let words = first..first + 8;
            let now = &frames.frames[&frame][words.clone()];
            if let Some(seen) = seen.get_mut(&frame) {
                seen[words].copy_from_slice(now);
            }
        }
    }
    fn left(&self) -> usize {
        Self::left(self)
    }
}
