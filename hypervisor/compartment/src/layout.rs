//! Where things are in a compartment's address space, and how it is entered and left.
//!
//! Each entry starts at the entry point of the image with a stack that nothing is on yet, and is told by registers:
//! RDI is the address of the area's first word, RSI how many words there are, RDX how many bytes of heap are at
//! [`HEAP`]. No register is kept from one entry to the next. SYSCALL ends it, with [`DONE`] in RAX where the call
//! was served; where a processor has that off for ring 3 it is an invalid opcode, which ends it as well.

/// Where the program is linked to.
pub const IMAGE: u64 = 0x40_0000;
/// The end of the stack; it is a multiple of 16.
pub const STACK_TOP: u64 = 0x7000_0000;
/// Bytes of the stack. A chipset, which is read from its state by value, uses most of it once, and the models an eighth.
pub const STACK_BYTES: u64 = 0x10000;
/// The area.
pub const AREA: u64 = 0x1_0000_0000;
/// The heap.
pub const HEAP: u64 = 0x2_0000_0000;
/// The guest's memory: that at guest-physical address 0 is here, and what is not its memory is not mapped.
pub const GUEST: u64 = 0x1000_0000_0000;

/// RAX where the call was served.
pub const DONE: u64 = 0;
/// RAX where the program found a fault of its own, or was called with what is no call: it has a panic's line in RDI.
pub const PANICKED: u64 = 1;
