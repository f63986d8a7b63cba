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

use super::fault::{Access, PageFault};
use super::paging::Paging;
use super::path::{OFFSET, Path};
use access::GuestMemory;
use access::vcpu::ControlRegisters;
use spec::Gpa;
use spec::processor::{CR4_LA57, EFER_LMA};

/// Pages that are kept; a power of two. Two that exits alternate between and that have one place
/// cost a walk each time.
const PLACES: usize = 32;

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
