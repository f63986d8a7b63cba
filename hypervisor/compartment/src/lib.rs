//! The protocol between ring 0 and a compartment, in which a model of a device runs in ring 3.
//!
//! A compartment has an [area](area::Area) of memory in common with ring 0. A call is written there, the
//! compartment is entered, and what it answers is read from there once it is left: it never runs
//! meanwhile, so nothing that was checked changes afterwards. [`Remote`] is ring 0's side: a
//! [`Device`](devices::Device) like any other, whose model is in the compartment. [`Server`] is the
//! compartment's: it has the model do what the call says. What it is for is the first call, [`Build`].
//!
//! Ring 0 believes nothing of an answer. What is not an answer ends the compartment, as does a fault or
//! too long a time. Then it is made anew, and told the committed state of its device, which ring 0 keeps; and
//! the call that was not answered is made once more ([`Remote`] says why its guest sees nothing of that). A
//! compartment that goes on failing, or whose device has no such state, is not: then the function is what a
//! device is that was pulled out, which reads as ones and does nothing.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod area;
mod build;
mod effects;
mod ended;
mod entered;
pub mod frames;
mod kind;
pub mod layout;
mod operation;
mod publish;
mod remote;
mod restarts;
mod serve;
#[cfg(test)]
mod tests;

pub use area::{Area, Places, Sizes};
pub use build::{Build, Range};
pub use ended::Ended;
pub use entered::Compartment;
pub use kind::Kind;
pub use remote::Remote;
pub use restarts::{Counter, Restarts};
pub use serve::Server;
