//! The guest's console: what its serial port sends becomes lines, and what is typed goes there.

use super::{ChipsetState, End, HOUSEKEEPING, LINE_BYTES, Partition};
use crate::host::Host;
use crate::mailbox;
use core::sync::atomic::Ordering::*;

/// An unfinished line waits for this part of a second: a prompt shows at once, and a
/// line that is printed piece by piece stays one.
const UNFINISHED_LINES_PER_SECOND: u64 = 10;

impl<H: Host> Partition<H> {
    /// Takes a byte of the console. Returns whether the caller has mail by that.
    pub(super) fn transmit(
        &self,
        from: usize,
        byte: u8,
        line: &mut [u8; LINE_BYTES],
        used: &mut usize,
    ) -> bool {
        if byte == b'\n' {
            let text = line.get(..*used).unwrap_or(&[]);
            self.host.console(self, text.strip_suffix(b"\r").unwrap_or(text), true);
            *used = 0;
            return self.look_for_ready(from, text);
        }
        if let Some(place) = line.get_mut(*used) {
            *place = byte;
            *used += 1;
        }
        if *used == LINE_BYTES {
            self.host.console(self, line, false);
            *used = 0;
        }
        false
    }

    /// The guest says that it is up, once: each vCPU counts its exits apart from then on.
    fn look_for_ready(&self, from: usize, line: &[u8]) -> bool {
        let Some(wanted) = self.ready.as_deref().filter(|wanted| !wanted.is_empty()) else { return false };
        if self.is_ready.load(Acquire) || !line.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
            return false;
        }
        self.is_ready.store(true, Release);
        (0..self.mailboxes.len()).fold(false, |own, vcpu| own | self.notify(from, vcpu, mailbox::READY))
    }

    /// Sets or clears the time at which an unfinished line is written. Returns whether
    /// the caller has to look at its timers.
    pub(super) fn watch_console(&self, from: usize, unfinished: bool) -> bool {
        if !unfinished {
            let was_set = self.console_deadline.swap(u64::MAX, AcqRel) != u64::MAX;
            return was_set && from == 0 && !self.left_to_housekeeping.load(SeqCst);
        }
        let deadline = self.now() + self.tsc_hz / UNFINISHED_LINES_PER_SECOND;
        let unset = self.console_deadline.compare_exchange(u64::MAX, deadline, AcqRel, Acquire).is_ok();
        unset && self.deadline_changed(from)
    }

    /// Guest time at which [`Partition::flush_console`] is due.
    pub fn console_deadline(&self) -> u64 {
        self.console_deadline.load(Acquire)
    }

    /// Writes what the guest has printed of a line that it has not ended, such as a
    /// prompt.
    pub fn flush_console(&self) {
        let mut guard = self.chipset.lock();
        let state = &mut *guard;
        self.console_deadline.store(u64::MAX, Release);
        if state.line_bytes > 0 {
            self.host.console(self, state.line.get(..state.line_bytes).unwrap_or(&[]), false);
            state.line_bytes = 0;
        }
    }

    /// A byte that was typed to the guest, by the housekeeping CPU. False: it has no room for it now,
    /// or is frozen, so offer it again later. One that has ended takes everything, for nobody.
    ///
    /// Whether it has ended is asked under the chipset's lock, so a byte that is taken is in what
    /// is saved of the chipset.
    pub fn receive(&self, byte: u8) -> bool {
        self.with_chipset(HOUSEKEEPING, |chipset, effects, _| match self.ended() {
            Some(End::Frozen) => false,
            Some(_) => true,
            None => chipset.receive(byte, effects),
        })
        .0
    }

    /// Nothing of a line waits to be written any more.
    pub(super) fn forget_line(&self, state: &mut ChipsetState) {
        self.console_deadline.store(u64::MAX, Release);
        state.line_bytes = 0;
    }
}
