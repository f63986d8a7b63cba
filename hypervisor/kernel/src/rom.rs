//! Expansion ROMs as guests see them: copies.
//!
//! The ROM of some functions shares its decoder with their registers (PCI Local Bus
//! Specification 3.0, section 6.2.5.2), so it is read once, while nobody uses the function,
//! and its decoder never turned on again.

use access::{ConfigSpace, RegisterWindow, TableMemory};
use machine::frames::Pool;
use machine::mmio::Window;
use pci::passthrough::Rom;
use spec::address::PAGE_BYTES;
use spec::pci_config::{COMMAND, ROM_BAR, bar, command};
use spec::{Bdf, Hpa};

/// Copies the ROM of `bytes` bytes. `None`: the firmware gave it no place of whole pages, or
/// there is no memory for it.
pub fn copy(config: &impl ConfigSpace, function: Bdf, bytes: u32) -> Option<Rom> {
    let held = config.read32(function, ROM_BAR);
    let place = Hpa(u64::from(held & !bar::ROM_FLAGS & !bar::ROM_ENABLE));
    if place == Hpa(0) || !place.is_aligned(PAGE_BYTES) || !bytes.is_power_of_two() {
        return None;
    }
    let taken = u64::from(bytes).max(PAGE_BYTES);
    let window = Window::map(place, taken).ok()?;
    let mut copy = Pool::new((taken / PAGE_BYTES) as usize)?;
    let start = copy.range().start;

    let before = config.read16(function, COMMAND);
    config.write16(function, COMMAND, before & !command::BUS_MASTER | command::MEMORY_SPACE);
    config.write32(function, ROM_BAR, place.0 as u32 | bar::ROM_ENABLE);
    for offset in (0..taken).step_by(8) {
        let half = |at: u64| match at < u64::from(bytes) {
            true => window.read32(at as usize).into(),
            // Behind a ROM of less than a page is nothing, or somebody else.
            false => u64::from(u32::MAX),
        };
        copy.write(start + offset, half(offset) | half(offset + 4) << 32);
    }
    config.write32(function, ROM_BAR, held & !bar::ROM_ENABLE);
    config.write16(function, COMMAND, before);
    Some(Rom { host: start, bytes: taken })
}
