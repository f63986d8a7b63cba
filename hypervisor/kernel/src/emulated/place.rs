//! Where the model of an emulated function runs: what is described by a blueprint becomes a device here, and
//! nowhere else.

use crate::metered;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::random::Source;
use devices::{Blueprint, Device};
use plan::{EmulatedPlan, GuestPlan};
use vpci::Slot;

/// Whose the function is.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// Its guest.
    pub guest: &'a GuestPlan,
    /// Its function.
    pub function: &'a EmulatedPlan,
    /// Where that is on the guest's bus.
    pub slot: Slot,
}

/// The device of this blueprint, which needs no random numbers.
///
/// # Errors
/// A sentence about what is missing.
pub fn place(owner: Owner<'_>, blueprint: Blueprint) -> Result<Box<dyn Device>, String> {
    place_with(owner, blueprint, None)
}

/// The device of this blueprint, whose random numbers are from `source` where it runs in the hypervisor.
///
/// # Errors
/// A sentence about what is missing.
pub fn place_with(
    owner: Owner<'_>,
    blueprint: Blueprint,
    source: Option<Box<dyn Source>>,
) -> Result<Box<dyn Device>, String> {
    let device = blueprint.build(source).map_err(|error| format!("{}: {error}", owner.slot))?;
    Ok(metered::model(device))
}
