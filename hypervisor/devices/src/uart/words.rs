//! What a UART would have to be told to go on after it was lost.

use super::{FIFO_BYTES, Uart, WAITING_BYTES};
use crate::journal::{self, Journal, bit, ends};
use crate::snapshot::RestoreFault;

/// Words of the committed state: the registers, the FIFO, what waits on the line.
pub(crate) const STATE_WORDS: usize = WAITING_AT + WAITING_BYTES / 8;
const FIFO_AT: usize = 2;
const WAITING_AT: usize = FIFO_AT + FIFO_BYTES / 8;

/// In the byte of flags.
mod flag {
    pub const FIFO_ON: u32 = 0;
    pub const OVERRUN: u32 = 1;
    pub const TRANSMITTER_PENDING: u32 = 2;
    pub const END: u32 = 3;
}

impl Uart {
    /// Says it from word `at` on. No call has more than one byte wait, and what waits no more does not matter: so of
    /// what waits, the word with the last byte is said.
    pub(crate) fn say(&self, at: usize, journal: &mut Journal<'_>) {
        let flags = u8::from(self.fifo_on) << flag::FIFO_ON
            | u8::from(self.overrun) << flag::OVERRUN
            | u8::from(self.transmitter_pending) << flag::TRANSMITTER_PENDING;
        let Self { first, used, trigger, ier, lcr, mcr, msr_delta, scratch, .. } = *self;
        let ([divisor, above], [from, from_above], [waits, waits_above]) =
            (self.divisor, self.waiting_first.to_le_bytes(), self.waiting_used.to_le_bytes());
        journal.put(at, u64::from_le_bytes([first, used, flags, trigger, ier, lcr, mcr, msr_delta]));
        let second = [scratch, divisor, above, 0, from, from_above, waits, waits_above];
        journal.put(at + 1, u64::from_le_bytes(second));
        let (fifo, _) = self.fifo.as_chunks::<8>();
        for (at, bytes) in (at + FIFO_AT..).zip(fifo) {
            journal.put(at, u64::from_le_bytes(*bytes));
        }
        if let Some(before_last) = self.waiting_used.checked_sub(1) {
            let word = usize::from(self.waiting_first + before_last) % WAITING_BYTES / 8;
            let (waiting, _) = self.waiting.as_chunks::<8>();
            journal
                .put(at + WAITING_AT + word, waiting.get(word).map_or(0, |bytes| u64::from_le_bytes(*bytes)));
        }
    }

    /// Becomes as the UART that said the words from `at` on.
    ///
    /// # Errors
    /// No UART is so.
    pub(crate) fn take_over(&mut self, words: &[u64], at: usize) -> Result<(), RestoreFault> {
        let [first, used, flags, trigger, ier, lcr, mcr, msr_delta] = journal::word(words, at)?.to_le_bytes();
        let [scratch, divisor, above, rest, from, from_above, waits, waits_above] =
            journal::word(words, at + 1)?.to_le_bytes();
        ends(flags.into(), flag::END)?;
        ends(rest.into(), 0)?;
        let is = |at| bit(flags.into(), at);
        let mut uart = Self {
            first,
            used,
            fifo_on: is(flag::FIFO_ON),
            waiting_first: u16::from_le_bytes([from, from_above]),
            waiting_used: u16::from_le_bytes([waits, waits_above]),
            trigger,
            overrun: is(flag::OVERRUN),
            transmitter_pending: is(flag::TRANSMITTER_PENDING),
            ier,
            lcr,
            mcr,
            msr_delta,
            scratch,
            divisor: [divisor, above],
            ..Self::new()
        };
        journal::copy(words, at + FIFO_AT, &mut uart.fifo)?;
        journal::copy(words, at + WAITING_AT, &mut uart.waiting)?;
        uart.check()?;
        *self = uart;
        Ok(())
    }
}
