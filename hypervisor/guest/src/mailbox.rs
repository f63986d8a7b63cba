//! What other processors leave for a virtual processor.
//!
//! A vCPU's state belongs to the processor that runs it. Others (a sibling's IPI,
//! an IOAPIC, the housekeeping CPU) leave a note here and then kick that processor; it takes
//! the notes before its next entry. Notes only accumulate, so nothing is lost
//! whatever the order.

use access::vcpu::Posting;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::*};
use serde::{Deserialize, Serialize};

/// How a plain interrupt, whose end nobody waits for, reaches a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Delivery {
    /// By its mailbox: the model of its local APIC takes it.
    Mailbox,
    /// As an interrupt of its processor, since it takes those itself.
    Physical,
    /// By [`Mailbox::posting`]: its processor keeps its local APIC.
    Posted,
}

/// One vCPU's mailbox.
#[derive(Default)]
pub struct Mailbox {
    /// Edge-triggered vectors, a bit each.
    edge: [AtomicU64; 4],
    /// Level-triggered vectors, a bit each.
    level: [AtomicU64; 4],
    notes: AtomicU32,
    /// The local APIC's address ([`devices::local_apic::ApicAddress`]) for senders.
    address: AtomicU64,
    /// See [`Delivery`]; 0 is mail.
    delivery: AtomicU8,
    posting: Option<&'static dyn Posting>,
}

/// A non-maskable interrupt.
pub const NMI: u32 = 1 << 8;
/// INIT.
pub const INIT: u32 = 1 << 9;
/// A start-up message; its vector is in the low byte.
pub const START_UP: u32 = 1 << 10;
/// The 8259A's output changed or a chipset timer was set: look at the chipset.
pub const CHIPSET: u32 = 1 << 11;
/// The nested tables lost an entry: forget translations.
pub const FLUSH: u32 = 1 << 12;
/// The partition is ending: leave the loop.
pub const STOP: u32 = 1 << 13;
/// The guest said that it is up: exits are counted apart from now on.
pub const READY: u32 = 1 << 14;

/// A second non-maskable interrupt came while the first had not been taken.
pub const SECOND_NMI: u32 = 1 << 29;

/// Edge-triggered vectors were left: a mailbox without this note is not searched for them.
const EDGES: u32 = 1 << 31;
/// Level-triggered vectors were left.
const LEVELS: u32 = 1 << 30;

/// What was in a mailbox.
#[derive(Default, Debug, PartialEq, Eq, Clone, Copy, Serialize, Deserialize)]
pub struct Mail {
    /// Edge-triggered vectors.
    pub edge: [u64; 4],
    /// Level-triggered vectors, if any were left.
    pub level: Option<[u64; 4]>,
    /// See the constants of this module.
    pub notes: u32,
}

impl Mail {
    /// Whether a mailbox can hold that.
    pub const fn is_possible(&self) -> bool {
        const NOTES: u32 = 0xff | NMI | INIT | START_UP | CHIPSET | FLUSH | READY | SECOND_NMI;
        self.notes & !NOTES == 0
    }
}

impl Mailbox {
    /// Leaves an interrupt.
    pub fn post_vector(&self, vector: u8, level: bool) {
        let (words, note) = if level { (&self.level, LEVELS) } else { (&self.edge, EDGES) };
        if let Some(word) = words.get(usize::from(vector >> 6)) {
            word.fetch_or(1 << (vector & 63), Release);
        }
        self.notes.fetch_or(note, Release);
    }

    /// Leaves notes.
    pub fn post(&self, notes: u32) {
        self.notes.fetch_or(notes, Release);
    }

    /// Leaves a non-maskable interrupt. Two are told from one, and three from two are not: a
    /// processor holds one back behind the one whose handler runs.
    pub fn post_nmi(&self) {
        let _ = self.notes.fetch_update(AcqRel, Acquire, |notes| {
            Some(notes | if notes & NMI == 0 { NMI } else { SECOND_NMI })
        });
    }

    /// Leaves a start-up message. The first since the last INIT counts, as a
    /// processor that has started ignores later ones.
    pub fn post_start_up(&self, vector: u8) {
        let _ = self.notes.fetch_update(AcqRel, Acquire, |notes| {
            (notes & START_UP == 0).then_some(notes & !0xff | START_UP | u32::from(vector))
        });
    }

    /// Leaves an INIT: start-up messages before it no longer count.
    pub fn post_init(&self) {
        let _ = self.notes.fetch_update(AcqRel, Acquire, |notes| Some(notes & !(0xff | START_UP) | INIT));
    }

