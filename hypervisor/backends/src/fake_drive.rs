//! A drive in memory, which does what it was given when it is told to.

use block::{Cause, Done, Drive, Fault, Geometry, Identity, Operation, Refused, State, Status, Tag};
use core::fmt::Display;
use spec::Iova;
use std::collections::VecDeque;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

pub const BLOCK: usize = 512;

/// What the test sees and does of it, while the disk has the drive.
#[derive(Default)]
pub struct Script {
    pub medium: Vec<u8>,
    /// Whether requests wait until [`Script::hold`] is cleared.
    pub hold: bool,
    /// The next requests fail.
    pub faulty: usize,
    /// The drive is broken.
    pub broken: Option<String>,
    pub starts: usize,
    pub kicks: usize,
    /// Operation and first block, in order of their submission.
    pub seen: Vec<(Operation, u64, u64)>,
    /// Whether it takes memory that is lent to it.
    pub borrows: bool,
    /// What was lent to it and is not over: it neither reads nor writes there, that the test sees.
    pub lent: Vec<Vec<(Iova, usize)>>,
}

struct Slot {
    tag: Tag,
    buffer: Vec<u8>,
    is_over: bool,
}

pub struct FakeDrive {
    pub script: Arc<Mutex<Script>>,
    tags: Vec<Tag>,
    slots: Vec<Slot>,
    waiting: VecDeque<(Tag, Operation, u64, u64)>,
    done: VecDeque<Done>,
    failed: Option<String>,
}

pub const REQUEST_BYTES: usize = 128 << 10;

impl FakeDrive {
    pub fn new(script: Arc<Mutex<Script>>, requests: usize) -> Self {
        let tags = (0..requests as u16).map(Tag::of_test).collect();
        Self {
            script,
            tags,
            slots: Vec::new(),
            waiting: VecDeque::new(),
            done: VecDeque::new(),
            failed: None,
        }
    }

    fn work(&mut self) {
        let mut script = self.script.lock().unwrap();
        if let Some(reason) = script.broken.clone() {
            self.failed = Some(reason);
            for (tag, operation, ..) in self.waiting.drain(..) {
                self.done.push_back(Done { tag, operation, bytes: 0, outcome: Err(Fault::Drive) });
            }
        }
        while !script.hold {
            let Some((tag, operation, block, blocks)) = self.waiting.pop_front() else { break };
            let slot = self.slots.iter_mut().find(|slot| slot.tag == tag).unwrap();
            slot.is_over = true;
            let (start, bytes) = (block as usize * BLOCK, blocks as usize * BLOCK);
            let outcome = if script.faulty > 0 {
                script.faulty -= 1;
                Err(Fault::Medium(Cause { name: "read error", code: 0 }))
            } else {
                match operation {
                    Operation::Read => {
                        slot.buffer[..bytes].copy_from_slice(&script.medium[start..start + bytes])
                    }
                    Operation::Write => {
                        script.medium[start..start + bytes].copy_from_slice(&slot.buffer[..bytes])
                    }
                    _ => {}
                }
                Ok(())
            };
            self.done.push_back(Done { tag, operation, bytes, outcome });
        }
    }
}

impl Drive for FakeDrive {
    fn identity(&self) -> Option<Identity> {
        None
    }
    fn start(&mut self, _: u64) -> Status {
        self.script.lock().unwrap().starts += 1;
        self.failed = None;
        self.status()
    }
    fn poll(&mut self, _: u64) -> Status {
        self.work();
        self.status()
    }
    fn interrupt(&mut self, _: u16, now_ns: u64) -> Status {
        self.poll(now_ns)
    }
    fn status(&self) -> Status {
        let blocks = (self.script.lock().unwrap().medium.len() / BLOCK) as u64;
        let geometry = Geometry {
            blocks,
            block_bytes: BLOCK as u32,
            is_read_only: false,
            can_discard: false,
            can_write_zeroes: false,
        };
        let state = if self.failed.is_some() { State::Failed } else { State::Ready(geometry) };
        Status { state, deadline_ns: None }
    }
    fn error(&self) -> Option<&dyn Display> {
        self.failed.as_ref().map(|reason| reason as &dyn Display)
    }
    fn request_bytes(&self) -> usize {
        REQUEST_BYTES
    }
    fn reserve(&mut self) -> Result<Tag, Refused> {
        if self.failed.is_some() {
            return Err(Refused::NotReady);
        }
        let tag = self.tags.pop().ok_or(Refused::Busy)?;
        self.slots.push(Slot { tag, buffer: std::vec![0; REQUEST_BYTES], is_over: false });
        Ok(tag)
    }
    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        let slot = self.slots.iter_mut().find(|slot| slot.tag == tag)?;
        slot.buffer.get_mut(offset..offset + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }
    fn lend(&mut self, _: Tag, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> bool {
        let mut script = self.script.lock().unwrap();
        let takes = script.borrows;
        if takes {
            script.lent.push(parts.collect());
        }
        takes
    }
    fn submit(&mut self, tag: Tag, operation: Operation, block: u64, blocks: u64) -> Result<(), Refused> {
        self.script.lock().unwrap().seen.push((operation, block, blocks));
        self.waiting.push_back((tag, operation, block, blocks));
        Ok(())
    }
    fn kick(&mut self, now_ns: u64) -> Status {
        self.script.lock().unwrap().kicks += 1;
        self.poll(now_ns)
    }
    fn next_done(&self) -> Option<Done> {
        self.done.front().copied()
    }
    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        let slot = self.slots.iter().find(|slot| slot.tag == tag && slot.is_over)?;
        into.copy_from_slice(slot.buffer.get(offset..offset + into.len())?);
        Some(())
    }
    fn release(&mut self, tag: Tag) {
        self.done.retain(|done| done.tag != tag);
        self.slots.retain(|slot| slot.tag != tag);
        self.tags.push(tag);
    }
}
