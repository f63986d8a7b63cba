//! PCI as a guest sees it: configuration space, BARs, messages, the bus, and the
//! functions of the machine that are passed through.
//!
//! Everything is a state machine behind [`PciFunction`]: an access goes in, and
//! what the hypervisor has to do about it comes out as [`PciEffect`]s. Memory is
//! allocated at construction only; no access of a guest allocates. What the machine's functions
//! are, and how they are reset, is the crate [`pci`]'s.
//!
//! - [`function`]: the trait; [`bar`] and [`message`]: what a function decodes and sends;
//!   [`effect`]: what an access causes.
//! - [`image`]: configuration space as a table of what each bit does.
//! - [`emulated`]: the configuration space of an emulated function.
//! - [`passthrough`]: a function of the machine behind its policy.
//! - [`bus`]: the guest's bus with its root ports, its decoders and the placement of BARs;
//!   [`slot`]: where a function is on it.
//!
//! The life of a passed-through function: [`ResetPath::discover`](pci::ResetPath::discover) and
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

pub mod bar;
pub mod bus;
pub mod effect;
pub mod emulated;
pub mod function;
mod host_bridge;
pub mod image;
pub mod message;
pub mod passthrough;
mod root_port;
pub mod slot;

pub use bar::{BARS, Bar, TrappedRegion};
pub use bus::{BarTarget, FIXED, GuestBus, Windows};
pub use effect::{Enables, PciEffect, PciEffects, Refusal};
pub use emulated::{
    BarLayout, BarMemory, Conventional, Description, DisplayDescription, EmulatedFunction, Identity,
    OwnRegister, PortWindow,
};
pub use function::PciFunction;
pub use message::{GuestMsi, HostMsi, MessageChange};
pub use passthrough::{Grant, PassedThrough, PassthroughError};
pub use slot::Slot;
