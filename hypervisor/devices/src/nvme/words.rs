//! What the controller would have to be told to go on after it was lost ([`Device::journal`]).
//!
//! Most calls change how far the queues are and what is at the medium. The registers, where the queues are and what the
//! guest set are looked at only after a write of a register or an admin command.
//!
//! [`Device::journal`]: crate::Device::journal

use super::committed::{
    FAR_AT, FEATURES_AT, PLACES_AT, REGISTERS, REGISTERS_AT, SHADOW_AT, SLOTS_AT, Touched,
};
use super::features::Features;
use super::queues::{CompletionQueue, FAR_WORDS, PLACE_WORDS, SubmissionQueue};
use super::shadow::Shadow;
use super::state::State;
use super::work::Work;
use super::{MOST_REQUESTS, Nvme, QUEUES, Shutdown};
use crate::device::Operation;
use crate::journal::{self, Journal, bit, ends};
use crate::slots::{InWords, WORK_WORDS};
use crate::snapshot::{RestoreFault, has};
use spec::nvme::register::csts;

/// The first word has CSTS in the lowest byte, and above it these, and messages that have to be sent.
mod first {
    pub const SHUTDOWN: u32 = 8;
    pub const RESETTING: u32 = 10;
    pub const TOLD: u32 = 11;
    pub const END: u32 = 12;
    pub const TURN: u32 = 16;
    pub const EVENTS: u32 = 24;
    pub const UNSENT: u32 = 32;
}

const SHUTDOWNS: [Shutdown; 4] = [Shutdown::None, Shutdown::Draining, Shutdown::Flushing, Shutdown::Done];

/// What is above queue and identifier in the word of a command at the medium.
mod field {
    pub const IDENTIFIER: u32 = 16;
    pub const OPERATION: u32 = 32;
    pub const FLUSH: u32 = 40;
    pub const SHUTDOWN: u32 = 41;
    pub const END: u32 = 42;
}

const OPERATIONS: [Operation; 3] = [Operation::Read, Operation::Write, Operation::Flush];

impl InWords for Work {
    fn to_words(self) -> [u64; WORK_WORDS] {
        let word = match self {
            Self::Shutdown => 1 << field::SHUTDOWN,
            Self::Command { queue, identifier, operation, then_flush } => {
                let place = OPERATIONS.iter().position(|other| *other == operation);
                let operation = place.unwrap_or_default() as u64;
                u64::from(queue)
                    | u64::from(identifier) << field::IDENTIFIER
                    | operation << field::OPERATION
                    | u64::from(then_flush) << field::FLUSH
            }
        };
        [word, 0, 0]
    }

    fn of_words([word, ..]: [u64; WORK_WORDS]) -> Result<Self, RestoreFault> {
        ends(word, field::END)?;
        if bit(word, field::SHUTDOWN) {
            return Ok(Self::Shutdown);
        }
        let operation = OPERATIONS.get(usize::from((word >> field::OPERATION) as u8));
        let none = RestoreFault::Impossible("a command does what there is not");
        Ok(Self::Command {
            queue: word as u16,
            identifier: (word >> field::IDENTIFIER) as u16,
            operation: *operation.ok_or(none)?,
            then_flush: bit(word, field::FLUSH),
        })
    }
}

impl Nvme {
    pub(super) fn say(&mut self, journal: &mut Journal<'_>) {
        let touched = core::mem::replace(&mut self.touched, Touched::NOTHING);
        if touched.queues {
            journal.put(0, self.first_word());
            let queues = self.submission.iter().zip(&self.completion);
            for ((submission, completion), at) in queues.zip((FAR_AT..).step_by(FAR_WORDS)) {
                journal.put_all(at, &[SubmissionQueue::far(submission), CompletionQueue::far(completion)]);
            }
            self.slots.journal(SLOTS_AT, journal);
        }
        if touched.registers {
            journal.put_all(REGISTERS_AT, &self.register_words());
            journal.put_all(SHADOW_AT, &Shadow::to_words(self.shadow));
            journal.put_all(FEATURES_AT, &self.features.to_words());
            let queues = self.submission.iter().zip(&self.completion);
            for ((submission, completion), at) in queues.zip((PLACES_AT..).step_by(PLACE_WORDS)) {
                journal.put_all(at, &SubmissionQueue::place(submission));
                journal.put_all(at + 2, &CompletionQueue::place(completion));
            }
        }
    }

