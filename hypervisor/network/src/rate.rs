//! A limit of what a port sends: a token bucket.

use core::num::NonZero;

#[cfg(test)]
mod tests;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The most that a port sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Bytes a second in the long run.
    pub bytes_per_second: NonZero<u64>,
    /// Bytes at once after a silence; a last frame may go beyond by its size.
    pub burst_bytes: NonZero<u32>,
}

/// The tokens that a port has. A frame passes while there are any, and may leave a debt: so no
/// burst is too small for a large frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    limit: RateLimit,
    /// Billionths of a byte, so that no fraction is lost.
    tokens: i64,
    at_ns: u64,
}

impl Bucket {
    /// A full one.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, tokens: Self::full(limit), at_ns: 0 }
    }

    fn full(limit: RateLimit) -> i64 {
        // Less than 2^32 times less than 2^30.
        i64::from(limit.burst_bytes.get()).saturating_mul(NS_PER_SECOND as i64)
    }

    /// Takes the tokens for a frame of `bytes`. False, and none are taken, where none are left.
    pub fn take(&mut self, bytes: usize, now_ns: u64) -> bool {
        let passed_ns = now_ns.saturating_sub(self.at_ns);
        self.at_ns = self.at_ns.max(now_ns);
        let earned = passed_ns.saturating_mul(self.limit.bytes_per_second.get());
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(earned).min(Self::full(self.limit));
        if self.tokens <= 0 {
            return false;
        }
        let cost = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(NS_PER_SECOND as i64);
        self.tokens = self.tokens.saturating_sub(cost);
        true
    }

    /// From when on a frame passes.
    pub fn ready_ns(&self) -> u64 {
        if self.tokens > 0 {
            return 0;
        }
        let missing = self.tokens.unsigned_abs().saturating_add(1);
        self.at_ns.saturating_add(missing.div_ceil(self.limit.bytes_per_second.get()))
    }
}
