//! The program: the one that it stands for, until it is told otherwise.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod attack;
#[cfg(target_os = "none")]
#[path = "../../../../hypervisor/models/src/entry.rs"]
mod entry;
#[cfg(target_os = "none")]
mod puppet;
#[cfg(target_os = "none")]
mod state;

/// On a host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}
