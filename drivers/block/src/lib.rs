//! What all drivers of drives have in common: the [`Drive`] that each of them is, the words for
//! requests and for what comes of them, and [`Requests`], which keeps the requests of one drive.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(test, feature = "fakes")),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)
)]

extern crate alloc;

mod drive;
mod fault;
mod fifo;
mod identity;
mod lent;
mod request;
mod requests;
#[cfg(feature = "fakes")]
pub mod testing;

pub use drive::{Drive, Geometry, State, Status};
pub use fault::{Cause, Fault, Refused};
pub use fifo::Fifo;
pub use identity::{Identity, Text};
pub use request::{Done, Operation, Tag};
pub use requests::{Piece, Requests, check};
