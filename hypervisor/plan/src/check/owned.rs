//! The functions that stay with the hypervisor: its drives, and the uplinks of its networks.

use super::devices::{check_iommu, check_reset, find};
use super::request::{Owner, Wanted};
use super::{Report, bars};
use crate::config::{Config, DiskConfig, Isolation, RunsIn};
use crate::plan::{Base, DiskPlan, Driver, FunctionPlan, GuestPlan, OwnedPlan, Plan};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::{DevFn, Function, Platform};
use spec::ahci::MOST_PORTS;

/// Decides what the hypervisor keeps. What is wrong with one of its drives is a problem of the
/// configuration as a whole, and of each guest that uses it.
pub(crate) fn choose(config: &Config, platform: &Platform, plan: &mut Plan) {
    for (name, disk) in &config.disk {
        let mut report = Report::of_disk(name);
        if let Some((function, driver)) = check(config, disk, platform, &mut report)
            && let Some(function) = plan_function(function, platform)
        {
            let owned = OwnedPlan { function, driver, runs_in: config.place_of_disk(disk) };
            add(name, disk, owned, plan, &mut report);
        }
        plan.problems.append(&mut report.problems);
    }
}

/// The function of a drive and its driver, where nothing is wrong with it.
fn check<'p>(
    config: &'p Config,
    disk: &'p DiskConfig,
    platform: &'p Platform,
    report: &mut Report,
) -> Option<(&'p Function, Driver)> {
    let (device, owner) = (&disk.device, Owner::Hypervisor(config));
    let asked = Wanted { platform, device, owner, prefix: "device".to_string() };
    let function = find(&asked, report)?;
    let driver = Driver::of_drive(function.id, function.class);
    check_function(&asked, function, driver, "drive", report);
    check_driver(disk, function, driver, report);
    report.problems.is_empty().then_some((function, driver?))
}

/// What is wrong with a function that the hypervisor is to keep as a `kind`, for this driver.
pub(crate) fn check_function(
    asked: &Wanted<'_>,
    function: &Function,
    driver: Option<Driver>,
    kind: &str,
    report: &mut Report,
) {
    let at = &function.path;
    check_iommu(asked, function, report);
    if !driver.is_some_and(Driver::resets_controller) {
        check_reset(asked, function, report);
    }
    bars::check(asked, function, report);
    if asked.platform.reserved_memory(function).next().is_some() {
        let message = alloc::format!("the firmware uses {at} with memory of its own");
        report.add(asked.key("path"), message, format_args!("use another {kind}"));
    }
    if driver.is_some() && function.capabilities.msi.is_none() && function.capabilities.msix.is_none() {
        let message = alloc::format!("{at} has neither MSI nor MSI-X to interrupt with");
        report.add(asked.key("path"), message, format_args!("use another {kind}"));
    }
}

/// What the driver needs of the function, and of the configuration.
fn check_driver(disk: &DiskConfig, function: &Function, driver: Option<Driver>, report: &mut Report) {
    let at = &function.path;
    match (driver, disk.port) {
        (None, _) => {
            let message =
                alloc::format!("{at} is of class {:06x}, for which there is no driver", function.class);
            let help = "use an NVMe drive, a SATA drive behind AHCI, or a virtio block device";
            report.add("device.id", message, help);
        }
        (Some(Driver::Nvme), Some(_)) => {
            report.add("port", format_args!("{at} is an NVMe drive, which is at no port"), "remove the key");
        }
        (Some(Driver::VirtioBlock), Some(_)) => {
            report.add("port", format_args!("{at} is a virtio drive, which is at no port"), "remove the key");
        }
        (Some(Driver::Ahci), Some(port)) if port >= MOST_PORTS => {
            let message =
                alloc::format!("{at} is a SATA controller, whose ports are 0 to {}", MOST_PORTS - 1);
            report.add("port", message, "name the port of the drive");
        }
        (Some(_), _) => {}
    }
    if disk.isolation == Some(Isolation::None) && driver.is_some_and(|driver| !driver.can_reach_guests()) {
        let message = alloc::format!("{at} is no NVMe or virtio drive: its data is always copied");
        report.add("isolation", message, "remove the key, or use an NVMe or virtio drive");
    }
    if disk.isolation == Some(Isolation::None) && disk.runs_in == Some(RunsIn::Ring3) {
        // The driver writes the addresses that the drive goes to, so it would reach what the drive reaches.
        let message = "a driver in ring 3 must not reach the memory of guests, and its drive would for it";
        report.add("isolation", message, "remove the key, or write runs_in = \"hypervisor\"");
    }
}

