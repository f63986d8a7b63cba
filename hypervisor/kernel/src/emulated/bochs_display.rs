//! An emulated display.

use super::place::{Owner, place};
use crate::taken::Taken;
use alloc::format;
use alloc::string::String;
use devices::display::{LEAST_MEMORY, MOST_MEMORY};
use devices::{Backend, Blueprint, Endpoint};
use machine::console::picture;
use machine::memory::guest_ram::GuestRam;
use plan::Model;
use spec::display::{CLASS, DEVICE, REVISION, VENDOR, registers, vga};
use vpci::{BarMemory, DisplayDescription, EmulatedFunction, Identity, PortWindow};

const FUNCTION: DisplayDescription = DisplayDescription {
    identity: Identity { vendor: VENDOR, device: DEVICE, class: CLASS, revision: REVISION },
    register_bytes: registers::BYTES,
    fixed: &[PortWindow { place: vga::PORTS, ports: registers::VGA_PORTS, at: registers::VGA }],
};
const _: () = assert!(registers::BYTES == Model::BochsDisplay.bar_bytes());

/// The function, what is behind it, and its video memory of so many bytes, which is in one piece.
///
/// # Errors
/// A sentence about the memory that is not there.
pub fn build(
    owner: Owner<'_>,
    video_memory_bytes: u64,
    taken: &mut Taken,
) -> Result<(EmulatedFunction, Endpoint, GuestRam), String> {
    let bytes = video_memory_bytes;
    if !bytes.is_power_of_two() || !(LEAST_MEMORY..=MOST_MEMORY).contains(&bytes) {
        return Err(format!("a display cannot have {bytes} bytes of video memory"));
    }
    let (hpa, memory) = taken
        .take_piece(bytes)
        .ok_or_else(|| format!("the machine has no {} KiB in one piece for its display", bytes >> 10))?;
    let screen = picture::screen_size();
    let device = place(owner, Blueprint::Display { memory_bytes: bytes, screen })?;
    let endpoint = Endpoint::with_lines(device, Backend::Served, [None, None]);
    Ok((EmulatedFunction::display(&FUNCTION, BarMemory { hpa, bytes }), endpoint, memory))
}
