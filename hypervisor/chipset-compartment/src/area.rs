//! The memory that both sides have in common: words, each at its place.

use devices::Effects;
use devices::chipset::parts::Part;

/// Effects of one call at most.
pub(crate) const MOST_EFFECTS: usize = Effects::CHIPSET;
/// Words of an effect.
pub(crate) const EFFECT_WORDS: usize = 2;
/// Parts of a state.
pub(crate) const PARTS: usize = Part::ALL.len();
/// Bytes of all parts, each with as much room as it may need.
pub(crate) const STATE_BYTES: usize = place_behind(PARTS);

/// Where what is.
pub(crate) mod at {
    use super::{EFFECT_WORDS, MOST_EFFECTS, PARTS, STATE_BYTES};

    /// And behind it when it is.
    pub const OPERATION: usize = 0;
    /// Of the call: three.
    pub const ARGUMENTS: usize = OPERATION + 2;
    // The answer.
    pub const ANSWER: usize = ARGUMENTS + 3;
    pub const VALUE: usize = ANSWER + 1;
    pub const LINES: usize = ANSWER + 2;
    pub const DEADLINE: usize = ANSWER + 3;
    pub const EFFECT_COUNT: usize = ANSWER + 4;
    /// A bit for each part that changed.
    pub const CHANGED: usize = ANSWER + 5;
    /// How many bytes each part has.
    pub const USED: usize = ANSWER + 6;
    pub const EFFECTS: usize = USED + PARTS;
    /// Of the first call all of the state; of an answer the parts that changed, each at its own place.
    pub const STATE: usize = EFFECTS + EFFECT_WORDS * MOST_EFFECTS;
    pub const END: usize = STATE + STATE_BYTES / 8;
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

/// Bytes of the parts before the one with this number, which is where it is.
const fn place_behind(count: usize) -> usize {
    let (mut bytes, mut parts) = (0, Part::ALL.as_slice());
    let mut left = count;
    while let (Some((first, rest)), 1..) = (parts.split_first(), left) {
        bytes += first.bytes();
        (parts, left) = (rest, left - 1);
    }
    bytes
}

/// Where in the bytes of a state a part is, and its room.
pub(crate) const fn range_of(part: Part) -> core::ops::Range<usize> {
    let start = place_behind(part as usize);
    start..start + part.bytes()
}

/// The bytes of the state.
pub(crate) fn state(words: &mut Words) -> &mut [u8] {
    let words = words.get_mut(at::STATE..).unwrap_or_default();
    bytemuck::try_cast_slice_mut(words).unwrap_or_default()
}
