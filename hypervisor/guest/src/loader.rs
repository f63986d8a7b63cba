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
mod linux;
mod multiboot;
mod parse;
pub mod place;
mod pvh;
#[cfg(test)]
mod tests;

pub use entry::Entry;

use crate::layout::{EBDA, GuestLayout, LEGACY_HOLE, RamRange};
use access::{GuestMemory, OutOfBounds};
use core::fmt;
use place::Space;
use spec::Gpa;

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadImage<'a> {
    /// The kernel's file.
    pub kernel: &'a [u8],
    /// The initial ramdisk's file. Where a protocol knows only modules, it is the first.
    pub initrd: Option<&'a [u8]>,
    /// Names and contents of modules. bzImage has no place for them.
    pub modules: &'a [(&'a str, &'a [u8])],
    /// The command line.
    pub command_line: &'a str,
}

/// Why a kernel was not loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// Nothing in the file says how it wants to be loaded.
    Unknown,
    /// The file contradicts itself; the sentence says how.
    Malformed(&'static str),
    /// The file asks for what is not offered; the sentence says what.
    Unsupported(&'static str),
    /// The command line does not fit; most bytes that do.
    CommandLine(u64),
    /// A text that ends with a zero has one in it; what it is.
    Zero(&'static str),
    /// The kernel unpacks itself to where there is no memory.
    TooLittleMemory {
        /// To where.
        start: Gpa,
        /// How much it needs there.
        bytes: u64,
    },
    /// Something does not fit into the guest's memory.
    NoRoom {
        /// What.
        what: &'static str,
        /// Where it has to go.
        start: Gpa,
        /// How much it is.
        bytes: u64,
    },
    /// Two things want the same place.
    Overlap {
        /// One.
        what: &'static str,
        /// The other.
        with: &'static str,
        /// Where the first has to go.
        start: Gpa,
        /// How much it is.
        bytes: u64,
    },
    /// The guest's memory does not hold what its layout says.
    Memory,
}

impl From<OutOfBounds> for LoadError {
    fn from(_: OutOfBounds) -> Self {
        Self::Memory
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => {
                f.write_str("the kernel is no bzImage, no ELF with a PVH note, and has no multiboot header")
            }
            Self::Malformed(sentence) | Self::Unsupported(sentence) => f.write_str(sentence),
            Self::CommandLine(most) => write!(f, "the command line is longer than {most} bytes"),
            Self::Zero(what) => write!(f, "{what} has a zero in it"),
            Self::TooLittleMemory { start, bytes } => {
                let needed = start.0.saturating_add(*bytes).div_ceil(1 << 20);
                write!(
                    f,
                    "the kernel unpacks itself into {bytes} bytes at {start}, so its guest needs {needed} MiB of \
                     memory at least"
                )
            }
            Self::NoRoom { what, start, bytes } => {
                write!(f, "{what} ({bytes} bytes at {start}) does not fit into the guest's memory")
            }
            Self::Overlap { what, with, start, bytes } => {
                write!(f, "{what} ({bytes} bytes at {start}) would overwrite {with}")
            }
            Self::Memory => f.write_str("the guest has less memory than its layout says"),
        }
    }
}

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
