//! AMD nested page tables: the long-mode format, walked in the guest's stead
//! (AMD APM vol. 2 sections 5.3 and 15.25).

use crate::format::{ADDRESS, Format, MemoryType, PageSize, Permissions};
use core::ops::RangeInclusive;
use spec::Hpa;
use spec::processor::{
    PAGE_ACCESSED as ACCESSED, PAGE_CACHE_DISABLE as PCD, PAGE_DIRTY as DIRTY, PAGE_NO_EXECUTE as NO_EXECUTE,
    PAGE_PRESENT as PRESENT, PAGE_SIZE as LARGE, PAGE_USER as USER, PAGE_WRITABLE as WRITE,
    PAGE_WRITE_THROUGH as PWT,
};

// Guest accesses count as user accesses in the nested walk, whatever the guest's privilege (APM
// vol. 2 section 15.25.5). For NX the host's EFER.NXE must be set at VMRUN.

/// Nested paging of AMD-V. Memory types go through the host's PAT, of which this
/// relies on entry 0 being write-back and entry 3 uncacheable, as after reset (APM
/// vol. 2 sections 7.8.1 and 15.25.8).
///
/// Accessed and dirty are set from the start: nothing here reads them, and the
/// walker then never has to write.
pub enum Npt {}

impl Format for Npt {
    const NAME: &'static str = "nested paging";
    const LEVELS: RangeInclusive<u8> = 4..=5;
    const SET_BY_HARDWARE: u64 = ACCESSED | DIRTY;
    const FORCE_SNOOP: u64 = 0;

    fn supports(permissions: Permissions) -> bool {
        permissions.read
    }

    fn table(next: Hpa, _level: u8) -> u64 {
        next.0 & ADDRESS | PRESENT | WRITE | USER | ACCESSED
    }

    fn leaf(output: Hpa, page: PageSize, permissions: Permissions, memory_type: MemoryType) -> u64 {
        let mut entry = output.0 & ADDRESS | PRESENT | USER | ACCESSED | DIRTY;
        if page != PageSize::Size4KiB {
            entry |= LARGE;
        }
        if permissions.write {
            entry |= WRITE;
        }
        if !permissions.execute {
            entry |= NO_EXECUTE;
        }
        if memory_type == MemoryType::Uncached {
            entry |= PCD | PWT;
        }
        entry
    }

    fn is_present(entry: u64) -> bool {
        entry & PRESENT != 0
    }

    fn is_leaf(entry: u64, level: u8) -> bool {
        level == 1 || entry & LARGE != 0
    }

    fn permissions(leaf: u64) -> Permissions {
        Permissions { read: true, write: leaf & WRITE != 0, execute: leaf & NO_EXECUTE == 0 }
    }

    fn memory_type(leaf: u64) -> MemoryType {
        if leaf & PCD != 0 { MemoryType::Uncached } else { MemoryType::WriteBack }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_apm_section_5_3() {
        let at = Hpa(0x12_3456_7000);
        assert_eq!(Npt::table(at, 2), 0x12_3456_7027);
        assert_eq!(
            Npt::leaf(at, PageSize::Size4KiB, Permissions::ALL, MemoryType::WriteBack),
            0x12_3456_7067
        );
        assert_eq!(
            Npt::leaf(Hpa(0x4020_0000), PageSize::Size2MiB, Permissions::READ_WRITE, MemoryType::Uncached),
            0x8000_0000_4020_00ff
        );
        assert_eq!(
            Npt::leaf(Hpa(0x4000_0000), PageSize::Size1GiB, Permissions::READ, MemoryType::WriteBack),
            0x8000_0000_4000_00e5
        );
    }

    #[test]
    fn every_present_entry_has_the_user_bit_of_apm_section_15_25_5() {
        assert_ne!(Npt::table(Hpa(0x1000), 4) & 1 << 2, 0);
        assert_ne!(
            Npt::leaf(Hpa(0), PageSize::Size4KiB, Permissions::READ, MemoryType::Uncached) & 1 << 2,
            0
        );
    }

    #[test]
    fn cannot_deny_reads() {
        assert!(!Npt::supports(Permissions { read: false, write: true, execute: false }));
    }
}
