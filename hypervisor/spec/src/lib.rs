//! Register and table layouts, one file per hardware noun.
//!
//! Nothing here does anything: these are names for what the manuals fix. Every
//! item cites the section that fixes it. Numbers that are addresses carry their
//! space in their type ([`Gpa`], [`Hpa`], [`Iova`]).
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

pub mod address;
pub mod ahci;
pub mod amdvi;
pub mod apic;
pub mod ata;
pub mod display;
pub mod dp8390;
pub mod e1000e;
pub mod ethernet;
pub mod gigabit;
pub mod ide;
pub mod igb;
pub mod ip;
pub mod ivshmem;
pub mod local_apic;
pub mod msr;
pub mod nvme;
pub mod pci;
pub mod pci_capability;
pub mod pci_config;
pub mod processor;
pub mod svm;
mod text;
pub mod vectors;
pub mod virtio;
pub mod vmx;
pub mod vtd;
pub mod width;

pub use address::{Gpa, Hpa, Iova};
pub use pci::{Bdf, RequesterRange};
pub use width::Width;
