//! Networks: what leads outside.

use super::Report;
use super::devices::find;
use super::owned::{check_function, plan_function};
use super::request::{Owner, Wanted};
use crate::config::{Config, GuestConfig, Kept, Uplink};
use crate::plan::{Driver, FunctionPlan, NetworkPlan, OwnedPlan, Plan};
use crate::problem::Problem;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use platform::Platform;

/// Decides what the networks have. What is wrong with an uplink is a problem of the configuration as
/// a whole, and of each guest that is connected to its network.
pub(crate) fn choose(config: &Config, platform: &Platform, plan: &mut Plan) {
    for (name, network) in &config.network {
        let mut report = Report::of_network(name);
        let uplink = network.uplink.as_ref().and_then(|uplink| {
            let (function, driver) = check_uplink(config, name, uplink, platform, &mut report)?;
            let place = plan.owned.len();
            plan.owned.push(OwnedPlan { function, driver, runs_in: config.place_of_uplink(uplink) });
            Some(place)
        });
        if report.problems.is_empty() {
            plan.networks.push(NetworkPlan { name: name.clone(), uplink });
        }
        plan.problems.append(&mut report.problems);
    }
}

/// The function of an uplink and its driver, where nothing is wrong with it.
fn check_uplink(
    config: &Config,
    name: &str,
    uplink: &Uplink,
    platform: &Platform,
    report: &mut Report,
) -> Option<(FunctionPlan, Driver)> {
    let (owner, device) = (Owner::Hypervisor(config), &uplink.device());
    let asked = Wanted { platform, device, owner, prefix: "uplink".to_string() };
    let function = find(&asked, report)?;
    let driver = Driver::of_interface(function.id);
    check_function(&asked, function, driver, "network interface", report);
    let mut before = config.owned().take_while(|(kept, _)| *kept != Kept::Uplink(name));
    if let Some((kept, _)) = before.find(|(_, other)| other.path == device.path) {
        let message = format!("{} is {kept} already", device.path);
        report.add(asked.key("path"), message, "give each network an interface of its own");
    }
    if driver.is_none() {
        let message = format!("{} is {}, for which there is no network driver", function.path, function.id);
        let help = "use an Intel 82574L (8086:10d3), 82576 (8086:10c9) or a virtio interface";
        report.add(asked.key("id"), message, help);
    }
    let planned = plan_function(function, platform);
    report.problems.is_empty().then_some((planned?, driver?))
}

/// A network that cannot be serves nobody.
pub(crate) fn missing(plan: &Plan, name: &str, guest: &GuestConfig) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    for (index, _, network) in guest.ports() {
        let prefix = format!("network.{network}.");
        if plan.problems.iter().any(|problem| problem.path.starts_with(&prefix)) {
            let message = format!("network `{network}` cannot be used");
            report.add(format_args!("pci[{index}].network"), message, "see what is said about it");
        }
    }
    report.problems
}
