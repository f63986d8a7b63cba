//! The heap: one piece of memory, which is known when the compartment is entered first.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

/// The heap of a program that one processor at a time runs.
pub struct Heap(UnsafeCell<Talc<Manual, DefaultBinning>>);

// SAFETY: a compartment is on one processor at a time, and is never interrupted to do something else of its own.
unsafe impl Sync for Heap {}

impl Heap {
    /// A heap without memory.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Talc::new(Manual)))
    }

    /// Gives it its memory. False where that is too little for anything.
    ///
    /// # Safety
    /// It is mapped for reading and writing, and nobody else uses it, from now on. Nothing of the heap's goes on
    /// meanwhile.
    pub unsafe fn claim(&self, start: *mut u8, bytes: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { (*self.0.get()).claim(start, bytes) }.is_some()
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `Talc` gives blocks of the layout asked for that overlap no other, and there is one user at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `GlobalAlloc` promises a size above 0.
        unsafe { (*self.0.get()).allocate(layout) }.map_or(ptr::null_mut(), |block| block.as_ptr())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `GlobalAlloc` promises that the block came from `alloc` with this layout.
        unsafe { (*self.0.get()).deallocate(block, layout) };
    }
}
