//! What emulated devices stand on: the machine's drives, which the hypervisor drives itself.
//!
//! A [`Disk`] is one drive, and the parts of it that guests have. It belongs to the housekeeping
//! CPU, which takes the requests that wait in the endpoints, gives them to the drive, and tells the
//! endpoints what is done. Data is copied between the drive's own buffers and the guest's memory, so
//! the drive reaches no guest.
//!
//! Nothing here waits but [`Disk::bring_up`], which is for the boot, and nothing else allocates.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bring_up;
mod disk;
#[cfg(test)]
mod fake_drive;
mod part;
mod table;

pub use disk::{Clients, Disk, Turn};
pub use part::{Counters, PartFault};
pub use table::{Partition, TableFault};
