//! Memory that remembers writes and write-backs in one order.

use access::{TableMemory, frames::FakeFrames};
use core::cell::RefCell;
use spec::Hpa;
use std::collections::BTreeMap;
use std::vec::Vec;

/// What memory holds where nothing was written back: a page of somebody else, at
/// every level.
const STALE: u64 = 0x3_8000_0087;

/// One thing that reached memory.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A frame was taken. Its zeros may be in a cache; memory has what was there.
    Allocate(Hpa),
    Write(Hpa, u64),
    WriteBack(Hpa, u64),
}

/// Fake frames with one log for writes and write-backs.
pub struct Recorder {
    pub frames: FakeFrames,
    pub events: RefCell<Vec<Event>>,
}

impl Recorder {
    pub fn new(frames: usize) -> Self {
        Self { frames: FakeFrames::new(frames), events: RefCell::default() }
    }

    pub fn words(&self) -> Words {
        let frames = self.frames.frames.iter();
        let words = frames.flat_map(|(hpa, words)| {
            words.iter().enumerate().map(move |(index, word)| (hpa + index as u64 * 8, *word))
        });
        Words(words.filter(|(_, word)| *word != 0).collect())
    }
}

impl TableMemory for Recorder {
    fn allocate(&mut self) -> Option<Hpa> {
        let frame = self.frames.allocate()?;
        self.events.borrow_mut().push(Event::Allocate(frame));
        Some(frame)
    }
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        self.frames.allocate_contiguous(frames)
    }
    fn free(&mut self, frame: Hpa) {
        self.frames.free(frame);
    }
    fn read(&self, hpa: Hpa) -> u64 {
        self.frames.read(hpa)
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        self.events.borrow_mut().push(Event::Write(hpa, value));
        self.frames.write(hpa, value);
    }
    fn write_back(&self, hpa: Hpa, bytes: u64) {
        self.events.borrow_mut().push(Event::WriteBack(hpa, bytes));
    }
    fn left(&self) -> usize {
        self.frames.left
    }
}

/// Memory as one walker sees it. What was never written is zero.
#[derive(Clone, PartialEq, Debug)]
pub struct Words(pub BTreeMap<u64, u64>);

impl TableMemory for Words {
    fn allocate(&mut self) -> Option<Hpa> {
        None
    }
    fn allocate_contiguous(&mut self, _frames: usize) -> Option<Hpa> {
        None
    }
    fn free(&mut self, _frame: Hpa) {}
    fn read(&self, hpa: Hpa) -> u64 {
        self.0.get(&hpa.0).copied().unwrap_or(0)
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        self.0.insert(hpa.0, value);
    }
    fn write_back(&self, _hpa: Hpa, _bytes: u64) {}
    fn left(&self) -> usize {
        0
    }
}

/// Shows `check` every view of memory that a walker may have while `events` happen to `before`.
/// A snooping walker sees each write at once. Another one sees what was written
/// back, and besides whatever single line a cache may have evicted by itself. Gives the
/// last view.
pub fn views(before: &Words, events: &[Event], coherent: bool, mut check: impl FnMut(&Words)) -> Words {
    let mut newest = before.clone();
    let mut memory = before.clone();
    for event in events {
        match *event {
            Event::Allocate(frame) => {
                for index in 0..512 {
                    memory.write(frame + index * 8, STALE);
                }
            }
            Event::Write(at, value) => {
                newest.write(at, value);
                if coherent {
                    check(&newest);
                } else {
                    let kept = line(&memory, at.0 & !63);
                    copy_line(&newest, &mut memory, at.0 & !63);
                    check(&memory);
                    memory.0.extend(kept);
                }
            }
            Event::WriteBack(at, bytes) => {
                for line in (at.0 & !63..at.0 + bytes).step_by(64) {
                    copy_line(&newest, &mut memory, line);
                }
                check(&memory);
            }
        }
    }
    let last = if coherent { newest } else { memory };
    check(&last);
    last
}

fn line(words: &Words, line: u64) -> [(u64, u64); 8] {
    core::array::from_fn(|word| line + word as u64 * 8).map(|at| (at, words.read(Hpa(at))))
}

fn copy_line(from: &Words, to: &mut Words, line: u64) {
    to.0.extend(self::line(from, line));
}
