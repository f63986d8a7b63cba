//! The protocol between ring 0 and a compartment in which a guest's instructions are interpreted in ring 3.
//!
//! One virtual processor has one compartment, in which its guest's memory is mapped. [`RemoteEmulator`] is ring 0's side: it
//! does what [`emulator::memory_access`] and [`emulator::string_port`] do, and neither fetches, nor decodes, nor walks
//! a page table. [`EmulatorServer`] is the compartment's, with the interpreter itself, the same as in ring 0.
//!
//! # An instruction
//! The call has the processor's state, as far as an instruction can ask for it, and why it exited. What is not memory
//! is ring 0's: the interpreter writes down what it wants written there, and what a register is to be loaded with, and ring 0 does that
//! once the answer was found sound. So most instructions are one entry.
//!
//! One that does more with what it reads ([`emulator::Bus::read`] knows nothing) leaves with nothing done, and says what it asks
//! for. Ring 0 reads, and has the instruction carried out again from its beginning with the replies so far: an
//! instruction reads before it writes, and of a string the elements before are over and committed. So the compartment keeps
//! nothing from one entry to the next that matters, there is no second stack to suspend on, and a compartment that
//! is made anew in the middle of an instruction goes on with the same replies: nothing is read twice and nothing is written
//! twice. Memory that another processor changes meanwhile would be another
//! instruction: what the first attempt read of it is kept in the compartment until the instruction is over
//! ([`Seen`](seen)). An operand that crosses from memory to a device and is read and written is the one exception where a compartment dies after it has
//! written its half: that half is computed from what it wrote.
//!
//! # What a hostile interpreter can do
//! - To its guest everything: it reaches all of its memory, and makes up accesses, registers and exceptions.
//! - To nobody else anything. RIP stays or goes on by the length of an instruction; of the flags those change that
//!   arithmetic leaves; the events are those that an instruction can raise; accesses are within a page and within the
//!   guest's addresses, where the guest itself could have made them. What is none of that ends the compartment, and after a few times its guest.
//! - To time: the entries of an instruction are bounded by its replies, which are sixteen, and each by
//!   [`Compartment::enter`](compartment::Compartment::enter).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
mod area;
mod call;
mod first;
mod mirror;
mod remote;
mod seen;
mod serve;
#[cfg(test)]
mod tests;

pub use area::AREA_WORDS;
pub use first::First;
pub use remote::RemoteEmulator;
pub use serve::EmulatorServer;
