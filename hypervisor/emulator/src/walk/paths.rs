//! Walks that are remembered, and not believed.
//!
//! An exit on a processor that does not tell the next RIP needs the bytes at RIP, and an
//! access to an emulated register needs its instruction and its operand: each time a walk
//! of the guest's page tables, from the same few pages.
//!
//! A hypervisor's own TLB for these would be wrong. A guest makes a new translation valid
//! with INVLPG or a MOV to CR3, and under nested paging neither exits: nobody would tell us
//! to forget the old one. So what is kept is not the answer but the way to it: where each
//! entry was, and what it was. Each use reads every entry again, in the order of a walk. As
//! long as all are what they were, a new walk would take the same way to the same frame
//! and find the same rights; the first that differs makes the walk anew. What a guest can
//! see of this is a walk of its tables at each exit, no more and no less; nothing has to be
//! invalidated, and no guest is trusted with anything.

use super::{
    ACCESSED, ADDRESS, Access, CR4_LA57, DIRTY, EFER_LMA, EFER_NXE, NO_EXECUTE, PAGE_SIZE, PRESENT,
    PageFault, Paging,
};
use access::GuestMemory;
use access::vcpu::ControlRegisters;
use spec::Gpa;

/// Pages that are kept; a power of two. Two that exits alternate between and that have one place
/// cost a walk each time.
const PLACES: usize = 32;
const OFFSET: u64 = 0xfff;

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
    const NONE: Self = Self {
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
    fn leads<M: GuestMemory>(&self, memory: &M, root: u64, linear: u64) -> bool {
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
    fn address(&self, linear: u64) -> Gpa {
        Gpa(self.frame.0 | linear & OFFSET)
    }
}

/// The ways of one virtual processor's last walks.
pub(crate) struct Paths([Path; PLACES]);

impl Default for Paths {
    fn default() -> Self {
        Self([Path::NONE; PLACES])
    }
}

impl Paths {
    /// The eight bytes at `linear`, little-endian, of which the first `needed` (at most 8)
    /// are what they say: those after the end of the page are of no page in particular.
    /// For finding out the length of an instruction that has just exited. `None` where
    /// the quick way does not lead: other than 4-level paging, not mapped, or across two
    /// pages. The caller then takes [`super::fetch`].
    ///
    /// It checks no rights: the processor has fetched these very bytes, and nothing of
    /// them goes anywhere but into the length.
    #[inline(always)]
    pub fn peek<M: GuestMemory>(
        &mut self,
        memory: &M,
        control: &ControlRegisters,
        linear: u64,
        needed: u64,
    ) -> Option<u64> {
        if linear & OFFSET > 0x1000 - needed || !has_four_levels(control) {
            return None;
        }
        let gpa = self.find(memory, control.cr3, linear)?.address(linear);
        // What is no instruction is outside memory.
        Some(memory.read64_or(gpa, 0))
    }

    #[inline(always)]
    fn find<M: GuestMemory>(&mut self, memory: &M, root: u64, linear: u64) -> Option<&Path> {
        let place = self.0.get_mut((linear >> 12) as usize % PLACES)?;
        if !place.leads(memory, root, linear) {
            renew(place, memory, root, linear)?;
        }
        Some(place)
    }
}

/// A guest's memory, and the ways of the virtual processor that is looking.
pub(crate) struct Walker<'a, M> {
    /// The memory.
    pub memory: &'a M,
    /// The ways.
    pub paths: &'a mut Paths,
}

impl<M: GuestMemory> Walker<'_, M> {
    /// As [`Paging::translate`].
    #[inline]
    pub fn translate(&mut self, paging: &Paging, linear: u64, access: Access) -> Result<Gpa, PageFault> {
        if has_four_levels(&paging.control)
            && let Some(path) = self.paths.find(self.memory, paging.control.cr3, linear)
            && let Some(gpa) = path.grant(paging, linear, access)
        {
            return Ok(gpa);
        }
        self.translate_anew(paging, linear, access)
    }

    #[cold]
    #[inline(never)]
    fn translate_anew(&self, paging: &Paging, linear: u64, access: Access) -> Result<Gpa, PageFault> {
        paging.translate(self.memory, linear, access)
    }
}

#[cold]
#[inline(never)]
fn renew<M: GuestMemory>(place: &mut Path, memory: &M, root: u64, linear: u64) -> Option<()> {
    *place = Path::walk(memory, root, linear)?;
    Some(())
}

#[inline(always)]
fn has_four_levels(control: &ControlRegisters) -> bool {
    control.efer & EFER_LMA != 0 && control.cr4 & CR4_LA57 == 0
}
