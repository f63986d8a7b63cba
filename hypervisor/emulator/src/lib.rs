//! The instruction interpreter: what a guest's processor leaves to software is carried out
//! here, for one instruction at a time.
//!
//! In go a processor's state ([`access::vcpu::ProcessorState`]), the guest's memory
//! ([`access::GuestMemory`]), and what answers where there is no memory: a [`Bus`], or
//! [`Ports`]. The state is changed as the processor would have changed it, and out comes an
//! [`Outcome`], which says what has to be delivered next. Nothing else is known here of the
//! guest, of its devices, or of the machine.
//!
//! - [`memory_access`]: the instruction that reached for an address where there is no memory.
//! - [`string_port`]: INS and OUTS.
//! - [`next_rip_at_once`], [`next_rip_by_decoding`] and [`control_write`]: past an instruction of which the exit has told what it
//!   is, and the one exit that may not tell what was written.
//! - [`task_switch::switch`]: a task switch by hardware.
//!
//! Two parts can be used alone: [`decode`], what stands in the bytes of an instruction and how
//! long it is; and [`walk`], from a linear address to a physical one.
//!
//! Whatever depends on a processor's earlier instructions is in [`Recent`], one for each
//! processor. It only saves work.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate alloc;

mod code;
pub mod decode;
mod descriptor;
mod execute;
mod step;
pub mod task_switch;
#[cfg(test)]
mod testing;
pub mod walk;

pub use code::CodeSize;
pub use execute::{Bus, Load, Moved, Outcome, Ports, Recent, memory_access, string_port};
pub use step::{control_write, next_rip_at_once, next_rip_by_decoding};
