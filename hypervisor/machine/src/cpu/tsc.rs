//! How fast the time-stamp counter runs, and time by it.

use access::{Clock, RegisterWindow};
use core::sync::atomic::{AtomicU64, Ordering};
use raw_cpuid::{CpuId, CpuIdReader};

use crate::cpu::ports;
use crate::cpu::registers::{cpu_id, read_tsc};

/// No TSC is faster; what waits before the rate is known waits by this, too long
/// rather than too short.
const FASTEST_HZ: u64 = 6_000_000_000;
/// ACPI power management timer (ACPI specification section 4.8.2.1).
const PM_TIMER_HZ: u64 = 3_579_545;
/// 8254 timer.
const PIT_HZ: u64 = 1_193_182;
/// How long a measurement takes.
const MEASURE_MS: u64 = 4;
/// Reads of a counter that stands still before it counts as broken.
const STILL_READS: u32 = 100_000;

static TSC_HZ: AtomicU64 = AtomicU64::new(0);

/// Where a rate comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A hypervisor above says it (leaf 0x40000010).
    Hypervisor,
    /// CPUID leaf 15h.
    CrystalLeaf,
    /// CPUID leaf 16h, rounded to MHz.
    FrequencyLeaf,
    /// Measured against the ACPI power management timer.
    PmTimer,
    /// Measured against the HPET.
    Hpet,
    /// Measured against the 8254.
    Pit,
    /// Nothing worked: a guess.
    Guess,
}

/// The rate and how far to trust it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calibration {
    /// TSC ticks a second.
    pub hz: u64,
    /// Where it comes from.
    pub source: Source,
    /// A declared rate that the measured one contradicts.
    pub contradicted: Option<(Source, u64)>,
}

/// The power management timer, as the FADT describes it.
#[derive(Clone, Copy, Debug)]
pub struct PmTimer {
    /// I/O port.
    pub port: u16,
    /// Counts 32 bits rather than 24 (FADT flag TMR_VAL_EXT).
    pub wide: bool,
}

/// Clocks of the platform that ACPI tells about.
#[derive(Default)]
pub struct Platform<'a> {
    /// The power management timer.
    pub pm_timer: Option<PmTimer>,
    /// The HPET's registers.
    pub hpet: Option<&'a dyn RegisterWindow>,
}

/// Finds the TSC's rate: what the processor declares, checked against the first clock
/// of the platform that works. From then on [`hz`], [`TscClock`] and the delays are
/// exact.
pub fn calibrate(platform: &Platform) -> Calibration {
    let calibration = choose(declared(&cpu_id()), measured(platform));
    TSC_HZ.store(calibration.hz, Ordering::Relaxed);
    calibration
}

/// Whether `time` of another processor is what it must be between two readings here: every
/// deadline and every clock counts on one TSC for all.
pub const fn is_between(before: u64, time: u64, after: u64) -> bool {
    before <= time && time <= after
}

/// IA32_TSC_ADJUST: what was added to the TSC since it was 0 (SDM vol. 3 section 18.17.3).
#[cfg(target_os = "none")]
mod adjustment {
    use crate::cpu::registers::{cpu_id, read_msr, write_msr};
    use core::sync::atomic::{AtomicU64, Ordering};

    const TSC_ADJUST: u32 = 0x3b;
    static FIRST: AtomicU64 = AtomicU64::new(0);

    fn is_there() -> bool {
        cpu_id().get_extended_feature_info().is_some_and(|info| info.has_tsc_adjust_msr())
    }

    /// Takes note of the first processor's.
    pub fn note_adjustment() {
        if is_there() {
            // SAFETY: CPUID says that the register is there.
            FIRST.store(unsafe { read_msr(TSC_ADJUST) }, Ordering::Relaxed);
        }
    }

    /// Makes this processor's the first one's: firmware that wrote the TSC of one processor
    /// alone moved it against the others.
    pub(crate) fn adopt_adjustment() {
        let first = FIRST.load(Ordering::Relaxed);
        // SAFETY: as for reading; this processor runs no guest yet, and no timer counts on it.
        unsafe {
            if is_there() && read_msr(TSC_ADJUST) != first {
                write_msr(TSC_ADJUST, first);
            }
        }
    }
}

#[cfg(target_os = "none")]
pub(crate) use adjustment::adopt_adjustment;
#[cfg(target_os = "none")]
pub use adjustment::note_adjustment;

