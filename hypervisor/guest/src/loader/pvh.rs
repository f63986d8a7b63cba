//! The PVH entry (Xen `docs/misc/pvh.pandoc`,
//! `xen/include/public/arch-x86/hvm/start_info.h`).

use super::elf::Elf;
use super::entry::Entry;
use super::error::LoadError;
use super::image::LoadImage;
use super::place::{COMMAND_LINE_BYTES_MAX, START_INFO, Space};
use crate::layout::ACPI_AREA;
use access::GuestMemory;
use alloc::vec::Vec;
use spec::Gpa;

const MAGIC: u32 = 0x336e_c578;
/// The version with a memory map.
const VERSION: u32 = 1;

/// Loads an ELF file whose PVH note names `entry`.
pub(super) fn load<M: GuestMemory>(
    mut space: Space<M>,
    elf: &Elf<'_>,
    entry: Gpa,
    image: LoadImage<'_>,
) -> Result<Entry, LoadError> {
    elf.load(&mut space)?;
    let command_line = space.put_command_line(image.command_line, COMMAND_LINE_BYTES_MAX)?;

    let initrd = image.initrd.map(|content| ("", content));
    let mut modules = Vec::new();
    let mut count: u32 = 0;
    for (name, content) in initrd.into_iter().chain(image.modules.iter().copied()) {
        let start = space.put_high("a module", content, u64::MAX)?;
        let name = if name.is_empty() { Gpa(0) } else { space.put_text("a module's name", name)? };
        for field in [start.0, content.len() as u64, name.0, 0] {
            modules.extend(field.to_le_bytes());
        }
        count += 1;
    }
    let modules = space.put_list(&modules)?;

    let map = space.layout.memory_map();
    let mut ranges = Vec::new();
    for range in map.iter() {
        for field in [range.start.0, range.bytes, range.kind as u64] {
            ranges.extend(field.to_le_bytes());
        }
    }
    let ranges = space.put_list(&ranges)?;

    let mut info = Vec::new();
    for field in [MAGIC, VERSION, 0, count] {
        info.extend(field.to_le_bytes());
    }
    for field in [modules.0, command_line.0, ACPI_AREA.0, ranges.0, map.len() as u64] {
        info.extend(field.to_le_bytes());
    }
    space.write(START_INFO, &info)?;
    Entry::pvh(&space, entry, START_INFO)
}