    fn first_word(&self) -> u64 {
        let shutdown = SHUTDOWNS.iter().position(|other| *other == self.shutdown).unwrap_or_default();
        u64::from(self.status)
            | (shutdown as u64) << first::SHUTDOWN
            | u64::from(self.resetting) << first::RESETTING
            | u64::from(self.told) << first::TOLD
            | (self.turn as u64) << first::TURN
            | u64::from(self.event_requests) << first::EVENTS
            | u64::from(self.unsent) << first::UNSENT
    }

    fn register_words(&self) -> [u64; REGISTERS] {
        [
            u64::from(self.configuration) | u64::from(self.admin_attributes) << 32,
            self.admin_submission,
            self.admin_completion,
            self.masked.into(),
        ]
    }

    pub(super) fn take_over(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let head = journal::word(words, 0)?;
        ends((head as u16).into(), first::END)?;
        let state = self.state_of(head, words)?;
        let is_resetting = bit(head, first::RESETTING);
        state.check(is_resetting).map_err(RestoreFault::Impossible)?;
        self.slots.restore_words(words, SLOTS_AT)?;
        self.become_as(&state);
        (self.resetting, self.told) = (is_resetting, bit(head, first::TOLD));
        self.check_commands()
    }

    fn state_of(&self, head: u64, words: &[u64]) -> Result<State, RestoreFault> {
        let &[controls, admin_submission, admin_completion, masked] = part(words, REGISTERS_AT)?;
        ends(masked, 32)?;
        let (mut submission, mut completion) = ([None; QUEUES], [None; QUEUES]);
        for (index, (submission, completion)) in submission.iter_mut().zip(&mut completion).enumerate() {
            let &[submitted, completed] = part(words, FAR_AT + index * FAR_WORDS)?;
            let at = PLACES_AT + index * PLACE_WORDS;
            *submission = SubmissionQueue::of_words(submitted, *part(words, at)?);
            *completion = CompletionQueue::of_words(completed, *part(words, at + 2)?);
        }
        let shutdown = SHUTDOWNS.get((head >> first::SHUTDOWN) as usize & 3);
        Ok(State {
            config: self.config,
            configuration: controls as u32,
            status: (head as u8).into(),
            shutdown: *shutdown.ok_or(RestoreFault::Malformed)?,
            admin_attributes: (controls >> 32) as u32,
            admin_submission,
            admin_completion,
            masked: masked as u32,
            submission,
            completion,
            shadow: Shadow::of_words(*part(words, SHADOW_AT)?),
            features: Features::of_words(*part(words, FEATURES_AT)?),
            event_requests: (head >> first::EVENTS) as u8,
            turn: (head >> first::TURN) as u8,
            unsent: (head >> first::UNSENT) as u32,
        })
    }

    /// Whether the commands that were taken are those that queues and medium have.
    fn check_commands(&self) -> Result<(), RestoreFault> {
        has(self.slots.pieces() <= MOST_REQUESTS, "more is at the medium than the controller gives it")?;
        let queue_of = |work: &Work| match work {
            Work::Command { queue, .. } => Some(usize::from(*queue)),
            Work::Shutdown => None,
        };
        let mut taken = [0_u32; QUEUES];
        for queue in self.slots.works().filter_map(queue_of) {
            let place = taken.get_mut(queue).filter(|_| queue != 0);
            *place.ok_or(RestoreFault::Impossible("a command is of a queue that is not there"))? += 1;
        }
        for (submission, taken) in self.submission.iter().zip(taken) {
            let in_flight = submission.map_or(0, |queue| queue.in_flight);
            has(taken <= in_flight, "commands are at the medium that were not taken")?;
        }
        for (index, completion) in (0_u16..).zip(&self.completion) {
            let Some(completion) = completion else { continue };
            let own = self.submission.iter().flatten().filter(|queue| queue.completions == index);
            let in_flight: u32 = own.map(|queue| queue.in_flight).sum();
            // What could not be answered keeps its entry.
            let is_broken = self.status & csts::FATAL != 0;
            let is_kept =
                completion.reserved() == in_flight || is_broken && completion.reserved() > in_flight;
            has(is_kept && completion.has_kept(), "answers have no room that was kept for them")?;
        }
        Ok(())
    }
}

/// So many words from `at` on.
fn part<const N: usize>(words: &[u64], at: usize) -> Result<&[u64; N], RestoreFault> {
    words.get(at..).and_then(<[u64]>::first_chunk).ok_or(RestoreFault::Malformed)
}
