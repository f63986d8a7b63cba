//! Time, and the one bounded wait that every poll of hardware goes through.

/// A clock that only goes forward.
pub trait Clock {
    /// Nanoseconds since some fixed moment.
    fn now_ns(&self) -> u64;
    /// Lets a sibling thread run; called between polls.
    fn relax(&self) {}
}

/// A device did not answer in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

/// Polls `done` until it holds or `timeout_ns` have passed. `done` is asked once
/// more after the time is up, so a stall of this processor is no failure of the
/// device.
pub fn wait_until<C: Clock + ?Sized>(
    clock: &C,
    timeout_ns: u64,
    mut done: impl FnMut() -> bool,
) -> Result<(), TimedOut> {
    let start = clock.now_ns();
    loop {
        if done() {
            return Ok(());
        }
        if clock.now_ns().wrapping_sub(start) > timeout_ns {
            return if done() { Ok(()) } else { Err(TimedOut) };
        }
        clock.relax();
    }
}

/// A clock that advances by a fixed step at every reading.
#[cfg(any(test, feature = "fakes"))]
pub struct SteppingClock {
    now: core::cell::Cell<u64>,
    step_ns: u64,
}

#[cfg(any(test, feature = "fakes"))]
impl SteppingClock {
    /// A clock at 0 that advances by `step_ns` at every reading.
    pub fn new(step_ns: u64) -> Self {
        Self { now: core::cell::Cell::new(0), step_ns }
    }
}

#[cfg(any(test, feature = "fakes"))]
impl Clock for SteppingClock {
    fn now_ns(&self) -> u64 {
        self.now.set(self.now.get() + self.step_ns);
        self.now.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_after_the_time() {
        let clock = SteppingClock::new(10);
        let mut polls = 0;
        assert_eq!(
            wait_until(&clock, 100, || {
                polls += 1;
                false
            }),
            Err(TimedOut)
        );
        assert!(polls > 5);
    }

    #[test]
    fn asks_once_more_when_time_is_up() {
        let clock = SteppingClock::new(1000);
        let mut polls = 0;
        assert_eq!(
            wait_until(&clock, 100, || {
                polls += 1;
                polls == 2
            }),
            Ok(())
        );
    }
}
