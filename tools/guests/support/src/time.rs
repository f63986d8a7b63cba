//! Time by the ACPI PM timer, and the other timers to hold against it.

use crate::cpu::{in32, rdtsc};

const PM_TIMER: u16 = 0x608;
/// Its rate in Hz (ACPI Specification section 4.8.3.3).
pub const PM_HZ: u64 = 3_579_545;
/// Only 24 bits are sure to count.
const PM_MASK: u32 = 0xff_ffff;

/// A span of time that is asked for its length at least every 4 s.
pub struct Stopwatch {
    last: u32,
    ticks: u64,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { last: in32(PM_TIMER) & PM_MASK, ticks: 0 }
    }

    /// PM timer ticks since the start.
    pub fn ticks(&mut self) -> u64 {
        let now = in32(PM_TIMER) & PM_MASK;
        self.ticks += u64::from(now.wrapping_sub(self.last) & PM_MASK);
        self.last = now;
        self.ticks
    }

    /// Microseconds since the start.
    pub fn microseconds(&mut self) -> u64 {
        self.ticks() * 1_000_000 / PM_HZ
    }
}

/// Waits.
pub fn wait_us(microseconds: u64) {
    let mut watch = Stopwatch::start();
    while watch.microseconds() < microseconds {
        core::hint::spin_loop();
    }
}

/// Waits until `done` or the time is up; whether it was done.
pub fn wait_until(microseconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let mut watch = Stopwatch::start();
    loop {
        if done() {
            return true;
        }
        if watch.microseconds() > microseconds {
            return done();
        }
        core::hint::spin_loop();
    }
}

/// TSC ticks in a second, measured over 20 ms.
pub fn tsc_hz() -> u64 {
    let (mut watch, start) = (Stopwatch::start(), rdtsc());
    while watch.microseconds() < 20_000 {}
    let ticks = rdtsc() - start;
    ticks * PM_HZ / watch.ticks().max(1)
}
