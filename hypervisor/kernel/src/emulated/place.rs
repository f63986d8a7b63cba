//! Where the model of an emulated function runs: what is described by a blueprint becomes a device here, and
//! nowhere else.

use crate::compartments::{self, Whose};
use crate::linked;
use crate::metered;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use devices::random::Source;
use devices::{Blueprint, Device};
use plan::{EmulatedPlan, FunctionName, GuestPlan, RunsIn};
use vpci::Slot;

/// Whose the function is.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// Its guest.
    pub guest: &'a GuestPlan,
    /// That guest, with its number and its memory.
    pub whose: Whose<'a>,
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
    let Owner { guest, whose, function, slot } = owner;
    let device = match function.runs_in {
        RunsIn::Hypervisor => linked::model(blueprint, source).map_err(|error| format!("{slot}: {error}"))?,
        RunsIn::Ring3 => {
            let name = FunctionName { guest: &guest.name, slot: function.slot };
            compartments::device(&name.to_string(), blueprint, whose)?
        }
    };
    Ok(metered::model(device))
}
