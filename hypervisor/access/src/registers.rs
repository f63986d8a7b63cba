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

    /// Reads 8 bits. By default out of the dword that holds them; a window to
    /// hardware does better with an access of its own.
    fn read8(&self, offset: usize) -> u8 {
        (self.read32(offset & !3) >> (8 * (offset & 3))) as u8
    }
    /// Writes 8 bits. By default the dword that holds them is read and written
    /// back; a window to hardware does better with an access of its own.
    fn write8(&self, offset: usize, value: u8) {
        let shift = 8 * (offset & 3);
        let rest = self.read32(offset & !3) & !(0xff << shift);
        self.write32(offset & !3, rest | u32::from(value) << shift);
    }
    /// Reads 16 bits, as [`RegisterWindow::read8`] does.
    fn read16(&self, offset: usize) -> u16 {
        (self.read32(offset & !3) >> (8 * (offset & 2))) as u16
    }
    /// Writes 16 bits, as [`RegisterWindow::write8`] does.
    fn write16(&self, offset: usize, value: u16) {
        let shift = 8 * (offset & 2);
        let rest = self.read32(offset & !3) & !(0xffff << shift);
        self.write32(offset & !3, rest | u32::from(value) << shift);
    }
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
