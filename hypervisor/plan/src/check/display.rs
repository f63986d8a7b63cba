//! Displays.

use super::{Report, ports};
use crate::config::{GuestConfig, Model, PciConfig};
use alloc::format;
use platform::names::Memory;

/// What a display has where nothing is said.
const USUAL: Memory = Memory::mib(16);
/// The least that Linux's driver takes.
const LEAST: Memory = Memory::mib(4);
/// The most: it is below 4 GiB in the guest, with the registers of its other functions.
const MOST: Memory = Memory::mib(256);

/// A display has video memory and nothing else, and there is one place for the ports and the text of VGA.
pub(crate) fn check(guest: &GuestConfig, index: usize, pci: &PciConfig, report: &mut Report) {
    ports::check_no_drive(index, pci, report);
    ports::check_no_port(index, pci, "the emulated function has no network", report);
    let mut displays = of(guest).map(|(place, _)| place);
    if displays.next().is_some_and(|first| first < index) {
        report.add(
            format_args!("pci[{index}].emulate"),
            "the guest has a display already, and there is one place for its ports",
            "remove one of the two",
        );
    }
    let Some(memory) = pci.video_memory else { return };
    let bytes = memory.bytes();
    if bytes.is_power_of_two() && (LEAST..=MOST).contains(&memory) {
        return;
    }
    let right = bytes.clamp(LEAST.bytes(), MOST.bytes()).checked_next_power_of_two().map_or(USUAL, Memory);
    report.add(
        format_args!("pci[{index}].video_memory"),
        format_args!("{memory} is no power of two from {LEAST} to {MOST}"),
        format_args!("use \"{right}\""),
    );
}

/// The key of a display, for what is none.
pub(crate) fn check_none(index: usize, pci: &PciConfig, report: &mut Report) {
    if pci.video_memory.is_some() && pci.emulate != Some(Model::BochsDisplay) {
        let key = format!("pci[{index}].video_memory");
        report.add(key, "the function has no video memory of the hypervisor's", "remove the key");
    }
}

/// Bytes of a display's video memory.
pub(crate) fn bytes(pci: &PciConfig) -> u64 {
    pci.video_memory.unwrap_or(USUAL).bytes()
}

/// A guest's displays, each with its place in `pci` and the bytes of its video memory.
pub(crate) fn of(guest: &GuestConfig) -> impl Iterator<Item = (usize, u64)> {
    let displays = guest.emulated().filter(|(.., model)| *model == Model::BochsDisplay);
    displays.map(|(index, pci, _)| (index, bytes(pci)))
}