/// Ticks a second; 0 before [`calibrate`].
pub fn hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

fn declared(cpuid: &CpuId<impl CpuIdReader>) -> Option<(Source, u64)> {
    let by_hypervisor = || {
        let khz = cpuid.get_hypervisor_info()?.tsc_frequency()?;
        Some((Source::Hypervisor, u64::from(khz) * 1000))
    };
    // SDM vol. 3 section 20.7.3.
    let by_crystal = || Some((Source::CrystalLeaf, cpuid.get_tsc_info()?.tsc_frequency()?));
    let by_frequency = || {
        let mhz = cpuid.get_processor_frequency_info()?.processor_base_frequency();
        Some((Source::FrequencyLeaf, u64::from(mhz) * 1_000_000))
    };
    let known = |declared: &(Source, u64)| declared.1 != 0;
    by_hypervisor().filter(known).or_else(by_crystal).or_else(by_frequency).filter(known)
}

fn measured(platform: &Platform) -> Option<(Source, u64)> {
    let by_pm_timer = || Some((Source::PmTimer, median(|| measure_pm_timer(platform.pm_timer?))?));
    let by_hpet = || Some((Source::Hpet, median(|| measure_hpet(platform.hpet?))?));
    let by_pit = || Some((Source::Pit, median(measure_pit)?));
    by_pm_timer().or_else(by_hpet).or_else(by_pit)
}

/// The middle of three: a stall (SMM, a hypervisor above) spoils one.
fn median(measure: impl Fn() -> Option<u64>) -> Option<u64> {
    let mut rates = [measure()?, measure()?, measure()?];
    rates.sort_unstable();
    Some(rates[1])
}

/// A declared rate counts if the measured one is within 1 % of it (measurements are
/// short); the leaf in MHz is too coarse to be preferred to any measurement.
fn choose(declared: Option<(Source, u64)>, measured: Option<(Source, u64)>) -> Calibration {
    let take = |(source, hz), contradicted| Calibration { hz, source, contradicted };
    match (declared, measured) {
        (Some(declared), Some(measured)) => {
            let agree = declared.1.abs_diff(measured.1) <= measured.1 / 100;
            match agree {
                true if declared.0 == Source::FrequencyLeaf => take(measured, None),
                true => take(declared, None),
                false => take(measured, Some(declared)),
            }
        }
        (Some(declared), None) => take(declared, None),
        (None, Some(measured)) => take(measured, None),
        (None, None) => take((Source::Guess, 2_000_000_000), None),
    }
}

fn measure_pm_timer(timer: PmTimer) -> Option<u64> {
    let mask = if timer.wide { u64::from(u32::MAX) } else { 0xff_ffff };
    // SAFETY: the FADT says that this is the timer's port; reading it has no effect.
    measure(|| unsafe { ports::read32(timer.port) }.into(), read_tsc, mask, PM_TIMER_HZ)
}

fn measure_hpet(hpet: &dyn RegisterWindow) -> Option<u64> {
    const CONFIGURATION: usize = 0x10;
    const COUNTER: usize = 0xf0;
    // Femtoseconds a tick, at most 100 ns (HPET specification 1.0a section 2.3.4).
    let period = u64::from(hpet.read32(4));
    if !(1..=100_000_000).contains(&period) {
        return None;
    }
    hpet.write64(CONFIGURATION, hpet.read64(CONFIGURATION) | 1);
    let mask = u64::from(u32::MAX);
    measure(|| hpet.read32(COUNTER).into(), read_tsc, mask, 1_000_000_000_000_000 / period)
}

/// TSC ticks a second by a counter of `counter_hz` under `mask`. Both ends are taken
/// right after a change of the counter. `None` if it stands still or jumps.
fn measure(counter: impl Fn() -> u64, tsc: impl Fn() -> u64, mask: u64, counter_hz: u64) -> Option<u64> {
    let next_change = |from: u64| {
        (0..STILL_READS).find_map(|_| {
            let now = counter() & mask;
            (now != from).then(|| (now, tsc()))
        })
    };
    let wanted = (counter_hz * MEASURE_MS / 1000).max(1);
    let (first, first_tsc) = next_change(counter() & mask)?;
    let (mut last, mut last_tsc) = (first, first_tsc);
    while last.wrapping_sub(first) & mask < wanted {
        (last, last_tsc) = next_change(last)?;
    }
    let counted = last.wrapping_sub(first) & mask;
    let ticks = last_tsc.wrapping_sub(first_tsc);
    // A counter that jumped tells nothing.
    (counted < wanted * 100)
        .then(|| (u128::from(ticks) * u128::from(counter_hz) / u128::from(counted)) as u64)
        .filter(|hz| (1_000_000..=100_000_000_000).contains(hz))
}

