//! Interrupt lines: a function gets its own only where nobody shares it.
//!
//! A line is level-triggered, and whoever holds it down interrupts everybody on it: two
//! guests on one line could at least see when the other works. So a line belongs to one
//! function, on the machine as in the guest.

use super::Report;
use super::request::Request;
use crate::config::{Config, GuestConfig, PciConfig};
use crate::plan::LinePlan;
use alloc::format;
use alloc::string::String;
use platform::pci::LegacyInterrupt;
use platform::{Function, IoApicPin, Platform};

/// Inputs of a guest's I/O APIC that functions take turns at.
const GUEST_LINES: u8 = 8;

/// The pin that a function's guest needs a line for: it has no messages, or the
/// configuration asks for the line.
fn wanted(pci: &PciConfig, function: &Function) -> Option<LegacyInterrupt> {
    let capabilities = &function.capabilities;
    let has_messages = capabilities.msi.is_some() || capabilities.msix.is_some();
    function.interrupt.filter(|_| pci.gsi.is_some() || !has_messages)
}

/// The line that a function gets. Its checks found nothing wrong.
pub(crate) fn plan(pci: &PciConfig, function: &Function, platform: &Platform) -> Option<LinePlan> {
    let interrupt = wanted(pci, function)?;
    let gsi = pci.gsi.or_else(|| platform.wired_gsi(function))?;
    let IoApicPin { io_apic, pin, source } = platform.io_apic_pin(gsi)?;
    let (_, source) = source?;
    Some(LinePlan { gsi, io_apic: io_apic.base, pin, source, intx: interrupt.pin })
}

pub(crate) fn check(request: &Request<'_>, function: &Function, report: &mut Report) {
    let Some(interrupt) = wanted(request.pci, function) else {
        if request.pci.gsi.is_some() {
            let message = format!("{} has no interrupt pin", function.path);
            report.add(gsi_key(request), message, "remove the key");
        }
        return;
    };
    let Some(gsi) = find(request, function, report) else { return };
    check_input(request, function, gsi, report);
    check_sharers(request, function, gsi, report);
    check_slot(request, function, interrupt, report);
}

fn gsi_key(request: &Request<'_>) -> String {
    format!("pci[{}].gsi", request.index)
}

/// `INTA`, `INTB`, ...
fn name(interrupt: LegacyInterrupt) -> char {
    char::from(b'A'.wrapping_add(interrupt.pin & 3))
}

/// Where the line ends: as the configuration says, unless the machine is known to be wired
/// otherwise.
fn find(request: &Request<'_>, function: &Function, report: &mut Report) -> Option<u32> {
    let at = &function.path;
    let pin = name(function.interrupt?);
    match (request.pci.gsi, request.wanted.platform.gsi(function)) {
        (Some(said), Some(known)) if said != known => {
            report.add(
                gsi_key(request),
                format_args!("INT{pin} of {at} ends at global system interrupt {known} and not {said}"),
                format_args!("use gsi = {known}"),
            );
            None
        }
        (Some(said), _) => Some(said),
        (None, known) => {
            let wired = request.wanted.platform.wired_gsi(function);
            if wired.is_none() {
                let message = format!(
                    "{at} has neither MSI nor MSI-X, and where its INT{pin} ends stands only in the \
                     firmware's code"
                );
                report.add(request.wanted.key("path"), message, help(known));
            }
            wired
        }
    }
}

/// A board file knows more than the hypervisor will at boot, so the configuration must say it.
fn help(known: Option<u32>) -> String {
    match known {
        Some(gsi) => format!("say it with gsi = {gsi}"),
        None => "say it with gsi = N, the number that Linux on this machine shows before `-fasteoi` in \
                 /proc/interrupts"
            .into(),
    }
}

