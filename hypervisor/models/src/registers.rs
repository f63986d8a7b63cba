//! The registers of a function, which are mapped for the compartment that drives it.

use access::RegisterWindow;
use core::arch::asm;

/// A window of registers in a compartment's address space.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    start: *mut u8,
    bytes: usize,
}

impl Registers {
    /// Those in `bytes` bytes at `start`, a multiple of 4096.
    ///
    /// # Safety
    /// They are mapped there, uncached and for reading and writing, for as long as the program runs, and are
    /// nothing but registers.
    pub const unsafe fn new(start: *mut u8, bytes: usize) -> Self {
        Self { start, bytes }
    }

    fn pointer(&self, offset: usize, bytes: usize) -> Option<*mut u8> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes && offset.is_multiple_of(bytes)).then(|| self.start.wrapping_add(offset))
    }
}

macro_rules! register_access {
    ($read:ident, $write:ident, $type:ty, $size:literal, $register:literal, $class:ident) => {
        fn $read(&self, offset: usize) -> $type {
            let Some(pointer) = self.pointer(offset, size_of::<$type>()) else { return <$type>::MAX };
            let value: $type;
            // SAFETY: `pointer` found that the register is in the window, which `new` was promised is mapped.
            // Assembly, so that it is this one access.
            unsafe {
                asm!(concat!("mov {0", $register, "}, ", $size, " ptr [{1}]"), out($class) value, in(reg) pointer,
                     options(nostack, preserves_flags))
            };
            value
        }

        fn $write(&self, offset: usize, value: $type) {
            let Some(pointer) = self.pointer(offset, size_of::<$type>()) else { return };
            // SAFETY: as for reading.
            unsafe {
                asm!(concat!("mov ", $size, " ptr [{1}], {0", $register, "}"), in($class) value, in(reg) pointer,
                     options(nostack, preserves_flags))
            };
        }
    };
}

impl RegisterWindow for Registers {
    register_access!(read8, write8, u8, "byte", "", reg_byte);
    register_access!(read16, write16, u16, "word", ":x", reg);
    register_access!(read32, write32, u32, "dword", ":e", reg);
    register_access!(read64, write64, u64, "qword", "", reg);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_inside_have_their_width_and_others_read_ones() {
        let memory: &'static mut [u64] = std::vec![0; 2].leak();
        // SAFETY: 12 of 16 bytes that were leaked for this.
        let registers = unsafe { Registers::new(memory.as_mut_ptr().cast(), 12) };
        registers.write32(4, 0x1122_3344);
        registers.write8(0, 0xaa);
        registers.write16(2, 0xbbcc);
        assert_eq!(registers.read64(0), 0x1122_3344_bbcc_00aa);
        assert_eq!(
            (registers.read16(4), registers.read8(7), registers.read32(4)),
            (0x3344, 0x11, 0x1122_3344)
        );
        for offset in [8, 12, usize::MAX - 7] {
            registers.write64(offset, 7);
            assert_eq!(registers.read64(offset), u64::MAX, "{offset}");
        }
        registers.write32(2, 7);
        assert_eq!((registers.read32(2), registers.read8(12)), (u32::MAX, u8::MAX));
        assert_eq!(registers.read32(8), 0);
    }
}
