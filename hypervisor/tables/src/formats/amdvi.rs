//! AMD-Vi host page tables (AMD I/O Virtualization Technology specification,
//! revision 3.08, section 2.2.3).

use crate::format::{ADDRESS, Format, MemoryType, PageSize, Permissions};
use core::ops::RangeInclusive;
use spec::Hpa;

/// PR.
const PRESENT: u64 = 1 << 0;
/// A, where the walker sets it (DTE.HAD).
const ACCESSED: u64 = 1 << 5;
/// D, likewise.
const DIRTY: u64 = 1 << 6;
/// Next Level: the level of the table that an entry leads to.
const NEXT_LEVEL_SHIFT: u32 = 9;
/// Mask of Next Level. 0 is a page of the size that an entry of its table translates;
/// 7 is one whose address encodes another size.
const NEXT_LEVEL: u64 = 7 << NEXT_LEVEL_SHIFT;
/// Next Level of a page of a size of its own.
const OTHER_SIZE: u64 = 7 << NEXT_LEVEL_SHIFT;
/// FC: snoop even what asks not to be.
const FORCE_COHERENT: u64 = 1 << 60;
/// IR. What may be done is what every entry on the way allows.
const READ: u64 = 1 << 61;
/// IW.
const WRITE: u64 = 1 << 62;

/// Host translation of AMD-Vi. No level is skipped, and every page has the size that
/// an entry of its table translates: 4 KiB, 2 MiB or 1 GiB. The sizes between, which
/// take several equal entries, could not be changed by one write.
pub enum AmdVi {}

impl Format for AmdVi {
    const NAME: &'static str = "AMD-Vi host translation";
    const LEVELS: RangeInclusive<u8> = 4..=6;
    const SET_BY_HARDWARE: u64 = ACCESSED | DIRTY;
    const FORCE_SNOOP: u64 = FORCE_COHERENT;

    fn supports(permissions: Permissions) -> bool {
        permissions.read || permissions.write
    }

    fn table(next: Hpa, level: u8) -> u64 {
        next.0 & ADDRESS | PRESENT | u64::from(level - 1) << NEXT_LEVEL_SHIFT | READ | WRITE
    }

    fn leaf(output: Hpa, _page: PageSize, permissions: Permissions, _memory_type: MemoryType) -> u64 {
        let mut entry = output.0 & ADDRESS | PRESENT;
        if permissions.read {
            entry |= READ;
        }
        if permissions.write {
            entry |= WRITE;
        }
        entry
    }

    fn is_present(entry: u64) -> bool {
        entry & PRESENT != 0
    }

    fn is_leaf(entry: u64, level: u8) -> bool {
        level == 1 || matches!(entry & NEXT_LEVEL, 0 | OTHER_SIZE)
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
    fn entries_are_those_of_section_2_2_3() {
        let at = Hpa(0x12_3456_7000);
        assert_eq!(AmdVi::table(at, 4), 0x6000_0012_3456_7601);
        assert_eq!(AmdVi::table(at, 2), 0x6000_0012_3456_7201);
        assert_eq!(
            AmdVi::leaf(at, PageSize::Size4KiB, Permissions::READ_WRITE, MemoryType::WriteBack),
            0x6000_0012_3456_7001
        );
        assert_eq!(
            AmdVi::leaf(Hpa(0x4020_0000), PageSize::Size2MiB, Permissions::READ, MemoryType::Uncached),
            0x2000_0000_4020_0001
        );
        let write_only = Permissions { read: false, write: true, execute: false };
        assert_eq!(
            AmdVi::leaf(Hpa(0x4000_0000), PageSize::Size1GiB, write_only, MemoryType::WriteBack),
            0x4000_0000_4000_0001
        );
        assert_eq!(AmdVi::FORCE_SNOOP, 0x1000_0000_0000_0000);
    }

    #[test]
    fn next_level_tells_tables_from_pages() {
        let at = Hpa(0x4000_0000);
        let leaf = AmdVi::leaf(at, PageSize::Size2MiB, Permissions::READ, MemoryType::WriteBack);
        assert!(AmdVi::is_leaf(leaf, 2) && !AmdVi::is_leaf(AmdVi::table(at, 2), 2));
        assert!(AmdVi::is_leaf(leaf | 7 << 9, 2), "a page of another size is no table");
        assert!(!AmdVi::is_leaf(AmdVi::table(at, 6), 6));
    }

    #[test]
    fn nothing_at_all_cannot_be_expressed() {
        assert!(!AmdVi::supports(Permissions { read: false, write: false, execute: true }));
    }
}
