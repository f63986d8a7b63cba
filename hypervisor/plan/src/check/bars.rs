//! BARs: what a function claims is checked against all that is somebody else's, and the
//! BARs of a guest's functions must fit where its PCI bus has room.

use super::request::Wanted;
use super::{Report, display, shared_memory};
use crate::config::{Config, GuestConfig};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use pci::BarKind;
use platform::names::Memory;
use platform::pci::Bar;
use platform::{Function, Platform};
use vpci::Windows;
use vpci::bus::Allocator;

/// A guest reaches whole pages: what else is on them it would reach too.
pub(crate) fn check(asked: &Wanted<'_>, function: &Function, report: &mut Report) {
    let path = asked.key("path");
    for bar in function.bars.iter().filter(|bar| bar.is_memory()) {
        let Some((first, last)) = bar.pages() else {
            report.add(
                &path,
                format_args!("the firmware gave BAR {} of {} no address", bar.index, function.path),
                "let the firmware assign resources, or plug the device elsewhere",
            );
            continue;
        };
        if let Some(neighbour) = neighbour(asked, function, (first, last)) {
            report.add(
                &path,
                format_args!(
                    "BAR {} of {} is on the same page of 4 KiB as a BAR of {}, which the guest would reach too",
                    bar.index, function.path, neighbour.path
                ),
                "give both devices to the same guest, or plug one elsewhere",
            );
        } else if let Some(objection) = asked.platform.objection(function, bar) {
            let end = bar.address.0.saturating_add(bar.bytes);
            let what = format!("BAR {} of {} at {:#x} to {end:#x}", bar.index, function.path, bar.address.0);
            report.add(
                &path,
                format_args!("{what} {objection}"),
                "let the firmware assign resources anew, or leave the device out",
            );
        }
    }
}

/// A function of somebody else with a BAR on one of these pages.
fn neighbour<'p>(asked: &Wanted<'p>, function: &Function, (first, last): (u64, u64)) -> Option<&'p Function> {
    let is_own = |other: &Function| asked.owner.asks_for(&other.path);
    let others = asked.platform.functions.iter().filter(|other| other.bdf != function.bdf);
    others.filter(|other| !is_own(other)).find(|other| {
        let mut pages = other.bars.iter().filter_map(Bar::pages);
        pages.any(|(start, end)| start <= last && first <= end)
    })
}

/// The BARs of all functions of a guest have to fit into the windows of its bus, as they
/// are placed when it is built.
pub(crate) fn check_room(config: &Config, guest: &GuestConfig, platform: &Platform, report: &mut Report) {
    let windows = Windows::for_processors(platform.address_bits);
    // Of the first 4 GiB one is no memory.
    let most = windows.memory64.start.saturating_sub(1 << 30);
    if windows != Windows::STANDARD && guest.memory.bytes() > most {
        report.add(
            "memory",
            format_args!("{} are more than a guest of these processors can address", guest.memory),
            format_args!("give it \"{}\" or less", Memory(most)),
        );
    }
    // Bytes, kind, and how a report calls it: its key, and whose it is.
    let mut wanted: Vec<(u64, BarKind, String, String)> = Vec::new();
    for (index, pci, passthrough) in guest.passed_through() {
        let Some(function) = platform.function_at(&passthrough.path) else { continue };
        // Ports without an address are hidden, and memory without one is refused.
        let bars = function.bars.iter().filter(|bar| bar.address.0 != 0);
        let key = || format!("pci[{index}].passthrough.path");
        wanted.extend(bars.map(|bar| {
            (bar.bytes, bar.sized().kind, key(), format!("BAR {} of {}", bar.index, function.path))
        }));
        if pci.rom && function.rom_bytes != 0 {
            let bytes = u64::from(function.rom_bytes).max(4096);
            wanted.push((bytes, BarKind::Rom, key(), format!("the expansion ROM of {}", function.path)));
        }
    }
    for (index, pci, model) in guest.emulated() {
        let memory = BarKind::Memory64 { prefetchable: false };
        let kind = if model.has_ports() { BarKind::Io } else { memory };
        let what = format!("the BAR of the emulated function in slot {}", pci.slot);
        wanted.push((model.bar_bytes(), kind, format!("pci[{index}].emulate"), what));
    }
    for (index, bytes) in shared_memory::sizes(config, guest) {
        let kind = BarKind::Memory64 { prefetchable: true };
        wanted.push((
            bytes,
            kind,
            format!("pci[{index}].shared_memory"),
            "the BAR of the shared memory".into(),
        ));
    }
    for (index, bytes) in display::of(guest) {
        let key = format!("pci[{index}].video_memory");
        wanted.push((bytes, BarKind::Memory32 { prefetchable: true }, key, "the video memory".into()));
    }
    wanted.sort_by_key(|(bytes, ..)| core::cmp::Reverse(*bytes));
    let mut room = Allocator::new(windows.clone());
    for (bytes, kind, key, what) in wanted {
        if room.place(kind, bytes).is_some() {
            continue;
        }
        let window = match kind {
            BarKind::Io => "its ports from 0xc000 to 0xffff".into(),
            BarKind::Memory32 { .. } | BarKind::Rom => window("below 4 GiB", &windows.memory32),
            BarKind::Memory64 { .. } => window("above 4 GiB", &windows.memory64),
        };
        report.add(
            key,
            format_args!(
                "{what} needs {} of the guest's room for devices, and {window} cannot hold it",
                size(bytes)
            ),
            "make its BAR smaller (Resizable BAR in the firmware), or leave a device out",
        );
    }
}

fn window(place: &str, range: &core::ops::Range<u64>) -> String {
    format!("its window {place}, of {} from {:#x},", size(range.end.saturating_sub(range.start)), range.start)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        _ => format!("{}", Memory(bytes)),
    }
}
