//! Why a compartment is no more, and what became of one so far.

use core::fmt;

/// Why a compartment was ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It did what raised an exception of this vector, at this address of its own.
    Fault {
        /// The exception's vector.
        vector: u8,
        /// Where it was.
        rip: u64,
    },
    /// It found a fault of its own, or did what is no instruction: it says so by this number, which is the line of
    /// its source where it was a panic.
    GaveUp {
        /// The line.
        line: u64,
    },
    /// It did not come back in time.
    Late,
    /// What it answered is no answer to what it was asked: what was wrong.
    Answer(&'static str),
    /// It was to be ended, whatever it did.
    Killed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { vector, rip } => write!(f, "exception {vector} at {rip:#x}"),
            Self::GaveUp { line } => write!(f, "it gave up, at line {line}"),
            Self::Late => f.write_str("it did not come back in time"),
            Self::Answer(what) => write!(f, "its answer makes no sense: {what}"),
            Self::Killed => f.write_str("it was killed"),
        }
    }
}

/// What became of a device's compartment so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Account {
    /// Bytes of memory of its own.
    pub own_bytes: u64,
    /// How often it was entered.
    pub entries: u64,
    /// How often it was made anew.
    pub restarts: u64,
    /// The longest of them, in ticks of the TSC: from when a call was not answered to when it was, made once more.
    pub longest_restart: u64,
    /// Why it was ended last, if it ever was.
    pub last: Option<Ended>,
    /// It was not made anew after that: the device is as one that was pulled out.
    pub is_gone: bool,
}
