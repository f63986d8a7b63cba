//! What a driver is given time for, and others are not to suffer from.

use compartment::Ended;

/// How long a link stays down at least: guests are told of each change, which interrupts them.
const DOWN_NS: u64 = 100_000_000;
/// How long a driver may have frames of which it tells nothing. Senders wait for them, also with what they
/// send to each other. Drivers reset a device that sends nothing for some seconds.
const KEPT_NS: u64 = 15_000_000_000;

/// A link that cannot come and go as often as a driver says.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SteadyLink {
    was_up: bool,
    down_until_ns: Option<u64>,
}

impl SteadyLink {
    /// How it is said to be. Where it is said to go again, it stays down for longer.
    pub fn hear(&mut self, is_up: bool, now_ns: u64) {
        if self.was_up && !is_up {
            self.down_until_ns = Some(now_ns.saturating_add(DOWN_NS));
        }
        self.was_up = is_up;
    }

    /// It is this late.
    pub fn pass(&mut self, now_ns: u64) {
        self.down_until_ns = self.down_until_ns.filter(|until_ns| now_ns < *until_ns);
    }

    /// Whether it is down, whatever is said.
    pub const fn is_held(&self) -> bool {
        self.down_until_ns.is_some()
    }

    /// When it is up that is down although it is said to be up.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.down_until_ns.filter(|_| self.was_up)
    }
}

/// How long nothing was heard of frames that a driver has.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Patience {
    since_ns: u64,
}

impl Patience {
    /// It had `before` frames and has `after` now, of which it told that `over` are sent or lost.
    ///
    /// # Errors
    /// It has kept them for too long.
    pub fn hear(&mut self, before: u64, over: u64, after: u64, now_ns: u64) -> Result<(), Ended> {
        if before == 0 || after == 0 || over > 0 {
            self.since_ns = now_ns;
        } else if now_ns >= self.end_ns() {
            return Err(Ended::Answer("nothing of the frames that it has"));
        }
        Ok(())
    }

    /// When there is no more.
    pub const fn end_ns(&self) -> u64 {
        self.since_ns.saturating_add(KEPT_NS)
    }
}
