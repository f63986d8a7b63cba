//! A guest at run time: what it starts from, its exit loop, interrupt delivery, and the tables that say
//! what its processors are. The instructions that its processors leave to software are
//! carried out by the crate `emulator`.
//!
//! The loop is [`processor::VirtualProcessor::run`]: an exit comes in, a resume goes
//! out. What the guest's processors share is a [`partition::Partition`]; the machine
//! around it is behind [`host::Host`].
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod accelerated;
pub mod assignment;
pub mod budget;
pub mod bus_function;
pub mod chipset;
pub mod clock;
pub mod cpuid;
pub mod direct;
mod emulators;
mod endpoints;
pub mod exits;
pub mod holdings;
pub mod host;
pub mod interpreter;
pub mod layout;
pub mod lifecycle;
mod log_budget;
pub mod mailbox;
pub mod msr;
pub mod partition;
pub mod processor;
pub mod pv_eoi;
pub mod snapshot;
pub mod start_image;
pub mod time;
pub mod waiting;

pub use partition::{End, Partition};
pub use processor::VirtualProcessor;