    /// Whether there is nothing to take, as mostly.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.notes.load(Relaxed) == 0
    }

    /// Takes everything; `None` if there is nothing, as mostly.
    #[inline]
    pub fn take(&self) -> Option<Mail> {
        if self.is_empty() { None } else { Some(self.empty()) }
    }

    /// What is in it, but for the order to leave the loop. Nobody takes or leaves anything meanwhile.
    pub fn peek(&self) -> Mail {
        let words = |words: &[AtomicU64; 4]| {
            core::array::from_fn(|index| words.get(index).map_or(0, |word| word.load(Acquire)))
        };
        let notes = self.notes.load(Acquire);
        Mail {
            edge: if notes & EDGES != 0 { words(&self.edge) } else { [0; 4] },
            level: (notes & LEVELS != 0).then(|| words(&self.level)),
            notes: notes & !(EDGES | LEVELS | STOP),
        }
    }

    /// Leaves all of `mail`.
    pub fn put(&self, mail: &Mail) {
        vectors(mail.edge).for_each(|vector| self.post_vector(vector, false));
        mail.level.into_iter().flat_map(vectors).for_each(|vector| self.post_vector(vector, true));
        self.post(mail.notes);
    }

    fn empty(&self) -> Mail {
        let notes = self.notes.swap(0, Acquire);
        Mail {
            edge: if notes & EDGES != 0 { take_words(&self.edge) } else { [0; 4] },
            level: (notes & LEVELS != 0).then(|| take_words(&self.level)),
            notes: notes & !(EDGES | LEVELS),
        }
    }

    /// Whether any of these notes waits.
    pub fn has(&self, notes: u32) -> bool {
        self.notes.load(Acquire) & notes != 0
    }

    /// Says which way plain interrupts take from now on.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.delivery.store(delivery as u8, SeqCst);
    }

    /// Which way plain interrupts take. Who reads [`Delivery::Mailbox`] and leaves mail must kick,
    /// whatever it has become meanwhile.
    pub fn delivery(&self) -> Delivery {
        match self.delivery.load(SeqCst) {
            1 => Delivery::Physical,
            2 => Delivery::Posted,
            _ => Delivery::Mailbox,
        }
    }

    /// Says where others leave interrupts while the processor keeps the local APIC.
    pub fn set_posting(&mut self, posting: Option<&'static dyn Posting>) {
        self.posting = posting;
    }

    /// Where others leave interrupts while the processor keeps the local APIC.
    pub fn posting(&self) -> Option<&'static dyn Posting> {
        self.posting
    }

    /// Publishes the local APIC's address.
    pub fn set_address(&self, bits: u64) {
        self.address.store(bits, Release);
    }

    /// The local APIC's address as last published.
    pub fn address(&self) -> u64 {
        self.address.load(Acquire)
    }
}

fn take_words(words: &[AtomicU64; 4]) -> [u64; 4] {
    let mut taken = [0; 4];
    for (taken, word) in taken.iter_mut().zip(words) {
        if word.load(Relaxed) != 0 {
            *taken = word.swap(0, Acquire);
        }
    }
    taken
}

/// The vectors in a bitmap, lowest first.
pub fn vectors(words: [u64; 4]) -> impl Iterator<Item = u8> {
    words.into_iter().enumerate().flat_map(|(index, mut word)| {
        core::iter::from_fn(move || {
            if word == 0 {
                return None;
            }
            let bit = word.trailing_zeros();
            word &= word - 1;
            Some((index as u32 * 64 + bit) as u8)
        })
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn what_is_posted_is_taken_once() {
        let mailbox = Mailbox::default();
        mailbox.post_vector(0x31, false);
        mailbox.post_vector(0xff, true);
        mailbox.post(NMI);
        let mail = mailbox.take().unwrap();
        assert_eq!(vectors(mail.edge).collect::<Vec<_>>(), [0x31]);
        assert_eq!(vectors(mail.level.unwrap()).collect::<Vec<_>>(), [0xff]);
        assert_eq!(mail.notes, NMI);
        assert_eq!(mailbox.take(), None);
    }

    #[test]
    fn the_first_start_up_after_init_counts() {
        let mailbox = Mailbox::default();
        mailbox.post_start_up(0x10);
        mailbox.post_init();
        mailbox.post_start_up(0x9a);
        mailbox.post_start_up(0x77);
        assert_eq!(mailbox.take().unwrap().notes, INIT | START_UP | 0x9a);
    }
}
