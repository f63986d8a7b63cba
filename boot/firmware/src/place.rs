//! Where what is not the kernel goes, and that nothing meets anything else.

use crate::error::LoadError;
use crate::files::{Part, Piece};
use crate::map::{MEMORY_MAP, RANGES_WITHOUT_HIGH};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use guest::layout::{EBDA, GuestLayout, LEGACY_HOLE_END};
use guest::start_image::{Fact, Patch};
use spec::Gpa;
use spec::address::PAGE_BYTES;

/// Descriptor table that the guest starts with. The first page is left alone: it is
/// where a BIOS keeps its interrupt vectors and data.
pub const DESCRIPTORS: Gpa = Gpa(0x1000);
/// The structure that the entry protocol hands to the kernel.
pub const START_INFO: Gpa = Gpa(0x2000);
/// Page tables for an entry in 64-bit mode: 6 pages.
pub const PAGE_TABLES: Gpa = Gpa(0x8000);
/// The command line, with a zero after it.
pub const COMMAND_LINE: Gpa = Gpa(0x1_0000);
/// Most bytes in a command line, without the zero.
pub const COMMAND_LINE_BYTES_MAX: u64 = 0xffff;
/// Lists and strings that the start structure points to.
pub const LISTS: Gpa = Gpa(0x2_0000);
/// End of the lists: below what a BIOS keeps for itself.
pub const LISTS_END: Gpa = Gpa(0x9_0000);
/// From here to the BIOS's own a kernel may have segments, if it is loaded so low. Lists and
/// the command line go where it leaves room.
const LOW_START: Gpa = Gpa(0x3000);

const _: () = assert!(LISTS_END.0 <= EBDA.0);

/// What can be anywhere goes below, if there is room. How much memory a machine leaves a guest below
/// 4 GiB is not known here: bridges claim addresses from 2 GiB on in QEMU's q35, elsewhere from 1 GiB
/// on at worst.
const COMMON_LOW_END: u64 = 1 << 30;

/// Something that has its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// What it is.
    pub what: &'static str,
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
}

/// The guest's memory while it is being filled. All of it is zeros at first.
pub(crate) struct Space {
    layout: GuestLayout,
    lists: u64,
    /// The first MiB, for what is in none of the guest's files, and which parts of it were written.
    low: Vec<u8>,
    written: Vec<Range<usize>>,
    /// What has its place, but for what is written to the first MiB.
    pub taken: Vec<Taken>,
    /// The parts of files.
    pub pieces: Vec<Piece>,
    /// What the boot adds.
    pub patches: Vec<Patch>,
}

impl Space {
    /// Nothing is placed yet.
    pub(crate) fn new(layout: &GuestLayout) -> Self {
        Self {
            layout: *layout,
            lists: LISTS.0,
            low: vec![0; LEGACY_HOLE_END.0 as usize],
            written: Vec::new(),
            taken: Vec::new(),
            pieces: Vec::new(),
            patches: Vec::new(),
        }
    }

    /// Takes `bytes` bytes at `start` for `what`: memory that the guest may use freely below 4 GiB,
    /// above the legacy hole.
    pub(crate) fn take(&mut self, what: &'static str, start: Gpa, bytes: u64) -> Result<(), LoadError> {
        match start.checked_add(bytes) {
            Some(end) if start >= LEGACY_HOLE_END && end.0 <= self.layout.low_bytes() => {
                self.take_free(what, start, end)
            }
            _ => Err(LoadError::NoRoom { what, start, bytes }),
        }
    }

    /// Takes `bytes` bytes at `start` for a part of a kernel, which may be below the legacy hole
    /// too. No module, list or text has been placed there yet.
    pub(crate) fn take_low(&mut self, what: &'static str, start: Gpa, bytes: u64) -> Result<(), LoadError> {
        match start.checked_add(bytes) {
            Some(end) if start >= LOW_START && end <= EBDA => self.take_free(what, start, end),
            _ => self.take(what, start, bytes),
        }
    }

