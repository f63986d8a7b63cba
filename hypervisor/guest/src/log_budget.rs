//! How much a guest may make the hypervisor say about it.
//!
//! A guest that crashes and is started again for ever, or pokes at what it does not have,
//! would fill the log and slow down everybody's consoles. It may say much at once and
//! little for ever.

/// Lines that may come at once.
const MOST_LINES: u64 = 200;
/// How long it takes until one more may come.
const SECONDS_PER_LINE: u64 = 5;
/// Who was silenced is heard again when so many may come: whole reports rather than a line
/// here and there.
const LINES_TO_SPEAK: u64 = 20;

/// What one guest has left.
pub struct LogBudget {
    lines: u64,
    /// TSC up to which lines were earned.
    earned_until: u64,
    silenced: bool,
    left_out: u64,
}

impl LogBudget {
    /// Everything is left, from the TSC value `now` on.
    pub const fn new(now: u64) -> Self {
        Self { lines: MOST_LINES, earned_until: now, silenced: false, left_out: 0 }
    }

    /// Whether a line may be written at the TSC value `now`, of `tsc_hz` ticks a second; if
    /// so, how many were left out before it.
    pub fn admit(&mut self, now: u64, tsc_hz: u64) -> Option<u64> {
        let period = tsc_hz.saturating_mul(SECONDS_PER_LINE).max(1);
        let earned = now.saturating_sub(self.earned_until) / period;
        self.earned_until = self.earned_until.saturating_add(earned.saturating_mul(period));
        self.lines = self.lines.saturating_add(earned).min(MOST_LINES);
        let needed = if self.silenced { LINES_TO_SPEAK } else { 1 };
        self.silenced = self.lines < needed;
        if self.silenced {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1;
        Some(self.take_left_out())
    }

    /// How many lines were left out since this was asked for last.
    pub fn take_left_out(&mut self) -> u64 {
        core::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HZ: u64 = 1000;

    #[test]
    fn much_may_come_at_once_and_then_nothing() {
        let mut budget = LogBudget::new(77);
        for _ in 0..MOST_LINES {
            assert_eq!(budget.admit(77, HZ), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(budget.admit(78, HZ), None);
        }
        assert_eq!(budget.take_left_out(), 1000);
        assert_eq!(budget.take_left_out(), 0);
    }

    #[test]
    fn who_was_silenced_comes_back_with_whole_reports() {
        let mut budget = LogBudget::new(0);
        while budget.admit(0, HZ).is_some() {}
        let back = LINES_TO_SPEAK * SECONDS_PER_LINE * HZ;
        assert_eq!(budget.admit(back - 1, HZ), None);
        assert_eq!(budget.admit(back, HZ), Some(2), "and what was left out is told once");
        for _ in 1..LINES_TO_SPEAK {
            assert_eq!(budget.admit(back, HZ), Some(0));
        }
        assert_eq!(budget.admit(back, HZ), None);
        // After a long silence all is forgotten.
        for _ in 0..MOST_LINES {
            assert!(budget.admit(u64::MAX, HZ).is_some());
        }
        assert_eq!(budget.admit(u64::MAX, HZ), None);
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_is_no_panic() {
        let mut budget = LogBudget::new(u64::MAX);
        assert_eq!(budget.admit(0, 0), Some(0));
        assert_eq!(budget.admit(u64::MAX, u64::MAX), Some(0));
    }

    proptest! {
        /// Whatever a guest does, no more lines come than it began with and has earned.
        #[test]
        fn the_rate_is_bounded(steps in prop::collection::vec(0..20 * HZ, 0..2000)) {
            let mut budget = LogBudget::new(0);
            let (mut now, mut written, mut left_out) = (0, 0, 0);
            for step in &steps {
                now += step;
                if let Some(before) = budget.admit(now, HZ) {
                    written += 1;
                    left_out += before;
                }
            }
            left_out += budget.take_left_out();
            prop_assert!(written <= MOST_LINES + now / (SECONDS_PER_LINE * HZ));
            prop_assert_eq!(written + left_out, steps.len() as u64);
        }
    }
}
