//! What a guest starts from, made offline: an image of its memory and of its first processor's
//! registers.
//!
//! The crate `firmware` makes it of a kernel and what belongs to it, so nothing here knows a kernel's
//! format. The image names pieces of the guest's files, which stay what they are and may be shared, and
//! holds what else belongs into the guest's memory. What only the boot knows is patched in ([`patch`]).
//! A guest that starts again starts from the same image.
//!
//! An image is a table of little-endian words of 8 bytes, and bytes of its own after it:
//!
//! | words | what |
//! |---|---|
//! | 3 | number of pieces, number of patches, end of the memory below 4 GiB that the guest starts in |
//! | 16 | general registers, as instructions encode them |
//! | 5 | RIP, CR0, CR3, CR4, EFER |
//! | 2 | base and limit of the global descriptor table |
//! | 16 | segment registers by [`SegmentName`]: selector (16 bits), attributes (16), limit (32); base |
//! | 4 a piece | gpa, bytes, offset in its file, number of the file: 0 is the image itself |
//! | 5 a patch | gpa, bytes, number of the [`Fact`], factor, gpa of a checksum or 0 |
//!
//! Pieces ascend and none meets another. Every number is an untrusted value.

pub mod patch;
#[cfg(test)]
mod tests;

pub use patch::{Fact, Patch};

use crate::layout::GuestLayout;
use access::GuestMemory;
use access::vcpu::{ControlRegisters, ProcessorState, Segment, SegmentName};
use core::fmt;
use core::ops::Range;
use spec::Gpa;
use spec::processor::{CR0_ET, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME};

/// Words before the pieces.
pub const HEADER_WORDS: u64 = 42;
/// Words of a piece.
pub const PIECE_WORDS: u64 = 4;
/// Words of a patch.
pub const PATCH_WORDS: u64 = 5;
/// Most patches of an image.
pub const PATCHES_MAX: u64 = 64;
/// Number of the file that is the image itself.
pub const OWN_FILE: u64 = 0;

/// The place of each word in the header.
mod word {
    pub const PIECES: u64 = 0;
    pub const PATCHES: u64 = 1;
    pub const LOW_END: u64 = 2;
    pub const GENERAL: u64 = 3;
    pub const RIP: u64 = 19;
    pub const CR0: u64 = 20;
    pub const CR3: u64 = 21;
    pub const CR4: u64 = 22;
    pub const EFER: u64 = 23;
    pub const TABLE_BASE: u64 = 24;
    pub const TABLE_LIMIT: u64 = 25;
    pub const SEGMENTS: u64 = 26;
}

/// CR0, CR4 and EFER of a first processor in 32-bit protected mode, without paging.
pub const PROTECTED_MODE: (u64, u64, u64) = (CR0_PE | CR0_ET, 0, 0);
/// CR0, CR4 and EFER of a first processor in 64-bit mode.
pub const LONG_MODE: (u64, u64, u64) = (CR0_PE | CR0_ET | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA);
/// RFLAGS after reset: the bit that is always set.
const RFLAGS_RESET: u64 = 1 << 1;

/// Why a guest is not started from an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The image ends within its own table.
    Short,
    /// More than [`PATCHES_MAX`] patches.
    Patches(u64),
    /// The first processor is in neither of the modes in which one starts.
    Mode,
    /// The memory below 4 GiB ends on this machine before what the guest starts in does.
    LowMemory {
        /// The end of what it starts in.
        needed: Gpa,
        /// The end of its memory below 4 GiB.
        end: Gpa,
    },
    /// A piece, by its number, makes no sense; the sentence says how.
    Piece(u64, &'static str),
    /// A patch, by its number, makes no sense; the sentence says how.
    Patch(u64, &'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its start image ")?;
        match self {
            Self::Short => f.write_str("ends within its own table"),
            Self::Patches(count) => write!(f, "has {count} patches, and {PATCHES_MAX} are the most"),
            Self::Mode => f.write_str("has the first processor in a mode in which none starts"),
            Self::LowMemory { needed, end } => write!(
                f,
                "goes up to {needed}, and on this machine its memory below 4 GiB ends at {end}: bridges above its \
                 functions claim what follows"
            ),
            Self::Piece(number, what) => write!(f, "is damaged: piece {number} {what}"),
            Self::Patch(number, what) => write!(f, "is damaged: patch {number} {what}"),
        }
    }
}

/// An image whose table is whole.
#[derive(Clone, Copy, Debug)]
pub struct StartImage<'a> {
    bytes: &'a [u8],
    pieces: u64,
    patches: u64,
}

/// Bytes of a file, and their place in the guest's memory.
struct Piece {
    gpa: u64,
    bytes: u64,
    offset: u64,
    file: u64,
}

