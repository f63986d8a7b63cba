//! Where a guest's memory is in its address space, which is the one that its functions do DMA
//! in. An address that a bridge above one of them claims is no place for memory: the bridge
//! keeps what is sent there, and a neighbour gets it, or nobody.

use super::Report;
use crate::check::rules::{LEAST_MEMORY, MEMORY_GRANULE, MOST_MEMORY};
use crate::config::GuestConfig;
use crate::problem::Problem;
use alloc::vec::Vec;
use platform::names::Memory;
use platform::{Claim, Function, Platform};

/// The end of memory below 4 GiB, at most: the guest's PCI window follows.
const LOW_END: u64 = 0xc000_0000;
/// Where the rest begins.
const HIGH_START: u64 = 1 << 32;
/// The end of the rest: the guest's 64-bit PCI window follows.
const HIGH_END: u64 = HIGH_START + (MOST_MEMORY.bytes() - LOW_END);

/// The bits of an address inside of a granule.
const GRANULE_MASK: u64 = MEMORY_GRANULE.bytes() - 1;

/// Where the guest's memory below 4 GiB ends: below what the bridges above its functions
/// claim, if that is lower than usual.
pub(crate) fn low_end(guest: &GuestConfig, platform: &Platform) -> u64 {
    let claims = claims(guest, platform);
    let below = claims.iter().filter(|(_, claim)| claim.start.0 < LOW_END && claim.end.0 > 0);
    let lowest = below.map(|(_, claim)| claim.start.0).min().unwrap_or(LOW_END);
    if guest.memory.bytes() <= lowest { LOW_END } else { lowest & !GRANULE_MASK }
}

/// The guest-physical ranges of a guest's memory, as first address and end.
pub(crate) fn ranges(guest: &GuestConfig, platform: &Platform) -> [(u64, u64); 2] {
    let (bytes, low_end) = (guest.memory.bytes(), low_end(guest, platform));
    let high_bytes = bytes.saturating_sub(low_end);
    [(0, bytes.min(low_end)), (HIGH_START, HIGH_START.saturating_add(high_bytes))]
}

/// The most memory whose ranges end at or below the guest-physical `limit`.
pub(crate) fn most_below(limit: u64, guest: &GuestConfig, platform: &Platform) -> Memory {
    let low_end = low_end(guest, platform);
    let bytes = match limit.checked_sub(HIGH_START) {
        Some(high) => low_end.saturating_add(high),
        None => limit.min(low_end),
    };
    Memory::mib(bytes >> 21 << 1)
}

/// Memory that has no place beside what the bridges claim.
pub(crate) fn check(name: &str, guest: &GuestConfig, platform: &Platform) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    let [(_, low_end), (_, high_end)] = ranges(guest, platform);
    let claims = claims(guest, platform);
    if guest.memory.bytes() > low_end && low_end < LEAST_MEMORY.bytes() {
        if let Some((function, claim)) = claims.iter().min_by_key(|(_, claim)| claim.start.0) {
            report.add(
                "memory",
                told(function, claim),
                "pass through a device elsewhere, or let the firmware assign other addresses",
            );
        }
        return report.problems;
    }
    let met = claims.iter().filter(|(_, claim)| claim.start.0 < high_end && claim.end.0 > HIGH_START);
    if let Some((function, claim)) = met.min_by_key(|(_, claim)| claim.start.0) {
        let most = most_below(claim.start.0.max(HIGH_START), guest, platform);
        report.add("memory", told(function, claim), format_args!("give the guest \"{most}\" or less"));
    } else if high_end > HIGH_END && guest.memory <= MOST_MEMORY {
        let most = most_below(HIGH_END, guest, platform);
        report.add(
            "memory",
            format_args!(
                "{} are more than has a place: below 4 GiB a bridge claims the addresses from {low_end:#x}",
                guest.memory
            ),
            format_args!("give the guest \"{most}\" or less"),
        );
    }
    report.problems
}

fn told(function: &Function, claim: &Claim<'_>) -> alloc::string::String {
    alloc::format!(
        "the bridge {} above {} claims the addresses {:#x} to {:#x}, where the guest's memory would be, so the \
         device could not reach it",
        claim.bridge.path,
        function.path,
        claim.start.0,
        claim.end.0.saturating_sub(1)
    )
}

/// What the bridges above a guest's functions claim. What is below 1 MiB is no memory that an
/// operating system gives to devices.
fn claims<'p>(guest: &GuestConfig, platform: &'p Platform) -> Vec<(&'p Function, Claim<'p>)> {
    const LEGACY_END: u64 = 1 << 20;
    let functions = guest.passed_through().filter_map(|(.., wanted)| platform.function_at(&wanted.path));
    functions
        .flat_map(|function| platform.claims_above(function).into_iter().map(move |claim| (function, claim)))
        .filter(|(_, claim)| claim.end.0 > LEGACY_END)
        .collect()
}
