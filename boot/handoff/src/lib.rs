//! What a loader gives the hypervisor.
//!
//! [`bundle`] is the one file that every door hands over (the loader's ramdisk):
//! the configuration, and every kernel, initrd and module that it names.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bundle;

pub use bundle::{Builder, Bundle, BundleError, Item, ItemKind};
