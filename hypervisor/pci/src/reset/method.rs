//! The rungs of the ladder, by name, and the times that they take.

use super::saved::ResetPath;
use core::fmt;
use spec::Bdf;

pub(super) const MILLISECOND: u64 = 1_000_000;
/// A function may be silent for so long after a function-level reset (section
/// 6.6.2) and after a conventional one (section 6.6.1).
pub(super) const SILENCE_NS: u64 = 100 * MILLISECOND;
/// Time that a change between D0 and D3hot takes (section 5.9).
pub(super) const POWER_NS: u64 = 10 * MILLISECOND;
/// Time that the secondary bus is held in reset (section 7.5.1.3.13: 1 ms or more).
pub(super) const HOLD_NS: u64 = 2 * MILLISECOND;

/// A rung of the ladder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetMethod {
    /// Function-level reset of PCI Express (section 6.6.2).
    FunctionLevel,
    /// Function-level reset of conventional PCI's advanced features.
    AdvancedFeatures,
    /// D3hot and back to D0, where that loses the state.
    PowerState,
    /// Reset of the bus behind the bridge.
    SecondaryBus,
}

impl ResetMethod {
    /// The rungs, in the order of the ladder.
    pub const LADDER: [Self; 4] =
        [Self::FunctionLevel, Self::AdvancedFeatures, Self::PowerState, Self::SecondaryBus];
}

impl fmt::Display for ResetMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FunctionLevel => "function-level reset",
            Self::AdvancedFeatures => "function-level reset (advanced features)",
            Self::PowerState => "D3hot and back to D0",
            Self::SecondaryBus => "secondary bus reset",
        })
    }
}

/// The bus of a function, where all of it belongs to one guest.
#[derive(Clone, Copy)]
pub struct OwnedBus<'a> {
    /// The bridge above it.
    pub bridge: Bdf,
    /// The other functions on it (and on buses behind it), all of the same guest:
    /// they are reset too.
    pub others: &'a [ResetPath],
}
