//! Copies of expansion ROMs in memory, for guests.

use access::TableMemory;
use machine::chipset::config_space::MachineConfigSpace;
use machine::memory::frames::Pool;
use machine::memory::mmio::Window;
use platform::Platform;
use platform::pci::{Bar, BarKind};
use spec::Bdf;
use spec::address::PAGE_BYTES;
use vpci::passthrough::Rom;

/// Copies the ROM of `bytes` bytes. `None`: the firmware gave it no place of whole pages, or one
/// that is somebody else's, or there is no memory for it.
pub fn copy(config: &MachineConfigSpace, platform: &Platform, function: Bdf, bytes: u32) -> Option<Rom> {
    let (address, taken) = pci::rom::place(config, function, bytes)?;
    let claimed = Bar { index: 6, kind: BarKind::Memory32, prefetchable: false, address, bytes: taken };
    if let Some(objection) = platform.objection(platform.function(function)?, &claimed) {
        log::warn!("the expansion ROM of {function} at {address} {objection}");
        return None;
    }
    let window = Window::map(address, taken).ok()?;
    let mut copy = Pool::new((taken / PAGE_BYTES) as usize)?;
    let start = copy.range().start;
    pci::rom::read(config, function, (address, taken), bytes, &window, |offset, value| {
        copy.write(start + offset, value);
    });
    Some(Rom { host: start, bytes: taken })
}
