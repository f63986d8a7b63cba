//! What the fuzz targets share: how bytes become accesses, and the worlds that the
//! code under test is put in.
//!
//! Bytes are read from the front, in a fixed order, so that `examples/seeds.rs` can
//! write the corpus by hand. Where the bytes end, zeros follow.

pub mod crossing;
pub mod firmware;
pub mod guest_bus;
pub mod input;
pub mod ledger;
pub mod lying_ahci;
pub mod lying_amdvi;
pub mod lying_compartment;
pub mod lying_nic;
pub mod machine;
pub mod remapping;
pub mod scrubbed;
pub mod sealed;
pub mod station;
pub mod units;

pub use input::Input;
