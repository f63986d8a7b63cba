//! What an access to a model causes outside of it: plain data in a queue, which whoever
//! called the model applies once the model is not borrowed any more.

use alloc::boxed::Box;
use spec::apic::InterruptMessage;

/// One thing that the chipset's caller has to do, in the order given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Effect {
    /// The IOAPIC sent this message.
    Message(InterruptMessage),
    /// The interrupt of this global system interrupt, which
    /// [`Chipset::assert_line`](crate::Chipset::assert_line) asserted, is over for the guest:
    /// end it at the machine's pin, and assert the line again if that sends again.
    Resample(u8),
    /// The 8259A pair asserted (true) or deasserted (false) its INTR line.
    External(bool),
    /// The UART sent this byte.
    Transmit(u8),
    /// The guest went to sleep state `sleep_type` (SLP_TYP, 0 to 7; the DSDT's
    /// `_S5` says which one is off).
    PowerOff {
        /// SLP_TYP as written.
        sleep_type: u8,
    },
    /// The guest asked for a reset.
    #[default]
    Reset,
}

/// A queue of effects of one model, or of one chipset. It is allocated when the guest is
/// built, with room for the most that one call of the model can cause; the caller empties
/// it after every call.
///
/// A model that causes more than it said has a fault. The effects that did not fit are
/// gone, so [`take_overflow`](Self::take_overflow) has to be asked once the queue is empty:
/// where it is true, the guest has lost an interrupt or a transfer, and must end.
#[derive(Clone, Debug)]
pub struct Effects<E = Effect> {
    ring: Box<[E]>,
    first: usize,
    len: usize,
    /// How many there may be now, if fewer than there is room for.
    most: usize,
    overflowed: bool,
}

impl Effects<Effect> {
    /// The most that one call of a [`Chipset`](crate::Chipset) method causes, and some.
    ///
    /// An end of interrupt for a vector that all 24 IOAPIC pins share sends 24 messages. The
    /// time that went by adds at most 6 (a message and an INTR change for each of timer,
    /// clock and SCI), and a port access of 4 bytes at most 12 more (for each byte what
    /// the register does, a message, an INTR change); no call is both.
    pub const CHIPSET: usize = 32;

    /// An empty queue for a chipset's effects.
    pub fn new() -> Self {
        Self::with_capacity(Self::CHIPSET)
    }
}

impl<E: Copy + Default> Effects<E> {
    /// An empty queue with room for `capacity` effects.
    pub fn with_capacity(capacity: usize) -> Self {
        let ring = core::iter::repeat_n(E::default(), capacity).collect();
        Self { ring, first: 0, len: 0, most: capacity, overflowed: false }
    }

    /// Adds an effect behind the others. Few accesses have one, and those that have none should
    /// not carry the code for it.
    #[inline(never)]
    pub fn push(&mut self, effect: E) {
        let size = self.ring.len();
        if self.len >= self.most {
            self.overflowed = true;
            return;
        }
        let place = self.first + self.len;
        match self.ring.get_mut(if place < size { place } else { place - size }) {
            Some(slot) => {
                *slot = effect;
                self.len += 1;
            }
            None => self.overflowed = true,
        }
    }

    /// The oldest effect, which stays.
    pub fn peek(&self) -> Option<E> {
        if self.len == 0 { None } else { self.ring.get(self.first).copied() }
    }

    /// Takes the oldest effect.
    #[inline]
    pub fn pop(&mut self) -> Option<E> {
        if self.len == 0 { None } else { self.take_oldest() }
    }

    #[inline(never)]
    fn take_oldest(&mut self) -> Option<E> {
        let effect = self.ring.get(self.first).copied();
        self.len -= 1;
        self.first = if self.first + 1 < self.ring.len() { self.first + 1 } else { 0 };
        effect
    }

    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is nothing to do, and nothing was lost since that was last asked.
    #[inline]
    pub const fn is_untouched(&self) -> bool {
        self.len == 0 && !self.overflowed
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// How many more effects fit.
    pub const fn room(&self) -> usize {
        self.most.saturating_sub(self.len)
    }

    /// Has room for so many alone from now on, and for no more than it was made with.
    pub const fn limit(&mut self, most: usize) {
        self.most = if most < self.ring.len() { most } else { self.ring.len() };
    }

    /// Whether effects were lost since this was last asked: the model caused more than it
    /// said that it would.
    pub const fn take_overflow(&mut self) -> bool {
        core::mem::replace(&mut self.overflowed, false)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.first = 0;
        self.len = 0;
        self.overflowed = false;
    }
}

impl Default for Effects<Effect> {
    fn default() -> Self {
        Self::new()
    }
}

/// Taking the effects one by one, oldest first; iterating empties the queue.
impl<E: Copy + Default> Iterator for Effects<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn an_overflow_is_told_once_and_harmless() {
        let mut effects = Effects::new();
        for byte in 0..=Effects::CHIPSET as u8 {
            effects.push(Effect::Transmit(byte));
        }
        assert_eq!(effects.by_ref().count(), Effects::CHIPSET);
        assert!(effects.take_overflow());
        assert!(!effects.take_overflow());
    }

    #[test]
    fn a_queue_without_room_loses_everything_and_says_so() {
        let mut effects = Effects::<Effect>::with_capacity(0);
        effects.push(Effect::Reset);
        assert_eq!(effects.pop(), None);
        assert!(effects.take_overflow());
    }

    proptest! {
        /// However effects come and go, they come out in the order in which they went in.
        #[test]
        fn is_a_queue(capacity in 1_usize..5, steps in proptest::collection::vec(any::<Option<u8>>(), 0..64)) {
            let mut effects = Effects::with_capacity(capacity);
            let mut model = VecDeque::new();
            for step in steps {
                match step {
                    Some(byte) => {
                        effects.push(Effect::Transmit(byte));
                        let fits = model.len() < capacity;
                        prop_assert_eq!(effects.take_overflow(), !fits);
                        if fits {
                            model.push_back(Effect::Transmit(byte));
                        }
                    }
                    None => prop_assert_eq!(effects.pop(), model.pop_front()),
                }
                prop_assert_eq!(effects.room(), capacity - model.len());
                prop_assert_eq!(effects.is_empty(), model.is_empty());
            }
        }
    }
}
