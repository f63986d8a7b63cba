//! What a compartment is to who enters it.

use crate::ended::Ended;

/// A compartment that can be entered. It runs while [`enter`](Self::enter) does, and at no other time.
pub trait Compartment: Send {
    /// The words of its area.
    fn area(&mut self) -> &mut [u64];
    /// Has it do what the call in its area says.
    ///
    /// # Errors
    /// Why it is not entered again.
    fn enter(&mut self) -> Result<(), Ended>;
    /// Makes it anew, with the same area, which it has done nothing of: its device is built, as after power-up.
    /// What the area says does not matter, before and afterwards.
    ///
    /// # Errors
    /// Why it is not there.
    fn restart(&mut self) -> Result<(), Ended> {
        Err(Ended::Answer("it cannot be made anew"))
    }
    /// Bytes of memory of its own, for whoever tells of that.
    fn own_bytes(&self) -> u64 {
        0
    }
    /// Ticks of a clock, by which a restart is timed for whoever tells of that.
    fn now(&self) -> u64 {
        0
    }
    /// It ended so, for good or to be made anew: for whoever tells of that.
    fn ended(&mut self, why: Ended, is_gone: bool) {
        let _ = (why, is_gone);
    }
}
