//! What compartments are called.

use super::FunctionName;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use platform::names::DevFn;
use serde::{Deserialize, Serialize};

/// What of a guest's machine has compartments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum MachinePart {
    /// The interpreters of its instructions, of which each virtual processor has one.
    Interpreter,
    /// Its chipset.
    Chipset,
}

impl MachinePart {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Interpreter, Self::Chipset];

    /// The word that stands for a slot.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::Chipset => "chipset",
        }
    }
}

/// What a compartment is called: `GUEST:SLOT` where it has the model of an emulated function, `GUEST:interpreter` and
/// `GUEST:chipset` where it has that of a guest's machine, `disk.NAME`
/// where it has the driver of a drive, `network.NAME` where it has that of an uplink. No name of these has a dot or
/// a colon.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum CompartmentName {
    /// Of an emulated function.
    Function {
        /// Its guest's name.
        guest: String,
        /// Its slot.
        slot: DevFn,
    },
    /// Of this guest's machine.
    Machine {
        /// Its name.
        guest: String,
        /// What of it.
        part: MachinePart,
    },
    /// Of the drive of this name.
    Disk(String),
    /// Of the uplink of the network of this name.
    Network(String),
}

/// A text that is no [`CompartmentName`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCompartmentName;

impl FromStr for CompartmentName {
    type Err = NoCompartmentName;
    fn from_str(text: &str) -> Result<Self, NoCompartmentName> {
        if let Some((guest, slot)) = text.rsplit_once(':') {
            let part = MachinePart::ALL.into_iter().find(|part| part.text() == slot);
            if let Some(part) = part.filter(|_| !guest.is_empty()) {
                return Ok(Self::Machine { guest: guest.to_string(), part });
            }
            let slot = slot.parse().map_err(|_| NoCompartmentName)?;
            return Ok(Self::Function { guest: guest.to_string(), slot });
        }
        match text.split_once('.') {
            Some(("disk", name)) if !name.is_empty() => Ok(Self::Disk(name.to_string())),
            Some(("network", name)) if !name.is_empty() => Ok(Self::Network(name.to_string())),
            _ => Err(NoCompartmentName),
        }
    }
}

impl From<FunctionName<'_>> for CompartmentName {
    fn from(name: FunctionName<'_>) -> Self {
        Self::Function { guest: name.guest.to_string(), slot: name.slot }
    }
}

impl fmt::Display for CompartmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function { guest, slot } => FunctionName { guest, slot: *slot }.fmt(f),
            Self::Machine { guest, part } => write!(f, "{guest}:{}", part.text()),
            Self::Disk(name) => write!(f, "disk.{name}"),
            Self::Network(name) => write!(f, "network.{name}"),
        }
    }
}
