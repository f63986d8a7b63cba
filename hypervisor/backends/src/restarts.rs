//! When a device that failed is started again.

/// A device that failed is started again at once, and where it fails again after so many nanoseconds,
/// then after twice as many, and so on: one that was pulled out for good is asked for seldom, and fills
/// no log.
pub(crate) const FIRST_NS: u64 = 10_000_000_000;
/// The longest time between two: what is plugged in again after hours is used soon, and what is not fills
/// no log.
const LONGEST_NS: u64 = 8 * FIRST_NS;

/// A device's failures.
#[derive(Debug)]
pub(crate) struct Restarts {
    /// When it may be started again.
    at_ns: u64,
    wait_ns: u64,
    failures: u64,
}

impl Restarts {
    /// None so far.
    pub const fn new() -> Self {
        Self { at_ns: 0, wait_ns: FIRST_NS, failures: 0 }
    }

    /// The device is failed. Whether that is to be told, and the device to be started again now.
    pub fn failed(&mut self, now_ns: u64) -> bool {
        if now_ns < self.at_ns {
            return false;
        }
        self.at_ns = now_ns.saturating_add(self.wait_ns);
        self.wait_ns = self.wait_ns.saturating_mul(2).min(LONGEST_NS);
        self.count();
        true
    }

    /// It failed in a way that no start mends.
    pub const fn count(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The device works.
    pub const fn works(&mut self) {
        self.wait_ns = FIRST_NS;
    }

    /// When a device that is failed may be started again, in nanoseconds of the clock.
    pub const fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// How often it has failed.
    pub const fn failures(&self) -> u64 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn what_is_gone_for_good_is_asked_for_ever_more_seldom() {
        let mut restarts = Restarts::new();
        let minutes = 60 * FIRST_NS;
        let second = FIRST_NS / 10;
        let starts: Vec<u64> =
            (0..minutes).step_by(second as usize).filter(|now_ns| restarts.failed(*now_ns)).collect();
        let seconds: Vec<u64> = starts.iter().map(|ns| ns / second).collect();
        assert_eq!(seconds, [0, 10, 30, 70, 150, 230, 310, 390, 470, 550]);
        assert_eq!(restarts.failures(), 10);
    }

    #[test]
    fn what_worked_meanwhile_is_started_again_at_once() {
        let mut restarts = Restarts::new();
        assert!(restarts.failed(0) && restarts.failed(FIRST_NS));
        restarts.works();
        let later = 3 * FIRST_NS;
        assert!(!restarts.failed(later - 1) && restarts.failed(later));
        assert_eq!(restarts.at_ns(), later + FIRST_NS);
    }
}
