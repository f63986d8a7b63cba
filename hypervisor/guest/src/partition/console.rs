//! The guest's consoles: what its serial port and the consoles among its functions print becomes lines, and
//! what is typed goes where it was typed to.

use super::terminal::{LINE_BYTES, Line, SERIAL_PORT};
use super::{ChipsetState, End, HOUSEKEEPING, Partition};
use crate::host::Host;
use crate::mailbox;
use core::sync::atomic::Ordering::*;

/// An unfinished line waits for this part of a second: a prompt shows at once, and a
/// line that is printed piece by piece stays one.
const UNFINISHED_LINES_PER_SECOND: u64 = 10;
impl<H: Host> Partition<H> {
    /// Takes a byte of console `console`. Returns whether the caller has mail by that.
    pub(super) fn transmit(&self, from: usize, console: usize, byte: u8, line: &mut Line) -> bool {
        if byte == b'\n' {
            let text = line.text();
            self.host.console(self, console, text.strip_suffix(b"\r").unwrap_or(text), true);
            let has_mail = self.look_for_ready(from, line.text());
            line.used = 0;
            return has_mail;
        }
        if let Some(place) = line.bytes.get_mut(line.used) {
            *place = byte;
            line.used += 1;
        }
        if line.used == LINE_BYTES {
            self.host.console(self, console, line.text(), false);
            line.used = 0;
        }
        false
    }

    /// Takes what endpoint `endpoint` prints. Returns whether vCPU `from` has to look at its mail or its
    /// timers.
    pub(crate) fn print(&self, from: usize, endpoint: usize, bytes: &[u8]) -> bool {
        let mut consoles = (SERIAL_PORT + 1..).zip(&self.consoles);
        let Some((number, console)) = consoles.find(|(_, console)| console.endpoint == endpoint) else {
            return false;
        };
        let mut line = console.line.lock();
        let has_mail =
            bytes.iter().fold(false, |own, byte| own | self.transmit(from, number, *byte, &mut line));
        has_mail | (line.is_unfinished() && self.watch_console(from, true))
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

    /// Sets or clears the time at which unfinished lines are written. Returns whether
    /// the caller has to look at its timers.
    pub(super) fn watch_console(&self, from: usize, unfinished: bool) -> bool {
        if !unfinished {
            // Another console may have one: then nothing is found at that time, or its line.
            if !self.consoles.is_empty() {
                return false;
            }
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

    /// Writes what the guest has printed of lines that it has not ended, such as a
    /// prompt.
    pub fn flush_console(&self) {
        self.console_deadline.store(u64::MAX, Release);
        self.flush_line(SERIAL_PORT, &mut self.chipset.lock().line);
        for (number, console) in (SERIAL_PORT + 1..).zip(&self.consoles) {
            self.flush_line(number, &mut console.line.lock());
        }
    }

    fn flush_line(&self, console: usize, line: &mut Line) {
        if line.is_unfinished() {
            self.host.console(self, console, line.text(), false);
            line.used = 0;
        }
    }

    /// A byte that was typed to console `console` of the guest, by the housekeeping CPU. False: it has no room
    /// for it now, or is frozen, so offer it again later. One that has ended takes everything, for nobody.
    ///
    /// Whether it has ended is asked under the chipset's lock, so a byte that is taken is in what
    /// is saved of the chipset.
    pub fn receive(&self, console: usize, byte: u8) -> bool {
        if let Some(place) = console.checked_sub(SERIAL_PORT + 1) {
            return self.receive_at(place, byte);
        }
        self.with_chipset(HOUSEKEEPING, |chipset, effects, _| match self.ended() {
            Some(End::Frozen) => false,
            Some(_) => true,
            None => chipset.receive(byte, effects),
        })
        .0
    }

    /// A console that is not there takes everything.
    fn receive_at(&self, place: usize, byte: u8) -> bool {
        let Some(console) = self.consoles.get(place) else { return true };
        let taken = self.serve_endpoint(console.endpoint, |endpoint, around| match self.ended() {
            Some(End::Frozen) => false,
            Some(_) => true,
            None => endpoint.input(byte, around),
        });
        taken.unwrap_or(true)
    }

    /// Nothing of a line waits to be written any more.
    pub(super) fn forget_line(&self, state: &mut ChipsetState) {
        self.console_deadline.store(u64::MAX, Release);
        state.line.used = 0;
        for console in &self.consoles {
            console.line.lock().used = 0;
        }
    }
}
