//! What is taken for a guest while it is built.

use crate::display::Display;
use alloc::vec::Vec;
use guest::layout::GuestLayout;
use iommu::{DomainId, Iommu, Requester};
use machine::memory::frames;
use machine::memory::guest_ram::{Block, GuestRam};
use machine::memory::memory_map::Range;
use spec::{Gpa, Hpa};
use spin::mutex::TicketMutex;

/// The least that is taken of the machine's memory at a time.
const PIECE: u64 = 2 << 20;

/// What was taken for a guest, to be given back where it is refused after all.
#[derive(Default)]
pub struct Taken {
    /// Its memory.
    pub blocks: Vec<Block>,
    /// Room for a snapshot of that.
    room: Vec<Block>,
    /// What changes of the images of its drives.
    stores: Vec<Block>,
    /// Its display, whose memory is among the stores.
    pub display: Option<Display>,
    /// Its nested tables.
    pub tables: Option<Range>,
    /// The domain of its functions.
    pub domain: Option<DomainId>,
    /// What drives of the hypervisor's reach of it: the domain of each, where, and bytes.
    pub lent: Vec<(DomainId, Gpa, u64)>,
    /// Those of its functions that were granted interrupts.
    pub interrupts: Vec<Requester>,
}

impl Taken {
    /// Takes the guest's memory in as few blocks as the machine has. `None`: there is not enough.
    pub fn take_memory(&mut self, layout: &GuestLayout) -> Option<()> {
        take_all(layout, &mut self.blocks)
    }

    /// Takes as much as the guest's memory again, at the same guest-physical addresses.
    pub fn take_room(&mut self, layout: &GuestLayout) -> Option<GuestRam> {
        let start = self.room.len();
        take_all(layout, &mut self.room)?;
        memory(&self.room, start)
    }

    /// Takes `bytes`, a multiple of 2 MiB, that are reached from address 0 on.
    pub fn take_store(&mut self, bytes: u64) -> Option<GuestRam> {
        let start = self.stores.len();
        take(Gpa(0), bytes, &mut self.stores)?;
        memory(&self.stores, start)
    }

    /// Takes `bytes` bytes in one piece, at a multiple of its size, a power of two: where they are, and how
    /// they are reached from address 0 on.
    pub fn take_piece(&mut self, bytes: u64) -> Option<(Hpa, GuestRam)> {
        let start = self.stores.len();
        let hpa = frames::take(bytes, bytes.max(PIECE))?;
        self.stores.push(Block { gpa: Gpa(0), hpa, bytes });
        Some((hpa, memory(&self.stores, start)?))
    }

    /// Nothing that was made of it is left: the guest's tables and functions are dropped, no
    /// processor has entered them, and no function was attached.
    pub fn give_back(self, iommu: Option<&TicketMutex<impl Iommu>>) {
        if let Some(iommu) = iommu {
            let mut iommu = iommu.lock();
            for requester in self.interrupts {
                let _ = iommu.revoke_interrupts(requester);
            }
            // Memory that a domain may still map is nobody's for good.
            let mut is_lent = false;
            for (domain, at, bytes) in self.lent {
                is_lent |= iommu.unmap(domain, at, bytes).is_err();
            }
            if is_lent || self.domain.is_some_and(|domain| iommu.destroy_domain(domain).is_err()) {
                return;
            }
        }
        let blocks = self.blocks.iter().chain(&self.room).chain(&self.stores);
        let blocks = blocks.map(|block| Range::new(block.hpa, block.bytes));
        for range in blocks.chain(self.tables) {
            // SAFETY: taken for this guest alone, which never ran; its domain is destroyed,
            // and what pointed to the memory was dropped with what `try_build` had made.
            unsafe { frames::give_back(range) };
        }
    }
}

/// Takes `bytes` bytes in one piece, at a multiple of its size, a power of two, and fills it with zeroes.
pub fn take_zeroed(bytes: u64) -> Option<Hpa> {
    let hpa = frames::take(bytes, bytes.max(PIECE))?;
    memory(&[Block { gpa: Gpa(0), hpa, bytes }], 0)?.zero_all();
    Some(hpa)
}

/// The blocks from `start` on as memory.
fn memory(blocks: &[Block], start: usize) -> Option<GuestRam> {
    let blocks = blocks.get(start..)?.to_vec().into_boxed_slice();
    // SAFETY: `take` took the blocks for this alone, and each is in one such memory.
    unsafe { GuestRam::new(blocks) }.ok()
}

/// Memory for all that the layout has of it.
fn take_all(layout: &GuestLayout, blocks: &mut Vec<Block>) -> Option<()> {
    layout.ram().into_iter().try_for_each(|range| take(range.start, range.bytes, blocks))
}

/// Memory for `bytes` bytes from `gpa` on. `None`: there is not enough, and what there was is in
/// `blocks`.
fn take(mut gpa: Gpa, bytes: u64, blocks: &mut Vec<Block>) -> Option<()> {
    let mut left = bytes;
    let mut piece = left;
    while left > 0 {
        piece = piece.min(left);
        // 1 GiB pages need both addresses aligned to them.
        let alignment = if piece >= 1 << 30 { 1 << 30 } else { PIECE };
        match frames::take(piece, alignment).or_else(|| frames::take(piece, PIECE)) {
            Some(hpa) => {
                blocks.push(Block { gpa, hpa, bytes: piece });
                gpa = gpa + piece;
                left -= piece;
            }
            None => {
                piece = (piece / 2) & !(PIECE - 1);
                if piece == 0 {
                    return None;
                }
            }
        }
    }
    Some(())
}
