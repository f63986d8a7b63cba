//! A guest's memory that knows where a loader must not write.

use access::{GuestMemory, OutOfBounds};
use spec::Gpa;
use std::cell::RefCell;
use std::ops::Range;

/// Memory from gpa 0, and the ranges of it that were written.
pub struct WatchedMemory(RefCell<Vec<u8>>, RefCell<Vec<Range<usize>>>);

impl WatchedMemory {
    /// `bytes` zeroed bytes.
    pub fn new(bytes: usize) -> Self {
        Self(RefCell::new(vec![0; bytes]), RefCell::default())
    }

    /// Zeroes what was written, for the next guest.
    pub fn scrub(&self) {
        let mut memory = self.0.borrow_mut();
        self.1.take().into_iter().for_each(|range| memory[range].fill(0));
    }
}

impl GuestMemory for WatchedMemory {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let start = usize::try_from(gpa.0).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        bytes.copy_from_slice(self.0.borrow().get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let start = usize::try_from(gpa.0).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        let mut memory = self.0.borrow_mut();
        let place = memory.get_mut(start..end).ok_or(OutOfBounds)?;
        // The first page stays empty, and so does the hole, where the ACPI tables are.
        let hole = 0xa_0000..0x10_0000;
        assert!(bytes.is_empty() || start >= 0x1000, "a write at {start:#x}");
        assert!(bytes.is_empty() || end <= hole.start || start >= hole.end, "a write at {start:#x}");
        place.copy_from_slice(bytes);
        self.1.borrow_mut().push(start..end);
        Ok(())
    }
}
