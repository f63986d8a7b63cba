//! The preemption timer (Intel SDM vol. 3 section 26.5.1): the guest exits at a TSC, with no
//! interrupt of this processor's for it, and from its HLT too.

use super::{TIMED, VmxVcpu};
use crate::cpu::registers;
use spec::vmx::control::PinControls;
use spec::vmx::field;

impl VmxVcpu {
    /// See [`access::vcpu::Execution::exit_at`].
    pub(super) fn set_deadline(&mut self, deadline: Option<u64>) -> bool {
        if self.features.timer_rate.is_none() {
            return false;
        }
        self.deadline = deadline.unwrap_or(0);
        if deadline.is_some() != (self.pending_work & TIMED != 0) {
            self.pending_work ^= TIMED;
            self.set_pins(self.pins ^ PinControls::PREEMPTION_TIMER);
        }
        true
    }

    /// Pin-based controls: those of the way that interrupts take, and the timer.
    pub(super) fn set_pins(&mut self, pins: PinControls) {
        self.pins = pins;
        self.write(field::PIN_CONTROLS, pins.bits().into());
    }

    /// Every entry counts anew from this.
    #[inline]
    pub(super) fn load_timer(&mut self) {
        let rate = self.features.timer_rate.unwrap_or(0);
        let count = count(self.deadline, registers::read_tsc(), rate);
        self.write(field::PREEMPTION_TIMER, count.into());
    }
}

/// What to count down from so that `deadline` is over then. The timer counts when bit `rate`
/// of the TSC changes, the first time at once perhaps. What does not fit exits early, and
/// the deadline is asked for again.
fn count(deadline: u64, now: u64, rate: u8) -> u32 {
    let Some(left) = deadline.checked_sub(now).filter(|&left| left > 0) else { return 0 };
    let counts = (left - 1 >> rate).saturating_add(if rate > 0 { 2 } else { 1 });
    u32::try_from(counts).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::count;
    use proptest::prelude::*;

    #[test]
    fn what_is_over_exits_at_once() {
        assert_eq!(count(5, 5, 0), 0);
        assert_eq!(count(5, 6, 5), 0);
        assert_eq!(count(0, u64::MAX, 31), 0);
    }

    #[test]
    fn a_timer_at_the_rate_of_the_tsc_is_exact() {
        assert_eq!(count(1000, 900, 0), 100);
        assert_eq!(count(u64::MAX - 1, 0, 0), u32::MAX);
    }

    proptest! {
        /// The timer counts at every change of a bit of the TSC, and is at 0 neither before
        /// the deadline nor two counts after it.
        #[test]
        fn the_deadline_is_over_and_little_more(now in 0u64..1 << 60, left in 1u64..1 << 30, rate in 1u8..32) {
            let deadline = now + left;
            let count = u64::from(count(deadline, now, rate));
            let end = ((now >> rate) + count) << rate;
            prop_assert!(end >= deadline);
            prop_assert!(end - deadline <= 2 << rate);
        }
    }
}
