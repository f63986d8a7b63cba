//! The memory that a device reaches: the guest's, and a buffer of its own.

use crate::device::{DEVICE_BUFFER, Device};
use access::{GuestMemory, OutOfBounds};
use core::cell::Cell;
use spec::Gpa;

/// The guest's memory as far as the function may reach it.
pub(super) struct Reach<'a> {
    pub(super) memory: &'a dyn GuestMemory,
    pub(super) bus_master: bool,
}

impl GuestMemory for Reach<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        if self.bus_master { self.memory.read(gpa, bytes) } else { Err(OutOfBounds) }
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        if self.bus_master { self.memory.write(gpa, bytes) } else { Err(OutOfBounds) }
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.bus_master && self.memory.contains(gpa, bytes)
    }
    /// All guests have memory.
    fn is_reachable(&self) -> bool {
        self.bus_master
    }
}

/// The device's own buffer.
pub(crate) struct Own<'a>(&'a [Cell<u8>]);

impl<'a> Own<'a> {
    pub(crate) fn of(device: &'a mut dyn Device) -> Self {
        Self(Cell::from_mut(device.buffer()).as_slice_of_cells())
    }

    fn piece(&self, gpa: Gpa, bytes: usize) -> Result<&[Cell<u8>], OutOfBounds> {
        let start = gpa.0.checked_sub(DEVICE_BUFFER.0).and_then(|start| usize::try_from(start).ok());
        let piece = start.and_then(|start| self.0.get(start..start.checked_add(bytes)?));
        piece.ok_or(OutOfBounds)
    }
}

impl GuestMemory for Own<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let piece = self.piece(gpa, bytes.len())?;
        for (to, from) in bytes.iter_mut().zip(piece) {
            *to = from.get();
        }
        Ok(())
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        for (to, from) in self.piece(gpa, bytes.len())?.iter().zip(bytes) {
            to.set(*from);
        }
        Ok(())
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        usize::try_from(bytes).is_ok_and(|bytes| self.piece(gpa, bytes).is_ok())
    }
}
