//! Carrying out one instruction for a guest: an access to an emulated register, or a
//! string of port accesses.
//!
//! The instruction is fetched once. Another processor of the guest may rewrite it, or
//! the page tables, at any time; so everything is checked as the processor would check
//! it for the instruction that *was* fetched, and one that does not touch the page that
//! faulted is not carried out at all: the guest executes again whatever is there now.
//!
//! What the processor would do, in this order: addresses, segment checks, page checks,
//! and only then the access, the flags, the instruction pointer. So a fault leaves no
//! trace, and a string instruction is restartable at the element that faulted.

mod alu;
mod bus;
mod decoded;
mod load;
mod memory;
mod outcome;
mod place;
mod port;
mod processor;
mod recent;
mod single;
mod stack;
mod string;
#[cfg(test)]
mod tests;

pub use bus::Bus;
pub use load::Load;
pub use memory::memory_access;
pub use outcome::Outcome;
pub use port::{Moved, Ports, string_port};
pub use recent::Recent;
