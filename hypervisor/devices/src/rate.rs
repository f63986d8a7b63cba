//! Conversion between time-stamp counter ticks and the clock of a device.

use core::num::{NonZeroU64, NonZeroU128};
use serde::{Deserialize, Serialize};

/// A device clock that started at some tick, in whole periods.
///
/// Both directions round so that a device asked at `tick_of(n)` has counted at
/// least `n`: a deadline computed here is never early, so serving it always makes
/// progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rate {
    start: u64,
    hz: NonZeroU64,
    tsc_hz: NonZeroU64,
}

impl Rate {
    /// A clock of `hz` that reads 0 at tick `start`, on a machine that counts
    /// `tsc_hz` ticks a second. A rate of 0 is taken as 1: no division by zero.
    pub const fn new(start: u64, hz: u64, tsc_hz: u64) -> Self {
        Self { start, hz: one_at_least(hz), tsc_hz: one_at_least(tsc_hz) }
    }

    /// Whether it counts as fast as `other`, on a machine as fast.
    pub(crate) fn has_the_speed_of(&self, other: &Self) -> bool {
        self.hz == other.hz && self.tsc_hz == other.tsc_hz
    }

    /// Whole periods from the start to tick `now`; 0 before the start.
    pub fn count_at(&self, now: u64) -> u64 {
        let elapsed = now.saturating_sub(self.start);
        // A product within 64 bits is the usual case for days after the start and
        // is far cheaper than the 128-bit division.
        match elapsed.checked_mul(self.hz.get()) {
            Some(product) => product / self.tsc_hz,
            None => {
                let count = u128::from(elapsed) * u128::from(self.hz.get()) / NonZeroU128::from(self.tsc_hz);
                u64::try_from(count).unwrap_or(u64::MAX)
            }
        }
    }

    /// First tick at which `count_at` is `count` or more; `None` where that is
    /// beyond the 64-bit counter, which is never.
    pub fn tick_of(&self, count: u64) -> Option<u64> {
        let (product, hz) = (u128::from(count) * u128::from(self.tsc_hz.get()), NonZeroU128::from(self.hz));
        let elapsed = product / hz + u128::from(product % hz != 0);
        u64::try_from(elapsed).ok()?.checked_add(self.start)
    }
}

const fn one_at_least(hz: u64) -> NonZeroU64 {
    match NonZeroU64::new(hz) {
        Some(hz) => hz,
        None => NonZeroU64::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_zero_rate_divides_nothing_by_zero() {
        let rate = Rate::new(0, 0, 0);
        assert_eq!(rate.count_at(7), 7);
        assert_eq!(rate.tick_of(7), Some(7));
    }

    #[test]
    fn counts_far_beyond_64_bit_products() {
        let rate = Rate::new(0, 3_579_545, 3_000_000_000);
        // 100 years of 3 GHz.
        let century = 3_000_000_000u64 * 86_400 * 365 * 60;
        assert_eq!(rate.count_at(century), 3_579_545 * 86_400 * 365 * 60);
    }

    proptest! {
        #[test]
        fn a_deadline_is_the_first_tick_of_its_count(
            start in 0..u64::MAX / 2,
            hz in 1..10_000_000u64,
            tsc_hz in 1..10_000_000_000u64,
            count in 1..1u64 << 40,
        ) {
            let rate = Rate::new(start, hz, tsc_hz);
            if let Some(tick) = rate.tick_of(count) {
                prop_assert!(rate.count_at(tick) >= count);
                prop_assert!(tick == start || rate.count_at(tick - 1) < count);
            }
        }
    }
}
