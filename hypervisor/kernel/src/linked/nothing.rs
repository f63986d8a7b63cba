//! Neither a driver nor a model is in ring 0 but that of a display, which can be nowhere else: whoever wants one is
//! told where it can be.

use crate::disks::sizes::Drives;
use crate::guests::Common;
use crate::owned::Taken;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::display::Display;
use devices::random::Source;
use devices::{Blueprint, Device};
use nic::Nic;
use plan::{DiskPlan, Driver};

/// As of a hypervisor that has drivers in ring 0.
///
/// # Errors
/// Always: there are none.
pub fn drives(_: Driver, _: &mut Taken<'_>, _: &[&DiskPlan], _: &Common) -> Result<Drives, String> {
    Err(without("drivers"))
}

/// As of a hypervisor that has drivers in ring 0.
///
/// # Errors
/// Always: there are none.
pub fn first_port(_: &mut Taken<'_>, _: &Common) -> Result<u32, String> {
    Err("this hypervisor has no driver in ring 0 that looks for the port of a disk: write port = ".into())
}

/// As of a hypervisor that has drivers in ring 0.
///
/// # Errors
/// Always: there are none.
pub fn interface(_: Driver, _: &mut Taken<'_>) -> Result<Box<dyn Nic + Send>, String> {
    Err(without("drivers"))
}

/// The device of this blueprint if that is a display's.
///
/// # Errors
/// It is another one's.
pub fn model(blueprint: Blueprint, _: Option<Box<dyn Source>>) -> Result<Box<dyn Device>, String> {
    match blueprint {
        Blueprint::Display { memory_bytes, screen } => Ok(Box::new(Display::new(memory_bytes, screen))),
        _ => Err(without("models")),
    }
}

fn without(what: &str) -> String {
    format!("this hypervisor has no {what} in ring 0: write runs_in = \"ring3\"")
}
