//! The way to one page: where each entry was, and what it was.

use super::entry::{ACCESSED, ADDRESS, DIRTY, NO_EXECUTE, PAGE_SIZE, PRESENT};
use super::fault::Access;
use super::paging::Paging;
use access::GuestMemory;
use spec::Gpa;
use spec::processor::EFER_NXE;

pub(super) const OFFSET: u64 = 0xfff;

/// The way to one page over four levels when nothing is to be said or done about it: every
/// entry is present, accessed and without reserved bits.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Path {
    /// Linear address of the page; no page has all ones.
    page: u64,
    /// CR3.
    root: u64,
    /// The walk ended early, and the last entry is the one before once more.
    large: bool,
    /// Where the entries are.
    slots: [Gpa; 4],
    entries: [u64; 4],
    /// The page of memory.
    frame: Gpa,
    /// What all entries have.
    all: u64,
    /// What any entry has.
    any: u64,
}

impl Path {
    pub(super) const NONE: Self = Self {
        page: !0,
        root: 0,
        large: true,
        slots: [Gpa(0); 4],
        entries: [0; 4],
        frame: Gpa(0),
        all: 0,
        any: 0,
    };

    /// Walks. `None` for what is not as [`Path`] says: the caller looks at that properly.
    #[inline]
    pub(super) fn walk<M: GuestMemory>(memory: &M, root: u64, linear: u64) -> Option<Self> {
        const NEEDED: u64 = PRESENT | ACCESSED;
        let mut path = Self { page: linear & !OFFSET, root, all: !0, ..Self::NONE };
        let (mut table, mut steps) = (root, path.slots.iter_mut().zip(&mut path.entries));
        for shift in [39, 30, 21, 12] {
            let (slot, entry) = steps.next()?;
            *slot = Gpa(table & ADDRESS | (linear >> shift & 0x1ff) << 3);
            *entry = memory.read64(*slot).ok()?;
            path.all &= *entry;
            path.any |= *entry;
            let large = shift > 12 && *entry & PAGE_SIZE != 0;
            if path.all & NEEDED != NEEDED || shift == 39 && large {
                return None;
            }
            table = *entry;
            path.large = large;
            if large {
                let offset = (1u64 << shift) - 1;
                // Bit 12 of a large page is its attribute table's.
                if *entry & offset & ADDRESS & !(1 << 12) != 0 {
                    return None;
                }
                table = *entry & !offset | linear & offset;
                let (slot, entry) = (*slot, *entry);
                for (same_slot, same_entry) in steps {
                    (*same_slot, *same_entry) = (slot, entry);
                }
                break;
            }
        }
        path.frame = Gpa(table & ADDRESS);
        Some(path)
    }

    /// Whether a walk to the page of `linear` would take this way now.
    #[inline(always)]
    pub(super) fn leads<M: GuestMemory>(&self, memory: &M, root: u64, linear: u64) -> bool {
        if linear & !OFFSET != self.page || root != self.root {
            return false;
        }
        let changed = |level: usize| {
            let (Some(slot), Some(entry)) = (self.slots.get(level), self.entries.get(level)) else {
                return 0;
            };
            memory.read64_or(*slot, !entry) ^ entry
        };
        changed(0) | changed(1) | changed(2) == 0 && (self.large || changed(3) == 0)
    }

    /// The address of `linear` in this page, if `paging` lets `access` through as it is.
    #[inline]
    pub(super) fn grant(&self, paging: &Paging, linear: u64, access: Access) -> Option<Gpa> {
        let [.., leaf] = self.entries;
        let undone = access == Access::Write && leaf & DIRTY == 0;
        let illegal = self.any & NO_EXECUTE != 0 && paging.control.efer & EFER_NXE == 0;
        if undone || illegal {
            return None;
        }
        paging.check(linear, access, self.all, self.any & NO_EXECUTE).ok()?;
        Some(self.address(linear))
    }

    #[inline(always)]
    pub(super) fn address(&self, linear: u64) -> Gpa {
        Gpa(self.frame.0 | linear & OFFSET)
    }
}
