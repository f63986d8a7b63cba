//! Putting a kernel into a guest's memory, by the protocol that its file asks for.
//!
//! - Linux's bzImage, entered in 64-bit mode (Linux `Documentation/arch/x86/boot.rst`).
//! - ELF with a PVH note, entered in 32-bit protected mode (Xen
//!   `docs/misc/pvh.pandoc`).
//! - Multiboot 1: ELF of either size, or the address fields of its own header.
//!
//! Every length and address in a file is an untrusted value. What a protocol needs besides
//! the kernel (tables, strings, page tables) is below the legacy hole, in [`place`];
//! kernels, initrds and modules are above it, and none may meet another.

mod elf;
mod entry;
mod error;
mod image;
mod linux;
mod multiboot;
mod parse;
pub mod place;
mod pvh;
#[cfg(test)]
mod tests;

pub use entry::Entry;
pub use error::LoadError;
pub use image::LoadImage;

use crate::layout::{EBDA, GuestLayout, LEGACY_HOLE, RamRange};
use access::{GuestMemory, OutOfBounds};
use place::Space;
use spec::Gpa;

/// What a BIOS leaves in its data area about memory below 1 MiB, by which kernels find a place
/// for the code that starts their other processors: its size in KiB at 0x413, and at 0x40e the
/// segment of the extended data area, which begins with its own size in KiB.
fn bios_data<M: GuestMemory>(space: &Space<'_, M>) -> Result<(), LoadError> {
    const EBDA_SEGMENT: Gpa = Gpa(0x40e);
    const MEMORY_KIB: Gpa = Gpa(0x413);
    space.write(EBDA_SEGMENT, &((EBDA.0 >> 4) as u16).to_le_bytes())?;
    space.write(MEMORY_KIB, &((EBDA.0 >> 10) as u16).to_le_bytes())?;
    space.write(EBDA, &[((LEGACY_HOLE.0 - EBDA.0) >> 10) as u8])
}

/// Finds out whether a guest would be loaded, without its memory.
pub fn would_load(layout: &GuestLayout, image: LoadImage<'_>) -> Result<(), LoadError> {
    load(&NoMemory(layout), layout, image).map(drop)
}

/// Memory of the size that a layout says, in which nothing is kept.
struct NoMemory<'a>(&'a GuestLayout);

impl NoMemory<'_> {
    fn check(&self, gpa: Gpa, bytes: usize) -> Result<(), OutOfBounds> {
        let end = gpa.checked_add(bytes as u64).ok_or(OutOfBounds)?;
        let holds = |range: &RamRange| range.start <= gpa && end.0 <= range.start.0 + range.bytes;
        if self.0.ram().iter().any(holds) { Ok(()) } else { Err(OutOfBounds) }
    }
}

impl GuestMemory for NoMemory<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        bytes.fill(0);
        self.check(gpa, bytes.len())
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.check(gpa, bytes.len())
    }
}

/// Loads a guest. Its memory is zeroed; its ACPI tables may be there already.
pub fn load(
    memory: &impl GuestMemory,
    layout: &GuestLayout,
    image: LoadImage<'_>,
) -> Result<Entry, LoadError> {
    let space = Space::new(memory, layout);
    bios_data(&space)?;
    if linux::is_bzimage(image.kernel) {
        return linux::load(space, image);
    }
    let elf = elf::Elf::parse(image.kernel)?;
    if let Some(elf) = &elf
        && let Some(entry) = elf.pvh_entry()?
    {
        return pvh::load(space, elf, entry, image);
    }
    match multiboot::Header::find(image.kernel)? {
        Some(header) => multiboot::load(space, header, elf.as_ref(), image),
        None => Err(LoadError::Unknown),
    }
}
