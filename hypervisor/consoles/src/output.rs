//! Whose turn it is on the serial line.
//!
//! The owners take turns, each with the same share of bytes (deficit round robin: Shreedhar
//! and Varghese, 1995); a line is never interrupted. So a line waits for one turn of each
//! other owner at most, however much these have to say.

use crate::filter::LONGEST_TEXT;
use crate::port::SerialPort;
use crate::ring::{Flags, Lost, Taken};
use crate::{HYPERVISOR, LONGEST_NAME};
use core::fmt::Write;

/// A whole line: name, mark, text, end.
const LONGEST_LINE: usize = LONGEST_NAME + 2 + LONGEST_TEXT + 2;
/// Most owners: the log, and the consoles of all guests, of which each has one and its functions may be more.
pub const MOST_OWNERS: usize = 256;
/// Bytes that each owner gets in a turn. What it does not use is not kept; what it uses
/// beyond, for lines are whole, it has less the next time.
const SHARE: i32 = 256;

/// Who has lines.
pub trait Source {
    /// The name before its lines.
    fn name(&self) -> &str;
    /// Takes its oldest line, or the count of what is missing there.
    fn take(&self, text: &mut [u8; LONGEST_TEXT]) -> Option<Taken>;
}

/// The line that is on its way.
#[derive(Debug)]
struct Current {
    bytes: [u8; LONGEST_LINE],
    length: usize,
    sent: usize,
}

impl Current {
    fn is_over(&self) -> bool {
        self.sent == self.length
    }

    fn start(&mut self, name: &str, complete: bool) {
        (self.length, self.sent) = (0, 0);
        self.append(name.as_bytes().get(..LONGEST_NAME).unwrap_or(name.as_bytes()));
        self.append(if complete { b"| " } else { b"> " });
    }

    fn append(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }
}

impl Current {
    fn tell_lost(&mut self, name: &str, lost: Lost) {
        let Lost { lines, bytes } = lost;
        self.start(HYPERVISOR, true);
        // A line that does not fit is cut.
        let _ =
            write!(self, "{lines} lines of {name} are left out here, {bytes} bytes: too much at once\r\n");
    }
}

impl Write for Current {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

/// What is sent now, and whose turn is next.
#[derive(Debug)]
pub struct Output {
    current: Current,
    /// Bytes that each owner may still send in its turn.
    credits: [i32; MOST_OWNERS],
    turn: usize,
    /// The port took nothing for too long; lines pass it by until it does again.
    stuck: bool,
    /// Lines that passed by a stuck port.
    passed_by: u64,
}

/// What a [`Output::pump`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pumped {
    /// Nobody has anything to say.
    Idle,
    /// The port is busy, or enough was done for one time.
    Busy {
        /// Whether the port took anything.
        moved: bool,
    },
}

impl Output {
    /// Nothing to say, for nobody.
    pub const fn new() -> Self {
        let current = Current { bytes: [0; LONGEST_LINE], length: 0, sent: 0 };
        Self { current, credits: [0; MOST_OWNERS], turn: 0, stuck: false, passed_by: 0 }
    }

    /// Says that the port took nothing for too long: lines pass it by, and how many is told
    /// when it takes something again.
    pub fn fail(&mut self) {
        self.stuck = true;
    }

    /// Whether the port has failed for now.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Sends what `port` takes, at most `most` lines of the first [`MOST_OWNERS`] `sources`. Each line is given to
    /// `also` once, whole, when it is begun, with whether it is for the screen.
    pub fn pump<S: Source>(
        &mut self,
        sources: &[S],
        port: Option<&mut impl SerialPort>,
        most: usize,
        mut also: impl FnMut(&[u8], bool),
    ) -> Pumped {
        let (mut begun, mut moved) = (0, false);
        let Some(port) = port else {
            while begun < most {
                if !self.next(sources, &mut also) {
                    return Pumped::Idle;
                }
                self.current.sent = self.current.length;
                begun += 1;
            }
            return Pumped::Busy { moved: true };
        };
        let mut room = port.room();
        if room > 0 && self.stuck {
            self.stuck = false;
            self.current.sent = self.current.length;
            self.tell_passed_by();
        }
        loop {
            if self.current.is_over() {
                if begun == most {
                    return Pumped::Busy { moved };
                }
                if !self.next(sources, &mut also) {
                    return Pumped::Idle;
                }
                begun += 1;
            }
            if self.stuck {
                self.current.sent = self.current.length;
                self.passed_by = self.passed_by.saturating_add(1);
                moved = true;
                continue;
            }
            while room > 0 && !self.current.is_over() {
                let byte = self.current.bytes.get(self.current.sent).copied().unwrap_or(b' ');
                port.send(byte);
                self.current.sent += 1;
                room -= 1;
                moved = true;
            }
            if !self.current.is_over() {
                return Pumped::Busy { moved };
            }
        }
    }

    /// Makes what passed a stuck port by the line that is on its way.
    fn tell_passed_by(&mut self) {
        let lines = core::mem::take(&mut self.passed_by);
        if lines > 0 {
            (self.current.length, self.current.sent) = (0, 0);
            // What was on the line before has no end.
            let _ = write!(
                self.current,
                "\r\n{HYPERVISOR}| {lines} lines are missing here: the serial port took nothing\r\n"
            );
        }
    }

    /// Begins the next line, of whose turn it is; false if there is none.
    fn next<S: Source>(&mut self, sources: &[S], also: &mut impl FnMut(&[u8], bool)) -> bool {
        let sources = sources.get(..MOST_OWNERS).unwrap_or(sources);
        let mut text = [0; LONGEST_TEXT];
        // Once around, and the first once more: it may have used up its share.
        for _ in 0..=2 * sources.len() {
            self.turn %= sources.len().max(1);
            let Self { current, credits, .. } = self;
            let (Some(source), Some(credit)) = (sources.get(self.turn), credits.get_mut(self.turn)) else {
                return false;
            };
            if *credit <= 0 {
                *credit += SHARE;
                self.turn += 1;
                continue;
            }
            let shown = match source.take(&mut text) {
                // Who has nothing to say keeps no claims.
                None => {
                    *credit = SHARE;
                    self.turn += 1;
                    continue;
                }
                Some(Taken::Lost(lost)) => {
                    current.tell_lost(source.name(), lost);
                    true
                }
                Some(Taken::Line(length, Flags { complete, hidden })) => {
                    current.start(source.name(), complete);
                    current.append(text.get(..length).unwrap_or_default());
                    current.append(b"\r\n");
                    !hidden
                }
            };
            *credit -= current.length as i32;
            also(current.bytes.get(..current.length).unwrap_or_default(), shown);
            return true;
        }
        false
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
