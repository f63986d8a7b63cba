//! PCI functions: are they there, and can they be kept apart from everybody else.

use super::request::{Owner, Request, Wanted};
use super::{Report, bars, firmware_memory, lines, pairs, units};
use crate::check::earlier_guests;
use crate::config::{Config, GuestConfig};
use crate::problem::Problem;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::remapping::InterruptSender;
use platform::{Function, Platform};
use spec::Bdf;
use spec::pci_config::HEADER_TYPE_CARDBUS;

pub(crate) fn check(config: &Config, name: &str, guest: &GuestConfig, platform: &Platform) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    for (index, pci, wanted) in guest.passed_through() {
        let prefix = format!("pci[{index}].passthrough");
        let wanted = Wanted { platform, device: wanted, owner: Owner::Guest(guest), prefix };
        let request = Request { config, name, guest, pci, index, wanted };
        check_owner(&request, &mut report);
        let wanted = &request.wanted;
        let Some(function) = find(wanted, &mut report) else { continue };
        check_iommu(wanted, function, &mut report);
        firmware_memory::check(&request, function, &mut report);
        pairs::check(&request, function, &mut report);
        check_reset(wanted, function, &mut report);
        lines::check(&request, function, &mut report);
        bars::check(wanted, function, &mut report);
        check_rom(&request, function, &mut report);
    }
    bars::check_room(config, guest, platform, &mut report);
    report.problems
}

fn check_owner(request: &Request<'_>, report: &mut Report) {
    if let Some(owner) = owner_of(request) {
        report.add(
            request.wanted.key("path"),
            format_args!("{} {owner}", request.wanted.device.path),
            "pass each function to one guest, once",
        );
    }
}

/// Who has this function already, as the end of a sentence.
fn owner_of(request: &Request<'_>) -> Option<String> {
    let path = &request.wanted.device.path;
    let mut before = request.guest.passed_through().take_while(|(index, ..)| *index < request.index);
    if before.any(|(.., other)| other.path == *path) {
        return Some("is passed through twice".to_string());
    }
    if let Some((kept, _)) = request.config.owned().find(|(_, device)| device.path == *path) {
        return Some(format!("stays with the hypervisor as {kept}"));
    }
    let (owner, _) = earlier_guests(request.config, request.name).find(|(_, other)| other.asks_for(path))?;
    Some(format!("belongs to guest `{owner}` already"))
}

/// The function that is meant, if it is there and is what it should be.
pub(crate) fn find<'p>(asked: &Wanted<'p>, report: &mut Report) -> Option<&'p Function> {
    let (platform, wanted) = (asked.platform, asked.device);
    let elsewhere = || {
        let mut found = platform.functions.iter().filter(|function| function.id == wanted.id);
        match (found.next(), found.count()) {
            (None, _) => format!("no {} is in this machine", wanted.id),
            (Some(one), 0) => format!("{} is at \"{}\"", wanted.id, one.path),
            (Some(one), more) => format!("{} is at \"{}\" and {more} more", wanted.id, one.path),
        }
    };
    let Some(function) = platform.function_at(&wanted.path) else {
        let message = format!("there is no device at {}", wanted.path);
        report.add(asked.key("path"), message, elsewhere());
        return None;
    };
    if function.id != wanted.id {
        report.add(
            asked.key("id"),
            format_args!("the device at {} is {} and not {}", wanted.path, function.id, wanted.id),
            format_args!("use id = \"{}\" if that is the one; {}", function.id, elsewhere()),
        );
        return None;
    }
    if function.is_bridge() {
        report.add(
            asked.key("path"),
            format_args!("the device at {} is a bridge", wanted.path),
            "pass through the functions behind it",
        );
        return None;
    }
    Some(function)
}

pub(crate) fn check_iommu(asked: &Wanted<'_>, function: &Function, report: &mut Report) {
    let (platform, path) = (asked.platform, asked.key("path"));
    let at = &function.path;
    if platform.remapping.is_absent() {
        let message = "this machine shows no IOMMU, so a device could reach all memory";
        report.add(&path, message, "enable the IOMMU (VT-d, AMD-Vi) in the firmware, or remove the device");
    } else if platform.is_remapping_unit(function) {
        let message = format!("{at} is an IOMMU itself");
        report.add(&path, message, "pass through another device");
    } else if let Some((message, help)) = units::problem(platform, function) {
        report.add(&path, message, help);
    } else if !platform.remapping.interrupts {
        let message = "the IOMMU does not remap interrupts, so a device could forge them";
        report.add(&path, message, "enable interrupt remapping in the firmware, or remove the device");
    }
    if function.capabilities.express.is_some_and(|express| express.phantom_functions) {
        let message = format!("{at} sends requests under numbers of functions that do not exist");
        report.add(&path, message, "pass through another device");
    }
    if let Some((who, id)) = interrupt_sender(function, platform) {
        let message = format!(
            "{at} sends under the number {id}, which for the IOMMU is that of {who}: the guest could raise \
             interrupts of others"
        );
        report.add(&path, message, "pass through another device");
    }
}

/// The interrupt controller or timer for which the IOMMU takes a function, and under which
/// number.
fn interrupt_sender(function: &Function, platform: &Platform) -> Option<(String, Bdf)> {
    let requesters = platform.requesters(function);
    let is_its = |sender: &&InterruptSender| requesters.contains(&sender.requester);
    platform.remapping.units.iter().find_map(|unit| {
        let io_apic = unit.io_apics.iter().find(is_its);
        let hpet = unit.hpets.iter().find(is_its);
        let io_apic = io_apic.map(|found| (format!("I/O APIC {}", found.number), found.requester));
        io_apic.or_else(|| hpet.map(|found| (format!("timer block {}", found.number), found.requester)))
    })
}

/// A function comes back from a guest, and starts again, only after a reset: its own, or
/// that of its bus where nobody else is on it. The hypervisor takes its functions one after the
/// other, so each of them has to be alone there.
pub(crate) fn check_reset(asked: &Wanted<'_>, function: &Function, report: &mut Report) {
    if function.resets_alone() != Some(false) {
        return;
    }
    let (platform, path, at) = (asked.platform, asked.key("path"), &function.path);
    let is_guests = matches!(asked.owner, Owner::Guest(_));
    let bridge = function.parent.and_then(|bridge| platform.function(bridge));
    // The reset of a CardBus bridge's socket is another one.
    let Some(bridge) = bridge.filter(|bridge| bridge.header != HEADER_TYPE_CARDBUS) else {
        let message = format!("{at} has no reset, and no bus that can be reset");
        let help = if is_guests { "pass through another device" } else { "use another drive" };
        return report.add(path, message, help);
    };
    let is_own = |other: &Function| is_guests && asked.owner.asks_for(&other.path);
    let beside = |other: &&Function| {
        other.bdf != function.bdf && other.bdf.bus() == function.bdf.bus() && !is_own(other)
    };
    if let Some(neighbour) = platform.functions.iter().find(beside) {
        report.add(
            path,
            format_args!(
                "{at} has no reset of its own, and a reset of the bus behind {} would be one of {} too",
                bridge.path, neighbour.path
            ),
            match (is_guests, neighbour.is_bridge()) {
                (false, _) => "use another drive",
                (true, true) => "pass through another device",
                (true, false) => "give both to the same guest, or pass through another device",
            },
        );
    }
}

fn check_rom(request: &Request<'_>, function: &Function, report: &mut Report) {
    if request.pci.rom && function.rom_bytes == 0 {
        let message = format!("{} has no expansion ROM", function.path);
        report.add(format_args!("pci[{}].rom", request.index), message, "remove the key");
    }
}
