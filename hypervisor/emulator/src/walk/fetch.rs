//! The bytes of an instruction.

use super::fault::{Access, PageFault};
use super::paging::Paging;
use super::paths::Walker;
use access::GuestMemory;
use spec::Gpa;

/// Most bytes in an instruction.
pub(crate) const INSTRUCTION_BYTES_MAX: usize = 15;

/// Instruction bytes, copied once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    bytes: [u8; INSTRUCTION_BYTES_MAX],
    len: u8,
}

impl Bytes {
    /// The first 15 of `bytes`.
    #[inline]
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut copy = Self::default();
        for (to, from) in copy.bytes.iter_mut().zip(bytes) {
            *to = *from;
            copy.len += 1;
        }
        copy
    }

    /// The bytes and how many they are, as one number.
    #[inline]
    pub(crate) fn key(&self) -> BytesKey {
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(self.bytes) {
            *to = from;
        }
        BytesKey(u128::from_le_bytes(key) | u128::from(self.len) << 120)
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or(&self.bytes)
    }
}

/// [`Bytes`] as one number, to be compared: the bytes, and above them how many they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BytesKey(u128);

impl BytesKey {
    const COUNT: u128 = 0xff << 120;

    /// The bytes.
    pub(crate) fn bytes(self) -> Bytes {
        let [bytes @ .., len] = self.0.to_le_bytes();
        Bytes { bytes, len }
    }
}

/// Fetches up to 15 bytes at `linear`, in one go where they are in one page. What is on a
/// second page that cannot be fetched is left out: the instruction may end before it.
#[inline]
pub(crate) fn fetch<M: GuestMemory>(
    walker: &mut Walker<M>,
    paging: &Paging,
    linear: u64,
) -> Result<BytesKey, PageFault> {
    let here = walker.translate(paging, linear, Access::Fetch)?;
    if linear & 0xfff <= 0xff0
        && let (Ok(low), Ok(high)) = (walker.memory.read64(here), walker.memory.read64(here + 8))
    {
        let both = u128::from(high) << 64 | u128::from(low);
        return Ok(BytesKey(both & !BytesKey::COUNT | (INSTRUCTION_BYTES_MAX as u128) << 120));
    }
    Ok(fetch_pieces(walker, paging, linear, here).key())
}

#[cold]
#[inline(never)]
fn fetch_pieces<M: GuestMemory>(walker: &mut Walker<M>, paging: &Paging, linear: u64, here: Gpa) -> Bytes {
    let first = (4096 - (linear & 0xfff) as usize).min(INSTRUCTION_BYTES_MAX);
    let mut bytes = [0; INSTRUCTION_BYTES_MAX];
    let (head, tail) = bytes.split_at_mut(first);
    if walker.memory.read(here, head).is_err() {
        return Bytes::default();
    }
    let mut len = first;
    if !tail.is_empty()
        && let Ok(there) = walker.translate(paging, linear.wrapping_add(first as u64), Access::Fetch)
        && walker.memory.read(there, tail).is_ok()
    {
        len = INSTRUCTION_BYTES_MAX;
    }
    Bytes { bytes, len: len as u8 }
}
