//! The heap of the boot: everything is allocated before the guests run.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use crate::memory::frames;
use crate::memory::layout;

/// The global allocator.
pub struct BootHeap {
    talc: spin::Mutex<Talc<Manual, DefaultBinning>>,
    sealed: AtomicBool,
    /// How many guests are being loaded.
    loading: AtomicU64,
    late: AtomicU64,
    bytes: AtomicU64,
    /// Bytes that were asked for and not given back.
    used: AtomicU64,
}

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: BootHeap = BootHeap {
    talc: spin::Mutex::new(Talc::new(Manual)),
    sealed: AtomicBool::new(false),
    loading: AtomicU64::new(0),
    late: AtomicU64::new(0),
    bytes: AtomicU64::new(0),
    used: AtomicU64::new(0),
};

// SAFETY: `Talc` gives blocks of the layout asked for that overlap no other, and the
// lock serialises its users.
unsafe impl GlobalAlloc for BootHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.sealed.load(Ordering::Relaxed) && self.loading.load(Ordering::Relaxed) == 0 {
            self.report_late(layout);
        }
        self.used.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: `GlobalAlloc` promises a size above 0.
        unsafe { self.talc.lock().allocate(layout) }.map_or(ptr::null_mut(), |block| block.as_ptr())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: `GlobalAlloc` promises that the block came from `alloc` with this
        // layout.
        unsafe { self.talc.lock().deallocate(block, layout) };
    }
}

impl BootHeap {
    /// An allocation after boot is a bug: there is no promise that memory is left. It
    /// is served where it can be, since stopping every guest for it helps nobody, but
    /// it is counted, and the first is an error in the log.
    #[cold]
    fn report_late(&self, layout: Layout) {
        if self.late.fetch_add(1, Ordering::Relaxed) == 0 {
            log::error!(
                "{} bytes were allocated after boot; nothing may allocate once guests run",
                layout.size()
            );
        }
    }
}

/// Gives the heap `bytes` more bytes (rounded up to pages); false if that much memory
/// is not there in one piece.
pub fn init(bytes: u64) -> bool {
    let Some(bytes) = bytes.checked_next_multiple_of(4096) else { return false };
    let Some(start) = frames::take(bytes, 4096) else { return false };
    // SAFETY: the block was just taken, so it is RAM of the direct map that nobody
    // else uses, for good.
    let claimed = unsafe { HEAP.talc.lock().claim(layout::direct(start), bytes as usize) };
    HEAP.bytes.fetch_add(bytes, Ordering::Relaxed);
    claimed.is_some()
}

/// Ends the time of allocations: each later one outside of [`loading`] is counted, and
/// the first is an error in the log.
pub fn seal() {
    HEAP.sealed.store(true, Ordering::Relaxed);
}

/// While it lives, allocations are no bug even after [`seal`]: a guest is being loaded
/// again, or the end is being reported. What is taken is given back when that is done.
pub struct Loading(());

/// Begins such a time.
pub fn loading() -> Loading {
    HEAP.loading.fetch_add(1, Ordering::Relaxed);
    Loading(())
}

impl Drop for Loading {
    fn drop(&mut self) {
        HEAP.loading.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Allocations since [`seal`]; 0 in a hypervisor without bugs.
pub fn late_allocations() -> u64 {
    HEAP.late.load(Ordering::Relaxed)
}

/// Bytes that the heap was given.
pub fn bytes() -> u64 {
    HEAP.bytes.load(Ordering::Relaxed)
}

/// Bytes that were asked for and not given back, without what keeping them costs.
pub fn used() -> u64 {
    HEAP.used.load(Ordering::Relaxed)
}
