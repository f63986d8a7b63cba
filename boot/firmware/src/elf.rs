//! ELF executables, of 32 and 64 bits (System V ABI, chapters 4 and 5).

use crate::error::LoadError;
use crate::files::Part;
use crate::parse::{slice, u8_at, u16_at, u32_at, u64_at};
use crate::place::Space;
use alloc::vec::Vec;
use spec::Gpa;

const MAGIC: &[u8; 4] = b"\x7fELF";
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
/// Type of the note with the physical address of the 32-bit entry.
const NOTE_PVH_ENTRY: u32 = 18;
/// Whose note it is.
const NOTE_OWNER: &[u8] = b"Xen\0";
/// Most segments that are looked at; a linker makes a handful.
const SEGMENTS_MAX: u16 = 64;

/// A part of the file with a place in memory.
#[derive(Clone, Copy, Debug)]
struct Segment<'a> {
    kind: u32,
    /// Where in the file its content is.
    offset: u64,
    content: &'a [u8],
    virtual_start: u64,
    physical_start: Gpa,
    memory_bytes: u64,
    alignment: u64,
}

/// A parsed executable.
pub(crate) struct Elf<'a> {
    segments: Vec<Segment<'a>>,
    entry: u64,
}

const SHORT: LoadError = LoadError::Malformed("the ELF file ends within its headers");

impl<'a> Elf<'a> {
    /// Parses the file; `None` if it is no ELF at all.
    pub(crate) fn parse(file: &'a [u8]) -> Result<Option<Self>, LoadError> {
        if slice(file, 0, 4) != Some(MAGIC) {
            return Ok(None);
        }
        let wide = match u8_at(file, 4).ok_or(SHORT)? {
            1 => false,
            2 => true,
            _ => return Err(LoadError::Malformed("the ELF file is of no known class")),
        };
        if u8_at(file, 5).ok_or(SHORT)? != 1 {
            return Err(LoadError::Unsupported("the ELF file is big-endian"));
        }
        let machine = u16_at(file, 18).ok_or(SHORT)?;
        if machine != MACHINE_386 && machine != MACHINE_X86_64 {
            return Err(LoadError::Unsupported("the ELF file is for another processor"));
        }
        let (entry, table, size_at) = if wide {
            (u64_at(file, 24), u64_at(file, 32), 54)
        } else {
            (u32_at(file, 24).map(u64::from), u32_at(file, 28).map(u64::from), 42)
        };
        let (entry, table) = (entry.ok_or(SHORT)?, table.ok_or(SHORT)?);
        let size = u64::from(u16_at(file, size_at).ok_or(SHORT)?);
        let count = u16_at(file, size_at + 2).ok_or(SHORT)?;
        if count > SEGMENTS_MAX || size < if wide { 56 } else { 32 } {
            return Err(LoadError::Malformed("the ELF file's program headers are impossible"));
        }
        let mut segments = Vec::new();
        for index in 0..u64::from(count) {
            let offset = table.checked_add(index * size).ok_or(SHORT)?;
            let header = slice(file, offset, size).ok_or(SHORT)?;
            segments.extend(Segment::parse(file, header, wide)?);
        }
        Ok(Some(Self { segments, entry }))
    }

