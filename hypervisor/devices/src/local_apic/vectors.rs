//! A set of interrupt vectors: the IRR, ISR and TMR.

use serde::{Deserialize, Serialize};

/// 256 bits, one for each vector.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(super) struct VectorSet([u64; 4]);

impl VectorSet {
    /// These vectors, a bit each.
    pub(super) fn of(words: [u64; 4]) -> Self {
        Self(words)
    }

    pub(super) fn insert(&mut self, vector: u8) {
        if let Some(word) = self.0.get_mut(usize::from(vector >> 6)) {
            *word |= 1 << (vector & 63);
        }
    }

    pub(super) fn remove(&mut self, vector: u8) {
        if let Some(word) = self.0.get_mut(usize::from(vector >> 6)) {
            *word &= !(1 << (vector & 63));
        }
    }

    /// Puts the vector in or takes it out.
    pub(super) fn set(&mut self, vector: u8, present: bool) {
        if present { self.insert(vector) } else { self.remove(vector) }
    }

    pub(super) fn contains(&self, vector: u8) -> bool {
        self.word(vector >> 6) >> (vector & 63) & 1 != 0
    }

    /// The highest vector, which is the one of highest priority.
    pub(super) fn highest(&self) -> Option<u8> {
        let [a, b, c, d] = self.0;
        let (word, base) = if d != 0 {
            (d, 192)
        } else if c != 0 {
            (c, 128)
        } else if b != 0 {
            (b, 64)
        } else {
            (a, 0)
        };
        word.checked_ilog2().map(|bit| base + bit as u8)
    }

    /// The register of 32 vectors that starts at vector `32 * (index & 7)`.
    pub(super) fn register(&self, index: u8) -> u32 {
        (self.word((index & 7) >> 1) >> (32 * (index & 1))) as u32
    }

    /// Word `index` of the four; the compiler sees that nobody asks for another.
    fn word(&self, index: u8) -> u64 {
        self.0.get(usize::from(index)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_highest_of_any_pair() {
        for low in 0..=255u8 {
            for high in low..=255 {
                let mut set = VectorSet::default();
                set.insert(low);
                set.insert(high);
                assert_eq!(set.highest(), Some(high));
                set.remove(high);
                assert_eq!(set.highest(), (low != high).then_some(low));
            }
        }
    }

    #[test]
    fn shows_registers_of_32_vectors() {
        for vector in 0..=255u8 {
            let mut set = VectorSet::default();
            set.set(vector, true);
            for index in 0..8 {
                let expected = if vector / 32 == index { 1 << (vector % 32) } else { 0 };
                assert_eq!(set.register(index), expected);
            }
        }
    }
}
