//! Which MSRs and ports a guest reaches without an exit.
//!
//! Default deny: both maps are all ones but for the MSRs below, all of which
//! VMLOAD and VMSAVE or VMRUN switch, or which belong to the guest alone because
//! the hypervisor never uses them.

use spec::msr;

/// Size of the MSR permission map in bytes (AMD APM vol. 2 section 15.11).
pub const MSR_MAP_BYTES: usize = 8192;
/// Size of the port permission map in bytes (section 15.10.1): 65536 ports and 3
/// bits more for a wide access at the last one.
pub const IO_MAP_BYTES: usize = 12288;

/// The MSRs that a guest reads and writes without an exit.
///
/// TSC_AUX is not in the control block; the hypervisor never uses it, and each
/// guest owns its processors, so it is the guest's and cleared between owners.
pub const PASSED_MSRS: [u32; 12] = [
    msr::SYSENTER_CS,
    msr::SYSENTER_ESP,
    msr::SYSENTER_EIP,
    msr::STAR,
    msr::LSTAR,
    msr::CSTAR,
    msr::SFMASK,
    msr::FS_BASE,
    msr::GS_BASE,
    msr::KERNEL_GS_BASE,
    msr::TSC_AUX,
    // Reading the TSC leaks nothing that RDTSC does not; writes exit.
    msr::TSC,
];

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

/// Fills the MSR map: everything exits but [`PASSED_MSRS`], of which TSC only
/// when it is read.
pub fn fill_msr_map(map: &mut [u8; MSR_MAP_BYTES]) {
    map.fill(0xff);
    for passed in PASSED_MSRS {
        let Some(bit) = msr_bit(passed) else { continue };
        let bits = if passed == msr::TSC { 0b01 } else { 0b11 };
        if let Some(byte) = map.get_mut(bit / 8) {
            *byte &= !(bits << (bit % 8));
        }
    }
}

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
        fill_msr_map(&mut map);
        let ranges = (0..0x2000).chain(0xc000_0000..0xc000_2000).chain(0xc001_0000..0xc001_2000);
        for msr in ranges {
            let expected = match msr {
                msr::TSC => (false, true),
                _ if PASSED_MSRS.contains(&msr) => (false, false),
                _ => (true, true),
            };
            assert_eq!(exits(&map, msr), expected, "MSR {msr:#x}");
        }
    }

    #[test]
    fn what_can_switch_virtualisation_or_reach_others_exits() {
        for never in
            [msr::EFER, msr::VM_CR, msr::VM_HSAVE_PA, msr::APIC_BASE, msr::X2APIC_FIRST + 0x30, msr::PAT]
        {
            assert!(!PASSED_MSRS.contains(&never));
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
