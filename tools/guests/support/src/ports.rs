//! Accesses to the ports of devices, which are counted.

use crate::cpu;
use core::sync::atomic::{AtomicU64, Ordering};

/// Instructions since the start, a string being one.
static EXECUTED: AtomicU64 = AtomicU64::new(0);

/// Instructions at ports of this processor's, through here, since the start; a string is one.
pub fn executed() -> u64 {
    EXECUTED.load(Ordering::Relaxed)
}

/// Counts one. Where another processor counts too, some may be lost.
fn count() {
    EXECUTED.store(executed() + 1, Ordering::Relaxed);
}

/// Reads a port.
pub fn read8(port: u16) -> u8 {
    count();
    cpu::in8(port)
}

/// Writes a port.
pub fn write8(port: u16, value: u8) {
    count();
    cpu::out8(port, value);
}

/// Writes 4 bytes to a port.
pub fn write32(port: u16, value: u32) {
    count();
    cpu::out32(port, value);
}

/// Reads `words` words of a port to `address`, where no Rust object lies, by one instruction.
pub fn read16_all(port: u16, address: u64, words: u64) {
    count();
    cpu::in16_all(port, address, words);
}

/// Writes `words` words from `address`, where no Rust object lies, to a port by one instruction.
pub fn write16_all(port: u16, address: u64, words: u64) {
    count();
    cpu::out16_all(port, address, words);
}
