//! A guest's memory, as checked copies.

use spec::Gpa;

/// An access that is not wholly inside the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfBounds;

/// A guest's memory. A guest value is untrusted: every access is checked and
/// copied, no reference points into it, and what was read once is not read again.
/// Aligned accesses of 1, 2, 4 and 8 bytes are single.
pub trait GuestMemory {
    /// Copies from the guest. Nothing is copied when any byte is outside.
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds>;
    /// Copies to the guest. Nothing is copied when any byte is outside.
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds>;

    /// Whether all of `bytes` bytes from `gpa` on are the guest's memory, which a device of the machine may
    /// then read and write for the guest.
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool;

    /// Whether any of it can be reached: a guest has memory from 0 on, and whoever may not reach it has none.
    fn is_reachable(&self) -> bool {
        self.contains(Gpa(0), 1)
    }

    /// Writes what tells the guest that something is done: an index, or a flag, behind which it finds what was
    /// written before. Whoever has the device do something may make that be seen only once all of it is done
    /// ([`is_late`](Self::is_late)). At most 8 bytes.
    fn publish(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.write(gpa, bytes)
    }

    /// Whether something was [published](Self::publish) that the guest does not see yet. Then it is too early
    /// to ask whether the guest wants to be told of it: whoever is answered so is asked again to tell, once the
    /// guest sees it.
    fn is_late(&self) -> bool {
        false
    }

    /// Reads 4 bytes, little-endian.
    fn read32(&self, gpa: Gpa) -> Result<u32, OutOfBounds> {
        let mut bytes = [0; 4];
        self.read(gpa, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
    /// Reads 8 bytes, little-endian.
    fn read64(&self, gpa: Gpa) -> Result<u64, OutOfBounds> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
    /// Reads 8 bytes, little-endian; `outside` where they are not wholly inside.
    #[inline]
    fn read64_or(&self, gpa: Gpa, outside: u64) -> u64 {
        self.read64(gpa).unwrap_or(outside)
    }
    /// Writes 4 bytes, little-endian.
    fn write32(&self, gpa: Gpa, value: u32) -> Result<(), OutOfBounds> {
        self.write(gpa, &value.to_le_bytes())
    }
    /// Writes 8 bytes, little-endian.
    fn write64(&self, gpa: Gpa, value: u64) -> Result<(), OutOfBounds> {
        self.write(gpa, &value.to_le_bytes())
    }
}

impl<T: GuestMemory + ?Sized> GuestMemory for &T {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        (**self).read(gpa, bytes)
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        (**self).write(gpa, bytes)
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        (**self).contains(gpa, bytes)
    }
    fn is_reachable(&self) -> bool {
        (**self).is_reachable()
    }
    fn publish(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        (**self).publish(gpa, bytes)
    }
    fn is_late(&self) -> bool {
        (**self).is_late()
    }
}

/// Guest memory from gpa 0, in a vector.
#[cfg(any(test, feature = "fakes"))]
pub struct VecMemory(pub core::cell::RefCell<std::vec::Vec<u8>>);

#[cfg(any(test, feature = "fakes"))]
impl VecMemory {
    /// `bytes` zeroed bytes from gpa 0.
    pub fn new(bytes: usize) -> Self {
        Self(core::cell::RefCell::new(std::vec![0; bytes]))
    }
}

#[cfg(any(test, feature = "fakes"))]
impl GuestMemory for VecMemory {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let memory = self.0.borrow();
        let start = usize::try_from(gpa.0).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        bytes.copy_from_slice(memory.get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let mut memory = self.0.borrow_mut();
        let start = usize::try_from(gpa.0).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        memory.get_mut(start..end).ok_or(OutOfBounds)?.copy_from_slice(bytes);
        Ok(())
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        gpa.0.checked_add(bytes).is_some_and(|end| end <= self.0.borrow().len() as u64)
    }
}
