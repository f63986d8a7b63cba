//! Driver of NVM Express controllers (NVM Express Base Specification, revision 1.4).
//!
//! A [`Controller`] is made out of what its driver is given, [`access::DeviceAccess`], and is
//! allocated then and never again. [`Controller::start`] begins to bring it up, reads and writes
//! are submitted once it is [`State::Ready`], and [`Controller::next_done`] tells what is done.
//! Nothing waits: every call returns at once, with the [`Status`] that says when to call
//! [`Controller::poll`] next, unless [`Controller::interrupt`] or a request comes before.
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

pub use controller::{Controller, Sizes, State, Status};
pub use error::{Error, Fault, Refused};
pub use identify::{Identity, Namespace, Text};
pub use request::{Done, Operation, Tag};
