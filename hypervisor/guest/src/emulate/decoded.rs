//! What was decoded lately.
//!
//! A driver reaches its device from few places, again and again. Decoding depends on
//! nothing but the bytes and the size of code, so what was decoded once is right for
//! as long as the bytes are the same; they are fetched anew each time.

use crate::decode::{self, CodeSize, DecodeError, Instruction};
use crate::walk::Bytes;

/// Instructions that are kept; a power of two.
const PLACES: usize = 16;

/// The instructions that one virtual processor had decoded lately.
#[derive(Default)]
pub struct Decoded([Option<(u128, CodeSize, Instruction)>; PLACES]);

impl Decoded {
    /// Decodes `bytes`, which were fetched at `rip`.
    #[inline]
    pub fn decode(&mut self, rip: u64, bytes: &Bytes, size: CodeSize) -> Result<Instruction, DecodeError> {
        let key = bytes.key();
        let place = &mut self.0[(rip ^ rip >> 4) as usize % PLACES];
        if let Some((kept, kept_size, instruction)) = place
            && *kept == key
            && *kept_size == size
        {
            return Ok(*instruction);
        }
        let instruction = decode_slowly(bytes, size)?;
        *place = Some((key, size, instruction));
        Ok(instruction)
    }
}

#[cold]
#[inline(never)]
fn decode_slowly(bytes: &Bytes, size: CodeSize) -> Result<Instruction, DecodeError> {
    decode::decode(bytes.as_slice(), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_or_another_mode_at_the_same_place_are_decoded_anew() {
        let mut decoded = Decoded::default();
        let store = Bytes::new(&[0x89, 0x07, 0x90]);
        let load = Bytes::new(&[0x8b, 0x07, 0x90]);
        for (bytes, size) in [
            (&store, CodeSize::Bits64),
            (&load, CodeSize::Bits64),
            (&store, CodeSize::Bits32),
            (&store, CodeSize::Bits16),
        ] {
            let expected = decode::decode(bytes.as_slice(), size);
            assert!(expected.is_ok());
            for _ in 0..2 {
                assert_eq!(decoded.decode(0x1000, bytes, size), expected);
            }
        }
    }

    #[test]
    fn the_length_counts_for_bytes_cut_short() {
        let mut decoded = Decoded::default();
        let whole = Bytes::new(&[0xc7, 0x07, 0, 0, 0, 0]);
        let cut = Bytes::new(&[0xc7, 0x07, 0, 0, 0]);
        assert!(decoded.decode(0, &whole, CodeSize::Bits64).is_ok());
        assert_eq!(decoded.decode(0, &cut, CodeSize::Bits64), Err(DecodeError::Truncated));
    }
}
