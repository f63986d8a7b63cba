//! What compartments are called.

use super::FunctionName;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use platform::names::DevFn;
use serde::{Deserialize, Serialize};

/// The word that stands for a slot where it is the interpreter.
const INTERPRETER: &str = "interpreter";

/// What a compartment is called: `GUEST:SLOT` where it has the model of an emulated function, `GUEST:interpreter` where
/// it interprets the instructions of that guest's virtual processors, of which each has one, `disk.NAME`
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
    /// Those of the interpreters of this guest's instructions.
    Interpreter(String),
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
            if slot == INTERPRETER && !guest.is_empty() {
                return Ok(Self::Interpreter(guest.to_string()));
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
            Self::Interpreter(guest) => write!(f, "{guest}:{INTERPRETER}"),
            Self::Disk(name) => write!(f, "disk.{name}"),
            Self::Network(name) => write!(f, "network.{name}"),
        }
    }
}