/// The input must be PCI's, and the IOMMU must know who sends from there.
fn check_input(request: &Request<'_>, function: &Function, gsi: u32, report: &mut Report) {
    let platform = request.wanted.platform;
    let key = if request.pci.gsi.is_some() { gsi_key(request) } else { request.wanted.key("path") };
    let at = &function.path;
    let elsewhere = "pass through a device with MSI or MSI-X";
    if platform.is_fixed_gsi(gsi) {
        let message = format!("global system interrupt {gsi} of {at} is in use by the board itself");
        return report.add(key, message, elsewhere);
    }
    let Some(input) = platform.io_apic_pin(gsi) else {
        let message = format!("no I/O APIC has an input for global system interrupt {gsi} of {at}");
        return report.add(key, message, elsewhere);
    };
    if input.source.is_none() {
        let message = format!(
            "the firmware does not say under which number the IOMMU knows the I/O APIC of global system \
             interrupt {gsi} of {at}"
        );
        report.add(key, message, elsewhere);
    }
}

/// Nobody may hold the line down but its owner. Bridges do not count: their own interrupts
/// are the hypervisor's, which never enables them.
fn check_sharers(request: &Request<'_>, function: &Function, gsi: u32, report: &mut Report) {
    let platform = request.wanted.platform;
    let shares = |other: &&Function| {
        let is_known = || {
            platform.share_line(function, other)
                || said_of(request.config, platform, other).or_else(|| platform.gsi(other)) == Some(gsi)
        };
        other.bdf != function.bdf
            && !other.is_bridge()
            && match other.interrupt {
                Some(_) => is_known(),
                // What the board's own functions say is believed, but not what one says that
                // another guest drives: nobody knows what that guest made of its firmware.
                None => is_anothers(request, other) && platform.could_hold_line(other, function, gsi),
            }
    };
    let Some(other) = platform.functions.iter().find(shares) else { return };
    let doubt =
        if other.interrupt.is_none() { ", whose word that it has no pin nothing holds it to" } else { "" };
    report.add(
        request.wanted.key("path"),
        format_args!(
            "{} shares its interrupt line, global system interrupt {gsi}, with {}{doubt}",
            function.path, other.path
        ),
        "plug one of the two elsewhere, or pass through a device with MSI or MSI-X",
    );
}

/// Whether another guest asks for a function.
fn is_anothers(request: &Request<'_>, function: &Function) -> bool {
    let mut others = request.config.guest.iter().filter(|(name, _)| *name != request.name);
    others.any(|(_, guest)| guest.asks_for(&function.path))
}

/// What the configuration says of a function's line, whoever asks for it.
fn said_of(config: &Config, platform: &Platform, function: &Function) -> Option<u32> {
    let requests = config.guest.values().flat_map(GuestConfig::passed_through);
    requests
        .filter(|(.., wanted)| platform.function_at(&wanted.path).is_some_and(|it| it.bdf == function.bdf))
        .find_map(|(_, pci, _)| pci.gsi)
}

/// In the guest too a line of the machine's has one function: two slots whose numbers and pins add up
/// alike meet at one input. Emulated functions may share theirs with one another.
fn check_slot(request: &Request<'_>, function: &Function, interrupt: LegacyInterrupt, report: &mut Report) {
    let line = |pci: &PciConfig, pin: u8| pci.slot.device().wrapping_add(pin) % GUEST_LINES;
    let mine = line(request.pci, interrupt.pin);
    let mut earlier = request.guest.passed_through().take_while(|(index, ..)| *index < request.index);
    let rival = earlier.find(|(_, pci, wanted_there)| {
        let other = request.wanted.platform.function_at(&wanted_there.path);
        other.and_then(|other| wanted(pci, other)).is_some_and(|other| line(pci, other.pin) == mine)
    });
    let mut emulated = request.guest.emulated().filter(|(.., model)| model.has_pin());
    let emulated = || emulated.find(|(_, pci, _)| line(pci, 0) == mine).map(|(_, pci, _)| pci);
    let Some(rival) = rival.map(|(_, pci, _)| pci).or_else(emulated) else { return };
    let slot = request.pci.slot;
    report.add(
        format_args!("pci[{}].slot", request.index),
        format_args!(
            "in the guest, the interrupt line of {} in slot {slot} would be that of slot {}",
            function.path, rival.slot
        ),
        "use the next slot",
    );
}
