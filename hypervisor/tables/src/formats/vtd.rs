//! VT-d second-level (second-stage) tables (VT-d specification section 9.8).

use crate::format::{ADDRESS, Format, MemoryType, PageSize, Permissions};
use core::ops::RangeInclusive;
use spec::Hpa;

/// R.
const READ: u64 = 1 << 0;
/// W.
const WRITE: u64 = 1 << 1;
/// PS: a leaf above level 1; reserved where CAP.SLLPS lacks the size.
const LARGE: u64 = 1 << 7;
/// A, where the walker sets it (scalable mode).
const ACCESSED: u64 = 1 << 8;
/// D, likewise.
const DIRTY: u64 = 1 << 9;
/// SNP: snoop even what asks not to be; reserved where ECAP.SC is 0.
const SNOOP: u64 = 1 << 11;

/// Second-level translation of VT-d in legacy mode. The execute bit and the memory
/// type fields stay 0: a unit without their capabilities reserves or ignores them,
/// and no device of ours asks to execute.
pub enum VtdSecondLevel {}

impl Format for VtdSecondLevel {
    const NAME: &'static str = "VT-d second level";
    const LEVELS: RangeInclusive<u8> = 3..=5;
    const SET_BY_HARDWARE: u64 = ACCESSED | DIRTY;
    const FORCE_SNOOP: u64 = SNOOP;

    fn supports(permissions: Permissions) -> bool {
        permissions.read || permissions.write
    }

    fn table(next: Hpa, _level: u8) -> u64 {
        next.0 & ADDRESS | READ | WRITE
    }

    fn leaf(output: Hpa, page: PageSize, permissions: Permissions, _memory_type: MemoryType) -> u64 {
        let mut entry = output.0 & ADDRESS;
        if page != PageSize::Size4KiB {
            entry |= LARGE;
        }
        if permissions.read {
            entry |= READ;
        }
        if permissions.write {
            entry |= WRITE;
        }
        entry
    }

    fn is_present(entry: u64) -> bool {
        entry & (READ | WRITE) != 0
    }

    fn is_leaf(entry: u64, level: u8) -> bool {
        level == 1 || entry & LARGE != 0
    }

    fn permissions(leaf: u64) -> Permissions {
        Permissions { read: leaf & READ != 0, write: leaf & WRITE != 0, execute: false }
    }

    fn memory_type(_leaf: u64) -> MemoryType {
        MemoryType::WriteBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_vtd_section_9_8() {
        let at = Hpa(0x12_3456_7000);
        assert_eq!(VtdSecondLevel::table(at, 3), 0x12_3456_7003);
        assert_eq!(
            VtdSecondLevel::leaf(at, PageSize::Size4KiB, Permissions::ALL, MemoryType::WriteBack),
            0x12_3456_7003
        );
        assert_eq!(
            VtdSecondLevel::leaf(
                Hpa(0x4020_0000),
                PageSize::Size2MiB,
                Permissions::READ,
                MemoryType::Uncached
            ),
            0x4020_0081
        );
        let write_only = Permissions { read: false, write: true, execute: false };
        assert_eq!(
            VtdSecondLevel::leaf(Hpa(0x4000_0000), PageSize::Size1GiB, write_only, MemoryType::WriteBack),
            0x4000_0082
        );
        assert_eq!(VtdSecondLevel::FORCE_SNOOP, 0x800);
    }
}
