//! What the transport would have to be told to go on after it was lost ([`Device::journal`]).
//!
//! Most calls change how far the queues are, and nothing else. So the registers and the places of queues, which
//! only the driver's writes change, are looked at after such a write alone; and a read of a register has nothing to
//! look at, as has a write that selects what is selected.
//!
//! [`Device::journal`]: crate::Device::journal

use super::committed::{FAR_AT, REGISTERS, Touched, state_words};
use super::{ConfigAccess, Function, MOST_QUEUES, Transport};
use crate::journal::{self, Journal, bit, ends};
use crate::snapshot::{RestoreFault, has};
use crate::virtio::Queue;
use crate::virtio::queue::{FAR_WORDS, PLACE_WORDS};
use crate::virtio::transport::state::Registers;

/// The first word has the status in the lowest byte, and above it these, and messages that have to be sent.
mod field {
    pub const ISR: u32 = 8;
    pub const GENERATION: u32 = 16;
    pub const RESETTING: u32 = 24;
    pub const TOLD: u32 = 25;
    pub const END: u32 = 26;
    pub const UNSENT: u32 = 32;
}

/// Which of the words of registers has the numbers of a vector and of a queue.
const NUMBERS: usize = 2;

impl<F: Function> Transport<F> {
    const fn registers_at(&self) -> usize {
        FAR_AT + FAR_WORDS * self.queues.len()
    }

    pub(super) fn say(&mut self, journal: &mut Journal<'_>) {
        let touched = core::mem::replace(&mut self.touched, Touched::NOTHING);
        if touched.queues {
            journal.put(0, self.first_word());
            for (queue, at) in self.queues.iter().zip((FAR_AT..).step_by(FAR_WORDS)) {
                journal.put_all(at, &queue.far());
            }
            self.function.journal(state_words(self.queues.len()), journal);
        }
        let at = self.registers_at();
        if touched.selects && !touched.registers {
            journal.put(at, self.halves());
            journal.put(at + NUMBERS, self.numbers());
        }
        if touched.registers {
            journal.put_all(at, &self.register_words());
            for (queue, at) in self.queues.iter().zip((at + REGISTERS..).step_by(PLACE_WORDS)) {
                journal.put_all(at, &queue.place());
            }
        }
    }

    fn first_word(&self) -> u64 {
        u64::from(self.status)
            | u64::from(self.isr) << field::ISR
            | u64::from(self.generation) << field::GENERATION
            | u64::from(self.is_resetting) << field::RESETTING
            | u64::from(self.told) << field::TOLD
            | u64::from(self.unsent) << field::UNSENT
    }

    fn halves(&self) -> u64 {
        u64::from(self.device_select) | u64::from(self.driver_select) << 32
    }

    fn numbers(&self) -> u64 {
        u64::from(self.config_vector) | u64::from(self.queue_select) << 16
    }

    fn register_words(&self) -> [u64; REGISTERS] {
        let [low, high] = self.access.to_words();
        [self.halves(), self.driver_features, self.numbers(), low, high]
    }

    pub(super) fn take_over_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let first = journal::word(words, 0)?;
        ends(first & !(u64::MAX << field::UNSENT), field::END)?;
        let at = self.registers_at();
        let &[selects, driver_features, numbers, low, high] = part(words, at)?;
        ends(numbers, 32)?;
        let mut queues = [None; MOST_QUEUES];
        let count = self.queues.len();
        for (index, place) in queues.iter_mut().enumerate().take(count) {
            let far = part(words, FAR_AT + index * FAR_WORDS)?;
            *place = Some(Queue::state_of(part(words, at + REGISTERS + index * PLACE_WORDS)?, far)?);
        }
        self.take_over(&Registers {
            status: first as u8,
            device_select: selects as u32,
            driver_select: (selects >> 32) as u32,
            driver_features,
            config_vector: numbers as u16,
            queue_select: (numbers >> 16) as u16,
            isr: (first >> field::ISR) as u8,
            unsent: (first >> field::UNSENT) as u32,
            access: ConfigAccess::of_words([low, high]),
            queues,
        })?;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let place = part(words, at + REGISTERS + index * PLACE_WORDS)?;
            has(queue.go_on(place, part(words, FAR_AT + index * FAR_WORDS)?), "a queue cannot be as far")?;
        }
        self.generation = (first >> field::GENERATION) as u8;
        self.is_resetting = bit(first, field::RESETTING);
        self.told = bit(first, field::TOLD);
        let own = words.get(state_words(count)..).ok_or(RestoreFault::Malformed)?;
        self.function.restore_words(own, &self.queues)
    }
}

/// So many words from `at` on.
fn part<const N: usize>(words: &[u64], at: usize) -> Result<&[u64; N], RestoreFault> {
    words.get(at..).and_then(<[u64]>::first_chunk).ok_or(RestoreFault::Malformed)
}
