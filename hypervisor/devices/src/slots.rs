//! The commands of a device that wait for the medium.

use crate::device::{Completion, RequestFault};
use crate::journal::{self, Journal, bit};
use crate::snapshot::{RestoreFault, has};
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

/// Words of what a command is for.
pub(crate) const WORK_WORDS: usize = 3;
/// Words of a slot's committed state: of the slot, and of what its command is for.
const SLOT_WORDS: usize = 1 + WORK_WORDS;
/// Words of the committed state of all.
pub(crate) const STATE_WORDS: usize = SLOTS * SLOT_WORDS;
const _: () = assert!(SLOTS == u64::BITS as usize);

/// What is above the tag in the first word of a slot: how many requests are not done, the number of the first
/// fault, and whether somebody waits.
mod field {
    pub const PIECES: u32 = 32;
    pub const FAULT: u32 = 48;
    pub const WORK: u32 = 56;
}

/// What a command is for, in words.
pub(crate) trait InWords: Copy {
    fn to_words(self) -> [u64; WORK_WORDS];
    fn of_words(words: [u64; WORK_WORDS]) -> Result<Self, RestoreFault>;
}

const FAULTS: [RequestFault; 5] = [
    RequestFault::Memory,
    RequestFault::Range,
    RequestFault::ReadOnly,
    RequestFault::NoSpace,
    RequestFault::Medium,
];

/// All of them; `W` says whom a command is for.
#[derive(Clone, Debug)]
pub(crate) struct Slots<W> {
    slots: Box<[Slot<W>]>,
    busy: usize,
    /// Requests of all of them that are not done.
    pieces: usize,
    /// A bit for each slot that has changed since its state was committed.
    changed: u64,
}

impl<W: InWords> Slots<W> {
    /// Says the slots that have changed, from word `at` on.
    pub(crate) fn journal(&mut self, at: usize, journal: &mut Journal<'_>) {
        let mut changed = core::mem::take(&mut self.changed);
        while changed != 0 {
            let index = changed.trailing_zeros() as usize;
            changed &= changed - 1;
            let Some(slot) = self.slots.get(index) else { break };
            let at = at + index * SLOT_WORDS;
            let fault = slot.fault.and_then(|fault| FAULTS.iter().position(|other| *other == fault));
            let fault = fault.map_or(0, |fault| fault as u64 + 1);
            let is_there = slot.pieces != 0 && slot.work.is_some();
            journal.put(
                at,
                u64::from(slot.tag)
                    | u64::from(slot.pieces) << field::PIECES
                    | fault << field::FAULT
                    | u64::from(is_there) << field::WORK,
            );
            if let Some(work) = slot.work.filter(|_| is_there) {
                journal.put_all(at + 1, &work.to_words());
            }
        }
    }

    /// Takes over the slots that were said, from word `at` on.
    ///
    /// # Errors
    /// No slots are so.
    pub(crate) fn restore_words(&mut self, words: &[u64], at: usize) -> Result<(), RestoreFault> {
        let (mut busy, mut pieces) = (0, 0);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let at = at + index * SLOT_WORDS;
            let head = journal::word(words, at)?;
            journal::ends(head, field::WORK + 1)?;
            let tag = head as u32;
            has(tag & SLOT_MASK == index as u32, "a request has the tag of another")?;
            let mut work = None;
            if bit(head, field::WORK) {
                let words = words.get(at + 1..at + SLOT_WORDS).and_then(|words| words.try_into().ok());
                work = Some(W::of_words(words.ok_or(RestoreFault::Malformed)?)?);
            }
            let fault = (head >> field::FAULT) as u8;
            let fault = usize::from(fault).checked_sub(1).map(|fault| FAULTS.get(fault).copied());
            has(fault != Some(None), "a request failed in no way that there is")?;
            let waits = u32::from((head >> field::PIECES) as u16);
            has(waits != 0 || work.is_none(), "a command waits for no request")?;
            *slot = Slot { tag, work, pieces: waits, fault: fault.flatten() };
            busy += usize::from(waits != 0);
            pieces += waits as usize;
        }
        (self.busy, self.pieces, self.changed) = (busy, pieces, u64::MAX);
        Ok(())
    }
}

impl<W: Copy> Slots<W> {
    /// All free.
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS as u32).map(|tag| Slot { tag, work: None, pieces: 0, fault: None });
        Self { slots: slots.collect(), busy: 0, pieces: 0, changed: u64::MAX }
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
        self.changed |= 1 << (slot.tag & SLOT_MASK);
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
        self.changed |= 1 << (done.tag & SLOT_MASK);
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
        self.changed = u64::MAX;
        self.slots.iter_mut().filter(|slot| slot.pieces != 0).filter_map(|slot| slot.work.as_mut())
    }

    /// Nobody waits any more for what is at the medium, but it still counts.
    pub(crate) fn orphan(&mut self) {
        self.changed = u64::MAX;
        for slot in &mut self.slots {
            slot.work = None;
        }
    }

    /// What is at the medium is not known any more.
    pub(crate) fn forget(&mut self) {
        self.changed = u64::MAX;
        for slot in self.slots.iter_mut().filter(|slot| slot.pieces != 0) {
            slot.pieces = 0;
            slot.tag = slot.tag.wrapping_add(SLOTS as u32);
        }
        self.busy = 0;
        self.pieces = 0;
    }
}
