//! Whose code a processor ran last outside of ring 0, and what comes between two of them.
//!
//! A guest and its compartments are one domain: they have the same memory. A processor is its guest's for good,
//! but it may go to a compartment of another's, and the housekeeping CPU goes to those of all.

use core::sync::atomic::{AtomicU32, Ordering};

/// Of nobody.
const NOBODY: u32 = u32::MAX;

/// The domains of a processor.
pub struct Domains {
    /// That of the guest that it runs.
    own: AtomicU32,
    /// That which ran last.
    last: AtomicU32,
}

impl Domains {
    /// Of a processor that runs nobody's code yet.
    pub(crate) const fn new() -> Self {
        Self { own: AtomicU32::new(NOBODY), last: AtomicU32::new(NOBODY) }
    }

    /// The processor runs this guest from now on.
    pub(crate) fn set_own(&self, guest: u32) {
        self.own.store(guest, Ordering::Relaxed);
        self.last.store(guest, Ordering::Relaxed);
    }

    /// Code of this guest's follows: whether that of another was before.
    #[inline]
    pub(crate) fn before(&self, guest: u32) -> bool {
        let changes = self.last.load(Ordering::Relaxed) != guest;
        if changes {
            self.last.store(guest, Ordering::Relaxed);
        }
        changes
    }

    /// It is over, and the guest whose the processor is may follow: whether it was another's.
    #[inline]
    pub(crate) fn after(&self) -> bool {
        let own = self.own.load(Ordering::Relaxed);
        own != NOBODY && self.before(own)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    /// Which entries into compartments of these guests have a change before them, and after.
    fn changes(own: Option<u32>, guests: &[u32]) -> Vec<(bool, bool)> {
        let domains = Domains::new();
        own.into_iter().for_each(|guest| domains.set_own(guest));
        guests.iter().map(|guest| (domains.before(*guest), domains.after())).collect()
    }

    #[test]
    fn the_housekeeping_cpu_forgets_between_guests() {
        let none = (false, false);
        let first = (true, false);
        assert_eq!(changes(None, &[0, 0, 1, 1, 0]), [first, none, first, none, first]);
    }

    #[test]
    fn a_guests_processor_forgets_around_compartments_of_others() {
        let none = (false, false);
        assert_eq!(changes(Some(1), &[1, 1, 0, 0, 1]), [none, none, (true, true), (true, true), none]);
    }
}
