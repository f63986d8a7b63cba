//! The Internet checksum (RFC 1071).

/// A sum in progress.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds `bytes`, the last of which is followed by a zero if their number is odd: nothing but
    /// the last piece may be of odd length.
    pub fn add(self, bytes: &[u8]) -> Self {
        // Ones' complement sums may be taken in wider words and folded at the end (section 2.C).
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
        let mut last = [0; 4];
        for (place, byte) in last.iter_mut().zip(rest) {
            *place = *byte;
        }
        sum += u64::from(u32::from_be_bytes(last));
        // A frame has 2^14 words of 32 bits, so that neither sum comes near 2^64.
        Self(self.0 + sum)
    }

    /// Adds a number of 16 bits, or more than one of them.
    pub fn add_number(self, number: u32) -> Self {
        Self(self.0 + u64::from(number))
    }

    /// What is written into the header. Never 0, which means "none" to UDP and, being the other
    /// zero, the same as 0xffff to everybody else.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        // Two folds of 64 bits leave 17 at most, the next two 16.
        for _ in 0..5 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        match !(sum as u16) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}
