//! Which MSRs and ports a guest reaches without an exit.
//!
//! Default deny: both maps are all ones but for the MSRs of [`crate::virt::passed_msrs`].

use crate::virt::passed_msrs;
use access::vcpu::InterruptMode;
use spec::local_apic::COMMAND;
use spec::msr;

/// Size of the MSR permission map in bytes (AMD APM vol. 2 section 15.11).
pub const MSR_MAP_BYTES: usize = 8192;
/// Size of the port permission map in bytes (section 15.10.1): 65536 ports and 3
/// bits more for a wide access at the last one.
pub const IO_MAP_BYTES: usize = 12288;

/// Position of the read-intercept bit of `msr` in the map; the write bit follows
/// it. `None` for an MSR outside the map's ranges, which always exits.
pub const fn msr_bit(msr: u32) -> Option<usize> {
    let (range, index) = match msr {
        0..=0x1fff => (0, msr),
        0xc000_0000..=0xc000_1fff => (1, msr - 0xc000_0000),
        0xc001_0000..=0xc001_1fff => (2, msr - 0xc001_0000),
        _ => return None,
    };
    Some(range * 0x800 * 8 + index as usize * 2)
}

/// Fills the MSR map: everything exits but what [`passed_msrs::passed`] lists.
pub fn fill_msr_map(map: &mut [u8; MSR_MAP_BYTES], interrupts: InterruptMode, tsc_deadline: bool) {
    map.fill(0xff);
    for (msr, passed) in passed_msrs::passed(interrupts, tsc_deadline) {
        let Some(bit) = msr_bit(msr) else { continue };
        let bits = u8::from(passed.read) | u8::from(passed.write) << 1;
        if let Some(byte) = map.get_mut(bit / 8) {
            *byte &= !(bits << (bit % 8));
        }
    }
    // AVIC carries commands out, between the guest's own processors, or exits.
    const COMMAND_BIT: Option<usize> = msr_bit(msr::X2APIC_FIRST + COMMAND as u32);
    if let (InterruptMode::Accelerated, Some(bit)) = (interrupts, COMMAND_BIT)
        && let Some(byte) = map.get_mut(bit / 8)
    {
        *byte &= !(WRITES << (bit % 8));
    }
}

/// The bit of writes beside that of reads.
const WRITES: u8 = 2;

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn exits(map: &[u8; MSR_MAP_BYTES], msr: u32) -> (bool, bool) {
        let Some(bit) = msr_bit(msr) else { return (true, true) };
        let bits = map[bit / 8] >> (bit % 8);
        (bits & 1 != 0, bits & 2 != 0)
    }

    #[test]
    fn everything_exits_but_the_list() {
        let mut map = std::boxed::Box::new([0; MSR_MAP_BYTES]);
        fill_msr_map(&mut map, InterruptMode::Direct, true);
        let ranges = (0..0x2000).chain(0xc000_0000..0xc000_2000).chain(0xc001_0000..0xc001_2000);
        for msr in ranges {
            let entry = passed_msrs::passed(InterruptMode::Direct, true).find(|(number, _)| *number == msr);
            let expected = entry.map_or((true, true), |(_, passed)| (!passed.read, !passed.write));
            assert_eq!(exits(&map, msr), expected, "MSR {msr:#x}");
        }
    }

    #[test]
    fn avic_is_given_the_commands_and_nobody_else() {
        let mut map = std::boxed::Box::new([0; MSR_MAP_BYTES]);
        for (interrupts, expected) in [
            (InterruptMode::Emulated, (true, true)),
            (InterruptMode::Accelerated, (true, false)),
            (InterruptMode::Direct, (true, true)),
            (InterruptMode::DirectWithEoiExits, (true, true)),
        ] {
            fill_msr_map(&mut map, interrupts, true);
            assert_eq!(exits(&map, 0x830), expected, "{interrupts:?}");
        }
    }

    #[test]
    fn positions_are_the_manuals() {
        assert_eq!(msr_bit(0), Some(0));
        assert_eq!(msr_bit(0xc000_0000), Some(0x800 * 8));
        assert_eq!(msr_bit(0xc001_1fff), Some(0x1800 * 8 - 2));
        assert_eq!(msr_bit(0x2000), None);
        assert_eq!(msr_bit(0x4b56_4d00), None);
    }
}
