//! Where emulated functions run.

use super::Report;
use crate::config::{PciConfig, RunsIn};
use alloc::format;

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
