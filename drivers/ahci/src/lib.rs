//! Driver of Serial ATA drives behind an AHCI host bus adapter (Serial ATA AHCI 1.3.1; ACS-3).
//!
//! An [`Hba`] is made out of what its driver is given, [`access::DeviceAccess`], and is allocated
//! then and never again. [`Hba::start`] takes it from the firmware and resets it; each of its
//! ports is a [`Port`], the [`block::Drive`] behind it. Nothing waits: every call returns at once,
//! with a deadline by which to call [`Hba::poll`] next.
//!
//! Neither the HBA nor a drive is trusted. What registers, identify data and logs say is checked; of
//! what is received into memory nothing else is read. A drive that makes no sense, or is late, is
//! failed with an [`Error`] in words, all its requests end, and it may be started again. A command
//! that a drive says has failed fails its request alone.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;

mod command;
mod error;
mod flights;
mod hba;
mod identify;
mod mend;
mod port;
mod registers;
mod start;

pub use error::Error;
pub use hba::{Hba, Sizes};
pub use port::Port;
