//! Multiboot 1 (GNU Multiboot Specification 0.6.96).

use super::elf::Elf;
use super::entry::Entry;
use super::error::LoadError;
use super::image::LoadImage;
use super::parse::{slice, u32_at};
use super::place::{COMMAND_LINE_BYTES_MAX, START_INFO, Space};
use crate::layout::{EBDA, LEGACY_HOLE_END};
use access::GuestMemory;
use alloc::vec::Vec;
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

/// Flags of the information structure.
mod info {
    pub const MEMORY: u32 = 1 << 0;
    pub const COMMAND_LINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const MEMORY_MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
    /// Bytes of the structure up to the video fields' end.
    pub const BYTES: u64 = 116;
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
pub(super) struct Header {
    /// Where in the file it is.
    offset: u64,
    addresses: Option<Addresses>,
}

impl Header {
    /// Finds the header; `None` if there is none.
    pub(super) fn find(file: &[u8]) -> Result<Option<Self>, LoadError> {
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
    fn load<M: GuestMemory>(&self, space: &mut Space<M>, file: &[u8], offset: u64) -> Result<Gpa, LoadError> {
        const BROKEN: LoadError =
            LoadError::Malformed("the addresses in the multiboot header contradict each other or the file");
        let before = u64::from(self.header.checked_sub(self.load).ok_or(BROKEN)?);
        let start = offset.checked_sub(before).ok_or(BROKEN)?;
        let bytes = match self.load_end {
            0 => (file.len() as u64).checked_sub(start).ok_or(BROKEN)?,
            end => u64::from(end.checked_sub(self.load).ok_or(BROKEN)?),
        };
        let content = slice(file, start, bytes).ok_or(BROKEN)?;
        let memory_bytes = match self.bss_end {
            0 => bytes,
            end => u64::from(end.checked_sub(self.load).ok_or(BROKEN)?),
        };
        let zeros = memory_bytes.checked_sub(bytes).ok_or(BROKEN)?;
        if u64::from(self.entry.checked_sub(self.load).ok_or(BROKEN)?) >= memory_bytes {
            return Err(BROKEN);
        }
        let load = Gpa(self.load.into());
        space.take_low("the kernel", load, memory_bytes)?;
        space.write(load, content)?;
        space.zero(load + bytes, zeros)?;
        Ok(Gpa(self.entry.into()))
    }
}

/// Loads a file with a multiboot header. Its address fields count before its ELF
/// headers, if it has both (section 3.1.3).
pub(super) fn load<M: GuestMemory>(
    mut space: Space<M>,
    header: Header,
    elf: Option<&Elf<'_>>,
    image: LoadImage<'_>,
) -> Result<Entry, LoadError> {
    let entry = match (header.addresses, elf) {
        (Some(addresses), _) => addresses.load(&mut space, image.kernel, header.offset)?,
        (None, Some(elf)) => {
            elf.load(&mut space)?;
            elf.entry()?
        }
        (None, None) => {
            return Err(LoadError::Malformed("the multiboot kernel is no ELF and has no address fields"));
        }
    };
    let command_line = space.put_command_line(image.command_line, COMMAND_LINE_BYTES_MAX)?;

    let initrd = image.initrd.map(|content| ("initrd", content));
    let mut modules = Vec::new();
    let mut count: u32 = 0;
    for (name, content) in initrd.into_iter().chain(image.modules.iter().copied()) {
        let start = space.put_after("a module", content)?;
        let name = space.put_text("a module's name", name)?;
        // Below 4 GiB, all of them: `is_loadable` has seen to it.
        for field in [start.0, start.0 + content.len() as u64, name.0, 0] {
            modules.extend((field as u32).to_le_bytes());
        }
        count += 1;
    }
    let modules = space.put_list(&modules)?;
    write_info(&mut space, count, modules, command_line)?;
    Entry::multiboot(&space, entry, START_INFO, LOADER_MAGIC)
}

/// Writes the information structure (section 3.3).
fn write_info<M: GuestMemory>(
    space: &mut Space<M>,
    modules: u32,
    list: Gpa,
    command_line: Gpa,
) -> Result<(), LoadError> {
    let mut map = Vec::new();
    for range in space.layout.memory_map().iter() {
        // The size of an entry does not count itself.
        map.extend(20u32.to_le_bytes());
        map.extend(range.start.0.to_le_bytes());
        map.extend(range.bytes.to_le_bytes());
        map.extend((range.kind as u32).to_le_bytes());
    }
    let map_bytes = map.len() as u32;
    let map = space.put_list(&map)?;
    let name = space.put_text("the loader's name", "bulkhead")?;
    let lower_kib = EBDA.0 / 1024;
    let upper_kib = (space.layout.low_bytes() - LEGACY_HOLE_END.0) / 1024;

    space.zero(START_INFO, info::BYTES)?;
    let flags = info::MEMORY | info::COMMAND_LINE | info::MODULES | info::MEMORY_MAP | info::LOADER_NAME;
    for (offset, value) in [
        (0, flags),
        (4, lower_kib as u32),
        (8, upper_kib as u32),
        (16, command_line.0 as u32),
        (20, modules),
        (24, list.0 as u32),
        (44, map_bytes),
        (48, map.0 as u32),
        (64, name.0 as u32),
    ] {
        space.write(START_INFO + offset, &value.to_le_bytes())?;
    }
    Ok(())
}
