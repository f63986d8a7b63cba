//! The IOAPIC (82093AA data sheet).

use crate::cpu::{read32, write32};

/// Address of the only one.
pub const BASE: u64 = 0xfec0_0000;
/// A redirection entry's mask bit.
pub const MASKED: u32 = 1 << 16;

/// Reads a register.
pub fn read(register: u8) -> u32 {
    write32(BASE, register.into());
    read32(BASE + 0x10)
}

/// Writes a register.
pub fn write(register: u8, value: u32) {
    write32(BASE, register.into());
    write32(BASE + 0x10, value);
}

/// Routes pin `pin`, edge-triggered, to `vector` at the processor with APIC ID `id`.
pub fn route(pin: u8, vector: u8, id: u8) {
    write(0x11 + 2 * pin, u32::from(id) << 24);
    write(0x10 + 2 * pin, vector.into());
}

/// Masks a pin.
pub fn mask(pin: u8) {
    write(0x10 + 2 * pin, MASKED);
}
