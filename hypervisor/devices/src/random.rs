//! Random words of the machine's for guests, tested while they come (NIST SP 800-90B, section 4.4).
//!
//! What the processor gives has passed its own tests and its conditioning; these find a generator that
//! is broken behind them, as some were after a sleep, or that whoever runs this machine made up. The
//! tests claim little: [`CLAIMED_BITS`] of min-entropy in a word of 64 bits, and the same share of it in
//! each byte. A source that gives just that fails each test by chance once in 2^40 samples at most
//! ([`MOST_REPEATED`], [`MOST_SAME_WORDS`], [`MOST_SAME_BYTES`] say by which count); one that gives all
//! 64 bits, as it should, less often than once in 2^100.

use alloc::boxed::Box;
use core::fmt;

#[cfg(test)]
mod tests;

/// Bits of min-entropy in a word that the tests count on.
pub const CLAIMED_BITS: u32 = 32;
/// Samples of a window of the adaptive proportion tests (section 4.4.2, for samples of more than a bit).
pub const WINDOW: u16 = 512;
/// Repetition count test (section 4.4.1) of words: so many equal ones in a row are no chance. 1 +
/// ⌈40 / 32⌉: where a word has 32 bits, that is once in 2^64 words.
pub const MOST_REPEATED: u16 = 3;
/// Adaptive proportion test of words: the first of a window so often in it. Where a word has 32 bits,
/// that is once in 2^47 windows, and two are once in 2^23.
pub const MOST_SAME_WORDS: u16 = 3;
/// Adaptive proportion test of the bytes at one place of a word: the first of a window so often in it. Where a byte has 4 bits,
/// that is once in 2^41 windows; where it has 8, three times are usual.
pub const MOST_SAME_BYTES: u16 = 79;
/// Words that pass before the first is given to anybody (section 4.3, item 4: at least 1,024 samples).
pub const WORDS_AT_START: u16 = 1024;

/// Where random words come from.
pub trait Source: Send {
    /// The next word; `None` where there is none although it was waited for, which a source that works
    /// does not do.
    fn word(&mut self) -> Option<u64>;
    /// It is not asked any more, for this reason. Called once.
    fn given_up(&mut self, fault: Fault);
}

/// Why a source is not used any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It gave nothing.
    Silent,
    /// One word came too often in a row.
    Repetition,
    /// One word came too often in a window.
    SameWord,
    /// One byte came too often in a window.
    SameByte,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it gives none",
            Self::Repetition => "one came too often in a row (repetition count test)",
            Self::SameWord => "one came too often (adaptive proportion test)",
            Self::SameByte => "one byte of them came too often (adaptive proportion test)",
        })
    }
}

/// An adaptive proportion test.
#[derive(Clone, Copy, Default, Debug)]
struct Proportion {
    first: u64,
    same: u16,
    seen: u16,
}

impl Proportion {
    /// Takes a sample. Whether it passes: the first of its window came fewer than `most` times.
    const fn passes(&mut self, sample: u64, most: u16) -> bool {
        if self.seen == 0 {
            (self.first, self.same) = (sample, 0);
        }
        self.same += (sample == self.first) as u16;
        self.seen = if self.seen + 1 < WINDOW { self.seen + 1 } else { 0 };
        self.same < most
    }
}

/// The tests, on their way through the words of one source.
#[derive(Clone, Copy, Default, Debug)]
pub struct Health {
    last: u64,
    repeated: u16,
    words: Proportion,
    /// Of the bytes at each place of a word: one that is stuck is found there.
    bytes: [Proportion; 8],
}

impl Health {
    /// Takes the next word.
    ///
    /// # Errors
    /// It fails a test.
    pub fn check(&mut self, word: u64) -> Result<(), Fault> {
        self.repeated = if self.repeated > 0 && word == self.last { self.repeated + 1 } else { 1 };
        self.last = word;
        if self.repeated >= MOST_REPEATED {
            return Err(Fault::Repetition);
        }
        if !self.words.passes(word, MOST_SAME_WORDS) {
            return Err(Fault::SameWord);
        }
        for (test, byte) in self.bytes.iter_mut().zip(word.to_le_bytes()) {
            if !test.passes(byte.into(), MOST_SAME_BYTES) {
                return Err(Fault::SameByte);
            }
        }
        Ok(())
    }
}

/// A source that is used while it passes.
pub struct Tested {
    source: Box<dyn Source>,
    health: Health,
    fault: Option<Fault>,
}

impl Tested {
    /// The source, once its first words have passed; none of them is given to anybody.
    ///
    /// # Errors
    /// They have not.
    pub fn new(source: Box<dyn Source>) -> Result<Self, Fault> {
        let mut tested = Self { source, health: Health::default(), fault: None };
        for _ in 0..WORDS_AT_START {
            tested.word()?;
        }
        Ok(tested)
    }

    /// The next word.
    ///
    /// # Errors
    /// There was none, or it has failed: there is none any more.
    pub fn word(&mut self) -> Result<u64, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let word = self.source.word().ok_or(Fault::Silent);
        word.and_then(|word| self.health.check(word).map(|()| word)).inspect_err(|fault| {
            self.fault = Some(*fault);
            self.source.given_up(*fault);
        })
    }
}
