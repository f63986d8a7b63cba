//! From a guest's linear address to its physical one, over the guest's own page
//! tables (Intel SDM vol. 3 chapter 4, AMD APM vol. 2 chapter 5).
//!
//! The processor has already walked these tables for the instruction that exited.
//! They are walked again because the hardware does not tell the physical address of
//! an instruction, or of the operand that did not fault; and since another processor
//! may have changed them meanwhile, everything is checked again as for a new access.
//!
//! Physical address bits that the guest's processor does not have are not treated
//! as reserved: such an address is outside every guest's memory, and that is what
//! its user finds out. A table outside the guest's memory reads as ones, as the bus
//! floats.

mod entry;
mod fault;
mod fetch;
mod paging;
mod path;
mod paths;
mod translate;

pub use fault::{Access, PageFault};
pub use fetch::Bytes;
pub(crate) use fetch::{BytesKey, INSTRUCTION_BYTES_MAX, fetch};
pub use paging::Paging;
pub(crate) use paths::{Paths, Walker};

#[cfg(test)]
mod tests;
