//! Where the memory of emulated functions is in the guest's nested tables.

use crate::bus_function::BusFunction;
use access::{ConfigSpace, RegisterWindow};
use alloc::boxed::Box;
use spec::Gpa;
use vpci::{BARS, GuestBus, PciFunction, Slot};

/// Where BARs of an emulated function are mapped.
pub struct Mapped {
    /// The function.
    pub slot: Slot,
    /// By number of the BAR.
    pub at: [Option<Gpa>; BARS],
}

/// The emulated functions with memory behind a BAR; none of it is mapped.
pub fn of_emulated<C: ConfigSpace, W: RegisterWindow>(bus: &GuestBus<BusFunction<C, W>>) -> Box<[Mapped]> {
    let has_memory = |function: &BusFunction<C, W>| {
        matches!(function, BusFunction::Emulated { .. })
            && function.bars().iter().flatten().any(|bar| bar.host.is_some())
    };
    let functions = bus.functions().filter(|(_, function)| has_memory(function));
    functions.map(|(slot, _)| Mapped { slot, at: [None; BARS] }).collect()
}
