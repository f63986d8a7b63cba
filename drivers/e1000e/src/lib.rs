//! Driver of Intel's 82574 gigabit Ethernet controller (82574 data sheet, revision 3.4; e1000e to Linux):
//! what the driver that crate `gigabit` has differs in for it.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

mod model;
mod program;

pub use gigabit::{Error, Sizes};
pub use model::Intel82574;

/// An 82574 controller.
pub type Controller<R, D> = gigabit::Controller<Intel82574, R, D>;
