//! Queues as the controller sees them (NVM Express 1.4, section 4.1): rings in the guest's
//! memory, of which only the controller's own indexes are believed.

use access::{GuestMemory, OutOfBounds};
use serde::{Deserialize, Serialize};
use spec::Gpa;
use spec::nvme::{Command, Completion, PAGE_BYTES, command, completion};

/// The least that a queue holds: one entry is always free.
pub(super) const LEAST_ENTRIES: u32 = 2;

/// How many entries lie from `from` up to `to` in a ring of `entries`.
const fn distance(from: u32, to: u32, entries: u32) -> u32 {
    if to >= from { to - from } else { to + entries - from }
}

/// The place behind `index`.
const fn next(index: u32, entries: u32) -> u32 {
    if index + 1 < entries { index + 1 } else { 0 }
}

/// Whether a queue of `entries` entries, of `most` at most, can be at `base`.
const fn is_ring(base: Gpa, entries: u32, most: u32) -> bool {
    base.is_aligned(PAGE_BYTES) && entries >= LEAST_ENTRIES && entries <= most
}

/// Commands on their way to the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SubmissionQueue {
    base: Gpa,
    entries: u32,
    /// What is taken next.
    head: u32,
    /// Where the guest puts its next command.
    tail: u32,
    /// The completion queue that its commands are answered in.
    pub(super) completions: u16,
    /// Commands that were taken and are not answered.
    #[serde(skip)]
    pub(super) in_flight: u32,
    /// The command that deletes this queue, which is answered after all the others.
    #[serde(skip)]
    pub(super) deletion: Option<u16>,
}

impl SubmissionQueue {
    /// An empty queue of `entries` (2 to 4096) entries.
    pub(super) const fn new(base: Gpa, entries: u32, completions: u16) -> Self {
        Self { base, entries, head: 0, tail: 0, completions, in_flight: 0, deletion: None }
    }

    /// Whether it can have become as it is, with `most` entries or fewer.
    pub(super) const fn is_possible(&self, most: u32) -> bool {
        is_ring(self.base, self.entries, most) && self.head < self.entries && self.tail < self.entries
    }

    /// Takes in a new tail, unless it is outside of the queue or says more commands than fit.
    pub(super) const fn ring(&mut self, tail: u32) {
        if tail < self.entries {
            let waiting = distance(self.head, self.tail, self.entries);
            if waiting + distance(self.tail, tail, self.entries) < self.entries {
                self.tail = tail;
            }
        }
    }

    /// Where the guest puts its next command.
    pub(super) const fn tail(&self) -> u32 {
        self.tail
    }

    /// Whether there is a command to take.
    pub(super) const fn has_command(&self) -> bool {
        self.deletion.is_none() && self.head != self.tail
    }

    /// What the controller takes next, as completions tell it (SQHD).
    pub(super) const fn head(&self) -> u16 {
        self.head as u16
    }

    /// Takes the oldest command.
    pub(super) fn fetch(&mut self, memory: &dyn GuestMemory) -> Result<Command, OutOfBounds> {
        let at = command::entry_at(self.base, self.head, command::ENTRY_BYTES).ok_or(OutOfBounds)?;
        let mut bytes = [0; command::ENTRY_BYTES];
        memory.read(at, &mut bytes)?;
        self.head = next(self.head, self.entries);
        self.in_flight += 1;
        Ok(Command::decode(&bytes))
    }
}

/// Answers on their way to the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct CompletionQueue {
    base: Gpa,
    entries: u32,
    /// What the guest takes next.
    head: u32,
    /// Where the next answer goes.
    tail: u32,
    /// The phase tag of this turn.
    phase: bool,
    /// The message that says that there are answers.
    pub(super) vector: Option<u16>,
    /// Entries that commands in flight will fill.
    #[serde(skip)]
    reserved: u32,
}

impl CompletionQueue {
    /// An empty queue of `entries` (2 to 4096) entries.
    pub(super) const fn new(base: Gpa, entries: u32, vector: Option<u16>) -> Self {
        Self { base, entries, head: 0, tail: 0, phase: true, vector, reserved: 0 }
    }

    /// Whether it can have become as it is, with `most` entries or fewer.
    pub(super) const fn is_possible(&self, most: u32) -> bool {
        is_ring(self.base, self.entries, most) && self.head < self.entries && self.tail < self.entries
    }

    /// Takes in a new head, unless it is outside of the queue or takes answers that are not
    /// there.
    pub(super) const fn consume(&mut self, head: u32) {
        if head < self.entries && distance(self.head, head, self.entries) <= self.waiting() {
            self.head = head;
        }
    }

    /// What the guest takes next.
    pub(super) const fn head(&self) -> u32 {
        self.head
    }

    /// Answers that the guest has not taken.
    pub(super) const fn waiting(&self) -> u32 {
        distance(self.head, self.tail, self.entries)
    }

