//! I/O ports.

use core::arch::asm;

macro_rules! port_access {
    ($read:ident, $write:ident, $type:ty, $register:tt, $bits:literal) => {
        #[doc = concat!("Reads ", $bits, " bits from a port.")]
        ///
        /// # Safety
        /// Reading the port has no effect that breaks memory safety (a device that
        /// it starts does no DMA into memory in use).
        #[inline(always)]
        pub unsafe fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: IN touches no memory; the rest is the caller's promise.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                     options(nomem, nostack, preserves_flags))
            };
            value
        }

        #[doc = concat!("Writes ", $bits, " bits to a port.")]
        ///
        /// # Safety
        /// As for reading.
        #[inline(always)]
        pub unsafe fn $write(port: u16, value: $type) {
            // SAFETY: the caller's promise; no `nomem`, so that stores that a device
            // is meant to see come first.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                     options(nostack, preserves_flags))
            };
        }
    };
}

port_access!(read8, write8, u8, "al", "8");
port_access!(read16, write16, u16, "ax", "16");
port_access!(read32, write32, u32, "eax", "32");
