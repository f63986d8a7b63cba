//! In and out: see [`compartment::layout`].

use crate::state::State;
use compartment::layout::{DONE, GUEST, HEAP, PANICKED};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use models::driver::{self, Server, is_first};
use models::heap::Heap;
use models::interpreter::{self, Interpreter};

global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".globl _start",
    "_start:",
    // Ring 0 gives a stack that begins at a multiple of 16; the call leaves it as the ABI wants it.
    "xor ebp, ebp",
    "cld",
    "and rsp, -16",
    "call {enter}",
    "mov eax, {done}",
    "syscall",
    "ud2",
    ".popsection",
    enter = sym enter,
    done = const DONE,
);

#[global_allocator]
static ALLOCATOR: Heap = Heap::new();

/// What is kept between two entries.
enum Life {
    /// It was not entered yet.
    New,
    /// It is being built, or could not be.
    Unbuilt,
    /// It serves a model.
    Built(State),
    /// It serves a driver.
    Drives(Server),
    /// It interprets a guest's instructions.
    Interprets(Interpreter),
}

struct Kept(UnsafeCell<Life>);

// SAFETY: a compartment is on one processor at a time, and `enter` is all that looks here.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(UnsafeCell::new(Life::New));

/// One entry.
///
/// # Safety
/// Called by `_start` alone: the registers are what ring 0 says of the area and the heap.
unsafe extern "C" fn enter(area: *mut u64, words: usize, heap_bytes: usize) {
    // SAFETY: ring 0 mapped so many words there, for this compartment and itself, and does not run while this does.
    let words = unsafe { core::slice::from_raw_parts_mut(area, words) };
    // SAFETY: one entry ends before the next begins, so this is the only reference.
    let kept = unsafe { &mut *KEPT.0.get() };
    match kept {
        Life::Built(state) => assert!(state.serve(words), "the area is too small"),
        Life::Drives(server) => server.serve(0, words),
        Life::Interprets(interpreter) => assert!(interpreter.serve(words), "there is no such call"),
        Life::New => {
            *kept = Life::Unbuilt;
            // SAFETY: ring 0 mapped so many bytes there for the heap of this compartment alone, which gets them once.
            let claimed = unsafe { ALLOCATOR.claim(HEAP as *mut u8, heap_bytes) };
            assert!(claimed, "there is no heap");
            if is_first(words) {
                // SAFETY: ring 0 mapped what the call names for this compartment, and nothing else there.
                if let Some(server) = unsafe { driver::build(words) } {
                    *kept = Life::Drives(server);
                }
                return;
            }
            if interpreter::is_first(words) {
                // SAFETY: ring 0 mapped the memory that the call names there, and nothing else above `GUEST`.
                if let Some(interpreter) = unsafe { Interpreter::begin(words, GUEST) } {
                    *kept = Life::Interprets(interpreter);
                }
                return;
            }
            // SAFETY: as for an interpreter.
            if let Some(state) = unsafe { State::build(words, GUEST) } {
                *kept = Life::Built(state);
            }
        }
        Life::Unbuilt => panic!("nothing was built"),
    }
}

/// Leaves, and says where in the source it was.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    // SAFETY: that is how a compartment is left.
    unsafe { asm!("syscall", "ud2", in("rax") PANICKED, in("rdi") u64::from(line), options(noreturn)) }
}
