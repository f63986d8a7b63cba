//! Multiboot 1 (GNU Multiboot Specification 0.6.96).

use crate::elf::Elf;
use crate::entry::Entry;
use crate::error::LoadError;
use crate::files::{GuestFiles, Part};
use crate::map::MEMORY_MAP;
use crate::parse::{slice, u32_at};
use crate::place::{COMMAND_LINE_BYTES_MAX, START_INFO, Space};
use alloc::vec::Vec;
use guest::layout::{EBDA, LEGACY_HOLE_END};
use guest::start_image::Fact;
use spec::Gpa;

const HEADER_MAGIC: u32 = 0x1bad_b002;
const LOADER_MAGIC: u32 = 0x2bad_b002;
/// The header is in the first bytes of the file.
const SEARCH_BYTES: u64 = 8192;

/// Requirements that are met: modules on page boundaries, memory sizes, and the video
/// mode. Where there is no display, "no video information" is all there is to tell,
/// and kernels that ask for a mode look whether they got one.
const KNOWN_REQUIREMENTS: u32 = 0b111;
/// Flags that a loader has to understand.
const REQUIREMENTS: u32 = 0xffff;
/// Flags: the address fields are valid.
const ADDRESSES: u32 = 1 << 16;

/// Bytes of an entry of the memory map, its size included.
const MAP_ENTRY_BYTES: u64 = 24;

/// Flags of the information structure.
mod info {
    pub const MEMORY: u32 = 1 << 0;
    pub const COMMAND_LINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const MEMORY_MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
}

/// The header's address fields, for files that are no ELF.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    header: u32,
    load: u32,
    load_end: u32,
    bss_end: u32,
    entry: u32,
}

/// A multiboot header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Where in the file it is.
    offset: u64,
    addresses: Option<Addresses>,
}

impl Header {
    /// Finds the header; `None` if there is none.
    pub(crate) fn find(file: &[u8]) -> Result<Option<Self>, LoadError> {
        for offset in (0..SEARCH_BYTES - 8).step_by(4) {
            let Some(magic) = u32_at(file, offset) else { break };
            let (Some(flags), Some(checksum)) = (u32_at(file, offset + 4), u32_at(file, offset + 8)) else {
                break;
            };
            if magic != HEADER_MAGIC || magic.wrapping_add(flags).wrapping_add(checksum) != 0 {
                continue;
            }
            if flags & REQUIREMENTS & !KNOWN_REQUIREMENTS != 0 {
                return Err(LoadError::Unsupported("the multiboot header requires what is not known here"));
            }
            let addresses = if flags & ADDRESSES != 0 { Some(Addresses::parse(file, offset)?) } else { None };
            return Ok(Some(Self { offset, addresses }));
        }
        Ok(None)
    }
}

impl Addresses {
    fn parse(file: &[u8], offset: u64) -> Result<Self, LoadError> {
        let field = |at| {
            u32_at(file, offset + at).ok_or(LoadError::Malformed("the file ends within its multiboot header"))
        };
        Ok(Self {
            header: field(12)?,
            load: field(16)?,
            load_end: field(20)?,
            bss_end: field(24)?,
            entry: field(28)?,
        })
    }

    /// Loads the file as the fields say; returns the entry.
    fn load(&self, space: &mut Space, file: &[u8], offset: u64) -> Result<Gpa, LoadError> {
        const BROKEN: LoadError =
            LoadError::Malformed("the addresses in the multiboot header contradict each other or the file");
        let before = u64::from(self.header.checked_sub(self.load).ok_or(BROKEN)?);
        let start = offset.checked_sub(before).ok_or(BROKEN)?;
        let bytes = match self.load_end {
            0 => (file.len() as u64).checked_sub(start).ok_or(BROKEN)?,
            end => u64::from(end.checked_sub(self.load).ok_or(BROKEN)?),
        };
        slice(file, start, bytes).ok_or(BROKEN)?;
        let memory_bytes = match self.bss_end {
            0 => bytes,
            end => u64::from(end.checked_sub(self.load).ok_or(BROKEN)?),
        };
        if bytes > memory_bytes || u64::from(self.entry.checked_sub(self.load).ok_or(BROKEN)?) >= memory_bytes
        {
            return Err(BROKEN);
        }
        let load = Gpa(self.load.into());
        space.take_low("the kernel", load, memory_bytes)?;
        space.put(load, Part::of_kernel(start, bytes));
        Ok(Gpa(self.entry.into()))
    }
}

/// Loads a file with a multiboot header. Its address fields count before its ELF
/// headers, if it has both (section 3.1.3).
pub(crate) fn load(
    space: &mut Space,
    header: Header,
    elf: Option<&Elf<'_>>,
    files: GuestFiles<'_>,
) -> Result<Entry, LoadError> {
    let entry = match (header.addresses, elf) {
        (Some(addresses), _) => addresses.load(space, files.kernel, header.offset)?,
        (None, Some(elf)) => {
            elf.load(space)?;
            elf.entry()?
        }
        (None, None) => {
            return Err(LoadError::Malformed("the multiboot kernel is no ELF and has no address fields"));
        }
    };
    let command_line = space.put_command_line(files.command_line, COMMAND_LINE_BYTES_MAX)?;

    let mut modules = Vec::new();
    let mut count: u32 = 0;
    for (name, part) in files.modules("initrd") {
        let start = space.put_after("a module", part)?;
        let name = space.put_text("a module's name", name)?;
        // Below 4 GiB, all of them: `Space::take` has seen to it.
        for field in [start.0, start.0 + part.bytes, name.0, 0] {
            modules.extend((field as u32).to_le_bytes());
        }
        count += 1;
    }
    let modules = space.put_list(&modules)?;
    write_info(space, count, modules, command_line)?;
    Entry::multiboot(space, entry, START_INFO, LOADER_MAGIC)
}

/// Writes the information structure (section 3.3).
fn write_info(space: &mut Space, modules: u32, list: Gpa, command_line: Gpa) -> Result<(), LoadError> {
    let map = space.take_list(MEMORY_MAP.len() as u64 * MAP_ENTRY_BYTES)?;
    // The size of an entry does not count itself.
    space.write_map(map, &(MAP_ENTRY_BYTES as u32 - 4).to_le_bytes(), 4)?;
    let name = space.put_text("the loader's name", "bulkhead")?;
    let lower_kib = EBDA.0 / 1024;
    let flags = info::MEMORY | info::COMMAND_LINE | info::MODULES | info::MEMORY_MAP | info::LOADER_NAME;
    for (offset, value) in [
        (0, flags),
        (4, lower_kib as u32),
        // The boot adds the end of that memory.
        (8, (LEGACY_HOLE_END.0 as u32 / 1024).wrapping_neg()),
        (16, command_line.0 as u32),
        (20, modules),
        (24, list.0 as u32),
        (48, map.0 as u32),
        (64, name.0 as u32),
    ] {
        space.write(START_INFO + offset, &value.to_le_bytes())?;
    }
    space.patch(START_INFO + 8, 4, Fact::LowKib, 1);
    space.write_map_size(START_INFO + 44, 4, MAP_ENTRY_BYTES)
}
