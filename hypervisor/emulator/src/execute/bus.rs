//! What stands where there is no memory.

use spec::{Gpa, Width};

/// What answers where there is no memory.
///
/// An access is within one page, and is not aligned unless the guest aligned it.
pub trait Bus {
    /// Reads; bits above the width are ignored.
    fn read(&mut self, gpa: Gpa, width: Width) -> u64;
    /// Writes; bits above the width are 0.
    fn write(&mut self, gpa: Gpa, width: Width, value: u64);
}