/// Channel 2 of the 8254 counts down once; port 0x61 bit 5 is its output.
fn measure_pit() -> Option<u64> {
    const GATE: u8 = 1 << 0;
    const SPEAKER: u8 = 1 << 1;
    const OUTPUT: u8 = 1 << 5;
    let count = (PIT_HZ * MEASURE_MS / 1000) as u16;
    // SAFETY: the ports of the 8254 and its gate do no DMA; channel 2 only beeps,
    // which is off.
    let (start, end) = unsafe {
        let control = ports::read8(0x61) & !(GATE | SPEAKER);
        if control == !(GATE | SPEAKER) {
            return None; // nobody decodes the port
        }
        ports::write8(0x61, control);
        ports::write8(0x43, 0xb0); // channel 2, both bytes, mode 0
        ports::write8(0x42, count as u8);
        ports::write8(0x42, (count >> 8) as u8);
        let start = read_tsc();
        ports::write8(0x61, control | GATE);
        let done = (0..STILL_READS * 10).any(|_| ports::read8(0x61) & OUTPUT != 0);
        let end = read_tsc();
        ports::write8(0x61, control);
        done.then_some((start, end))?
    };
    let hz = (u128::from(end.wrapping_sub(start)) * u128::from(PIT_HZ) / u128::from(count)) as u64;
    // An output that was high from the start (no 8254) gives an absurd rate.
    (10_000_000..=100_000_000_000).contains(&hz).then_some(hz)
}

fn ticks_of_us(us: u64) -> u64 {
    let hz = match hz() {
        0 => FASTEST_HZ,
        hz => hz,
    };
    (u128::from(us) * u128::from(hz) / 1_000_000) as u64
}

/// Waits at least `us` microseconds.
pub fn delay_us(us: u64) {
    poll_us(us, || false);
}

/// Polls `done` until it holds or `us` microseconds have passed; whether it held, the
/// last time after the time was up.
pub fn poll_us(us: u64, mut done: impl FnMut() -> bool) -> bool {
    let (start, ticks) = (read_tsc(), ticks_of_us(us));
    loop {
        if done() {
            return true;
        }
        if read_tsc().wrapping_sub(start) > ticks {
            return done();
        }
        core::hint::spin_loop();
    }
}

/// Nanoseconds by the TSC, from when the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct TscClock {
    start: u64,
    /// Nanoseconds a tick, times 2 to the 32.
    multiplier: u64,
}

impl TscClock {
    /// A clock for a TSC of `hz` ticks a second (at least 1) that starts at TSC `start`.
    pub fn new(hz: u64, start: u64) -> Self {
        Self { start, multiplier: ((1_000_000_000u128 << 32) / u128::from(hz.max(1))) as u64 }
    }

    /// Nanoseconds at TSC `tsc`.
    #[inline]
    pub fn ns_at(&self, tsc: u64) -> u64 {
        ((u128::from(tsc.wrapping_sub(self.start)) * u128::from(self.multiplier)) >> 32) as u64
    }

