//! The commands of a device that wait for the medium.

use crate::device::{Completion, RequestFault};
use alloc::boxed::Box;

/// Commands of a device that are at the medium at a time. A power of two.
pub(crate) const SLOTS: usize = 64;
/// The bits of a tag that say the slot.
const SLOT_MASK: u32 = SLOTS as u32 - 1;

#[derive(Clone, Copy, Debug)]
struct Slot<W> {
    /// Its place in the lower bits; above them a count of uses, so that a request from before
    /// a reset finds no slot.
    tag: u32,
    /// What it is for; nobody waits for it where a reset took place since.
    work: Option<W>,
    /// Requests that are not done; 0 where the slot is free.
    pieces: u32,
    fault: Option<RequestFault>,
}

/// All of them; `W` says whom a command is for.
#[derive(Clone, Debug)]
pub(crate) struct Slots<W> {
    slots: Box<[Slot<W>]>,
    busy: usize,
    /// Requests of all of them that are not done.
    pieces: usize,
}

impl<W: Copy> Slots<W> {
    /// All free.
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS as u32).map(|tag| Slot { tag, work: None, pieces: 0, fault: None });
        Self { slots: slots.collect(), busy: 0, pieces: 0 }
    }

    /// Whether no request is at the medium.
    pub(crate) const fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// Whether no command can be added.
    pub(crate) const fn is_full(&self) -> bool {
        self.busy == SLOTS
    }

    /// How many requests are not done, of all commands.
    pub(crate) const fn pieces(&self) -> usize {
        self.pieces
    }

    /// A tag for the `pieces` (1 or more) requests of `work`; `None` where all slots are taken.
    pub(crate) fn take(&mut self, work: W, pieces: u32) -> Option<u32> {
        let slot = self.slots.iter_mut().find(|slot| slot.pieces == 0)?;
        (slot.work, slot.pieces, slot.fault) = (Some(work), pieces.max(1), None);
        self.busy += 1;
        self.pieces += slot.pieces as usize;
        Some(slot.tag)
    }

    /// One request of a tag is done. Where it was the last one: what it was for, and the first
    /// fault. `None` where there are more, or where the tag is nobody's.
    pub(crate) fn finish(&mut self, done: Completion) -> Option<(Option<W>, Option<RequestFault>)> {
        let slot = self.slots.get_mut((done.tag & SLOT_MASK) as usize)?;
        if slot.tag != done.tag || slot.pieces == 0 {
            return None;
        }
        slot.pieces -= 1;
        self.pieces -= 1;
        slot.fault = slot.fault.or(done.outcome.err());
        if slot.pieces != 0 {
            return None;
        }
        slot.tag = slot.tag.wrapping_add(SLOTS as u32);
        self.busy -= 1;
        Some((slot.work, slot.fault))
    }

    /// What the commands at the medium are for that somebody waits for.
    pub(crate) fn works(&self) -> impl Iterator<Item = &W> {
        self.slots.iter().filter(|slot| slot.pieces != 0).filter_map(|slot| slot.work.as_ref())
    }

    /// As [`works`](Self::works).
    pub(crate) fn works_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.slots.iter_mut().filter(|slot| slot.pieces != 0).filter_map(|slot| slot.work.as_mut())
    }

    /// Nobody waits any more for what is at the medium, but it still counts.
    pub(crate) fn orphan(&mut self) {
        for slot in &mut self.slots {
            slot.work = None;
        }
    }

    /// What is at the medium is not known any more.
    pub(crate) fn forget(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.pieces != 0) {
            slot.pieces = 0;
            slot.tag = slot.tag.wrapping_add(SLOTS as u32);
        }
        self.busy = 0;
        self.pieces = 0;
    }
}
