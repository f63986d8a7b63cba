//! The one-shot timer in this processor's local APIC (Intel SDM vol. 3 section 12.5.4).

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use raw_cpuid::FeatureInfo;
use spec::local_apic::{CURRENT_COUNT, DIVIDE, INITIAL_COUNT, LVT_MASKED, LVT_TIMER, TIMER_DEADLINE};
use spec::msr;

use crate::cpu::apic;
use crate::cpu::interrupts::TIMER;
use crate::cpu::registers::{self, read_tsc};

const DIVIDE_BY_1: u32 = 0b1011;
/// Timer counts per TSC tick are kept times 2 to this power.
const RATIO_SHIFT: u32 = 32;

/// Counts per TSC tick in fixed point; 0 in deadline mode.
static RATIO: AtomicU64 = AtomicU64::new(0);

/// Finds out how fast the timer counts against the TSC, which runs at `tsc_hz`, unless
/// it can compare with the TSC itself. Once, on the boot processor.
pub fn calibrate(tsc_hz: u64) {
    if has_deadline_mode() {
        RATIO.store(0, Ordering::Relaxed);
        return;
    }
    apic::write(LVT_TIMER, LVT_MASKED | u32::from(TIMER));
    apic::write(DIVIDE, DIVIDE_BY_1);
    let wait = (tsc_hz / 500).max(1);
    let start = read_tsc();
    apic::write(INITIAL_COUNT, u32::MAX);
    while read_tsc().wrapping_sub(start) < wait {
        core::hint::spin_loop();
    }
    let counted = u32::MAX - apic::read(CURRENT_COUNT);
    let ticks = read_tsc().wrapping_sub(start);
    apic::write(INITIAL_COUNT, 0);
    RATIO.store(ratio(counted, ticks), Ordering::Relaxed);
}

fn ratio(counted: u32, ticks: u64) -> u64 {
    // At most 2^64 - 1 by construction of the operands; never 0, which means the
    // other mode.
    ((u64::from(counted) << RATIO_SHIFT) / ticks.max(1)).max(1)
}

/// Sets up the timer of this processor. Needs [`calibrate`].
pub fn init() {
    if RATIO.load(Ordering::Relaxed) == 0 {
        apic::write(LVT_TIMER, TIMER_DEADLINE | u32::from(TIMER));
        // A deadline written before the mode took hold would be lost (SDM vol. 3
        // section 12.5.4.1).
        // SAFETY: MFENCE orders, nothing else.
        unsafe { asm!("mfence", options(nostack, preserves_flags)) };
    } else {
        apic::write(DIVIDE, DIVIDE_BY_1);
        apic::write(LVT_TIMER, u32::from(TIMER));
    }
}

/// Whether the timer can compare with the TSC itself (CPUID 1 ECX bit 24).
pub fn has_deadline_mode() -> bool {
    registers::has(FeatureInfo::has_tsc_deadline)
}

/// Makes vector [`TIMER`] come to this processor once the TSC reaches `tsc_deadline`
/// (at once if it has). In count mode it may come early, when the counter is too
/// short, so ask the TSC when it comes. The last call counts.
pub fn arm_timer(tsc_deadline: u64) {
    let ratio = RATIO.load(Ordering::Relaxed);
    if ratio == 0 {
        // SAFETY: the MSR exists in deadline mode; 0 would disarm.
        unsafe { registers::write_msr(msr::TSC_DEADLINE, tsc_deadline.max(1)) };
    } else {
        let ticks = tsc_deadline.saturating_sub(read_tsc());
        apic::write(INITIAL_COUNT, counts(ticks, ratio));
    }
}

/// Counts in `ticks` TSC ticks, at least 1 (0 would disarm), at most what fits.
fn counts(ticks: u64, ratio: u64) -> u32 {
    let counts = (u128::from(ticks) * u128::from(ratio)) >> RATIO_SHIFT;
    u32::try_from(counts).unwrap_or(u32::MAX).max(1)
}

/// No timer interrupt will come. One that came already is still in
/// [`crate::cpu::interrupts::take_vectors`].
pub fn disarm_timer() {
    if RATIO.load(Ordering::Relaxed) == 0 {
        // SAFETY: as for arming; 0 disarms.
        unsafe { registers::write_msr(msr::TSC_DEADLINE, 0) };
    } else {
        apic::write(INITIAL_COUNT, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_scale_and_saturate() {
        let third = ratio(1_000_000, 3_000_000);
        assert!((999..=1000).contains(&counts(3000, third)));
        assert_eq!(counts(0, third), 1);
        assert_eq!(counts(u64::MAX, third), u32::MAX);
        assert_eq!(counts(u64::MAX, u64::MAX), u32::MAX);
        assert_eq!(ratio(0, 0), 1);
    }
}
