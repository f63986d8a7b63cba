//! Why a guest does not get what it asks for.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Something that is wrong with a configuration, by itself or on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The key it is about, such as `guest.net.pci[0].passthrough.id`.
    pub path: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The smallest fix.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.message, self.help)
    }
}
