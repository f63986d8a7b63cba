//! A device's memory-mapped registers.

/// A window of memory-mapped registers. `offset` is in bytes from its start and a
/// multiple of the width. Accesses are single, uncached, and in program order.
/// An offset outside the window reads ones and ignores writes.
///
/// Each access has the width that its name says and reaches nothing beside it: a read
/// can have side effects, and a bit that is cleared by writing one must not be written
/// back. So no width is made out of another here.
pub trait RegisterWindow {
    /// Reads 32 bits.
    fn read32(&self, offset: usize) -> u32;
    /// Writes 32 bits.
    fn write32(&self, offset: usize, value: u32);
    /// Reads 64 bits.
    fn read64(&self, offset: usize) -> u64;
    /// Writes 64 bits.
    fn write64(&self, offset: usize, value: u64);

    /// Reads 8 bits.
    fn read8(&self, offset: usize) -> u8;
    /// Writes 8 bits.
    fn write8(&self, offset: usize, value: u8);
    /// Reads 16 bits.
    fn read16(&self, offset: usize) -> u16;
    /// Writes 16 bits.
    fn write16(&self, offset: usize, value: u16);
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
    fn read8(&self, offset: usize) -> u8 {
        (**self).read8(offset)
    }
    fn write8(&self, offset: usize, value: u8) {
        (**self).write8(offset, value)
    }
    fn read16(&self, offset: usize) -> u16 {
        (**self).read16(offset)
    }
    fn write16(&self, offset: usize, value: u16) {
        (**self).write16(offset, value)
    }
}
