//! What was typed, on its way to a guest that may not have room for it yet.
//!
//! Nothing is lost while the guest reads: the other side is told to wait. A guest that reads
//! nothing must not keep the keyboard from the menu: after a while what is typed to it is
//! dropped, and counted.

/// Bytes that are taken from the port at a time; so many may wait here.
pub const AT_ONCE: usize = 64;

/// Characters for one guest.
#[derive(Debug)]
pub struct Input {
    waiting: [u8; AT_ONCE],
    first: usize,
    used: usize,
    /// TSC since when the guest has taken nothing although something waits.
    stalled: Option<u64>,
    /// How long it may, in TSC ticks.
    patience: u64,
    /// It has been too long.
    dropping: bool,
    dropped: u64,
}

impl Input {
    /// Nothing waits. A guest that takes nothing for `patience` ticks loses what follows.
    pub const fn new(patience: u64) -> Self {
        Self {
            waiting: [0; AT_ONCE],
            first: 0,
            used: 0,
            stalled: None,
            patience,
            dropping: false,
            dropped: 0,
        }
    }

    /// Whether the other side may send.
    pub fn is_ready(&self) -> bool {
        self.used == 0 || self.dropping
    }

    /// Takes a byte for the guest behind what waits for it.
    pub fn push(&mut self, byte: u8) {
        let place = (self.first + self.used) % AT_ONCE;
        match self.waiting.get_mut(place).filter(|_| self.used < AT_ONCE) {
            Some(place) => {
                *place = byte;
                self.used += 1;
            }
            None => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// Gives the guest what it takes. `deliver` says whether it took the byte.
    pub fn flush(&mut self, now: u64, mut deliver: impl FnMut(u8) -> bool) {
        let before = self.used;
        while self.used > 0 {
            let Some(byte) = self.waiting.get(self.first) else { break };
            if !deliver(*byte) {
                break;
            }
            self.first = (self.first + 1) % AT_ONCE;
            self.used -= 1;
        }
        if self.used == 0 || self.used < before {
            self.stalled = None;
            self.dropping = false;
        }
        if self.used > 0 {
            let since = *self.stalled.get_or_insert(now);
            self.dropping |= now.saturating_sub(since) > self.patience;
        }
    }

    /// Forgets what waits, for another guest has the keyboard now; it counts as dropped.
    pub fn clear(&mut self) {
        self.dropped = self.dropped.saturating_add(self.used as u64);
        (self.used, self.stalled, self.dropping) = (0, None, false);
    }

    /// How much was dropped, once that is over.
    pub fn take_dropped(&mut self) -> Option<u64> {
        if self.dropping || self.dropped == 0 {
            return None;
        }
        Some(core::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn the_other_side_waits_while_something_waits() {
        let mut input = Input::new(10);
        input.push(b'a');
        input.push(b'b');
        assert!(!input.is_ready());
        input.flush(0, |byte| byte == b'a');
        assert!(!input.is_ready());
        input.flush(1, |_| true);
        assert!(input.is_ready() && input.take_dropped().is_none());
    }

    #[test]
    fn a_guest_that_takes_nothing_does_not_block_the_keyboard() {
        let mut input = Input::new(10);
        input.push(b'a');
        input.flush(100, |_| false);
        input.flush(110, |_| false);
        assert!(!input.is_ready());
        input.flush(111, |_| false);
        assert!(input.is_ready());
        (0..200).for_each(|_| input.push(b'x'));
        assert_eq!(input.take_dropped(), None, "it is not over");
        input.flush(112, |_| true);
        assert_eq!(input.take_dropped(), Some(200 - (AT_ONCE as u64 - 1)));
        assert_eq!(input.take_dropped(), None);
    }

    #[test]
    fn what_waits_is_not_for_the_next_guest() {
        let mut input = Input::new(10);
        input.push(b'a');
        input.clear();
        assert_eq!((input.is_ready(), input.take_dropped()), (true, Some(1)));
        input.flush(0, |_| panic!("nothing waits"));
    }

    proptest! {
        /// While the guest takes something within its patience and the other side waits when
        /// it is told to, everything arrives, in order.
        #[test]
        fn nothing_is_lost(bursts in prop::collection::vec((1usize..=AT_ONCE, 0usize..20), 1..100)) {
            let (mut input, mut sent, mut got, mut now) = (Input::new(100), 0u32, Vec::new(), 0);
            for (burst, takes) in bursts {
                if input.is_ready() {
                    for _ in 0..burst {
                        input.push(sent as u8);
                        sent += 1;
                    }
                }
                let mut left = takes.max(1);
                now += 50;
                input.flush(now, |byte| {
                    if left > 0 {
                        left -= 1;
                        got.push(byte);
                        return true;
                    }
                    false
                });
                prop_assert!(input.take_dropped().is_none());
            }
            for _ in 0..10 {
                now += 50;
                input.flush(now, |byte| { got.push(byte); true });
            }
            prop_assert!(got.iter().zip(0u32..).all(|(byte, number)| *byte == number as u8));
            prop_assert_eq!(got.len(), sent as usize);
        }
    }
}
