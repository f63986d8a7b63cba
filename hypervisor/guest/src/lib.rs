//! A guest at run time: its exit loop, interrupt delivery, instruction emulation,
//! loaders, and the tables that say what its processors are.
//!
//! The loop is [`processor::VirtualProcessor::run`]: an exit comes in, a resume goes
//! out. What the guest's processors share is a [`partition::Partition`]; the machine
//! around it is behind [`host::Host`].
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod accelerated;
pub mod acpi;
pub mod assignment;
pub mod budget;
pub mod clock;
pub mod cpuid;
pub mod decode;
pub mod descriptor;
pub mod direct;
pub mod emulate;
pub mod exits;
pub mod holdings;
pub mod host;
pub mod layout;
pub mod lifecycle;
pub mod loader;
mod log_budget;
pub mod mailbox;
pub mod msr;
pub mod partition;
pub mod processor;
pub mod pv_eoi;
pub mod task_switch;
#[cfg(test)]
mod testing;
pub mod walk;

pub use partition::{End, Partition};
pub use processor::VirtualProcessor;
