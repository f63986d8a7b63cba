//! How often a compartment is made anew.

/// How often a compartment is made anew before its device is as one that was pulled out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restarts {
    /// As often in a minute.
    pub most: u32,
    /// Ticks of a minute.
    pub minute: u64,
}

impl Restarts {
    /// Never.
    pub const NONE: Self = Self { most: 0, minute: 0 };
}

/// Counts them.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    allowed: Restarts,
    /// When the minute began that is counted.
    since: u64,
    count: u32,
}

impl Counter {
    /// None so far.
    pub const fn new(allowed: Restarts) -> Self {
        Self { allowed, since: 0, count: 0 }
    }

    /// Whether there may be one more at `now`, which then counts.
    pub const fn take(&mut self, now: u64) -> bool {
        if self.count == 0 || now.saturating_sub(self.since) >= self.allowed.minute {
            (self.since, self.count) = (now, 0);
        }
        let may = self.count < self.allowed.most;
        self.count += may as u32;
        may
    }
}
