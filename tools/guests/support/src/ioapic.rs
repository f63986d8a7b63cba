//! The IOAPIC (82093AA data sheet).

use crate::cpu::{read32, write32};

/// Address of the only one.
pub const BASE: u64 = 0xfec0_0000;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
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

/// The same, level-triggered and active low.
pub fn route_line(pin: u8, vector: u8, id: u8) {
    write(0x11 + 2 * pin, u32::from(id) << 24);
    write(0x10 + 2 * pin, LEVEL | ACTIVE_LOW | u32::from(vector));
}

/// Opens a pin that was masked, whose entry is otherwise this one's.
pub fn unmask(pin: u8) {
    write(0x10 + 2 * pin, read(0x10 + 2 * pin) & !MASKED);
}

/// Masks a pin and leaves the rest of its entry.
pub fn mask_only(pin: u8) {
    write(0x10 + 2 * pin, read(0x10 + 2 * pin) | MASKED);
}

/// Masks a pin.
pub fn mask(pin: u8) {
    write(0x10 + 2 * pin, MASKED);
}
