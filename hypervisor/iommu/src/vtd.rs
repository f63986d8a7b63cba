//! Intel VT-d (Intel Virtualization Technology for Directed I/O specification).
//!
//! Legacy mode: root and context tables name a second-level table for each
//! requester; queued invalidation; interrupt remapping with the source verified.
//! Device TLBs, pass-through and page requests stay off.

mod capabilities;
mod command;
mod context;
mod faults;
mod interrupts;
mod queue;
#[cfg(test)]
mod tests;
mod unit;

pub use capabilities::Capabilities;
pub(crate) use capabilities::register_bytes;
pub(crate) use unit::{Unit, frames_needed};
