//! Where models of emulated functions run, and drivers.

use super::Report;
use crate::config::{CompartmentName, Config, Kill, PciConfig, RunsIn};
use crate::plan::{Killed, Plan, PlannedKill};
use crate::problem::Problem;
use alloc::format;
use alloc::vec::Vec;

/// A place where the function can run, for one that is emulated. Where the table of the hypervisor names another,
/// nothing is wrong: the function runs where it can.
pub(crate) fn check(index: usize, pci: &PciConfig, report: &mut Report) {
    let Some(place) = pci.runs_in else { return };
    let key = format!("pci[{index}].runs_in");
    match pci.emulate {
        _ if pci.passthrough.is_some() => {
            report.add(key, "the function is passed through, so that no model of it runs", "remove the key");
        }
        Some(model) if !model.can_run_in(place) => report.add(
            key,
            format_args!("no \"{}\" can run in \"{}\" yet", model.text(), place.text()),
            format_args!("write runs_in = \"{}\", or remove the key", RunsIn::Hypervisor.text()),
        ),
        Some(_) | None => {}
    }
}

/// Whoever is to be ended is there.
pub(crate) fn check_kills(config: &Config) -> impl Iterator<Item = Problem> {
    config.hypervisor.kill.iter().enumerate().filter_map(|(index, kill)| {
        let (message, help) = config.missing_compartment(&kill.compartment)?;
        Some(Problem { path: format!("hypervisor.kill[{index}]"), message, help })
    })
}

/// Decides which compartments are ended when: those of guests that start, and of drivers that there are.
pub(crate) fn choose_kills(config: &Config, plan: &mut Plan) {
    let whose = |name: &CompartmentName| match name {
        CompartmentName::Function { guest, slot } => {
            let guest = plan.guests.iter().position(|known| known.name == *guest)?;
            let mut compartments = plan.guests.get(guest)?.compartments();
            let (function, _) = compartments.find(|(_, name)| name.slot == *slot)?;
            Some(Killed::Function { guest, function })
        }
        CompartmentName::Machine { guest, part } => {
            let guest = plan.guests.iter().position(|known| known.name == *guest)?;
            Some(Killed::Machine { guest, part: *part })
        }
        CompartmentName::Disk(name) => {
            let disk = plan.disks.iter().find(|disk| disk.name == *name)?;
            Some(Killed::Driver(disk.owned))
        }
        CompartmentName::Network(name) => {
            let network = plan.networks.iter().find(|network| network.name == *name)?;
            network.uplink.map(Killed::Driver)
        }
    };
    let is_there = |whose: &Killed| match whose {
        Killed::Function { .. } => true,
        Killed::Machine { guest, .. } => {
            plan.guests.get(*guest).is_some_and(|guest| guest.runs_in == RunsIn::Ring3)
        }
        Killed::Driver(place) => plan.owned.get(*place).is_some_and(|owned| owned.runs_in == RunsIn::Ring3),
    };
    let planned = |kill: &Kill| {
        Some(PlannedKill { at_ms: kill.at_ms, whose: whose(&kill.compartment).filter(is_there)? })
    };
    let mut kills: Vec<_> = config.hypervisor.kill.iter().filter_map(planned).collect();
    kills.sort_unstable();
    plan.kills = kills;
}
