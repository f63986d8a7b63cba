//! A guest's display, as far as it is memory of the machine's.

use machine::memory::guest_ram::GuestRam;

/// A guest's display.
pub struct Display {
    /// Its place among the guest's endpoints.
    pub endpoint: usize,
    /// Its video memory, from address 0 on.
    pub memory: GuestRam,
}

impl Display {
    /// Leaves nothing in the video memory.
    pub fn scrub(&self) {
        self.memory.zero_all();
    }
}
