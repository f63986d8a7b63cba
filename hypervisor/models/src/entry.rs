//! In and out: see [`compartment::layout`].

use crate::state::State;
use compartment::Kind;
use compartment::layout::{DONE, GUEST, HEAP, PANICKED};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use models::chipset::ChipsetModel;
use models::driver::{self, Server};
use models::heap::Heap;
use models::interpreter::Interpreter;

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
    /// It is a guest's chipset.
    IsChipset(ChipsetModel),
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
        Life::IsChipset(chipset) => assert!(chipset.serve(words), "there is no such call"),
        Life::New => {
            *kept = Life::Unbuilt;
            // SAFETY: ring 0 mapped so many bytes there for the heap of this compartment alone, which gets them once.
            let claimed = unsafe { ALLOCATOR.claim(HEAP as *mut u8, heap_bytes) };
            assert!(claimed, "there is no heap");
            // SAFETY: ring 0 mapped what the call names where the layout has it, and nothing else there.
            if let Some(life) = unsafe { begin(words) } {
                *kept = life;
            }
        }
        Life::Unbuilt => panic!("nothing was built"),
    }
}

/// Serves the first call in the words of the area, which says by its first word what this compartment is for. `None`
/// where nothing was built, which the area says.
///
/// # Safety
/// What the call names is mapped where [`compartment::layout`] and [`driver_compartment::layout`] have it, for this
/// compartment, for as long as the program runs, and nothing else of the program is there.
unsafe fn begin(words: &mut [u64]) -> Option<Life> {
    let Some(kind) = Kind::of(words) else { panic!("this is no first call") };
    // SAFETY: the caller's promise, of each of them.
    unsafe {
        match kind {
            Kind::Model => State::build(words, GUEST).map(Life::Built),
            Kind::Driver => driver::build(words).map(Life::Drives),
            Kind::Interpreter => Interpreter::begin(words, GUEST).map(Life::Interprets),
            Kind::Chipset => ChipsetModel::begin(words).map(Life::IsChipset),
        }
    }
}

/// Leaves, and says where in the source it was.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    // SAFETY: that is how a compartment is left.
    unsafe { asm!("syscall", "ud2", in("rax") PANICKED, in("rdi") u64::from(line), options(noreturn)) }
}
