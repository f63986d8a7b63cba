//! Driver of NVM Express controllers (NVM Express Base Specification, revision 1.4).
//!
//! A [`Controller`] is made out of what its driver is given, [`access::DeviceAccess`], is
//! allocated then and never again, and is used as the [`block::Drive`] that it is. Nothing waits:
//! every call returns at once, and says when to call [`poll`](block::Drive::poll) next.
//!
//! The controller is not trusted. Whatever it writes into queues, and says in registers and
//! identify data, is checked; one that makes no sense, or is late, is failed with an [`Error`]
//! in words, all its requests end, and it may be started again. It reaches only the
//! buffers of its own domain. What the medium holds is of course the controller's to say.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod controller;
mod error;
mod identify;
mod prp;
mod queue;
mod request;
mod start;

pub use controller::{Controller, Sizes};
pub use error::Error;