    /// Takes a range that is memory, if nothing has it.
    fn take_free(&mut self, what: &'static str, start: Gpa, end: Gpa) -> Result<(), LoadError> {
        if let Some(other) = self.taken.iter().find(|other| start.0 < other.end && other.start < end.0) {
            return Err(LoadError::Overlap { what, with: other.what, start, bytes: end - start });
        }
        self.taken.push(Taken { what, start: start.0, end: end.0 });
        Ok(())
    }

    /// Puts a part of a file to a place that is taken.
    pub(crate) fn put(&mut self, start: Gpa, part: Part) {
        if part.bytes > 0 {
            self.pieces.push(Piece { gpa: start.0, part });
        }
    }

    /// Puts `part` as high as it can be below `limit`, the end of memory and [`COMMON_LOW_END`], on a page
    /// boundary; above that one only where it has no other place.
    pub(crate) fn put_high(&mut self, what: &'static str, part: Part, limit: u64) -> Result<Gpa, LoadError> {
        let most = limit.min(self.layout.low_bytes());
        let place = self.high_place(part.bytes, most.min(COMMON_LOW_END));
        let start = place.or_else(|| self.high_place(part.bytes, most)).ok_or(LoadError::NoRoom {
            what,
            start: LEGACY_HOLE_END,
            bytes: part.bytes,
        })?;
        self.take(what, start, part.bytes)?;
        self.put(start, part);
        Ok(start)
    }

    /// The highest place for `bytes` bytes that ends at `end`.
    fn high_place(&self, bytes: u64, mut end: u64) -> Option<Gpa> {
        // Each round goes below something that is taken, so this ends.
        loop {
            let start = Gpa(end.checked_sub(bytes)?).align_down(PAGE_BYTES);
            if start < LEGACY_HOLE_END {
                return None;
            }
            let last = start.0 + bytes;
            match self.taken.iter().find(|other| start.0 < other.end && other.start < last) {
                Some(other) => end = other.start,
                None => return Some(start),
            }
        }
    }

    /// Puts `part` on a page boundary after everything that is placed.
    pub(crate) fn put_after(&mut self, what: &'static str, part: Part) -> Result<Gpa, LoadError> {
        let end = self.taken.iter().map(|other| other.end).fold(LEGACY_HOLE_END.0, u64::max);
        let start = Gpa(end).align_up(PAGE_BYTES).unwrap_or(Gpa(u64::MAX));
        self.take(what, start, part.bytes)?;
        self.put(start, part);
        Ok(start)
    }

    /// Writes what is in no file to its place below 1 MiB.
    pub(crate) fn write(&mut self, start: Gpa, content: &[u8]) -> Result<(), LoadError> {
        let range = start.0 as usize..(start.0 as usize).saturating_add(content.len());
        let place = self.low.get_mut(range.clone()).ok_or(LoadError::NoRoom {
            what: "what the kernel is told",
            start,
            bytes: content.len() as u64,
        })?;
        place.copy_from_slice(content);
        self.written.push(range);
        Ok(())
    }

    /// Has the boot add `factor` times a fact to the number of `bytes` bytes at `start`, where something
    /// is written.
    pub(crate) fn patch(&mut self, start: Gpa, bytes: u64, fact: Fact, factor: u64) {
        self.patches.push(Patch { gpa: start.0, bytes, fact: fact as u64, factor, checksum: 0 });
    }

    /// Writes the memory map to `start`, entries of `bytes` bytes, of which the first `before` are
    /// `head`: address, length, and a type of `kind_bytes` bytes.
    pub(crate) fn write_map(&mut self, start: Gpa, head: &[u8], kind_bytes: usize) -> Result<(), LoadError> {
        let mut at = start;
        for range in MEMORY_MAP {
            self.write(at, head)?;
            at = at + head.len() as u64;
            self.write(at, &range.start.0.to_le_bytes())?;
            self.write(at + 8, &range.bytes.to_le_bytes())?;
            if let Some(fact) = range.fact {
                self.patch(at + 8, 8, fact, 1);
            }
            let kind = (range.kind as u64).to_le_bytes();
            self.write(at + 16, kind.get(..kind_bytes).unwrap_or(&kind))?;
            at = at + 16 + kind_bytes as u64;
        }
        Ok(())
    }

