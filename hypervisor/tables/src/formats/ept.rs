//! Intel extended page tables (Intel SDM vol. 3 section 28.3.2).

use crate::format::{ADDRESS, Format, MemoryType, PageSize, Permissions};
use core::ops::RangeInclusive;
use spec::Hpa;

/// Read access, SDM vol. 3 tables 28-1 to 28-7.
const READ: u64 = 1 << 0;
/// Write access.
const WRITE: u64 = 1 << 1;
/// Execute access (supervisor-mode, where mode-based control is on).
const EXECUTE: u64 = 1 << 2;
/// Where a leaf holds its memory type.
const TYPE_SHIFT: u32 = 3;
/// Mask of the memory type.
const TYPE: u64 = 7 << TYPE_SHIFT;
/// Memory type code of uncacheable, SDM vol. 3 section 28.3.7.
const UNCACHED: u64 = 0 << TYPE_SHIFT;
/// Memory type code of write-back.
const WRITE_BACK: u64 = 6 << TYPE_SHIFT;
/// A leaf above level 1.
const LARGE: u64 = 1 << 7;
/// Accessed, where the EPT pointer enables it.
const ACCESSED: u64 = 1 << 8;
/// Dirty, where the EPT pointer enables it.
const DIRTY: u64 = 1 << 9;

/// EPT of VT-x. "Ignore PAT" stays clear: a guest may ask for write combining of
/// registers that are uncacheable here, and for nothing laxer.
pub enum Ept {}

impl Format for Ept {
    const NAME: &'static str = "EPT";
    const LEVELS: RangeInclusive<u8> = 4..=5;
    const SET_BY_HARDWARE: u64 = ACCESSED | DIRTY;
    const FORCE_SNOOP: u64 = 0;

    /// Write without read is a misconfiguration (SDM vol. 3 section 28.3.3.1), and
    /// execute alone needs a capability that nothing here asks for.
    fn supports(permissions: Permissions) -> bool {
        permissions.read
    }

    fn table(next: Hpa, _level: u8) -> u64 {
        next.0 & ADDRESS | READ | WRITE | EXECUTE
    }

    fn leaf(output: Hpa, page: PageSize, permissions: Permissions, memory_type: MemoryType) -> u64 {
        let mut entry = output.0 & ADDRESS | READ;
        if page != PageSize::Size4KiB {
            entry |= LARGE;
        }
        if permissions.write {
            entry |= WRITE;
        }
        if permissions.execute {
            entry |= EXECUTE;
        }
        entry
            | match memory_type {
                MemoryType::WriteBack => WRITE_BACK,
                MemoryType::Uncached => UNCACHED,
            }
    }

    fn is_present(entry: u64) -> bool {
        entry & (READ | WRITE | EXECUTE) != 0
    }

    fn is_leaf(entry: u64, level: u8) -> bool {
        level == 1 || entry & LARGE != 0
    }

    fn permissions(leaf: u64) -> Permissions {
        Permissions { read: leaf & READ != 0, write: leaf & WRITE != 0, execute: leaf & EXECUTE != 0 }
    }

    fn memory_type(leaf: u64) -> MemoryType {
        if leaf & TYPE == WRITE_BACK { MemoryType::WriteBack } else { MemoryType::Uncached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_sdm_section_28_3_2() {
        let at = Hpa(0x12_3456_7000);
        assert_eq!(Ept::table(at, 3), 0x12_3456_7007);
        assert_eq!(
            Ept::leaf(at, PageSize::Size4KiB, Permissions::ALL, MemoryType::WriteBack),
            0x12_3456_7037
        );
        assert_eq!(
            Ept::leaf(Hpa(0x4020_0000), PageSize::Size2MiB, Permissions::READ_WRITE, MemoryType::Uncached),
            0x4020_0083
        );
        assert_eq!(
            Ept::leaf(Hpa(0x4000_0000), PageSize::Size1GiB, Permissions::READ, MemoryType::WriteBack),
            0x4000_00b1
        );
    }

    #[test]
    fn write_only_is_refused_as_a_misconfiguration() {
        assert!(!Ept::supports(Permissions { read: false, write: true, execute: false }));
    }
}
