//! A guest's chipset, which has no need of its guest's memory.

use alloc::boxed::Box;
use chipset_compartment::ChipsetServer;

/// It, from the first call on.
pub struct ChipsetModel(Box<ChipsetServer>);

impl ChipsetModel {
    /// Serves the first call in the words of the area. `None` where it says no state of a chipset's.
    // What it has on the stack is not to be there at each entry.
    #[inline(never)]
    pub fn begin(words: &mut [u64]) -> Option<Self> {
        Some(Self(Box::new(ChipsetServer::begin(words)?)))
    }

    /// Serves a later call. False where there is none.
    pub fn serve(&mut self, words: &mut [u64]) -> bool {
        self.0.serve(words)
    }
}
