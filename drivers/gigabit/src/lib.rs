//! What the drivers of Intel's gigabit Ethernet controllers have in common: a [`Controller`] with one
//! queue each way, its stages and deadlines, its rings, and what is checked of what it says. What
//! differs between controllers is a [`Model`]; a driver is a crate with one (`e1000e`, `igb`).
//!
//! A controller is made out of what its driver is given, [`access::DeviceAccess`], and is
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
mod model;
mod receive;
mod stages;
mod transmit;

pub use controller::{Controller, Sizes};
pub use error::Error;
pub use model::{Model, Received, Ring, Setup, change, read, write};
