//! What an access to the chipset causes outside of it.

use spec::apic::InterruptMessage;

/// One thing that the caller has to do, in the order given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The IOAPIC sent this message.
    Message(InterruptMessage),
    /// The interrupt of this global system interrupt, which
    /// [`Chipset::sample_line`](crate::Chipset::sample_line) raised, is over for the guest:
    /// end it at the machine's pin, and raise the line again if that sends again.
    Sample(u8),
    /// The 8259A pair raised (true) or dropped (false) its INTR line.
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
    Reset,
}

/// A queue of effects that never allocates.
///
/// One call of a [`Chipset`](crate::Chipset) method adds at most 24 effects: an end
/// of interrupt for a vector that all 24 IOAPIC pins share sends 24 messages. The
/// time that went by adds at most 6 (a message and an INTR change for each of timer,
/// clock and SCI), and a port access of 4 bytes at most 12 more (for each byte what
/// the register does, a message, an INTR change). So a queue that the caller empties
/// after every call cannot overflow. If it does because nobody emptied it, the newest
/// effect is dropped and [`overflowed`](Self::overflowed) says so; nothing panics.
///
/// It is half a KiB: keep one for each processor instead of making one for each exit.
#[derive(Clone, Debug)]
pub struct Effects {
    queue: [Effect; Effects::CAPACITY],
    first: u8,
    end: u8,
    overflowed: bool,
}

impl Effects {
    /// How many effects fit.
    pub const CAPACITY: usize = 32;

    /// An empty queue.
    pub const fn new() -> Self {
        Self { queue: [Effect::Reset; Self::CAPACITY], first: 0, end: 0, overflowed: false }
    }

    /// Adds an effect behind the others.
    pub fn push(&mut self, effect: Effect) {
        match self.queue.get_mut(usize::from(self.end)) {
            Some(slot) => {
                *slot = effect;
                self.end += 1;
            }
            None => self.overflowed = true,
        }
    }

    /// Takes the oldest effect.
    pub fn pop(&mut self) -> Option<Effect> {
        if self.first == self.end {
            return None;
        }
        let effect = self.queue.get(usize::from(self.first)).copied();
        self.first += 1;
        if self.first == self.end {
            self.first = 0;
            self.end = 0;
        }
        effect
    }

    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Whether an effect was dropped since the last [`clear`](Self::clear): the
    /// caller forgot to empty the queue.
    pub const fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.first = 0;
        self.end = 0;
        self.overflowed = false;
    }
}

impl Default for Effects {
    fn default() -> Self {
        Self::new()
    }
}

/// Taking the effects one by one, oldest first; iterating empties the queue.
impl Iterator for Effects {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        self.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order() {
        let mut effects = Effects::new();
        effects.push(Effect::Transmit(b'a'));
        effects.push(Effect::External(true));
        assert_eq!(effects.pop(), Some(Effect::Transmit(b'a')));
        effects.push(Effect::Reset);
        assert_eq!(effects.pop(), Some(Effect::External(true)));
        assert_eq!(effects.pop(), Some(Effect::Reset));
        assert_eq!(effects.pop(), None);
        assert!(effects.is_empty());
    }

    #[test]
    fn an_overflow_is_reported_and_harmless() {
        let mut effects = Effects::new();
        for byte in 0..Effects::CAPACITY as u8 + 1 {
            effects.push(Effect::Transmit(byte));
        }
        assert!(effects.overflowed());
        assert_eq!(effects.by_ref().count(), Effects::CAPACITY);
        effects.clear();
        assert!(!effects.overflowed());
    }
}
