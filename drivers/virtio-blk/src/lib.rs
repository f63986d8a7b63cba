//! Driver of virtio block devices (Virtual I/O Device, version 1.2, section 5.2).
//!
//! A [`Device`] is made out of what its driver is given, [`access::DeviceAccess`], is allocated then and
//! never again, and is used as the [`block::Drive`] that it is. Nothing waits: every call returns at once,
//! and says when to call [`poll`](block::Drive::poll) next.
//!
//! The device is not trusted. Whatever it writes into its queue, and says in registers, is checked; one
//! that makes no sense, or is late, is failed with an [`Error`] in words, all its requests end, and it may
//! be started again. It reaches only the buffers of its own domain. What the medium holds is of course the
//! device's to say. A medium that changes its size while it is used keeps the one that it had.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod commands;
mod device;
mod limits;
mod start;

pub use device::{Device, Sizes};
pub use virtio::Error;
