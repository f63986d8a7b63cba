//! Entries of page tables.

use access::GuestMemory;
use spec::Gpa;

pub(super) use spec::processor::{
    PAGE_ACCESSED as ACCESSED, PAGE_DIRTY as DIRTY, PAGE_NO_EXECUTE as NO_EXECUTE, PAGE_PRESENT as PRESENT,
    PAGE_SIZE, PAGE_USER as USER, PAGE_WRITABLE as WRITABLE,
};

pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits 52 to 62: software's in long mode, reserved in PAE.
pub(super) const HIGH_IGNORED: u64 = 0x7ff0_0000_0000_0000;

/// Sets accessed and dirty flags, which are in the low byte of every format.
///
/// Only that byte is written, and only while the entry still is what was walked: a
/// processor that changes the frame at the same moment keeps its new frame. There is
/// no compare-and-exchange over guest memory, so a guest that races its own
/// processors here (and does not wait for them, as a shootdown does) may lose its own
/// change to these eight bits. That harms no one else.
#[inline]
pub(super) fn mark<M: GuestMemory>(memory: &M, slot: Gpa, entry: u64, flags: u64) {
    if entry & flags != flags {
        mark_slowly(memory, slot, entry, flags);
    }
}

#[cold]
fn mark_slowly<M: GuestMemory>(memory: &M, slot: Gpa, entry: u64, flags: u64) {
    let mut now = [0];
    if memory.read(slot, &mut now).is_ok() && now[0] == entry as u8 {
        // A table outside memory has nothing to mark.
        let _ = memory.write(slot, &[(entry | flags) as u8]);
    }
}
