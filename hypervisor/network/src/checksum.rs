//! The Internet checksum (RFC 1071).

/// A sum in progress, of the 16-bit words as this processor reads them: the order of bytes matters
/// at the end alone (section 2.B).
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds `bytes`, the last of which is followed by a zero if their number is odd: nothing but
    /// the last piece may be of odd length.
    pub fn add(self, bytes: &[u8]) -> Self {
        // Ones' complement sums may be taken in wider words and folded at the end (section 2.C).
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (place, byte) in last.iter_mut().zip(rest) {
            *place = *byte;
        }
        // An addition with carry for 8 bytes; 2^64 of them fit.
        let sum = words.iter().fold(u128::from(u64::from_le_bytes(last)), |sum, word| {
            sum + u128::from(u64::from_le_bytes(*word))
        });
        let halves = fold(sum as u64) + fold((sum >> 64) as u64);
        Self(fold(self.0 + halves))
    }

    /// Adds a number as it stands in a header.
    pub fn add_number(self, number: u32) -> Self {
        self.add(&number.to_be_bytes())
    }

    /// What is written into the header, big-endian. Never 0, which means "none" to UDP and, being
    /// the other zero, the same as 0xffff to everybody else.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        // The first fold leaves 33 bits, the last 16.
        for _ in 0..4 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        match !(sum as u16) {
            0 => 0xffff,
            checksum => u16::from_be_bytes(checksum.to_le_bytes()),
        }
    }
}

/// The same in 33 bits.
const fn fold(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sum_is_that_of_words_of_16_bits(bytes in prop::collection::vec(any::<u8>(), 0..200), even in 0..100_usize) {
            let mut plain = 0_u32;
            for pair in bytes.chunks(2) {
                plain += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
                plain = (plain & 0xffff) + (plain >> 16);
            }
            let (first, second) = bytes.split_at((2 * even).min(bytes.len()));
            let wanted = if plain == 0xffff { 0xffff } else { !(plain as u16) };
            prop_assert_eq!(Sum::default().add(first).add(second).finish(), wanted);
            let ones = Sum::default().add(&[0xff; 65_536]).add_number(0x0102_0304).finish();
            prop_assert_eq!(ones, !0x0406);
        }
    }
}
