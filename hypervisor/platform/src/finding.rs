//! What is odd about this machine, as sentences.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Something that the firmware or a device says and that makes no sense, and what
/// was done about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Who says it: a table's signature or a function's address.
    pub source: String,
    /// What is wrong, as a sentence without a full stop.
    pub sentence: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.sentence)
    }
}

/// Findings while one source is read. There is an upper limit, so that a table of
/// nothing but nonsense fills neither the log nor the heap.
pub(crate) struct Findings<'a> {
    list: &'a mut Vec<Finding>,
    source: &'a str,
}

impl<'a> Findings<'a> {
    /// Most findings of one machine.
    pub const MOST: usize = 256;

    pub fn new(list: &'a mut Vec<Finding>, source: &'a str) -> Self {
        Self { list, source }
    }

    pub fn add(&mut self, sentence: fmt::Arguments<'_>) {
        if self.list.len() < Self::MOST {
            self.list.push(Finding { source: self.source.into(), sentence: alloc::fmt::format(sentence) });
        }
    }

    /// The same list, for another source.
    pub fn of<'b>(&'b mut self, source: &'b str) -> Findings<'b> {
        Findings { list: self.list, source }
    }
}

/// `finding!(findings, "format {}", argument)`
macro_rules! finding {
    ($findings:expr, $($format:tt)*) => { $findings.add(core::format_args!($($format)*)) };
}
pub(crate) use finding;