    /// TSC at `ns` nanoseconds, or up to some ticks later.
    pub fn tsc_at(&self, ns: u64) -> u64 {
        let ticks = ((u128::from(ns) + 1) << 32).div_ceil(u128::from(self.multiplier.max(1)));
        self.start.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

impl Clock for TscClock {
    fn now_ns(&self) -> u64 {
        self.ns_at(read_tsc())
    }
    fn relax(&self) {
        core::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::collections::BTreeMap;

    fn leaves(list: &[(u32, [u32; 4])]) -> CpuId<impl CpuIdReader + use<>> {
        let map: BTreeMap<u32, [u32; 4]> = list.iter().copied().collect();
        crate::cpu::facts::named(move |leaf, _| map.get(&leaf).copied().unwrap_or_default())
    }

    #[test]
    fn the_chain_of_declared_rates() {
        let leaf_15 = (0x15, [2, 200, 24_000_000, 0]);
        let leaf_16 = (0x16, [2400, 0, 0, 0]);
        let highest = (0, [0x16, 0, 0, 0]);
        let cases: [(&[_], _); 5] = [
            (&[highest, leaf_15, leaf_16], Some((Source::CrystalLeaf, 2_400_000_000))),
            (&[highest, (0x15, [2, 200, 0, 0]), leaf_16], Some((Source::FrequencyLeaf, 2_400_000_000))),
            (&[(0, [0x14, 0, 0, 0]), leaf_15, leaf_16], None),
            (
                &[
                    highest,
                    leaf_15,
                    (1, [0, 0, 1 << 31, 0]),
                    (0x4000_0000, [0x4000_0010, 0, 0, 0]),
                    (0x4000_0010, [3_000_000, 0, 0, 0]),
                ],
                Some((Source::Hypervisor, 3_000_000_000)),
            ),
            (&[], None),
        ];
        for (list, expected) in cases {
            assert_eq!(declared(&leaves(list)), expected);
        }
    }

    #[test]
    fn a_measurement_overrules_a_rate_that_is_wrong() {
        let crystal = (Source::CrystalLeaf, 3_500_000_000);
        let lie = choose(Some(crystal), Some((Source::PmTimer, 200_000_000)));
        assert_eq!((lie.source, lie.hz, lie.contradicted), (Source::PmTimer, 200_000_000, Some(crystal)));
        let fine = choose(Some(crystal), Some((Source::PmTimer, 3_510_000_000)));
        assert_eq!((fine.source, fine.contradicted), (Source::CrystalLeaf, None));
        let coarse =
            choose(Some((Source::FrequencyLeaf, 2_400_000_000)), Some((Source::Hpet, 2_393_999_000)));
        assert_eq!((coarse.source, coarse.hz), (Source::Hpet, 2_393_999_000));
        assert_eq!(choose(None, None).source, Source::Guess);
    }

    /// A TSC of 1 GHz that a read of the counter advances by 1 microsecond.
    fn simulate(mask: u64, start: u64, frozen_after: u64) -> Option<u64> {
        let tsc = Cell::new(0u64);
        let counter = || {
            tsc.set(tsc.get() + 1000);
            let ticks = tsc.get().min(frozen_after) * 3_579_545 / 1_000_000_000;
            (start + ticks) & mask
        };
        measure(counter, || tsc.get(), mask, PM_TIMER_HZ)
    }

    #[test]
    fn measures_through_a_wrap_and_gives_up_on_a_counter_that_stops() {
        for start in [0, 0xff_ff00] {
            let hz = simulate(0xff_ffff, start, u64::MAX).expect("it counts");
            assert!(hz.abs_diff(1_000_000_000) < 1_000_000, "{hz}");
        }
        assert_eq!(simulate(0xff_ffff, 0, 2_000_000), None);
        assert_eq!(measure(|| u64::MAX, || 0, 0xff_ffff, PM_TIMER_HZ), None);
    }

    #[test]
    fn a_processor_whose_time_is_not_between_ours_has_another_tsc() {
        assert!(is_between(1000, 1000, 2000) && is_between(1000, 1500, 2000) && is_between(5, 5, 5));
        assert!(!is_between(1000, 999, 2000), "it is behind");
        assert!(!is_between(1000, 2001, 2000), "it is ahead");
        assert!(!is_between(1000, u64::MAX, 2000) && !is_between(1000, 0, 2000));
    }

    #[test]
    fn one_stalled_measurement_does_not_count() {
        let rates = Cell::new(0);
        let measure = || {
            rates.set(rates.get() + 1);
            Some([2_300, 3_400, 2_301][rates.get() - 1])
        };
        assert_eq!(median(measure), Some(2_301));
        assert_eq!(median(|| None), None);
    }

    #[test]
    fn the_clock_scales_without_overflow() {
        let clock = TscClock::new(2_500_000_000, 1000);
        assert_eq!(clock.ns_at(1000), 0);
        assert!(clock.ns_at(1000 + 2_500_000_000).abs_diff(1_000_000_000) <= 1);
        let century = 2_500_000_000u64 * 3_155_760_000 / 2;
        assert!(clock.ns_at(1000 + century) > 1_500_000_000_000_000_000);
    }
}
