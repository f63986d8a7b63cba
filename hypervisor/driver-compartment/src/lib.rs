//! The protocol between ring 0 and a compartment in which a driver of a drive or a network interface runs
//! in ring 3.
//!
//! [`RemoteDrive`] and [`RemoteNic`] are ring 0's side: a [`Drive`](block::Drive) and a [`Nic`](::nic::Nic) like any
//! other, whose driver is in a compartment. [`DriveServer`] and [`NicServer`] are the compartment's: they
//! have a driver, the same as in ring 0 and without a `cfg`, do what a call says. Both sides share an area of
//! words. The compartment runs only while ring 0 is in [`enter`](compartment::Compartment::enter), so nothing that was
//! checked changes afterwards.
//!
//! # What a turn costs
//! What is submitted, or is to be sent, is carried in by one entry, which carries out what is over and what
//! came. That is the `kick` where there is something to give, and the `poll` otherwise: a `poll` behind a `kick`
//! takes what that brought, and a message makes the next `poll` enter again. An interface of which an entry found nothing
//! is not entered for 50 µs but for a message or for what is given to it: whoever polls it has many turns. So a turn is one entry, a drive that nothing is
//! asked of is not entered, and the cost a request falls as more are under way.
//!
//! # What a driver needs besides its BAR and its memory
//! - Configuration space, bus mastering, the MSI-X table, the reset ladder: never the driver's. Ring 0 does that
//!   before the driver has the function, and again at each [renewal](Function::begin_renewal). What is said there of a
//!   virtio function's registers is in the driver's description.
//! - The MSI-X table where it is behind the driver's own BAR: its pages are not mapped. Where it shares one
//!   with registers, a driver can write entries; the IOMMU then lets through what the function was granted, which
//!   interrupts the housekeeping CPU with a message that is the function's own, and nothing else. So without interrupt remapping no
//!   driver with such a BAR runs in ring 3.
//! - A message that came: a bit of the next call.
//! - `DmaMemory::block` and `allow`, which detach a function from its domain: ring 0's alone. A driver in a
//!   compartment is told that it cannot ([`Divided`]); ring 0 detaches at a renewal.
//! - That an adapter is reset where PCI has no reset for it, after which it may master the bus: a word of an answer
//!   ([`Function::allow_bus`]).
//! - Time: a word of each call. Barriers: the same instructions. The log: a driver's words for a failure, printable
//!   and of bounded length.
//!
//! # Where data is
//! The data of a drive's requests is in memory that ring 0 and the device reach and that is not mapped in the
//! compartment: the driver puts addresses of it into descriptors ([`Divided`]). It is copied as often as with a driver in ring
//! 0. A request's slot, which ring 0 chooses, says where its data is: the server keeps all of its driver's slots reserved.
//! Frames are in the area; a frame is copied once more than in ring 0, into the driver's ring or out of it.
//!
//! # What a hostile driver can do
//! - To its own device, and to what is stored there or goes through it: everything. It may say that a request is done
//!   which is not, give one guest's blocks to another that has a part of the same drive, drop frames and make some up. Whoever does not trust
//!   a drive or a wire encrypts, as with any.
//! - To ring 0's memory, and to that of guests and of other compartments: nothing. Its descriptors name what its
//!   device's domain maps, which is its memory for queues and the data of its own requests. Its answers are bounds-checked; a request is over
//!   that was given to it, once; what is none ends the compartment.
//! - To time: what an entry may take is bounded by whoever enters; a deadline is no nearer than 20 µs. One that is as slow as it may
//!   be each time has the housekeeping CPU do little else, and whoever else is served there waits: that is not prevented.
//! - To the guests of its network: what a wire and the one at its other end can do. No frame says that something is left to do,
//!   checksum or segments, so nobody cuts or writes for it; a link that is said to come and go is down for 100 ms after each time that it
//!   goes, so that guests are not flooded with that; frames that it takes and tells nothing of for 15 s, for which their senders
//!   wait with those to each other too, end it.
//! - To memory that is **lent** (`Drive::lend`): a domain that maps a guest's memory maps it for whatever descriptor the
//!   driver writes. So lending to a driver in ring 3 gives it all memory of that guest, to read and to write, at any time and not only during
//!   a request, and with several guests that of each. It would not be outside of the trusted base any more for them. So
//!   a drive in a compartment takes no memory: [`RemoteDrive`] has its users copy. To map the pages of each request and unmap
//!   them after it costs two invalidations of the IOMMU a request, more than copying 4 KiB, and is worth it for large requests alone. The default is
//!   that `reaches` and `runs_in = "ring3"` exclude each other; where a configuration wants both, it says that the driver is
//!   trusted with the guests that are named.
//!
//! # A driver that is made anew
//! A compartment that faults, is late, or says what cannot be is ended, and its function renewed: detached, reset with proof, and given
//! to a new driver. That is bounded in a minute; after it the device has failed, as one that was pulled out.
//!
//! Of a drive everything that was submitted and is not over is given to the new driver, in its order. That hides the failure:
//! - Requests that are in flight at the same time have no order. One that is repeated is one that took long:
//!   whatever was over meanwhile may have been before it. A write that was done and not told of is done again with the
//!   same data, which no driver reaches.
//! - A flush confirms what was over when it was submitted. What was over is on the medium or in the drive's cache, and a reset
//!   keeps that, so the flush that is repeated confirms as much as the first would have. Where a rung was needed that may have
//!   taken the drive's power ([`Renewal::Done`]'s `keeps_cache`) and something was acknowledged that no flush confirmed, the drive
//!   fails instead, and its users' next flush with it.
//! - A drive that says to be another one, or another size, has failed.
//!
//! Of an interface, frames that its driver had not are sent by the next one; those that it had are lost, as on a wire, or
//! come twice where the compartment died before it could say that they were sent. The link is what it was, for five seconds at most.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod budget;
mod causes;
mod description;
mod drive;
mod function;
mod keeper;
pub mod layout;
mod memory;
mod nic;
#[cfg(test)]
mod testing;
mod words;

pub use crate::drive::{DriveServer, DriveSizes, Drives, One, RemoteDrive};
pub use crate::nic::{NicServer, NicSizes, RemoteNic};
pub use description::{Description, Driver, FIRST_WORDS, Room, Unmade};
#[cfg(feature = "drivers")]
pub use description::{build::Server, serve_first};
pub use function::{Function, Renewal};
pub use keeper::Account;
pub use memory::{Divided, Part};
