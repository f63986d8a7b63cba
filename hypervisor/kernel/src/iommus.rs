//! The machine's remapping units, from the firmware's tables to deny-all. Who made them
//! is `iommu`'s business.

use crate::guests;
use crate::host::Iommus;
use crate::lines;
use crate::owned;
use alloc::vec::Vec;
use iommu::{Limits, UnitDescription, UnitLimits, Units};
use machine::chipset::config_space::MachineConfigSpace;
use machine::cpu::apic;
use machine::cpu::tsc::TscClock;
use machine::memory::frames::Pool;
use machine::memory::mmio::Window;
use plan::{GuestPlan, Plan};
use platform::Platform;
use tables::{Geometry, PageSize};

const FRAME: u64 = 4096;

/// The units, in the order of the platform's.
pub fn find(platform: &Platform) -> Vec<UnitDescription<Window>> {
    let map = |base, bytes: u64| {
        Window::map(base, bytes.max(FRAME))
            .inspect_err(|error| log::error!("the IOMMU unit at {base} cannot be mapped: {error:?}"))
            .ok()
    };
    platform.remapping.units.iter().map(|unit| UnitDescription::of(unit, map)).collect()
}

/// Whether the local APICs can be in x2APIC mode: the firmware does not ask against it,
/// and every remapping unit can send interrupts there. Where the firmware left them in
/// that mode there is no choice.
pub fn may_use_x2apic(
    platform: &Platform,
    units: &[UnitDescription<Window>],
    config: &MachineConfigSpace,
) -> bool {
    const LAST_PLAIN_ID: u32 = 254;
    let opt_out = platform.remapping.x2apic_opt_out;
    // Without units no device interrupts anybody, and IDs of 8 bits need no remapping.
    let reached = match units {
        [] => platform.processors().all(|processor| processor.apic_id <= LAST_PLAIN_ID),
        units => units.iter().all(|unit| unit.reaches_x2apic(config)),
    };
    apic::is_x2apic() || !opt_out && reached
}

/// Takes over every remapping unit: from here on no device reaches anything.
pub fn start(
    units: Vec<UnitDescription<Window>>,
    plan: &Plan,
    clock: TscClock,
    config: &MachineConfigSpace,
    x2apic: bool,
) -> Iommus {
    let limits = limits(plan, x2apic);
    let frames = frames_needed(&units, plan, limits.unit);
    // Without tables no unit is in force, and no guest that wants a function is built.
    let pool = Pool::new(frames).unwrap_or_else(|| {
        log::error!("there is no memory for {frames} frames of IOMMU tables");
        Pool::empty()
    });
    let iommus = Units::new(units, pool, clock, config, limits);
    for unit in 0..iommus.len() {
        match iommus.status(unit) {
            Some(Ok(capabilities)) => log::info!("IOMMU unit {unit} denies everything: {capabilities}"),
            Some(Err(error)) => log::error!("IOMMU unit {unit} is not in force: {error}"),
            None => {}
        }
    }
    iommus
}

fn limits(plan: &Plan, x2apic: bool) -> Limits {
    let functions = || plan.all_functions();
    let messages: u32 = functions().map(|f| u32::from(f.msi_messages.max(f.msix_messages))).sum();
    Limits {
        unit: UnitLimits {
            buses: 256,
            tags: UnitLimits::ALL_TAGS,
            interrupts: messages + lines::interrupts(plan) + 256,
            interrupt_sources: functions().count() + 8,
            x2apic,
        },
        domains: plan.guests.len() + plan.owned.len() + 1,
        requesters: functions().map(|f| f.requesters.len()).sum(),
    }
}

fn frames_needed(units: &[UnitDescription<Window>], plan: &Plan, limits: UnitLimits) -> usize {
    let mut buses: Vec<u8> = plan.all_functions().flat_map(|f| &f.requesters).map(|id| id.bus()).collect();
    buses.sort_unstable();
    buses.dedup();
    let own: usize = units.iter().map(|unit| unit.frames_needed(limits, buses.len().max(1))).sum();
    let geometry = Geometry { coherent: false, ..Geometry::processor(4, PageSize::Size2MiB) };
    let domains: usize =
        plan.guests.iter().map(|guest: &GuestPlan| guests::domain_frames(guest, geometry)).sum();
    own + domains + owned::domain_frames(plan, geometry) + 512
}
