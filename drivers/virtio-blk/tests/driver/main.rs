//! The driver, on the emulated device and on one that lies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "what fails a test")]

mod bench;
mod hostile;
mod requests;
mod start;
