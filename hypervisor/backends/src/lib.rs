//! What emulated devices stand on: the machine's drives and network interfaces, which the hypervisor
//! drives itself.
//!
//! A [`Disk`] is one drive, and the parts of it that guests have. Whoever has its turn, the housekeeping
//! CPU or the processor of a guest, takes the requests that wait in the endpoints, gives them to the drive, and tells the
//! endpoints what is done. Data is copied between the drive's own buffers and the guest's memory, so
//! the drive reaches no guest.
//!
//! A [`Network`] is a switch, the endpoints of guests that are connected to it, and a network interface
//! that leads outside. Its frames are copied in its turns.
//!
//! A [`SharedMemory`] carries the doorbells of those that share it.
//!
//! Nothing here waits but what brings something up, which is for the boot, and nothing allocates after it.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bring_up;
mod coalescing;
mod disk;
mod exit;
#[cfg(test)]
mod fake_drive;
#[cfg(test)]
mod fake_nic;
mod faults;
mod network;
mod part;
mod restarts;
mod shared_memory;
mod table;
mod uplink;

pub use self::network::{Network, UplinkCounters};
pub use disk::{Clients, Disk, Turn};
pub use exit::serve_in_exit;
pub use faults::FaultReport;
pub use part::{Counters, PartFault};
pub use shared_memory::SharedMemory;
pub use table::{Partition, TableFault};
