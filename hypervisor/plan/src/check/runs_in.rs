//! Where emulated functions run.

use super::Report;
use crate::config::{Config, Kill, PciConfig, RunsIn};
use crate::plan::{Plan, PlannedKill};
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
        let (message, help) = config.missing_compartment(kill.compartment())?;
        Some(Problem { path: format!("hypervisor.kill[{index}]"), message, help })
    })
}

/// Decides which compartments are ended when: those of guests that start.
pub(crate) fn choose_kills(config: &Config, plan: &mut Plan) {
    let planned = |kill: &Kill| {
        let guest = plan.guests.iter().position(|guest| guest.name == kill.guest)?;
        let mut compartments = plan.guests.get(guest)?.compartments();
        let (function, _) = compartments.find(|(_, name)| *name == kill.compartment())?;
        Some(PlannedKill { at_ms: kill.at_ms, guest, function })
    };
    let mut kills: Vec<_> = config.hypervisor.kill.iter().filter_map(planned).collect();
    kills.sort_unstable();
    plan.kills = kills;
}
