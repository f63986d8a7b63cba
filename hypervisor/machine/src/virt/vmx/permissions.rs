//! Which MSRs a guest reaches without an exit (Intel SDM vol. 3 section 24.6.9). Ports: none.

use crate::virt::passed_msrs;
use access::vcpu::InterruptMode;

/// Size of the MSR bitmap in bytes.
pub const MSR_MAP_BYTES: usize = 4096;
/// Size of the two I/O bitmaps in bytes, one after the other (section 24.6.4).
pub const IO_MAPS_BYTES: usize = 8192;

/// Bytes from the bits of reads to those of writes.
const WRITES: usize = 2048;

/// Position of the bit of reads of `msr`. `None` for an MSR outside the bitmap's ranges,
/// which always exits.
const fn read_bit(msr: u32) -> Option<usize> {
    match msr {
        0..=0x1fff => Some(msr as usize),
        0xc000_0000..=0xc000_1fff => Some(1024 * 8 + (msr - 0xc000_0000) as usize),
        _ => None,
    }
}

/// Fills the MSR bitmap: everything exits but what [`passed_msrs::passed`] lists.
pub fn fill_msr_map(map: &mut [u8; MSR_MAP_BYTES], interrupts: InterruptMode, tsc_deadline: bool) {
    map.fill(0xff);
    for (msr, passed) in passed_msrs::passed(interrupts, tsc_deadline) {
        let Some(bit) = read_bit(msr) else { continue };
        for (wanted, byte) in [(passed.read, bit / 8), (passed.write, WRITES + bit / 8)] {
            if wanted && let Some(byte) = map.get_mut(byte) {
                *byte &= !(1 << (bit % 8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn everything_exits_but_the_list() {
        let mut map = std::boxed::Box::new([0; MSR_MAP_BYTES]);
        fill_msr_map(&mut map, InterruptMode::Direct, true);
        for msr in (0..0x2000).chain(0xc000_0000..0xc000_2000) {
            let bit = read_bit(msr).unwrap();
            let exits = |byte: usize| map[byte] >> (bit % 8) & 1 != 0;
            let entry = passed_msrs::passed(InterruptMode::Direct, true).find(|(number, _)| *number == msr);
            let expected = entry.map_or((true, true), |(_, passed)| (!passed.read, !passed.write));
            assert_eq!((exits(bit / 8), exits(WRITES + bit / 8)), expected, "MSR {msr:#x}");
        }
    }

    #[test]
    fn positions_are_the_manuals() {
        assert_eq!(read_bit(0x1fff), Some(8191));
        assert_eq!(read_bit(0xc000_0000), Some(8192));
        assert_eq!(read_bit(0xc000_1fff), Some(16383));
        assert_eq!(read_bit(0x2000), None);
        assert_eq!(read_bit(0xc001_0000), None);
    }
}