    /// Writes how many ranges the map has, or what they take with `each` bytes a range, as a number
    /// of `bytes` bytes.
    pub(crate) fn write_map_size(&mut self, start: Gpa, bytes: usize, each: u64) -> Result<(), LoadError> {
        let size = (u64::from(RANGES_WITHOUT_HIGH) * each).to_le_bytes();
        self.write(start, size.get(..bytes).unwrap_or(&size))?;
        self.patch(start, bytes as u64, Fact::HighRanges, each);
        Ok(())
    }

    /// Puts a list or a string, aligned to 8 bytes, into the area for those, beside what the
    /// kernel has there.
    pub(crate) fn put_list(&mut self, content: &[u8]) -> Result<Gpa, LoadError> {
        let start = self.take_list(content.len() as u64)?;
        self.write(start, content)?;
        Ok(start)
    }

    /// Takes a place for a list of so many bytes, as [`Space::put_list`] does.
    pub(crate) fn take_list(&mut self, bytes: u64) -> Result<Gpa, LoadError> {
        let (start, end) = self.list_place(Gpa(self.lists), bytes).ok_or(LoadError::NoRoom {
            what: "the list of modules",
            start: Gpa(self.lists),
            bytes,
        })?;
        self.lists = end.0;
        Ok(start)
    }

    /// Where `bytes` bytes for lists are free, from `start` on.
    fn list_place(&self, mut start: Gpa, bytes: u64) -> Option<(Gpa, Gpa)> {
        loop {
            let end =
                start.checked_add(bytes).and_then(|end| end.align_up(8)).filter(|end| *end <= LISTS_END)?;
            match self.taken.iter().find(|other| start.0 < other.end && other.start < end.0) {
                Some(other) => start = Gpa(other.end).align_up(8)?,
                None => return Some((start, end)),
            }
        }
    }

    /// Puts a string with a zero after it among the lists.
    pub(crate) fn put_text(&mut self, what: &'static str, text: &str) -> Result<Gpa, LoadError> {
        let mut content = text_of(what, text)?.to_vec();
        content.push(0);
        self.put_list(&content)
    }

    /// Writes the command line, of at most `most` bytes, to [`COMMAND_LINE`], or among the lists
    /// where the kernel has that place; tells where.
    pub(crate) fn put_command_line(&mut self, text: &str, most: u64) -> Result<Gpa, LoadError> {
        let most = most.min(COMMAND_LINE_BYTES_MAX);
        let content = text_of("the command line", text)?;
        let bytes = content.len() as u64;
        if bytes > most {
            return Err(LoadError::CommandLine(most));
        }
        let end = COMMAND_LINE.0 + bytes + 1;
        if self.taken.iter().any(|other| COMMAND_LINE.0 < other.end && other.start < end) {
            return self.put_text("the command line", text);
        }
        // A zero is after it already.
        self.write(COMMAND_LINE, content)?;
        Ok(COMMAND_LINE)
    }

    /// What was written below 1 MiB: places and contents, of which none meets another.
    pub(crate) fn own(&self) -> Vec<(u64, Vec<u8>)> {
        let mut written = self.written.clone();
        written.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<usize>> = Vec::new();
        for range in written.into_iter().filter(|range| !range.is_empty()) {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let own =
            joined.into_iter().filter_map(|range| Some((range.start as u64, self.low.get(range)?.to_vec())));
        own.collect()
    }
}

/// The bytes of a text, which is `what`, that ends with a zero where it is read.
fn text_of<'t>(what: &'static str, text: &'t str) -> Result<&'t [u8], LoadError> {
    if text.bytes().any(|byte| byte == 0) {
        return Err(LoadError::Zero(what));
    }
    Ok(text.as_bytes())
}
