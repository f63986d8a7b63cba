//! Reading instruction bytes one after the other.

use super::DecodeError;
use crate::walk::INSTRUCTION_BYTES_MAX;

/// A place in the bytes of an instruction.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    #[inline]
    pub(super) fn position(&self) -> u8 {
        self.at as u8
    }

    /// The next byte, not taken.
    #[inline]
    pub(super) fn peek(&self) -> Result<u8, DecodeError> {
        if self.at >= INSTRUCTION_BYTES_MAX {
            return Err(DecodeError::TooLong);
        }
        self.bytes.get(self.at).copied().ok_or(DecodeError::Truncated)
    }

    /// The next byte.
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// The next `count` bytes (1, 2, 4 or 8), little-endian and sign-extended.
    #[inline]
    pub(super) fn signed(&mut self, count: u8) -> Result<i64, DecodeError> {
        let mut value = 0u64;
        for index in 0..count {
            value |= u64::from(self.byte()?) << (8 * index);
        }
        let unused = 64 - 8 * u32::from(count.clamp(1, 8));
        Ok((value << unused) as i64 >> unused)
    }
}
