//! Functions of two guests: can they be kept apart, and on whose word.

use super::Report;
use super::request::{Request, earlier_functions};
use crate::plan::GuestPlan;
use crate::problem::Problem;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use platform::{Function, Isolation, Platform, Reason};

/// Functions that cannot be kept apart belong to one guest.
pub(super) fn check(request: &Request<'_>, function: &Function, report: &mut Report) {
    let platform = request.wanted.platform;
    // The function itself has a message of its own.
    let others = earlier_functions(request).filter(|(_, other)| other.bdf != function.bdf);
    let together = |(owner, other)| match platform.isolation(function, other) {
        Isolation::Together(reason) => Some((owner, other, reason)),
        Isolation::Apart | Isolation::ApartWhile { .. } => None,
    };
    let Some((owner, other, reason)) = others.filter_map(together).next() else { return };
    report.add(
        request.wanted.key("path"),
        format_args!(
            "{} cannot be kept apart from {} of {owner}: {}",
            function.path,
            other.path,
            why(reason, platform)
        ),
        "give both to the same guest",
    );
}

/// Why two functions cannot be kept apart, as the end of a sentence.
fn why(reason: Reason, platform: &Platform) -> String {
    let services = |bdf| {
        let found = platform.function(bdf).and_then(|port| port.capabilities.access_control);
        if found.is_some() { "incomplete ACS" } else { "no ACS" }
    };
    match reason {
        Reason::Bridge(bridge) => {
            format!("both are behind the PCI bridge {bridge}, which hides from the IOMMU who is who")
        }
        Reason::Switch { switch, port } => format!(
            "both are behind the switch {switch}, whose port {port} lets what is behind it reach the others ({})",
            services(port)
        ),
        Reason::Port(port) => format!(
            "both are behind the switch's port {port}, which does not send upwards what comes back to it ({})",
            services(port)
        ),
        Reason::Device(lacking) => format!(
            "they are functions of one device, or behind them, and {lacking} does not say that it keeps out of \
             the others ({})",
            services(lacking)
        ),
        Reason::Unchecked(function) => format!(
            "{function} could send under a number of the other's, for no port between them checks it (no ACS)"
        ),
        Reason::Requester(id) => format!("the requests of both carry the number {id}"),
        Reason::Physical(physical) => format!("{physical} is the physical function, which rules the other"),
        Reason::Unknown(function) => format!("the board does not tell what is above {function}"),
    }
}

/// What keeps functions of two guests apart only as long as somebody does as promised.
pub(crate) fn warnings(guests: &[GuestPlan], platform: &Platform) -> Vec<Problem> {
    let found = |guest: &GuestPlan, index: usize| {
        let planned = guest.functions.get(index)?;
        Some((planned.index, platform.function(planned.bdf)?))
    };
    let all = || {
        let of = move |guest| {
            (0..).map_while(move |index| {
                let (place, function) = found(guest, index)?;
                Some((guest, place, function))
            })
        };
        guests.iter().flat_map(of)
    };
    let mut warnings = Vec::new();
    for (guest, index, function) in all() {
        let others = || all().filter(|(other, ..)| other.name != guest.name);
        let mut report = Report::of_guest(&guest.name);
        let key = format!("pci[{index}].passthrough.path");
        let held = others().take_while(|(other, ..)| other.name < guest.name).find_map(|(other, _, its)| {
            match platform.isolation(function, its) {
                Isolation::ApartWhile { physical } => Some((other, its, physical)),
                Isolation::Apart | Isolation::Together(_) => None,
            }
        });
        if let Some((other, its, physical)) = held {
            report.add(
                &key,
                format_args!(
                    "{} and {} of guest `{}` are apart only while the driver of their physical function \
                     {physical} holds its internal switch closed (no ACS)",
                    function.path, its.path, other.name
                ),
                "give both to one guest, unless that driver can be trusted",
            );
        }
        if !platform.is_validated(function) && others().next().is_some() {
            report.add(
                &key,
                format_args!(
                    "no port above {} checks under which number it sends (no ACS), so with changed firmware it \
                     could pass for another guest's",
                    function.path
                ),
                "plug it elsewhere, unless the device can be trusted",
            );
        }
        warnings.append(&mut report.problems);
    }
    warnings
}
