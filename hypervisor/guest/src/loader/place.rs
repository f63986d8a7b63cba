//! Where what is not the kernel goes, and that nothing meets anything else.

use super::error::LoadError;
use crate::layout::{EBDA, GuestLayout, LEGACY_HOLE_END};
use access::GuestMemory;
use alloc::vec::Vec;
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

/// Something that has its place.
struct Taken {
    what: &'static str,
    start: u64,
    end: u64,
}

/// The guest's memory while it is being filled.
pub(super) struct Space<'a, M> {
    memory: &'a M,
    /// Its layout.
    pub(super) layout: &'a GuestLayout,
    taken: Vec<Taken>,
    lists: u64,
}

impl<'a, M: GuestMemory> Space<'a, M> {
    /// Nothing is placed yet.
    pub(super) fn new(memory: &'a M, layout: &'a GuestLayout) -> Self {
        Self { memory, layout, taken: Vec::new(), lists: LISTS.0 }
    }

    /// Takes `bytes` bytes at `start` for `what`.
    pub(super) fn take(&mut self, what: &'static str, start: Gpa, bytes: u64) -> Result<(), LoadError> {
        if !self.layout.is_loadable(start, bytes) {
            return Err(LoadError::NoRoom { what, start, bytes });
        }
        // `is_loadable` has checked the sum.
        self.take_free(what, start, start + bytes)
    }

    /// Takes `bytes` bytes at `start` for a part of a kernel, which may be below the legacy hole
    /// too. Nothing else has been placed there yet.
    pub(super) fn take_low(&mut self, what: &'static str, start: Gpa, bytes: u64) -> Result<(), LoadError> {
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

    /// Takes `content` at `start` for `what` and writes it there.
    pub(super) fn put(&mut self, what: &'static str, start: Gpa, content: &[u8]) -> Result<(), LoadError> {
        self.take(what, start, content.len() as u64)?;
        Ok(self.memory.write(start, content)?)
    }

    /// Puts `content` as high as it can be below `limit` and the end of memory, on a
    /// page boundary.
    pub(super) fn put_high(
        &mut self,
        what: &'static str,
        content: &[u8],
        limit: u64,
    ) -> Result<Gpa, LoadError> {
        let bytes = content.len() as u64;
        let mut end = limit.min(self.layout.low_bytes());
        // Each round goes below something that is taken, so this ends.
        loop {
            let start = Gpa(end.saturating_sub(bytes)).align_down(PAGE_BYTES);
            if start < LEGACY_HOLE_END {
                return Err(LoadError::NoRoom { what, start: LEGACY_HOLE_END, bytes });
            }
            let last = start.0 + bytes;
            match self.taken.iter().find(|other| start.0 < other.end && other.start < last) {
                Some(other) => end = other.start,
                None => {
                    self.put(what, start, content)?;
                    return Ok(start);
                }
            }
        }
    }

    /// Puts `content` on a page boundary after everything that is placed.
    pub(super) fn put_after(&mut self, what: &'static str, content: &[u8]) -> Result<Gpa, LoadError> {
        let end = self.taken.iter().map(|other| other.end).fold(LEGACY_HOLE_END.0, u64::max);
        let start = Gpa(end).align_up(PAGE_BYTES).unwrap_or(Gpa(u64::MAX));
        self.put(what, start, content)?;
        Ok(start)
    }

    /// Writes to a place that is taken, or that is below the legacy hole.
    pub(super) fn write(&self, start: Gpa, content: &[u8]) -> Result<(), LoadError> {
        Ok(self.memory.write(start, content)?)
    }

    /// Writes zeros.
    pub(super) fn zero(&self, start: Gpa, bytes: u64) -> Result<(), LoadError> {
        let page = [0; PAGE_BYTES as usize];
        let mut done = 0;
        while done < bytes {
            let step = (bytes - done).min(PAGE_BYTES);
            self.memory.write(start + done, page.get(..step as usize).unwrap_or(&page))?;
            done += step;
        }
        Ok(())
    }

    /// Puts a list or a string, aligned to 8 bytes, into the area for those, beside what the
    /// kernel has there.
    pub(super) fn put_list(&mut self, content: &[u8]) -> Result<Gpa, LoadError> {
        let bytes = content.len() as u64;
        let (start, end) = self.list_place(Gpa(self.lists), bytes).ok_or(LoadError::NoRoom {
            what: "the list of modules",
            start: Gpa(self.lists),
            bytes,
        })?;
        self.lists = end.0;
        self.write(start, content)?;
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
    pub(super) fn put_text(&mut self, what: &'static str, text: &str) -> Result<Gpa, LoadError> {
        let mut content = text_of(what, text)?.to_vec();
        content.push(0);
        self.put_list(&content)
    }

    /// Writes the command line, of at most `most` bytes, to [`COMMAND_LINE`], or among the lists
    /// where the kernel has that place; tells where.
    pub(super) fn put_command_line(&mut self, text: &str, most: u64) -> Result<Gpa, LoadError> {
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
        self.write(COMMAND_LINE, content)?;
        self.zero(COMMAND_LINE + bytes, 1)?;
        Ok(COMMAND_LINE)
    }
}

/// The bytes of a text, which is `what`, that ends with a zero where it is read.
fn text_of<'t>(what: &'static str, text: &'t str) -> Result<&'t [u8], LoadError> {
    if text.bytes().any(|byte| byte == 0) {
        return Err(LoadError::Zero(what));
    }
    Ok(text.as_bytes())
}
