//! What stands where there is no memory.

use super::load::Load;
use spec::{Gpa, Width};

/// What answers where there is no memory.
///
/// An access is within one page, and is not aligned unless the guest aligned it. What an instruction, or an element
/// of a string, reads it reads before it writes anything.
pub trait Bus {
    /// Reads; bits above the width are ignored. `None` where that is not known yet: then the instruction is
    /// [`Waiting`](super::Outcome::Waiting), and what was read before is read again with it.
    fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64>;
    /// Writes; bits above the width are 0.
    fn write(&mut self, gpa: Gpa, width: Width, value: u64);
    /// Whether it carries out this load by itself, once the instruction is over but for that.
    #[inline]
    fn takes_over(&mut self, gpa: Gpa, load: Load) -> bool {
        let _ = (gpa, load);
        false
    }
}
