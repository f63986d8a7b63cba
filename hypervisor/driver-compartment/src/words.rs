//! The words that ring 0 and a compartment have in common, by their place.
//!
//! The first of them are the same for drives and network interfaces: what is asked, and how the driver is
//! after it. Whoever reads a place that there is not reads 0.

use compartment::Kind;
use core::fmt::{self, Write};

/// Bytes of a word.
pub(crate) const WORD_BYTES: usize = size_of::<u64>();
/// Bytes of a driver's words for why its device failed.
pub(crate) const TEXT_BYTES: usize = 112;

/// The operation of the first call, which says what the compartment is for, in bytes.
pub(crate) const FIRST: u64 = Kind::Driver.word();
/// Bytes that say what a compartment is for, at most.
pub(crate) const FIRST_BYTES: usize = 256;

/// Words by their place.
pub(crate) mod at {
    use super::{FIRST_BYTES, TEXT_BYTES, WORD_BYTES};

    /// An [`Operation`](super::Operation), or [`FIRST`](super::FIRST), the time in nanoseconds, a bit for each message that came, and
    /// what else belongs to it.
    pub const OPERATION: usize = 0;
    pub const NOW: usize = 1;
    pub const MESSAGES: usize = 2;
    pub const ARGUMENTS: usize = 3;
    /// The operation that was done, a [state](super::state), and when to be called at the latest.
    pub const ANSWERED: usize = 7;
    pub const STATE: usize = 8;
    pub const DEADLINE: usize = 9;
    /// Whether the device does nothing more of what it was told before its driver had it.
    pub const IS_OURS: usize = 10;
    /// Why it failed.
    pub const TEXT_LENGTH: usize = 11;
    pub const TEXT: usize = 12;
    /// What differs between drives and interfaces.
    pub const OWN: usize = TEXT + TEXT_BYTES / WORD_BYTES;
    /// What the first call does not write over: it comes again when the compartment is renewed.
    pub const KEPT: usize = OWN + FIRST_BYTES / WORD_BYTES;
}

/// States by number, of a drive or an interface.
pub(crate) mod state {
    pub const OFF: u64 = 1;
    pub const STARTING: u64 = 2;
    pub const READY: u64 = 3;
    pub const FAILED: u64 = 4;
}

/// What a compartment is asked to do once it has a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// Brings the device up, from whatever state it is in.
    Start = 1,
    /// Takes what is new, sees to what is due, tells what is over.
    Turn = 2,
}

impl Operation {
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Start),
            2 => Some(Self::Turn),
            _ => None,
        }
    }
}

/// The area.
pub(crate) struct Words<'a>(pub &'a mut [u64]);

impl Words<'_> {
    pub fn get(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    pub fn put(&mut self, at: usize, value: u64) {
        if let Some(word) = self.0.get_mut(at) {
            *word = value;
        }
    }

    pub fn put_all(&mut self, first: usize, values: &[u64]) {
        for (at, value) in (first..).zip(values) {
            self.put(at, *value);
        }
    }

    pub fn all<const N: usize>(&self, first: usize) -> [u64; N] {
        core::array::from_fn(|index| self.get(first.saturating_add(index)))
    }

    /// The bytes of the words from `first` on, `bytes` of them at most.
    pub fn bytes(&mut self, first: usize, bytes: usize) -> &mut [u8] {
        let words = self.0.get_mut(first..).unwrap_or_default();
        let all: &mut [u8] = bytemuck::try_cast_slice_mut(words).unwrap_or_default();
        let bytes = bytes.min(all.len());
        all.get_mut(..bytes).unwrap_or_default()
    }

    /// Says why the device failed; nothing where it did not.
    pub fn put_text(&mut self, error: Option<&dyn fmt::Display>) {
        let mut text = Text::default();
        if let Some(error) = error {
            let _ = write!(text, "{error}");
        }
        self.bytes(at::TEXT, TEXT_BYTES).iter_mut().zip(text.bytes).for_each(|(to, from)| *to = from);
        self.put(at::TEXT_LENGTH, text.length as u64);
    }

    /// What was said.
    pub fn text(&mut self) -> Text {
        let mut text = Text::default();
        text.bytes.iter_mut().zip(self.bytes(at::TEXT, TEXT_BYTES)).for_each(|(to, from)| *to = *from);
        text.length = usize::try_from(self.get(at::TEXT_LENGTH)).unwrap_or(0).min(TEXT_BYTES);
        text
    }
}

/// Some words for a log: printable ASCII, anything else as `?`, and cut off where they are too long.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; TEXT_BYTES], length: 0 }
    }
}

impl Text {
    pub fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::default();
        let _ = text.write_fmt(arguments);
        text
    }
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = room.len().min(more.len());
        for (byte, from) in room.iter_mut().zip(more.bytes()) {
            *byte = from;
        }
        self.length += count;
        if count == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        self.bytes.iter().take(self.length).try_for_each(|byte| f.write_char(shown(byte)))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const _: () = assert!(TEXT_BYTES.is_multiple_of(WORD_BYTES) && FIRST_BYTES.is_multiple_of(WORD_BYTES));
