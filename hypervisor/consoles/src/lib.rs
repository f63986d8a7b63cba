//! The console that the guests and the log share: what of their text is shown, whose turn
//! it is on the serial line, where typed characters wait, and the Ctrl-T menu.
//!
//! Nothing here touches hardware, takes a lock or waits: `machine` puts rings and the
//! output under locks and drives a [`port::SerialPort`].
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate std;

pub mod code_page;
pub mod filter;
pub mod input;
pub mod menu;
pub mod output;
pub mod port;
pub mod presence;
pub mod ring;

/// The owner of the hypervisor's own lines.
pub const HYPERVISOR: &str = "hypervisor";
/// Bytes of the longest name of an owner: a guest's, or with `:` and a slot behind it that of a console of one
/// of its functions.
pub const LONGEST_NAME: usize = 32 + 1 + 4;