    fn loaded(&self) -> impl Iterator<Item = &Segment<'a>> {
        self.segments.iter().filter(|segment| segment.kind == LOAD && segment.memory_bytes != 0)
    }

    /// Loads every segment to its physical address.
    pub(crate) fn load(&self, space: &mut Space) -> Result<(), LoadError> {
        if self.loaded().next().is_none() {
            return Err(LoadError::Malformed("the ELF file has nothing to load"));
        }
        for segment in self.loaded() {
            space.take_low("a segment of the kernel", segment.physical_start, segment.memory_bytes)?;
            space.put(segment.physical_start, Part::of_kernel(segment.offset, segment.content.len() as u64));
        }
        Ok(())
    }

    /// The physical address that virtual address `entry` of the header is loaded to.
    pub(crate) fn entry(&self) -> Result<Gpa, LoadError> {
        let within = |start: u64, segment: &Segment| {
            self.entry.checked_sub(start).filter(|offset| *offset < segment.memory_bytes)
        };
        self.loaded()
            .find_map(|segment| Some(segment.physical_start + within(segment.virtual_start, segment)?))
            .ok_or(LoadError::Malformed("the ELF file's entry is in none of its segments"))
    }

    /// Whether `entry` is inside something that is loaded.
    pub(crate) fn contains(&self, entry: Gpa) -> bool {
        self.loaded().any(|segment| {
            entry.0.checked_sub(segment.physical_start.0).is_some_and(|offset| offset < segment.memory_bytes)
        })
    }

    /// The entry that a PVH note names, if there is such a note.
    pub(crate) fn pvh_entry(&self) -> Result<Option<Gpa>, LoadError> {
        for segment in self.segments.iter().filter(|segment| segment.kind == NOTE) {
            if let Some(entry) = pvh_note(segment.content, segment.alignment)? {
                if !self.contains(entry) {
                    return Err(LoadError::Malformed("the PVH note's entry is in none of the segments"));
                }
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl<'a> Segment<'a> {
    /// Parses a program header; `None` for kinds that do not matter here.
    fn parse(file: &'a [u8], header: &[u8], wide: bool) -> Result<Option<Self>, LoadError> {
        let kind = u32_at(header, 0).ok_or(SHORT)?;
        if kind != LOAD && kind != NOTE {
            return Ok(None);
        }
        let field = |wide_at, narrow_at| {
            if wide { u64_at(header, wide_at) } else { u32_at(header, narrow_at).map(u64::from) }.ok_or(SHORT)
        };
        let file_bytes = field(32, 16)?;
        let memory_bytes = field(40, 20)?;
        if kind == LOAD && file_bytes > memory_bytes {
            return Err(LoadError::Malformed("a segment of the ELF file is larger than its place in memory"));
        }
        let offset = field(8, 4)?;
        let content = slice(file, offset, file_bytes)
            .ok_or(LoadError::Malformed("a segment of the ELF file is beyond its end"))?;
        Ok(Some(Self {
            kind,
            offset,
            content,
            virtual_start: field(16, 8)?,
            physical_start: Gpa(field(24, 12)?),
            memory_bytes,
            alignment: field(48, 28)?,
        }))
    }
}

/// Looks for the PVH entry among the notes of a segment. Names and descriptions are
/// padded to 4 bytes, or to 8 where the segment is aligned so.
fn pvh_note(notes: &[u8], alignment: u64) -> Result<Option<Gpa>, LoadError> {
    const BROKEN: LoadError = LoadError::Malformed("a note of the ELF file is longer than its segment");
    let padding = if alignment == 8 { 8 } else { 4 };
    let padded = |bytes: u32| u64::from(bytes).next_multiple_of(padding);
    let mut at = 0;
    while let Some(name_bytes) = u32_at(notes, at) {
        let description_bytes = u32_at(notes, at + 4).ok_or(BROKEN)?;
        let kind = u32_at(notes, at + 8).ok_or(BROKEN)?;
        let name = slice(notes, at + 12, name_bytes.into()).ok_or(BROKEN)?;
        // The header is 12 bytes, so with 8 bytes of alignment the name ends oddly.
        let description = (at + 12 + u64::from(name_bytes)).next_multiple_of(padding);
        if name == NOTE_OWNER && kind == NOTE_PVH_ENTRY {
            let entry = match description_bytes {
                4 => u32_at(notes, description).map(u64::from),
                8 => u64_at(notes, description),
                _ => None,
            };
            return entry
                .filter(|entry| *entry <= u32::MAX.into())
                .map(|entry| Some(Gpa(entry)))
                .ok_or(BROKEN);
        }
        at = description + padded(description_bytes);
    }
    Ok(None)
}
