//! The data of a command: what its PRP entries point at (NVM Express 1.4, section 4.3).

use crate::device::MOST_REQUEST_BYTES;
use access::GuestMemory;
use spec::Gpa;
use spec::nvme::{Command, PAGE_BYTES, PRP_BYTES, Status};

/// MDTS: a command moves at most 2^this pages.
pub(super) const TRANSFER_SHIFT: u8 = 5;
/// The same in bytes: 128 KiB.
pub(super) const MOST_BYTES: u64 = PAGE_BYTES << TRANSFER_SHIFT;
const _: () = assert!(MOST_BYTES <= MOST_REQUEST_BYTES as u64);
/// The most pieces of one command: all its pages, and one more where the first one does not
/// start at its page's start.
pub(super) const MOST_PIECES: usize = (1 << TRANSFER_SHIFT) + 1;

/// A contiguous range of the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Piece {
    pub(super) gpa: Gpa,
    pub(super) bytes: u32,
}

/// The ranges of one command's data, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    pieces: [Piece; MOST_PIECES],
    count: usize,
}

impl Pieces {
    /// No data.
    pub(super) const NONE: Self = Self { pieces: [Piece { gpa: Gpa(0), bytes: 0 }; MOST_PIECES], count: 0 };

    /// Where the `bytes` bytes of the data of `command` are.
    pub(super) fn of(command: &Command, bytes: u64, memory: &dyn GuestMemory) -> Result<Self, Status> {
        if bytes > MOST_BYTES {
            return Err(Status::INVALID_FIELD);
        }
        let mut pieces = Self::NONE;
        let in_first = bytes.min(PAGE_BYTES - command.prp1 % PAGE_BYTES);
        if !command.prp1.is_multiple_of(4) {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        pieces.add(command.prp1, in_first)?;
        match bytes - in_first {
            0 => {}
            rest @ 1..=PAGE_BYTES => pieces.add(whole_page(command.prp2)?, rest)?,
            rest => pieces.add_list(command.prp2, rest, memory)?,
        }
        Ok(pieces)
    }

    /// Adds the pages that the list at `list` names, for `rest` bytes. A list that does not end
    /// in its page goes on in the page that its last entry there names; that one is whole, so
    /// all of the rest is in it.
    fn add_list(&mut self, mut list: u64, mut rest: u64, memory: &dyn GuestMemory) -> Result<(), Status> {
        if !list.is_multiple_of(PRP_BYTES) {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        while rest > 0 {
            let fit = (PAGE_BYTES - list % PAGE_BYTES) / PRP_BYTES;
            let needed = rest.div_ceil(PAGE_BYTES);
            let mut bytes = [0; MOST_PIECES * PRP_BYTES as usize];
            let count = (needed.min(fit) * PRP_BYTES) as usize;
            let entries = bytes.get_mut(..count).ok_or(Status::INTERNAL_ERROR)?;
            memory.read(Gpa(list), entries).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
            let (entries, _) = entries.as_chunks();
            let mut entries = entries.iter().map(|entry| u64::from_le_bytes(*entry));
            let next = if needed > fit { entries.next_back() } else { None };
            for entry in entries {
                self.add(whole_page(entry)?, rest.min(PAGE_BYTES))?;
                rest = rest.saturating_sub(PAGE_BYTES);
            }
            match next {
                Some(entry) => list = whole_page(entry)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Adds a range, to the last one where it follows that.
    fn add(&mut self, gpa: u64, bytes: u64) -> Result<(), Status> {
        let bytes = bytes as u32;
        if let Some(last) = self.count.checked_sub(1).and_then(|last| self.pieces.get_mut(last))
            && last.gpa.checked_add(last.bytes.into()) == Some(Gpa(gpa))
        {
            last.bytes += bytes;
            return Ok(());
        }
        *self.pieces.get_mut(self.count).ok_or(Status::INTERNAL_ERROR)? = Piece { gpa: Gpa(gpa), bytes };
        self.count += 1;
        Ok(())
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Piece> {
        self.pieces.iter().take(self.count).copied()
    }

    /// Copies `data` to the start of them.
    pub(super) fn fill(&self, mut data: &[u8], memory: &dyn GuestMemory) -> Result<(), Status> {
        for piece in self.iter() {
            let (now, later) = data.split_at_checked(piece.bytes as usize).unwrap_or((data, &[]));
            memory.write(piece.gpa, now).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
            data = later;
        }
        Ok(())
    }
}

/// Every entry but the first of a command points at the start of a page.
const fn whole_page(entry: u64) -> Result<u64, Status> {
    if entry.is_multiple_of(PAGE_BYTES) { Ok(entry) } else { Err(Status::PRP_OFFSET_INVALID) }
}