    /// Whether one more command can be answered.
    pub(super) const fn has_room(&self) -> bool {
        self.waiting() + self.reserved + 1 < self.entries
    }

    /// Keeps an entry for a command that was taken.
    pub(super) const fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// Gives the entry back of a command that is not answered.
    pub(super) const fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Writes an answer into the entry kept for it. The phase tag is in the second of two
    /// single writes, so the guest sees nothing of the entry before it sees all of it.
    pub(super) fn post(
        &mut self,
        mut completion: Completion,
        memory: &dyn GuestMemory,
    ) -> Result<(), OutOfBounds> {
        self.release();
        completion.phase = self.phase;
        let at = command::entry_at(self.base, self.tail, completion::ENTRY_BYTES).ok_or(OutOfBounds)?;
        let bytes = completion.encode();
        let (first, second) = bytes.split_at(8);
        memory.write(at, first)?;
        memory.publish(at.checked_add(8).ok_or(OutOfBounds)?, second)?;
        self.tail = next(self.tail, self.entries);
        self.phase ^= self.tail == 0;
        Ok(())
    }
}

/// Words of how far a pair of queues is, and of where it is, as they are committed.
pub(super) const FAR_WORDS: usize = 2;
pub(super) const PLACE_WORDS: usize = 4;
/// A queue is there: its place is a page's, so the lowest bit says that.
const IS_THERE: u64 = 1;

/// What is above head and tail of a queue, of 16 bits each, as they are committed: the commands in flight or the
/// entries kept for them, a flag, and a command's identifier.
mod field {
    pub const COUNT: u32 = 32;
    pub const FLAG: u32 = 47;
    pub const IDENTIFIER: u32 = 48;
}

/// Head, tail and what is counted.
const fn far(head: u32, tail: u32, count: u32, flag: bool) -> u64 {
    head as u64 | (tail as u64) << 16 | (count as u64) << field::COUNT | (flag as u64) << field::FLAG
}

const fn of_far(word: u64) -> (u32, u32, u32, bool) {
    let count = (word >> field::COUNT) as u32 & ((1 << (field::FLAG - field::COUNT)) - 1);
    (word as u16 as u32, (word >> 16) as u16 as u32, count, word >> field::FLAG & 1 != 0)
}

impl SubmissionQueue {
    /// How far it is.
    pub(super) fn far(queue: &Option<Self>) -> u64 {
        let Some(Self { head, tail, in_flight, deletion, .. }) = *queue else { return 0 };
        far(head, tail, in_flight, deletion.is_some()) | u64::from(deletion.unwrap_or(0)) << field::IDENTIFIER
    }

    /// Where it is.
    pub(super) fn place(queue: &Option<Self>) -> [u64; 2] {
        let Some(Self { base, entries, completions, .. }) = *queue else { return [0; 2] };
        [base.0 | IS_THERE, u64::from(entries) | u64::from(completions) << 32]
    }

    /// The queue of these words.
    pub(super) fn of_words(word: u64, [base, size]: [u64; 2]) -> Option<Self> {
        let (head, tail, in_flight, is_deleted) = of_far(word);
        (base & IS_THERE != 0).then_some(Self {
            base: Gpa(base & !IS_THERE),
            entries: size as u32,
            head,
            tail,
            completions: (size >> 32) as u16,
            in_flight,
            deletion: is_deleted.then_some((word >> field::IDENTIFIER) as u16),
        })
    }
}

impl CompletionQueue {
    /// How far it is.
    pub(super) fn far(queue: &Option<Self>) -> u64 {
        let Some(Self { head, tail, reserved, phase, .. }) = *queue else { return 0 };
        far(head, tail, reserved, phase)
    }

    /// Where it is.
    pub(super) fn place(queue: &Option<Self>) -> [u64; 2] {
        let Some(Self { base, entries, vector, .. }) = *queue else { return [0; 2] };
        let vector = vector.map_or(0, |vector| u64::from(vector) | 1 << 16);
        [base.0 | IS_THERE, u64::from(entries) | vector << 32]
    }

    /// The queue of these words.
    pub(super) fn of_words(word: u64, [base, size]: [u64; 2]) -> Option<Self> {
        let (head, tail, reserved, phase) = of_far(word);
        (base & IS_THERE != 0).then_some(Self {
            base: Gpa(base & !IS_THERE),
            entries: size as u32,
            head,
            tail,
            phase,
            vector: (size >> 48 & 1 != 0).then_some((size >> 32) as u16),
            reserved,
        })
    }

    /// Whether it has entries enough for those that are kept.
    pub(super) const fn has_kept(&self) -> bool {
        self.waiting() + self.reserved < self.entries
    }

    /// Entries that are kept.
    pub(super) const fn reserved(&self) -> u32 {
        self.reserved
    }
}
