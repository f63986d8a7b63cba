//! How often a driver is made anew without anybody being told.

use alloc::boxed::Box;

/// A minute.
const WINDOW_NS: u64 = 60_000_000_000;

/// When it was made anew lately.
#[derive(Debug)]
pub(crate) struct Budget {
    /// As many as there may be in a minute, and which of them is the oldest.
    times_ns: Box<[Option<u64>]>,
    oldest: usize,
}

impl Budget {
    /// For so many in any minute.
    pub fn new(most: u16) -> Self {
        Self { times_ns: core::iter::repeat_n(None, most.into()).collect(), oldest: 0 }
    }

    /// Whether it may be once more, which is noted then.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let Some(oldest) = self.times_ns.get_mut(self.oldest) else { return false };
        if oldest.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < WINDOW_NS) {
            return false;
        }
        *oldest = Some(now_ns);
        self.oldest = if self.oldest + 1 < self.times_ns.len() { self.oldest + 1 } else { 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn so_many_in_any_minute() {
        let second = WINDOW_NS / 60;
        let taken = |most| -> Vec<u64> {
            let mut budget = Budget::new(most);
            (0..130).filter(|at| budget.take(at * second)).collect()
        };
        assert_eq!(taken(3), [0, 1, 2, 60, 61, 62, 120, 121, 122]);
        assert_eq!(taken(0), []);
    }
}
