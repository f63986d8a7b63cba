//! Emulated devices: the chipset and the local APICs of a guest.
//!
//! Every model is a state machine. It takes an access and gives back what the
//! access caused ([`ApicEffect`], [`Effects`]); it never calls anybody, never allocates after it was
//! made, and reads no clock: the caller passes `now`, the time-stamp counter
//! in ticks. Time only enters where a guest can see it, and what must happen later
//! is a `deadline` that the caller keeps, not a timer that a model owns.
//!
//! What is behind the BAR of an emulated function is an [`Endpoint`] around a [`Device`].
//!
//! What a guest writes is an untrusted value: every index is masked or looked up, every
//! period has a floor, and periods that went by unseen become one interrupt.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(any(test, feature = "fakes"))]
extern crate std;

pub mod blueprint;
pub mod chipset;
pub mod device;
pub mod display;
pub mod effect;
pub mod ended;
pub mod endpoint;
pub mod i8042;
pub mod ide;
pub mod ioapic;
pub mod ivshmem;
pub mod journal;
pub mod local_apic;
pub mod medium;
pub mod msix;
pub mod ne2000;
pub mod nvme;
pub mod pic;
pub mod picture;
pub mod pit;
pub mod pm;
pub mod random;
pub mod rate;
pub mod rest;
pub mod rtc;
pub mod serial;
mod slots;
pub mod snapshot;
#[cfg(any(test, feature = "fakes"))]
pub mod testing;
pub mod uart;
pub mod virtio;

pub use blueprint::Blueprint;
pub use chipset::{Chipset, ChipsetConfig};
pub use device::Device;
pub use effect::{Effect, Effects};
pub use endpoint::{Backend, Endpoint, Surroundings};
pub use local_apic::{ApicAddress, ApicEffect, Fault, LocalApic};
