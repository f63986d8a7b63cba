//! The machine as it is: ACPI tables and a PCI scan become a [`Platform`].
//!
//! Firmware lies. Nothing here trusts a length, an address or a count before it
//! is checked; what makes no sense is left out and becomes a [`Finding`], a
//! sentence for the log. No table and no configuration space can panic this crate.
//!
//! Two steps, since the scan needs what the tables say: [`acpi::Tables::read`]
//! over [`PhysicalMemory`], then [`Platform::discover`] over `access::ConfigSpace`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acpi;
mod bytes;
mod claims;
mod emulators;
pub mod finding;
pub mod isolation;
pub mod lines;
pub mod memory;
pub mod names;
mod objection;
pub mod pci;
pub mod remapping;
mod topology;

pub use acpi::Tables;
pub use claims::Claim;
pub use finding::Finding;
pub use isolation::{Isolation, MessageSource, Reason};
pub use memory::{MemoryKind, MemoryRegion, PhysicalMemory};
pub use names::{DevFn, DeviceId, DevicePath, Memory, ParseError};
pub use objection::Objection;
pub use pci::{AccessControl, Function};
pub use remapping::Remapping;
pub use topology::{IoApicPin, Platform, address_bits, thread_bits};