/// Which guests' memory each drive reaches, once it is known which guests there are: that of all it serves
/// where it is asked for, or where it serves one alone.
pub(crate) fn choose_reach(config: &Config, plan: &mut Plan) {
    let Plan { disks, owned, guests, .. } = plan;
    for disk in disks {
        let uses = |guest: &GuestPlan| {
            let drives = guest.emulated.iter().flat_map(|function| {
                let first = if let Base::Drive(backing) = &function.base { Some(backing) } else { None };
                first.into_iter().chain(&function.second_backing)
            });
            drives.filter_map(|backing| backing.disk.as_deref()).any(|name| name == disk.name)
        };
        let users: Vec<_> =
            guests.iter().filter(|guest| uses(guest)).map(|guest| guest.name.clone()).collect();
        let can = owned
            .get(disk.owned)
            .is_some_and(|owned| owned.driver.can_reach_guests() && owned.runs_in == RunsIn::Hypervisor);
        let isolation = config.disk.get(&disk.name).and_then(|disk| disk.isolation);
        let is_wanted = match isolation {
            Some(isolation) => isolation == Isolation::None,
            None => users.len() == 1,
        };
        disk.reaches = if can && is_wanted { users } else { Vec::new() };
    }
}

/// Several drives can be at one controller, each at a port of its own.
fn add(name: &str, disk: &DiskConfig, owned: OwnedPlan, plan: &mut Plan, report: &mut Report) {
    let before = plan.owned.iter().position(|other| other.function.bdf == owned.function.bdf);
    let of_controller = plan.disks.iter().filter(|other| Some(other.owned) == before);
    let mut same =
        of_controller.filter(|other| other.port == disk.port || other.port.is_none() || disk.port.is_none());
    if let Some(other) = same.next() {
        let message = alloc::format!("{} is disk `{}` already", owned.function.path, other.name);
        return report.add(
            "device.path",
            message,
            "name each drive once, those of one controller with their ports",
        );
    }
    let is_apart = |owned: &OwnedPlan| owned.runs_in == RunsIn::Ring3;
    if before
        .and_then(|before| plan.owned.get(before))
        .is_some_and(|other| is_apart(other) || is_apart(&owned))
    {
        let message = "several drives are at its controller, whose driver in ring 3 has one";
        return report.add("runs_in", message, "write runs_in = \"hypervisor\" for all of them");
    }
    let place = before.unwrap_or(plan.owned.len());
    if before.is_none() {
        plan.owned.push(owned);
    }
    plan.disks.push(DiskPlan {
        name: String::from(name),
        owned: place,
        port: disk.port,
        reaches: Vec::new(),
    });
}

/// A function as the hypervisor has it: no guest sees it.
pub(crate) fn plan_function(function: &Function, platform: &Platform) -> Option<FunctionPlan> {
    Some(FunctionPlan {
        index: 0,
        slot: DevFn::new(0, 0),
        bdf: function.bdf,
        path: function.path.clone(),
        id: function.id,
        requesters: platform.requesters(function),
        message_source: platform.message_source(function),
        remapping_unit: platform.remapping_unit(function)?,
        access_controls: platform.access_controls(function),
        msi_messages: function.capabilities.msi.map_or(0, |msi| msi.messages),
        msix_messages: function.capabilities.msix.map_or(0, |msix| msix.messages),
        bars: function.bars.clone(),
        rom_bytes: 0,
        line: None,
    })
}
