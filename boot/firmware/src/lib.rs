//! What a guest starts from, made where configurations are packed: its memory's first contents and its
//! first processor's registers, by the protocol that its kernel's file asks for.
//!
//! - Linux's bzImage, entered in 64-bit mode (Linux `Documentation/arch/x86/boot.rst`).
//! - ELF with a PVH note, entered in 32-bit protected mode (Xen
//!   `docs/misc/pvh.pandoc`).
//! - Multiboot 1: ELF of either size, or the address fields of its own header.
//!
//! Every length and address in a file is an untrusted value. What a protocol needs besides
//! the kernel (tables, strings, page tables) is below the legacy hole, in [`place`];
//! kernels, initrds and modules are above it, and none may meet another. The ACPI tables
//! ([`acpi`]) are in the hole.
//!
//! The hypervisor knows none of this. It gets a [`guest::start_image`], puts its pieces into the guest's
//! memory, and patches what only the boot knows.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod acpi;
mod elf;
mod entry;
mod error;
mod files;
mod linux;
mod map;
mod multiboot;
mod parse;
mod place;
mod prepared;
mod pvh;
#[cfg(test)]
mod tests;

pub use error::LoadError;
pub use files::GuestFiles;
pub use prepared::Prepared;

use entry::Entry;
use guest::layout::{EBDA, GuestLayout, LEGACY_HOLE};
use place::Space;
use spec::Gpa;

/// What a BIOS leaves in its data area about memory below 1 MiB, by which kernels find a place
/// for the code that starts their other processors: its size in KiB at 0x413, and at 0x40e the
/// segment of the extended data area, which begins with its own size in KiB.
fn bios_data(space: &mut Space) -> Result<(), LoadError> {
    const EBDA_SEGMENT: Gpa = Gpa(0x40e);
    const MEMORY_KIB: Gpa = Gpa(0x413);
    space.write(EBDA_SEGMENT, &((EBDA.0 >> 4) as u16).to_le_bytes())?;
    space.write(MEMORY_KIB, &((EBDA.0 >> 10) as u16).to_le_bytes())?;
    space.write(EBDA, &[((LEGACY_HOLE.0 - EBDA.0) >> 10) as u8])
}

/// Prepares a guest of this layout. What the layout says of the machine does not matter: that is
/// patched in where the guest starts.
///
/// # Errors
/// Its kernel cannot be loaded, or something does not fit.
pub fn prepare(layout: &GuestLayout, files: GuestFiles<'_>) -> Result<Prepared, LoadError> {
    let mut space = Space::new(layout);
    acpi::build(&mut space, layout)?;
    bios_data(&mut space)?;
    let entry = load(&mut space, files)?;
    Ok(Prepared::new(space, entry))
}

fn load(space: &mut Space, files: GuestFiles<'_>) -> Result<Entry, LoadError> {
    if linux::is_bzimage(files.kernel) {
        return linux::load(space, files);
    }
    let elf = elf::Elf::parse(files.kernel)?;
    if let Some(elf) = &elf
        && let Some(entry) = elf.pvh_entry()?
    {
        return pvh::load(space, elf, entry, files);
    }
    match multiboot::Header::find(files.kernel)? {
        Some(header) => multiboot::load(space, header, elf.as_ref(), files),
        None => Err(LoadError::Unknown),
    }
}
