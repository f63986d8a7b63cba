//! The port's state, as it is saved: all that its driver can tell, and what waits for it.

use super::Serial;
use crate::device::Work;
use crate::journal::{self, Journal, bit};
use crate::snapshot::{self, RestoreFault, SaveFault, has};
use crate::uart::{self, Uart, WAITING_BYTES};

/// Changes with each change of [`Uart`].
const VERSION: u16 = 1;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 64 + WAITING_BYTES;

/// Bytes that one access can print, and some.
pub(super) const PRINTED_BYTES: usize = 16;
/// Words of the committed state: how many bytes are printed, and the line; these bytes; what was done; the UART.
pub(crate) const STATE_WORDS: usize = UART_AT + uart::STATE_WORDS;
const PRINTED_AT: usize = 1;
const WORK_AT: usize = PRINTED_AT + PRINTED_BYTES / 8;
const UART_AT: usize = WORK_AT + Work::WORDS;
/// Above how many bytes are printed: the line.
const LINE: u32 = 32;

impl Serial {
    pub(super) fn say(&mut self, journal: &mut Journal<'_>) {
        if !core::mem::take(&mut self.touched) {
            return;
        }
        journal.put(0, self.used as u64 | u64::from(self.told) << LINE);
        if self.used > 0 {
            let (printed, _) = self.printed.as_chunks::<8>();
            for (at, bytes) in (PRINTED_AT..).zip(printed) {
                journal.put(at, u64::from_le_bytes(*bytes));
            }
        }
        journal.put_all(WORK_AT, &self.work.to_words());
        self.uart.say(UART_AT, journal);
    }

    pub(super) fn take_over(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let head = journal::word(words, 0)?;
        let used = head as u32 as usize;
        has(used <= PRINTED_BYTES, "more was printed than there is room for")?;
        journal::ends(head & !(u64::MAX >> LINE), LINE + 1)?;
        self.uart.take_over(words, UART_AT)?;
        journal::copy(words, PRINTED_AT, &mut self.printed)?;
        (self.used, self.told, self.touched) = (used, bit(head, LINE), true);
        self.work.take_over(words, WORK_AT)
    }

    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many bytes it
    /// has.
    ///
    /// # Errors
    /// While something that was printed is not taken there is none.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        if self.used > 0 {
            return Err(SaveFault::Busy);
        }
        snapshot::encode(VERSION, &self.uart, into)
    }

    /// Becomes as the port was that `from` was saved of. Whoever calls this looks at the line afterwards.
    ///
    /// # Errors
    /// This port is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let uart: Uart = snapshot::decode(VERSION, from)?;
        uart.check()?;
        self.told = uart.line();
        self.uart = uart;
        self.used = 0;
        self.touched = true;
        Ok(())
    }
}
