//! Why a reset does not count.

use core::fmt;

/// Why a rung does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetFault {
    /// The function does not answer before it.
    Absent,
    /// The function does not answer in time after it.
    NoReturn,
    /// Something with another identity answers.
    Replaced {
        /// Vendor and device ID that answer.
        identity: u32,
    },
    /// Command bits that were set before it are still set: nothing was reset.
    NotReset,
    /// No command bit of the function can be set, so nothing could show a reset.
    NoWitness,
    /// A register does not read back what was restored.
    NotRestored {
        /// Its offset in configuration space.
        register: u16,
    },
    /// The bridge is not the one above the function.
    WrongBridge,
}

impl fmt::Display for ResetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "the function does not answer"),
            Self::NoReturn => write!(f, "the function did not come back"),
            Self::Replaced { identity } => {
                write!(f, "{:04x}:{:04x} answers instead", identity & 0xffff, identity >> 16)
            }
            Self::NotReset => write!(f, "the function kept its state"),
            Self::NoWitness => write!(f, "no command bit can be set to prove it"),
            Self::NotRestored { register } => write!(f, "register {register:#x} could not be restored"),
            Self::WrongBridge => write!(f, "the bridge is not the one above the function"),
        }
    }
}
