//! What a loader gives the hypervisor.
//!
//! [`bundle`] is the one file that every entry point hands over (the loader's ramdisk):
//! the configuration, and every kernel, initrd and module that it names. [`program`] is an item of it: what runs
//! in compartments.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]
#![allow(unexpected_cfgs, reason = "`sha2_backend` is a flag of the whole build, see below")]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bundle;
pub mod program;

pub use bundle::{Builder, Bundle, BundleError, Item, ItemKind};
pub use program::{Program, ProgramError};

// Left alone, `sha2` would ask CPUID and use vector registers, which belong to the
// guests; `.cargo/config.toml` sets the flag for the bare-metal target.
#[cfg(all(target_os = "none", not(sha2_backend = "soft")))]
compile_error!("build for bare metal with RUSTFLAGS holding --cfg sha2_backend=\"soft\"");
