//! The instruction interpreter: what a guest's processor leaves to software is carried out
//! here, for one instruction at a time.
//!
//! In go a processor's state ([`access::vcpu::Vcpu`]), the guest's memory
//! ([`access::GuestMemory`]), and what answers where there is no memory: a [`Bus`], or
//! [`Ports`]. The state is changed as the processor would have changed it, and out comes an
//! [`Outcome`], which says what has to be delivered next. Nothing else is known here of the
//! guest, of its devices, or of the machine.
//!
//! - [`access`]: the instruction that reached for an address where there is no memory.
//! - [`string_port`]: INS and OUTS.
//! - [`task_switch::switch`]: a task switch by hardware.
//! - [`decode`]: what stands in the bytes of an instruction, and how long it is.
//! - [`walk`]: from a linear address to a physical one, and the bytes at RIP.
//!
//! Whatever depends on a processor's earlier instructions is in [`Recent`], one for each
//! processor. It only saves work.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate alloc;

pub mod decode;
mod descriptor;
mod execute;
pub mod task_switch;
#[cfg(test)]
mod testing;
pub mod walk;

pub use execute::{Bus, Outcome, Ports, Recent, access, string_port};
