//! A guest's memory that is zeros again for the next guest.

use access::{GuestMemory, OutOfBounds};
use spec::Gpa;
use std::cell::RefCell;
use std::ops::Range;

/// Memory from gpa 0, and the ranges of it that were written.
pub struct ScrubbedMemory(RefCell<Vec<u8>>, RefCell<Vec<Range<usize>>>);

impl ScrubbedMemory {
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

impl GuestMemory for ScrubbedMemory {
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
        memory.get_mut(start..end).ok_or(OutOfBounds)?.copy_from_slice(bytes);
        self.1.borrow_mut().push(start..end);
        Ok(())
    }

    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        gpa.0.checked_add(bytes).is_some_and(|end| end <= self.0.borrow().len() as u64)
    }
}
