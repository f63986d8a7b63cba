//! The paravirtual clock that Linux knows as kvmclock: time as a linear function of
//! the TSC, which the guest evaluates itself. The TSC is the same on every processor, so it is
//! written once and never again; where it is invariant too, the clock is said to be stable.

use access::GuestMemory;
use spec::Gpa;

const ENABLED: u64 = 1;
/// The TSC goes at one rate on all processors, and time never steps.
const FLAG_STABLE: u8 = 1;

/// The rate: `ns = (ticks << shift) * multiplier >> 32`, with a negative shift to
/// the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// 32-bit fraction.
    pub multiplier: u32,
    /// Left shift of the ticks.
    pub shift: i8,
}

impl Scale {
    /// The scale for a TSC of `tsc_hz` ticks a second.
    pub fn new(tsc_hz: u64) -> Self {
        const NS: u64 = 1_000_000_000;
        let mut hz = tsc_hz.max(1);
        let mut shift = 0i8;
        while hz > NS * 2 {
            hz >>= 1;
            shift -= 1;
        }
        while hz <= NS {
            hz <<= 1;
            shift += 1;
        }
        Self { multiplier: ((u128::from(NS) << 32) / u128::from(hz)) as u32, shift }
    }

    /// Nanoseconds in `ticks`.
    pub fn ns(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        let shifted = if self.shift >= 0 { ticks << self.shift } else { ticks >> -self.shift };
        ((shifted * u128::from(self.multiplier)) >> 32) as u64
    }
}

/// Writes the time structure at the gpa in `register`, if its enable bit is set. A
/// gpa outside the guest's memory writes nothing.
pub fn write_system_time<M: GuestMemory>(memory: &M, register: u64, tsc_hz: u64, stable: bool) {
    if register & ENABLED == 0 {
        return;
    }
    let scale = Scale::new(tsc_hz);
    let mut time = [0u8; 32];
    // Version 2: even, so complete. Time is 0 where the TSC is.
    time[0] = 2;
    time[24..28].copy_from_slice(&scale.multiplier.to_le_bytes());
    time[28] = scale.shift as u8;
    time[29] = if stable { FLAG_STABLE } else { 0 };
    // An address outside memory is the guest's mistake and harms nobody.
    let _ = memory.write(Gpa(register & !ENABLED), &time);
}

/// Writes the wall clock at the gpa in `register`: when the TSC was 0.
pub fn write_wall_clock<M: GuestMemory>(memory: &M, register: u64, epoch_at_zero: u64) {
    let mut wall = [0u8; 12];
    wall[0] = 2;
    wall[4..8].copy_from_slice(&(epoch_at_zero as u32).to_le_bytes());
    let _ = memory.write(Gpa(register), &wall);
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;

    #[test]
    fn scales_are_exact_to_a_millionth() {
        for hz in [1_000_000, 1_000_000_000, 2_300_000_000, 3_579_545, 6_000_000_001] {
            let scale = Scale::new(hz);
            let day = hz * 86_400;
            let expected = 86_400_000_000_000u64;
            assert!(scale.ns(day).abs_diff(expected) < expected / 1_000_000, "{hz}: {}", scale.ns(day));
        }
    }

    #[test]
    fn writes_only_when_enabled_and_inside_memory() {
        let memory = VecMemory::new(4096);
        write_system_time(&memory, 0x100, 1_000_000_000, true);
        assert_eq!(memory.read32(Gpa(0x100)), Ok(0));
        write_system_time(&memory, 0x101, 1_000_000_000, true);
        assert_eq!(memory.read32(Gpa(0x100)), Ok(2));
        write_system_time(&memory, 0xffff_ffff_ffff_ffff, 1_000_000_000, true);
        write_wall_clock(&memory, 0x200, 1_700_000_000);
        assert_eq!(memory.read32(Gpa(0x204)), Ok(1_700_000_000));
    }
}
