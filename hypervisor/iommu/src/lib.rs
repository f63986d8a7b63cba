//! IOMMUs: what the machine's devices may reach, and which interrupts they may send.
//!
//! [`Iommu`] is the seam; [`vtd`] implements it for Intel VT-d over the traits of
//! `access`. Everything is denied until [`Iommu::attach`] and [`Iommu::remap`]
//! grant it, each to one requester ID that hardware verifies. What was granted
//! is gone once [`Iommu::unmap`], [`Iommu::detach`] and [`Iommu::release`] return
//! with success: they write, flush, wait, and only then free.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod error;
mod fault;
mod iommu;
mod names;
pub mod vtd;

pub use error::IommuError;
pub use fault::{Fault, FaultKind};
pub use iommu::Iommu;
pub use names::{DomainId, Function, HostMsi, InterruptSource, RemappedInterrupt, Requester};
