//! The PCI functions of the machine: what must be known of one before a guest may have it, and
//! what is done to it between two guests. What a guest sees of a function is the crate `vpci`'s.
//!
//! - [`bar`]: what base address registers decode.
//! - [`capability`]: walks of capability lists that corrupt ones cannot trap.
//! - [`access_control`]: the services that keep functions apart are enabled.
//! - [`bridge`]: what the bridges above a guest's function must do.
//! - [`message`]: messages of functions that stay with the hypervisor.
//! - [`reset`]: the reset ladder with its proof.
//! - [`rom`]: reading an expansion ROM.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access_control;
pub mod bar;
pub mod bridge;
pub mod capability;
pub mod message;
pub mod reset;
pub mod rom;

pub use bar::BarKind;
pub use message::{Messages, Place};
pub use reset::{Quarantine, ResetMethod, ResetPath};
