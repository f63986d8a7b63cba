//! IOMMUs: what the machine's devices may reach, and which interrupts they may send.
//!
//! [`Iommu`] is the seam, and [`Units`] implements it for whatever units the machine
//! has, over the traits of `access`; only below them does a vendor have a name. Everything is denied until [`Iommu::attach`] and [`Iommu::remap`]
//! grant it, each to one requester ID that hardware verifies. What was granted
//! is gone once [`Iommu::unmap`], [`Iommu::detach`] and [`Iommu::release`] return
//! with success: they write, flush, wait, and only then free.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod amdvi;
mod description;
mod domain;
mod emulators;
mod error;
#[cfg(test)]
mod fake_ram;
mod fault;
mod iommu;
mod names;
#[cfg(test)]
mod property;
mod unit;
mod units;
pub mod vtd;

pub use description::{UnitDescription, UnitLimits};
pub use error::IommuError;
pub use fault::{Fault, FaultKind};
pub use iommu::Iommu;
pub use names::{DomainId, Function, HostMsi, RemappedInterrupt, Requester};
pub use platform::remapping::Architecture;
pub use unit::Capabilities;
pub use units::{Limits, Units};
