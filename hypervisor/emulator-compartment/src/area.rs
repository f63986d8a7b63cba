//! The memory that both sides have in common: words, each at its place.

use spec::{Gpa, Width};

/// Replies that one instruction has at most: two operands of eight bytes, each across two pages.
pub(crate) const MOST_REPLIES: usize = 16;
/// Accesses that write, of one entry at most: the elements of a string that one exit carries out, of which one crosses to
/// the next page.
pub(crate) const MOST_WRITES: usize = 72;
/// Bytes of a string at a port that are moved at once.
pub(crate) const DATA_BYTES: usize = 2048;
/// Words of an access.
pub(crate) const ACCESS_WORDS: usize = 3;

/// Where what is.
pub(crate) mod at {
    use super::{ACCESS_WORDS, DATA_BYTES, MOST_REPLIES, MOST_WRITES};

    pub const OPERATION: usize = 0;
    // Two arguments are behind it.
    pub const PRESENT: usize = 3;
    pub const REPLY_COUNT: usize = 4;
    /// RIP, RFLAGS, CR0, CR2, CR3, CR4 and EFER.
    pub const RIP: usize = 5;
    pub const REGISTERS: usize = RIP + 7;
    pub const SEGMENTS: usize = REGISTERS + 16;
    pub const FETCHED: usize = SEGMENTS + 12;
    pub const REPLIES: usize = FETCHED + 2;
    // The answer.
    pub const ANSWER: usize = REPLIES + MOST_REPLIES;
    pub const CHANGED: usize = ANSWER + 1;
    pub const EVENT: usize = ANSWER + 2;
    pub const NEW_RIP: usize = ANSWER + 3;
    pub const NEW_RFLAGS: usize = ANSWER + 4;
    pub const NEW_CR2: usize = ANSWER + 5;
    pub const WRITE_COUNT: usize = ANSWER + 6;
    /// An access that reads: what is asked for, or is left to load.
    pub const READ: usize = ANSWER + 7;
    pub const BYTES: usize = READ + ACCESS_WORDS;
    pub const NEW_REGISTERS: usize = BYTES + 2;
    pub const WRITES: usize = NEW_REGISTERS + 16;
    pub const DATA: usize = WRITES + ACCESS_WORDS * MOST_WRITES;
    pub const END: usize = DATA + DATA_BYTES / 8;
}

/// Words of an area.
pub const AREA_WORDS: usize = at::END;

/// The words.
pub(crate) type Words = [u64; AREA_WORDS];

/// The words of an area that is large enough.
pub(crate) fn of(words: &mut [u64]) -> Option<&mut Words> {
    words.first_chunk_mut()
}

/// The words at a place.
#[inline]
pub(crate) fn part<const N: usize>(words: &Words, place: usize) -> &[u64; N] {
    words.get(place..).and_then(<[u64]>::first_chunk).unwrap_or(&[0; N])
}

/// The words at a place, to be written.
#[inline]
pub(crate) fn put<const N: usize>(words: &mut Words, place: usize, values: &[u64; N]) {
    if let Some(part) = words.get_mut(place..).and_then(<[u64]>::first_chunk_mut) {
        *part = *values;
    }
}

/// Bytes of an instruction, and in the last byte how many they are, as words.
#[inline]
pub(crate) const fn pack(bytes: [u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(bytes);
    [all as u64, (all >> 64) as u64]
}

/// Puts bytes of an instruction, of which there are 15 at most, and how many.
#[inline]
pub(crate) fn put_bytes(words: &mut Words, place: usize, bytes: &[u8]) {
    let mut packed = [0; 16];
    packed.iter_mut().take(15).zip(bytes).for_each(|(to, from)| *to = *from);
    packed[15] = bytes.len().min(15) as u8;
    put(words, place, &pack(packed));
}

/// Bytes of an instruction, and how many there are.
#[inline]
pub(crate) fn bytes(words: &Words, place: usize) -> ([u8; 15], u8) {
    let [low, high] = *part(words, place);
    let [bytes @ .., count] = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
    (bytes, count.min(15))
}

/// The data.
pub(crate) fn data(words: &mut Words) -> &mut [u8] {
    let words = words.get_mut(at::DATA..).unwrap_or_default();
    bytemuck::try_cast_slice_mut(words).unwrap_or_default()
}

/// Copies what there is room for.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    let count = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
}

/// An access that writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    /// Where to; or the port.
    pub place: Gpa,
    pub width: Width,
    pub value: u64,
}

impl Write {
    pub const fn encode(self) -> [u64; ACCESS_WORDS] {
        [self.place.0, self.width.bytes(), self.value]
    }

    /// `None` for what is none.
    pub fn decode([place, width, value]: [u64; ACCESS_WORDS]) -> Option<Self> {
        let width = width_of(width)?;
        let is_sound = is_within_page(place, width) && value & !width.mask() == 0;
        is_sound.then_some(Self { place: Gpa(place), width, value })
    }
}

/// The width of so many bytes.
pub(crate) const fn width_of(bytes: u64) -> Option<Width> {
    match bytes {
        1 => Some(Width::Byte),
        2 => Some(Width::Word),
        4 => Some(Width::Dword),
        8 => Some(Width::Qword),
        _ => None,
    }
}

/// Whether an access is one that a guest can make: of one page, where there are addresses.
pub(crate) const fn is_within_page(place: u64, width: Width) -> bool {
    const PAGE: u64 = 0x1000;
    const ADDRESSES: u64 = 1 << 52;
    place < ADDRESSES && place % PAGE + width.bytes() <= PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_within_its_page() {
        for (words, is_sound) in [
            ([0xd000_0ff8, 8, 5], true),
            ([0xd000_0ffc, 8, 5], false),
            ([0xd000_0ffc, 3, 5], false),
            ([0xd000_0fff, 1, 0xff], true),
            ([0xd000_0fff, 1, 0x100], false),
            ([1 << 52, 1, 0], false),
            ([u64::MAX, 8, 0], false),
        ] {
            let decoded = Write::decode(words);
            assert_eq!(decoded.is_some(), is_sound, "{words:x?}");
            assert!(decoded.is_none_or(|write| write.encode() == words));
        }
    }
}
