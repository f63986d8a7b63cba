//! What was decoded lately.
//!
//! A driver reaches its device from few places, again and again. Decoding depends on
//! nothing but the bytes and the size of code, so what was decoded once is right for
//! as long as the bytes are the same; they are fetched anew each time.

use crate::decode::{self, Alu, BitOperation, CodeSize, DecodeError, Instruction, Operation, Source};
use crate::walk::{Access, Bytes, BytesKey};

/// Instructions that are kept; a power of two.
const PLACES: usize = 16;

/// What was decoded, and of which bytes.
pub(super) struct Known {
    bytes: BytesKey,
    size: CodeSize,
    pub(super) instruction: Instruction,
    /// What its operand has to allow.
    pub(super) access: Access,
    /// It reaches where its address says and as far beyond as a register says.
    pub(super) displaced: bool,
}

impl Known {
    /// The bytes as they were fetched.
    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.bytes()
    }
}

/// The instructions that one virtual processor had decoded lately.
#[derive(Default)]
pub(super) struct Decoded {
    places: [Option<Known>; PLACES],
    /// The bytes that were no instruction, or one that is not carried out here.
    pub(super) unsupported: Bytes,
}

impl Decoded {
    /// Decodes `bytes`, which were fetched at `rip`.
    #[inline]
    pub(super) fn decode(
        &mut self,
        rip: u64,
        bytes: BytesKey,
        size: CodeSize,
    ) -> Result<&Known, DecodeError> {
        let place = self.places.get_mut((rip ^ rip >> 4) as usize % PLACES).ok_or(DecodeError::Truncated)?;
        if !matches!(place, Some(known) if known.bytes == bytes && known.size == size) {
            *place = Some(decode_slowly(bytes, size, &mut self.unsupported)?);
        }
        place.as_ref().ok_or(DecodeError::Truncated)
    }
}

#[cold]
#[inline(never)]
fn decode_slowly(bytes: BytesKey, size: CodeSize, unsupported: &mut Bytes) -> Result<Known, DecodeError> {
    *unsupported = bytes.bytes();
    let instruction = decode::decode(unsupported.as_slice(), size)?;
    let access = direction(&instruction.operation);
    let displaced = matches!(instruction.operation, Operation::Bit { offset: Source::Register(_), .. });
    Ok(Known { bytes, size, instruction, access, displaced })
}

/// What the instruction needs to be allowed. What writes may read as well.
fn direction(operation: &Operation) -> Access {
    match operation {
        Operation::Load { .. }
        | Operation::ToRegister { .. }
        | Operation::Test { .. }
        | Operation::Multiply { .. }
        | Operation::MultiplyTo { .. }
        | Operation::ToMemory { alu: Alu::Cmp, .. }
        | Operation::Bit { operation: BitOperation::Test, .. } => Access::Read,
        _ => Access::Write,
    }
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
                let got = decoded.decode(0x1000, bytes.key(), size).map(|known| known.instruction);
                assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn the_length_counts_for_bytes_cut_short() {
        let mut decoded = Decoded::default();
        let whole = Bytes::new(&[0xc7, 0x07, 0, 0, 0, 0]);
        let cut = Bytes::new(&[0xc7, 0x07, 0, 0, 0]);
        assert!(decoded.decode(0, whole.key(), CodeSize::Bits64).is_ok());
        let got = decoded.decode(0, cut.key(), CodeSize::Bits64);
        assert_eq!(got.err(), Some(DecodeError::Truncated));
    }
}
