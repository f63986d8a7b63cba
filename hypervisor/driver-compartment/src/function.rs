//! What ring 0 does for a function whose driver is in a compartment.

use compartment::Compartment;

/// How far a function is that is being renewed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewal {
    /// It waits for the device, and is to be asked again at this time at the latest, in nanoseconds.
    Waits {
        /// That time.
        until_ns: u64,
    },
    /// The function and the compartment are as they were when the driver was first given them.
    Done {
        /// What the device had taken into a cache of its own it still has: no rung of the ladder that was
        /// needed takes its power away.
        keeps_cache: bool,
    },
    /// The function could not be reset: why not.
    Failed(&'static str),
}

/// A compartment with a driver, and the function that it drives.
///
/// Configuration space, messages and the IOMMU are ring 0's, so what has to be done there for a driver that
/// is new is done here. Nothing waits.
pub trait Function: Compartment {
    /// Begins to bring the function back to where it was when its driver was first given it, and the
    /// compartment to where it was when it was built: it is detached from its domain, so that it reaches no
    /// memory; reset by what PCI offers, with proof, where the driver's own reset does not count; given its
    /// BARs and messages again, and attached. The compartment's data and heap are as its image has them,
    /// its memory for queues is zeroed, and it is told again what it is for
    /// ([`Description::enter`](crate::Description::enter)). But for what that writes, its area and the memory for
    /// requests' data keep what they have.
    ///
    /// One that is under way already goes on.
    fn begin_renewal(&mut self, now_ns: u64);

    /// How far that is.
    fn renewal(&mut self, now_ns: u64) -> Renewal;

    /// The driver says that the device does nothing more of what it was told before: where PCI offered no
    /// reset, it may master the bus from now on. A driver that lies has it reach the driver's own memory, and
    /// nothing else is mapped for it.
    fn allow_bus(&mut self) {}
}
