//! Driver of the physical function of Intel's 82576 gigabit Ethernet controller (82576 data sheet,
//! revision 2.63; igb to Linux): what the driver that crate `gigabit` has differs in for it. It uses
//! queue 0 each way, advanced descriptors of one buffer, and MSI-X. Its virtual functions stay off.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

mod model;
mod phy;
mod program;

pub use gigabit::{Error, Sizes};
pub use model::Intel82576;

/// An 82576 controller, by its physical function.
pub type Controller<R, D> = gigabit::Controller<Intel82576, R, D>;
