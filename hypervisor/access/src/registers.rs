//! A device's memory-mapped registers.

/// A window of memory-mapped registers. `offset` is in bytes from its start and a
/// multiple of the width. Accesses are single, uncached, and in program order.
/// An offset outside the window reads ones and ignores writes.
pub trait RegisterWindow {
    /// Reads 32 bits.
    fn read32(&self, offset: usize) -> u32;
    /// Writes 32 bits.
    fn write32(&self, offset: usize, value: u32);
    /// Reads 64 bits.
    fn read64(&self, offset: usize) -> u64;
    /// Writes 64 bits.
    fn write64(&self, offset: usize, value: u64);
}

impl<T: RegisterWindow + ?Sized> RegisterWindow for &T {
    fn read32(&self, offset: usize) -> u32 {
        (**self).read32(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        (**self).write32(offset, value)
    }
    fn read64(&self, offset: usize) -> u64 {
        (**self).read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        (**self).write64(offset, value)
    }
}
