//! What is delivered to a guest.

use serde::{Deserialize, Serialize};

/// An event to deliver through the guest's interrupt table at the next entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A maskable interrupt; the guest can take it now.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception, with its error code where it has one.
    Exception {
        /// Exception vector, 0 to 31.
        vector: u8,
        /// Error code, for the vectors that push one.
        error: Option<u32>,
    },
}

impl Event {
    /// #UD.
    pub const UNDEFINED: Self = Self::Exception { vector: 6, error: None };
    /// #GP(0).
    pub const PROTECTION: Self = Self::Exception { vector: 13, error: Some(0) };

    /// Whether it is a fault, whose handler returns to the instruction: neither an abort nor
    /// a trap (Intel SDM vol. 3 table 6-1), of which debug exceptions are those that
    /// software raises here.
    pub const fn is_fault(self) -> bool {
        const DEBUG: u8 = 1;
        const BREAKPOINT: u8 = 3;
        const OVERFLOW: u8 = 4;
        const DOUBLE_FAULT: u8 = 8;
        const MACHINE_CHECK: u8 = 18;
        match self {
            Self::Exception { vector, .. } => {
                !matches!(vector, DEBUG | BREAKPOINT | OVERFLOW | DOUBLE_FAULT | MACHINE_CHECK)
            }
            Self::Interrupt(_) | Self::Nmi => false,
        }
    }
}
