//! Memory that the firmware's devices keep using: RMRR of Intel's table, IVMD of AMD's.

use super::request::{Request, earlier_functions};
use super::rules::LEAST_MEMORY;
use super::{Report, guest_memory};
use alloc::format;
use alloc::string::String;
use platform::Function;
use platform::names::Memory;
use spec::Hpa;

/// The firmware's own transfers go on while the guest has the function, so their
/// memory must be mapped for it, one to one.
pub(crate) fn check(request: &Request<'_>, function: &Function, report: &mut Report) {
    let (platform, path) = (request.wanted.platform, request.wanted.key("path"));
    let at = &function.path;
    for range in platform.reserved_memory(function) {
        let what = format!("{} bytes of its own memory at {:#x}", range.bytes, range.start.0);
        let (start, end) = (range.start.0, range.start.0.saturating_add(range.bytes));
        let is_free = |(ram, bytes): &(Hpa, u64)| start < ram.0.saturating_add(*bytes) && ram.0 < end;
        if !request.pci.allow_reserved_memory {
            report.add(
                &path,
                format_args!("the firmware uses {at} with {what}"),
                "set allow_reserved_memory = true to give the guest's device that memory too",
            );
        } else if platform.usable_ram(4096).iter().any(is_free) {
            // Anybody may be given that memory, and the device would write to it.
            report.add(
                &path,
                format_args!("the firmware uses {at} with {what}, but its memory map says that it is free"),
                "pass through another device",
            );
        } else if guest_memory::ranges(request.guest, platform)
            .into_iter()
            .any(|(low, high)| start < high && low < end)
        {
            report.add(
                &path,
                format_args!("the firmware uses {at} with {what}, where the guest's own memory is"),
                less_memory(guest_memory::most_below(start, request.guest, platform)),
            );
        } else if let Some((owner, other)) = earlier_functions(request)
            .find(|(_, other)| platform.reserved_memory(other).any(|its| its.overlaps(range)))
        {
            // Each guest's device would read what the other's wrote.
            report.add(
                &path,
                format_args!("the firmware uses {at} with {what}, and {} of {owner} too", other.path),
                "give both to the same guest",
            );
        }
    }
}

/// What helps where the guest's memory is in the way, if it can have so much.
fn less_memory(most: Memory) -> String {
    if most < LEAST_MEMORY {
        "no amount of memory avoids that: pass through another device, or switch off in the firmware's setup \
         what uses this one (legacy USB support, for instance)"
            .into()
    } else {
        format!("give the guest \"{most}\" or less")
    }
}
