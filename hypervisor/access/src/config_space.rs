//! PCI configuration space of the machine.

use spec::{Bdf, Width};

/// Reads and writes configuration registers of the machine's functions.
///
/// `offset` is in bytes: 0 to 255, or to 4095 where [`ConfigSpace::is_extended`];
/// it is a multiple of the width, and the width is at most 4 bytes. A read of a
/// function or register that is not there gives ones, a write to it does nothing,
/// as on the bus (PCI Express Base Specification section 7.2).
pub trait ConfigSpace {
    /// Reads a register.
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32;
    /// Writes a register.
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32);
    /// Whether the function's registers from 256 to 4095 can be reached (ECAM).
    fn is_extended(&self, function: Bdf) -> bool;

    /// Reads a byte.
    fn read8(&self, function: Bdf, offset: u16) -> u8 {
        self.read(function, offset, Width::Byte) as u8
    }
    /// Reads two bytes.
    fn read16(&self, function: Bdf, offset: u16) -> u16 {
        self.read(function, offset, Width::Word) as u16
    }
    /// Reads four bytes.
    fn read32(&self, function: Bdf, offset: u16) -> u32 {
        self.read(function, offset, Width::Dword)
    }
    /// Writes a byte.
    fn write8(&self, function: Bdf, offset: u16, value: u8) {
        self.write(function, offset, Width::Byte, value.into());
    }
    /// Writes two bytes.
    fn write16(&self, function: Bdf, offset: u16, value: u16) {
        self.write(function, offset, Width::Word, value.into());
    }
    /// Writes four bytes.
    fn write32(&self, function: Bdf, offset: u16, value: u32) {
        self.write(function, offset, Width::Dword, value);
    }
}

impl<T: ConfigSpace + ?Sized> ConfigSpace for &T {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        (**self).read(function, offset, width)
    }
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        (**self).write(function, offset, width, value)
    }
    fn is_extended(&self, function: Bdf) -> bool {
        (**self).is_extended(function)
    }
}
