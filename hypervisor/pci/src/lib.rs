//! PCI as a guest sees it: configuration space, BARs, messages, the bus, and the
//! functions of the machine that are passed through.
//!
//! Everything is a state machine behind [`PciFunction`]: an access goes in, and
//! what the hypervisor has to do about it comes out as [`PciEffect`]s. Memory is
//! allocated at construction only; no access of a guest allocates.
//!
//! - [`function`]: the trait, BARs and messages; [`effect`]: what an access causes.
//! - [`image`]: configuration space as a table of what each bit does.
//! - [`access_control`]: the services that keep functions apart are enabled.
//! - [`capability`]: walks of capability lists that corrupt ones cannot trap.
//! - [`emulated`]: the configuration space of an emulated function.
//! - [`passthrough`]: a function of the machine behind its policy.
//! - [`bus`]: the guest's bus 0, its decoders and the placement of BARs.
//! - [`reset`]: the reset ladder with its proof.
//! - [`rom`]: reading an expansion ROM.
//! - [`bridge`]: what the bridges above a guest's function must do.
//!
//! The life of a passed-through function: [`ResetPath::discover`] and
//! [`PassedThrough::discover`] at boot, before any guest runs; the reset with its
//! proof; the domain attached; [`PassedThrough::start`]; then
//! [`PassedThrough::allow_bus_master`]. On [`PciEffect::ResetRequested`] the reset
//! and `start` come again. INTx, where it was granted, is enabled at each start
//! until an effect says otherwise.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access_control;
pub mod bar;
pub mod bridge;
pub mod bus;
pub mod capability;
pub mod effect;
pub mod emulated;
pub mod function;
pub mod host_bridge;
pub mod image;
pub mod passthrough;
pub mod reset;
pub mod rom;

pub use bus::{BarTarget, GuestBus, Slot, Windows};
pub use effect::{Enables, PciEffect, PciEffects, Refusal};
pub use emulated::{BarLayout, EmulatedFunction, Identity};
pub use function::{Bar, BarKind, GuestMsi, HostMsi, MessageChange, PciFunction, TrappedRegion};
pub use host_bridge::HostBridge;
pub use passthrough::{Grant, PassedThrough, PassthroughError};
pub use reset::{Quarantine, ResetMethod, ResetPath};
