//! Driver of virtio network interfaces (Virtual I/O Device, version 1.2, section 5.1).
//!
//! An [`Interface`] is made out of what its driver is given, [`access::DeviceAccess`], and is allocated
//! then and never again. It is a [`nic::Nic`]: [`start`](nic::Nic::start) begins to bring it up, frames
//! are copied to and from buffers of its own, with one queue each way. Nothing waits: every call returns
//! at once, with the [`nic::Status`] that says when to call [`poll`](nic::Nic::poll) next.
//!
//! The device is not trusted. Whatever it writes into queues, and says in registers, is checked; one that
//! makes no sense is failed with an [`Error`] in words, and may be started again. One that sends nothing
//! for five seconds, says that it needs a reset, or was reset by somebody, is reset. It reaches only the
//! buffers of its own domain.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod buffers;
mod control;
mod interface;
mod receive;
mod start;
mod transmit;

pub use interface::{Interface, Sizes};
pub use virtio::Error;
