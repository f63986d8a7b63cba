//! The local APIC's timer (Intel SDM vol. 3 section 11.5.4).

use super::registers::lvt_writable;
use serde::{Deserialize, Serialize};
use spec::local_apic::{LVT_MASKED, LVT_TIMER};

/// Shortest period of the periodic timer, in ticks: about 10 µs. A guest that asks
/// for less gets this; each period costs the hypervisor an exit that the guest did
/// not ask for.
pub const MINIMUM_PERIOD_TICKS: u64 = 25_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
    /// Code 3. It never fires.
    Reserved,
}

impl Mode {
    const fn of(lvt: u32) -> Self {
        match lvt >> 17 & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }
}

/// Counts ticks of the time-stamp counter divided by the divide configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Timer {
    /// LVT entry; it holds the mode.
    lvt: u32,
    /// Initial count.
    initial: u32,
    /// Divide configuration register, bits 0, 1 and 3.
    divide: u32,
    /// Tick at which it fires next. It is the only state of a running timer: the
    /// current count is the distance to it.
    expiry: Option<u64>,
}

impl Timer {
    pub(super) const fn new() -> Self {
        Self { lvt: LVT_MASKED, initial: 0, divide: 0, expiry: None }
    }

    /// Whether a timer can be as this one is said to be.
    pub(super) const fn is_possible(&self) -> bool {
        self.divide & !0b1011 == 0 && self.lvt & !lvt_writable(LVT_TIMER) == 0
    }

    pub(super) const fn lvt(&self) -> u32 {
        self.lvt
    }

    pub(super) const fn initial_count(&self) -> u32 {
        self.initial
    }

    pub(super) const fn divide(&self) -> u32 {
        self.divide
    }

    /// Replaces the LVT entry. Going to or from TSC-deadline mode disarms the timer
    /// (section 11.5.4.1). An event that passed while the entry was masked is lost,
    /// so it must be taken out before a new entry could unmask it.
    pub(super) fn set_lvt(&mut self, lvt: u32, now: u64) {
        self.advance(now);
        let (old, new) = (Mode::of(self.lvt), Mode::of(lvt));
        if old != new && (old == Mode::TscDeadline || new == Mode::TscDeadline || new == Mode::Reserved) {
            self.expiry = None;
            self.initial = 0;
        }
        self.lvt = lvt;
    }

    /// Starts a countdown; 0 stops it. TSC-deadline mode ignores the register.
    pub(super) fn set_initial_count(&mut self, count: u32, now: u64) {
        match Mode::of(self.lvt) {
            Mode::OneShot => {
                self.initial = count;
                self.expiry = (count != 0).then(|| now.saturating_add(self.ticks(count)));
            }
            Mode::Periodic => {
                self.initial = count;
                self.expiry = (count != 0).then(|| now.saturating_add(self.period()));
            }
            Mode::TscDeadline | Mode::Reserved => {}
        }
    }

    /// Whether software has started it, and so may know how fast it counts.
    pub(super) const fn was_started(&self) -> bool {
        self.initial != 0 || self.expiry.is_some()
    }

    /// Count left; 0 when stopped.
    pub(super) fn current_count(&self, now: u64) -> u32 {
        let Some(expiry) = self.expiry else { return 0 };
        let left = match Mode::of(self.lvt) {
            Mode::OneShot => expiry.saturating_sub(now),
            Mode::Periodic if expiry > now => expiry - now,
            // Nobody served it since: where it would be by now.
            Mode::Periodic => self.period() - (now - expiry) % self.period(),
            Mode::TscDeadline | Mode::Reserved => return 0,
        };
        let count = left.div_ceil(1 << self.shift());
        u32::try_from(count).unwrap_or(u32::MAX).min(self.initial)
    }

    /// Changes the divisor. The count stands and goes on at the new speed.
    pub(super) fn set_divide(&mut self, divide: u32, now: u64) {
        let count = self.current_count(now);
        self.divide = divide & 0b1011;
        if count != 0 {
            self.expiry = Some(now.saturating_add(self.ticks(count)));
        }
    }

    /// The armed TSC deadline; 0 when disarmed or in another mode.
    pub(super) fn tsc_deadline(&self) -> u64 {
        match Mode::of(self.lvt) {
            Mode::TscDeadline => self.expiry.unwrap_or(0),
            _ => 0,
        }
    }

    /// Arms the timer for tick `value`; 0 disarms it. Other modes ignore the MSR.
    pub(super) fn set_tsc_deadline(&mut self, value: u64) {
        if Mode::of(self.lvt) == Mode::TscDeadline {
            self.expiry = (value != 0).then_some(value);
        }
    }

    /// Tick at which [`advance`](Self::advance) has something to do. A masked
    /// periodic timer has nothing to show and is not waited for: its count is
    /// computed when somebody reads it.
    pub(super) fn deadline(&self) -> Option<u64> {
        if Mode::of(self.lvt) == Mode::Periodic && self.lvt & LVT_MASKED != 0 {
            return None;
        }
        self.expiry
    }

    /// Whether the timer fired at or before `now`. Periods that went by together
    /// count once, and the next deadline is after `now`.
    pub(super) fn advance(&mut self, now: u64) -> bool {
        let Some(expiry) = self.expiry else { return false };
        if expiry > now {
            return false;
        }
        self.expiry = match Mode::of(self.lvt) {
            Mode::Periodic => {
                let into_period = (now - expiry) % self.period();
                now.checked_add(self.period() - into_period)
            }
            _ => None,
        };
        true
    }

    /// Ticks per count, as a power of two (figure 11-10: 2, 4 ... 128, 1).
    const fn shift(&self) -> u32 {
        let code = self.divide & 3 | (self.divide & 8) >> 1;
        (code + 1) & 7
    }

    const fn ticks(&self, count: u32) -> u64 {
        (count as u64) << self.shift()
    }

    /// Never 0.
    fn period(&self) -> u64 {
        self.ticks(self.initial).max(MINIMUM_PERIOD_TICKS)
    }
}
