//! The program of compartments, as it is in a bundle: what an ELF has of it, with nothing to look for.
//!
//! All numbers are little-endian. Each part starts at a page, in the file as in memory, so a part can be mapped
//! where the bundle is.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `BULKRNG3` |
//! | 8 | 8 | version of the format |
//! | 16 | 8 | virtual address of the first part, a multiple of 4096 |
//! | 24 | 8 | virtual address of the entry point, in the first part |
//! | 32 | 8 | bytes of the first part: instructions |
//! | 40 | 8 | bytes of the second part: constants |
//! | 48 | 8 | bytes of the third part: what variables begin as |
//! | 56 | 8 | bytes of zeros behind the third part, which are not in the file |
//! | 64 | | zeros up to offset 4096, and the parts, each with zeros up to a multiple of 4096 |

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

#[cfg(test)]
mod tests;

/// First bytes of a program.
pub const MAGIC: [u8; 8] = *b"BULKRNG3";
/// Version of the format.
pub const VERSION: u64 = 1;
/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

const PAGE: usize = PAGE_BYTES as usize;
const FIELDS: usize = 6;

/// A program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program<'a> {
    /// Virtual address of the first part.
    pub address: u64,
    /// Virtual address of the entry point.
    pub entry: u64,
    /// Instructions, for reading and executing: whole pages.
    pub text: &'a [u8],
    /// Constants, for reading: whole pages, right behind the instructions.
    pub rodata: &'a [u8],
    /// What variables begin as, for reading and writing: whole pages, right behind the constants.
    pub data: &'a [u8],
    /// Bytes of zeros right behind those, for reading and writing: whole pages.
    pub zero_bytes: u64,
}

/// Why bytes are no program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProgramError {
    /// The first bytes are not a program's.
    NotAProgram,
    /// A format of another version.
    Version(u64),
    /// It has not the length that it says.
    Length,
    /// It would not be where programs are.
    Place,
    /// It starts nowhere in its instructions.
    Entry,
    /// What is between its parts is not zero.
    Padding,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAProgram => f.write_str("it is no program of compartments"),
            Self::Version(version) => {
                write!(f, "its format is version {version}, this hypervisor reads version {VERSION}")
            }
            Self::Length => f.write_str("it has not the length that it says"),
            Self::Place => f.write_str("it is linked to where no program may be"),
            Self::Entry => f.write_str("its entry point is not in its instructions"),
            Self::Padding => f.write_str("what is between its parts is not zero"),
        }
    }
}

impl core::error::Error for ProgramError {}

/// The whole pages of `bytes` bytes, in bytes.
fn pages(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(PAGE_BYTES)
}

impl<'a> Program<'a> {
    /// Reads a program, all of which has to be in this range of virtual addresses. Nothing of it is believed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8], within: Range<u64>) -> Result<Self, ProgramError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(ProgramError::NotAProgram)?;
        let field = |index: usize| {
            let field = rest.get(index.checked_mul(8)?..)?.first_chunk()?;
            Some(u64::from_le_bytes(*field))
        };
        let version = field(0).ok_or(ProgramError::Length)?;
        if version != VERSION {
            return Err(ProgramError::Version(version));
        }
        let mut fields = [0; FIELDS];
        for (place, index) in fields.iter_mut().zip(1..) {
            *place = field(index).ok_or(ProgramError::Length)?;
        }
        let [address, entry, text, rodata, data, zeros] = fields;
        let (header, mut rest) = bytes.split_at_checked(PAGE).ok_or(ProgramError::Length)?;
        let used = 8_usize.saturating_mul(FIELDS.saturating_add(2));
        if !is_zero(header.get(used..).unwrap_or_default()) {
            return Err(ProgramError::Padding);
        }
        let mut part = |bytes: u64| {
            let whole = pages(bytes).and_then(|whole| usize::try_from(whole).ok());
            let (part, behind) =
                whole.and_then(|whole| rest.split_at_checked(whole)).ok_or(ProgramError::Length)?;
            rest = behind;
            if !is_zero(part.get(bytes as usize..).unwrap_or_default()) {
                return Err(ProgramError::Padding);
            }
            Ok(part)
        };
        let program = Self {
            address,
            entry,
            text: part(text)?,
            rodata: part(rodata)?,
            data: part(data)?,
            zero_bytes: pages(zeros).ok_or(ProgramError::Place)?,
        };
        if !rest.is_empty() {
            return Err(ProgramError::Length);
        }
        let end = address.checked_add(program.memory_bytes().ok_or(ProgramError::Place)?);
        let fits = end.is_some_and(|end| address >= within.start && end <= within.end);
        if !fits || !address.is_multiple_of(PAGE_BYTES) {
            return Err(ProgramError::Place);
        }
        // The padding is no instruction.
        if entry.checked_sub(address).is_none_or(|offset| offset >= text) {
            return Err(ProgramError::Entry);
        }
        Ok(program)
    }

    /// Bytes of memory of all of it, zeros included; `None` where no address space has so many.
    pub fn memory_bytes(&self) -> Option<u64> {
        [self.text, self.rodata, self.data]
            .iter()
            .try_fold(self.zero_bytes, |sum, part| sum.checked_add(part.len() as u64))
    }

    /// The program's bytes, as [`parse`](Self::parse) reads them. Its parts need not be whole pages, and have zeros
    /// behind them then.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = [self.text, self.rodata, self.data];
        let [text, rodata, data] = parts.map(|part| part.len() as u64);
        let mut bytes = MAGIC.to_vec();
        for field in [VERSION, self.address, self.entry, text, rodata, data, self.zero_bytes] {
            bytes.extend(field.to_le_bytes());
        }
        for part in [&[], self.text, self.rodata, self.data] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        }
        bytes
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
