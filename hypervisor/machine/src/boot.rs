//! From a loader to the kernel's `hypervisor_main`.
//!
//! Three entry points, one hand-off: [`pvh`], [`multiboot`] and [`loader`] (bootloader_api)
//! turn what they get into a [`Handoff`]; [`start`] does the rest alike.

pub mod bus_masters;
#[cfg(target_os = "none")]
mod entry;
pub mod handoff;
#[cfg(target_os = "none")]
mod loader;
pub mod multiboot;
pub mod pvh;
#[cfg(target_os = "none")]
mod start;

pub use handoff::{Handoff, Physical};
#[cfg(target_os = "none")]
pub use start::{STACK_BYTES, command_line, entry_point, ramdisk, start_tsc, stopped_functions};
