//! Driver of Intel's 82574 gigabit Ethernet controller (82574 data sheet, revision 3.4; e1000e to Linux).
//!
//! A [`Controller`] is made out of what its driver is given, [`access::DeviceAccess`], and is
//! allocated then and never again. It is a [`nic::Nic`]: [`start`](nic::Nic::start) begins to bring
//! it up, frames are copied to and from buffers of its own. Nothing waits: every call returns at
//! once, with the [`nic::Status`] that says when to call [`poll`](nic::Nic::poll) next.
//!
//! The controller is not trusted. Whatever it writes into rings, and says in registers, is
//! checked; one that makes no sense is failed with an [`Error`] in words, and may be
//! started again. One that sends nothing for two seconds, or was reset by somebody, is reset. It
//! reaches only the buffers of its own domain.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod controller;
mod error;
mod program;
mod receive;
mod reset;
mod transmit;

pub use controller::{Controller, Sizes};
pub use error::Error;