impl<'a> StartImage<'a> {
    /// Looks at the table of an image.
    ///
    /// # Errors
    /// It is not whole, or what it says of the first processor is not to be had.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StartError> {
        let mut image = Self { bytes, pieces: 0, patches: 0 };
        let (pieces, patches) = (image.word(word::PIECES)?, image.word(word::PATCHES)?);
        if patches > PATCHES_MAX {
            return Err(StartError::Patches(patches));
        }
        let words = pieces.checked_mul(PIECE_WORDS).and_then(|words| {
            words.checked_add(patches * PATCH_WORDS)?.checked_add(HEADER_WORDS)?.checked_mul(8)
        });
        if words.is_none_or(|table| table > bytes.len() as u64) {
            return Err(StartError::Short);
        }
        (image.pieces, image.patches) = (pieces, patches);
        let control = image.control();
        // Other bits could switch on what the guest is not to have.
        match (control.cr0, control.cr4, control.efer) {
            PROTECTED_MODE | LONG_MODE => Ok(image),
            _ => Err(StartError::Mode),
        }
    }

    /// Puts everything into the guest's memory, which is zeroed. `file` gives the contents of the
    /// guest's files, from number 1 on, verified.
    ///
    /// # Errors
    /// Something has no place in this guest's memory, or contradicts itself. What was placed until then
    /// is there.
    pub fn place<'f>(
        &self,
        memory: &impl GuestMemory,
        layout: &GuestLayout,
        file: impl Fn(u64) -> Option<&'f [u8]>,
    ) -> Result<(), StartError> {
        let (needed, end) = (self.word(word::LOW_END)?, layout.low_bytes());
        if needed > end {
            return Err(StartError::LowMemory { needed: Gpa(needed), end: Gpa(end) });
        }
        let mut last = 0;
        for number in 0..self.pieces {
            let piece = self.piece(number)?;
            let wrong = |what| StartError::Piece(number, what);
            let contents = if piece.file == OWN_FILE { Some(self.bytes) } else { file(piece.file) };
            let contents = contents.ok_or(wrong("is of a file that its guest does not have"))?;
            let contents = range(piece.offset, piece.bytes)
                .and_then(|range| contents.get(range))
                .ok_or(wrong("reaches past the end of its file"))?;
            if piece.gpa < last {
                return Err(wrong("does not come after the one before it"));
            }
            last = piece.gpa.saturating_add(piece.bytes);
            memory
                .write(Gpa(piece.gpa), contents)
                .map_err(|_| wrong("has a place where its guest has no memory"))?;
        }
        (0..self.patches).try_for_each(|number| self.apply_patch(number, memory, layout))
    }

    /// Sets up a vCPU, fresh from reset, to start.
    pub fn start(&self, vcpu: &mut impl ProcessorState) {
        let word = |index| self.word(index).unwrap_or(0);
        for register in 0..16 {
            vcpu.set_register(register, word(word::GENERAL + register as u64));
        }
        vcpu.set_rip(word(word::RIP));
        vcpu.set_rflags(RFLAGS_RESET);
        vcpu.set_control(self.control());
        for (index, name) in (0..).zip(SegmentName::ALL) {
            let [visible, base] = [0, 1].map(|half| word(word::SEGMENTS + 2 * index + half));
            let (selector, attributes) = (visible as u16, (visible >> 16) as u16);
            vcpu.set_segment(name, Segment { selector, attributes, limit: (visible >> 32) as u32, base });
        }
        vcpu.set_descriptor_table(false, word(word::TABLE_BASE), word(word::TABLE_LIMIT) as u16);
        vcpu.set_descriptor_table(true, 0, 0);
    }

    fn control(&self) -> ControlRegisters {
        let word = |index| self.word(index).unwrap_or(0);
        let [cr0, cr3, cr4, efer] = [word::CR0, word::CR3, word::CR4, word::EFER].map(word);
        ControlRegisters { cr0, cr3, cr4, efer, ..ControlRegisters::default() }
    }

    fn word(&self, index: u64) -> Result<u64, StartError> {
        let start = index.checked_mul(8).and_then(|start| usize::try_from(start).ok());
        let word = start.and_then(|start| self.bytes.get(start..)?.first_chunk());
        word.map(|word| u64::from_le_bytes(*word)).ok_or(StartError::Short)
    }

    /// The words from `start` on; they are in the table, whose size does not overflow.
    fn words<const N: usize>(&self, start: u64) -> Result<[u64; N], StartError> {
        let mut words = [0; N];
        for (index, word) in (start..).zip(&mut words) {
            *word = self.word(index)?;
        }
        Ok(words)
    }

    fn piece(&self, number: u64) -> Result<Piece, StartError> {
        let [gpa, bytes, offset, file] = self.words(HEADER_WORDS + number * PIECE_WORDS)?;
        Ok(Piece { gpa, bytes, offset, file })
    }

    fn apply_patch(
        &self,
        number: u64,
        memory: &impl GuestMemory,
        layout: &GuestLayout,
    ) -> Result<(), StartError> {
        let start = HEADER_WORDS + self.pieces * PIECE_WORDS + number * PATCH_WORDS;
        let patch = Patch::from_words(self.words(start)?);
        let inside = |gpa, bytes| self.holds(gpa, bytes);
        patch.apply(memory, layout, inside).map_err(|what| StartError::Patch(number, what))
    }

    /// Whether these bytes are in one of the pieces.
    fn holds(&self, gpa: u64, bytes: u64) -> bool {
        let holds = |piece: Piece| {
            let end = gpa.checked_sub(piece.gpa).and_then(|before| before.checked_add(bytes));
            end.is_some_and(|end| end <= piece.bytes)
        };
        (0..self.pieces).any(|number| self.piece(number).is_ok_and(holds))
    }
}

fn range(start: u64, count: u64) -> Option<Range<usize>> {
    let (start, count) = (usize::try_from(start).ok()?, usize::try_from(count).ok()?);
    Some(start..start.checked_add(count)?)
}
