//! Where the instructions go that a request or a frame costs the housekeeping CPU, part by part: for
//! the bench alone, which builds a hypervisor with the feature `metered`. Without it everything here
//! is what it wraps.
//!
//! The parts are told apart at the seams that are there anyway: a [`Device`](devices::Device) is the ring
//! or the registers of a model, a [`Drive`](block::Drive) or a [`Nic`](nic::Nic) is a driver, a message
//! that is sent is an interrupt, and the rest of a turn is the block layer or the switch.

#[cfg(not(feature = "metered"))]
mod plain;
#[cfg(not(feature = "metered"))]
pub use plain::{drive, interface, model, serve, turn, worked};

#[cfg(feature = "metered")]
mod meter;
#[cfg(feature = "metered")]
mod wrapped;
#[cfg(feature = "metered")]
pub use meter::{turn, worked};
#[cfg(feature = "metered")]
pub use wrapped::{drive, interface, model, serve};
