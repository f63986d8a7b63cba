//! The entry point of a compartment's program.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
use models::state;

/// On a host there is nothing to run, and its parts are tested.
#[cfg(not(target_os = "none"))]
fn main() {}
