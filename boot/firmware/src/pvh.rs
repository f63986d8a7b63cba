//! The PVH entry (Xen `docs/misc/pvh.pandoc`,
//! `xen/include/public/arch-x86/hvm/start_info.h`).

use crate::elf::Elf;
use crate::entry::Entry;
use crate::error::LoadError;
use crate::files::GuestFiles;
use crate::map::MEMORY_MAP;
use crate::place::{COMMAND_LINE_BYTES_MAX, START_INFO, Space};
use alloc::vec::Vec;
use guest::layout::ACPI_AREA;
use spec::Gpa;

const MAGIC: u32 = 0x336e_c578;
/// The version with a memory map.
const VERSION: u32 = 1;
/// Bytes of an entry of the memory map: address, length, and a type of 4 bytes with 4 reserved.
const MAP_ENTRY_BYTES: u64 = 24;

/// Loads an ELF file whose PVH note names `entry`.
pub(crate) fn load(
    space: &mut Space,
    elf: &Elf<'_>,
    entry: Gpa,
    files: GuestFiles<'_>,
) -> Result<Entry, LoadError> {
    elf.load(space)?;
    let command_line = space.put_command_line(files.command_line, COMMAND_LINE_BYTES_MAX)?;

    let mut modules = Vec::new();
    let mut count: u32 = 0;
    for (name, part) in files.modules("") {
        let start = space.put_high("a module", part, u64::MAX)?;
        let name = if name.is_empty() { Gpa(0) } else { space.put_text("a module's name", name)? };
        for field in [start.0, part.bytes, name.0, 0] {
            modules.extend(field.to_le_bytes());
        }
        count += 1;
    }
    let modules = space.put_list(&modules)?;

    let ranges = space.take_list(MEMORY_MAP.len() as u64 * MAP_ENTRY_BYTES)?;
    space.write_map(ranges, &[], 8)?;

    let mut info = Vec::new();
    for field in [MAGIC, VERSION, 0, count] {
        info.extend(field.to_le_bytes());
    }
    for field in [modules.0, command_line.0, ACPI_AREA.0, ranges.0] {
        info.extend(field.to_le_bytes());
    }
    space.write(START_INFO, &info)?;
    space.write_map_size(START_INFO + info.len() as u64, 4, 1)?;
    Entry::pvh(space, entry, START_INFO)
}
