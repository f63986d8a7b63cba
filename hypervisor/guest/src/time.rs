//! A guest's time: the machine's time-stamp counter with an offset, which RDTSC has too.
//!
//! All that a guest can read follows from it: the TSC, every timer and clock of its models,
//! and the paravirtual clock, which is a function of the TSC. So a guest whose time stands still
//! while it is frozen, and goes on from there, cannot tell. The machine's timers count the machine's
//! ticks: what is set to one of the guest's deadlines is told through [`GuestTime::machine_tick`].

use core::sync::atomic::{AtomicU64, Ordering::*};

/// The clock of one guest, the same for all its vCPUs.
#[derive(Debug, Default)]
pub struct GuestTime {
    /// What is added to the machine's TSC, modulo 2^64.
    offset: AtomicU64,
}

impl GuestTime {
    /// Guest time when the machine's TSC is `machine`.
    #[inline(always)]
    pub fn at(&self, machine: u64) -> u64 {
        machine.wrapping_add(self.offset())
    }

    /// The machine's TSC when guest time is `guest`; what is beyond its end is never.
    #[inline]
    pub fn machine_tick(&self, guest: u64) -> u64 {
        guest.checked_sub_signed(self.offset() as i64).unwrap_or(u64::MAX)
    }

    /// What is added to the machine's TSC (TSC_OFFSET of a VMCB and a VMCS).
    #[inline(always)]
    pub fn offset(&self) -> u64 {
        self.offset.load(Relaxed)
    }

    /// Guest time is the machine's, as at a guest's first start. No vCPU of the guest runs.
    pub fn reset(&self) {
        self.offset.store(0, Release);
    }

    /// Guest time becomes `guest` when the machine's TSC is `machine`. No vCPU of the guest runs.
    pub fn set(&self, guest: u64, machine: u64) {
        self.offset.store(guest.wrapping_sub(machine), Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_an_offset_it_is_the_machines() {
        let time = GuestTime::default();
        assert_eq!((time.at(7), time.machine_tick(7), time.machine_tick(u64::MAX)), (7, 7, u64::MAX));
    }

    #[test]
    fn a_deadline_beyond_the_machines_end_is_never() {
        let time = GuestTime::default();
        time.set(5, 100);
        assert_eq!(time.machine_tick(u64::MAX - 3), u64::MAX);
    }

    proptest! {
        /// It goes on from where it was set, as fast as the machine's, and deadlines keep their distance.
        #[test]
        fn it_goes_on_from_where_it_was(guest in 0u64..1 << 60, machine in 0u64..1 << 60, more in 0u64..1 << 60) {
            let time = GuestTime::default();
            time.set(guest, machine);
            prop_assert_eq!(time.at(machine + more), guest + more);
            prop_assert_eq!(time.machine_tick(guest + more), machine + more);
        }
    }
}
