//! Memory-mapped registers.

use access::RegisterWindow;
use core::arch::asm;
use spec::Hpa;

use crate::memory::paging::{self, Caching, MapError, Rights};

/// A mapped window of device registers.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    start: *mut u8,
    bytes: usize,
    hpa: Hpa,
}

// SAFETY: the window is mapped on every processor, and its accesses are single
// instructions that any processor may make.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps `bytes` bytes of registers at `hpa`, uncached. RAM is refused.
    pub fn map(hpa: Hpa, bytes: u64) -> Result<Self, MapError> {
        let length = usize::try_from(bytes).map_err(|_| MapError::Misaligned)?;
        let start = paging::map_window(hpa, bytes, Rights::ReadWrite, Caching::Uncached)?;
        Ok(Self { start, bytes: length, hpa })
    }

    /// Where the window is.
    pub const fn hpa(&self) -> Hpa {
        self.hpa
    }

    /// Bytes in the window.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the window has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The `bytes` bytes from `offset`, if they are in the window and aligned.
    pub fn part(&self, offset: usize, bytes: usize) -> Option<Self> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes).then(|| Self {
            start: self.start.wrapping_add(offset),
            bytes,
            hpa: self.hpa + offset as u64,
        })
    }

    fn pointer(&self, offset: usize, bytes: usize) -> Option<*mut u8> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes && offset.is_multiple_of(bytes)).then(|| self.start.wrapping_add(offset))
    }
}

macro_rules! register_access {
    ($read:ident, $write:ident, $type:ty, $size:literal, $register:literal, $class:ident) => {
        /// Reads; ones outside of the window or where misaligned.
        #[inline]
        pub fn $read(&self, offset: usize) -> $type {
            let Some(pointer) = self.pointer(offset, size_of::<$type>()) else { return <$type>::MAX };
            let value: $type;
            // SAFETY: `pointer` checked that the register is in the window, which is
            // mapped for good. Assembly, so that it is this one access.
            unsafe {
                asm!(concat!("mov {0", $register, "}, ", $size, " ptr [{1}]"), out($class) value, in(reg) pointer,
                     options(nostack, preserves_flags))
            };
            value
        }

        /// Writes; nothing outside of the window or where misaligned.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            let Some(pointer) = self.pointer(offset, size_of::<$type>()) else { return };
            // SAFETY: as for reading.
            unsafe {
                asm!(concat!("mov ", $size, " ptr [{1}], {0", $register, "}"), in($class) value, in(reg) pointer,
                     options(nostack, preserves_flags))
            };
        }
    };
}

impl Window {
    register_access!(read_u8, write_u8, u8, "byte", "", reg_byte);
    register_access!(read_u16, write_u16, u16, "word", ":x", reg);
    register_access!(read_u32, write_u32, u32, "dword", ":e", reg);
    register_access!(read_u64, write_u64, u64, "qword", "", reg);
}

impl RegisterWindow for Window {
    fn read32(&self, offset: usize) -> u32 {
        self.read_u32(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.write_u32(offset, value);
    }
    fn read64(&self, offset: usize) -> u64 {
        self.read_u64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.write_u64(offset, value);
    }
    fn read8(&self, offset: usize) -> u8 {
        self.read_u8(offset)
    }
    fn write8(&self, offset: usize, value: u8) {
        self.write_u8(offset, value);
    }
    fn read16(&self, offset: usize) -> u16 {
        self.read_u16(offset)
    }
    fn write16(&self, offset: usize, value: u16) {
        self.write_u16(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn accesses_inside_reach_memory_and_others_read_ones() {
        let memory = Box::leak(Box::new([0u64; 2]));
        let window = Window { start: memory.as_mut_ptr().cast(), bytes: 12, hpa: Hpa(0x1000) };
        window.write_u32(4, 0x1122_3344);
        window.write_u8(0, 0xaa);
        window.write_u16(2, 0xbbcc);
        assert_eq!(window.read_u64(0), 0x1122_3344_bbcc_00aa);
        assert_eq!((window.read_u16(4), window.read_u8(7)), (0x3344, 0x11));
        window.write_u32(12, 7);
        window.write_u64(8, 7);
        window.write_u32(2, 7);
        window.write_u32(usize::MAX, 7);
        assert_eq!(memory[1], 0);
        assert_eq!(
            (window.read_u32(12), window.read_u64(8), window.read_u32(2)),
            (u32::MAX, u64::MAX, u32::MAX)
        );
        // As the trait gives them: the neighbours in a dword that is no part of the
        // window cannot be read, so a wider access would find ones.
        let odd = Window { start: memory.as_mut_ptr().cast(), bytes: 7, hpa: Hpa(0x1000) };
        RegisterWindow::write8(&odd, 6, 0x77);
        RegisterWindow::write16(&odd, 4, 0x6655);
        assert_eq!((RegisterWindow::read8(&odd, 6), RegisterWindow::read16(&odd, 4)), (0x77, 0x6655));
        RegisterWindow::write16(&odd, 6, 0);
        assert_eq!((RegisterWindow::read16(&odd, 6), window.read_u32(4)), (u16::MAX, 0x1177_6655));
        let part = window.part(4, 8).expect("inside");
        assert_eq!((part.read_u32(0), part.hpa(), part.len()), (0x1177_6655, Hpa(0x1004), 8));
        assert!(window.part(8, 8).is_none());
    }
}
