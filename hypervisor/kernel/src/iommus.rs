//! The machine's remapping units, from the firmware's tables to deny-all.

use crate::guests;
use crate::host::Iommus;
use access::RegisterWindow;
use alloc::vec::Vec;
use guest::host::FAULT_VECTOR;
use iommu::vtd::{Limits, UnitDescription, UnitLimits, VtdUnits};
use machine::apic;
use machine::frames::Pool;
use machine::mmio::Window;
use machine::tsc::TscClock;
use plan::{GuestPlan, Plan};
use platform::{Platform, Remapping};
use spec::vtd;
use tables::{Geometry, PageSize};

const FRAME: u64 = 4096;

/// Whether the local APICs can be in x2APIC mode: the firmware does not ask against it,
/// and every remapping unit can send interrupts there (VT-d specification section
/// 5.1.4). Where the firmware left them in that mode there is no choice.
pub fn may_use_x2apic(platform: &Platform) -> bool {
    let Remapping { units, x2apic_opt_out, .. } = &platform.remapping;
    let is_extended = |base| {
        let registers = Window::map(base, FRAME).ok();
        let capability = registers.map_or(0, |unit| unit.read64(vtd::register::EXTENDED_CAPABILITY));
        capability & vtd::extended::EXTENDED_INTERRUPTS != 0
    };
    !units.is_empty()
        && (apic::is_x2apic() || !x2apic_opt_out && units.iter().all(|unit| is_extended(unit.base)))
}

/// Takes over every remapping unit: from here on no device reaches anything.
pub fn start(platform: &Platform, plan: &Plan, clock: TscClock, x2apic: bool) -> Iommus {
    let units = &platform.remapping.units;
    let functions = || plan.guests.iter().flat_map(|guest| &guest.functions);
    let messages: u32 = functions().map(|f| u32::from(f.msi_messages.max(f.msix_messages))).sum();
    let limits =
        UnitLimits { interrupts: messages + 256, interrupt_sources: functions().count() + 8, x2apic };
    let mut buses: Vec<u8> = functions().flat_map(|f| &f.requesters).map(|id| id.bus()).collect();
    buses.sort_unstable();
    buses.dedup();
    let geometry = Geometry { levels: 4, max_page: PageSize::Size2MiB, coherent: false, force_snoop: false };
    let domains: usize =
        plan.guests.iter().map(|guest: &GuestPlan| guests::domain_frames(guest, geometry)).sum();
    let frames = units.len() * limits.frames_needed(buses.len().max(1)) + domains + 512;
    let descriptions = units.iter().filter_map(|unit| {
        let registers = Window::map(unit.base, unit.register_bytes.max(FRAME))
            .inspect_err(|error| log::error!("the IOMMU unit at {} cannot be mapped: {error:?}", unit.base))
            .ok()?;
        Some(UnitDescription {
            registers,
            segment: unit.segment,
            include_all: unit.serves_rest,
            requesters: unit.served().collect(),
        })
    });
    let pool =
        Pool::new(frames).or_else(|| Pool::new(0)).unwrap_or_else(|| panic!("no memory for IOMMU tables"));
    let iommus = VtdUnits::new(
        descriptions.collect(),
        pool,
        clock,
        Limits {
            unit: limits,
            domains: plan.guests.len() + 1,
            requesters: functions().map(|f| f.requesters.len()).sum(),
        },
    );
    for unit in 0..iommus.len() {
        match iommus.verdict(unit) {
            Some(Ok(capabilities)) => log::info!("IOMMU unit {unit} denies everything: {capabilities:x?}"),
            Some(Err(error)) => log::error!("IOMMU unit {unit} is not in force: {error}"),
            None => {}
        }
    }
    iommus
}

/// Faults interrupt the boot processor. The fault event is no remappable request of a
/// device: the unit writes it as it is (VT-d specification section 7.3).
pub fn set_fault_interrupt(iommus: &mut Iommus) {
    let id = u64::from(apic::id());
    let address = 0xfee0_0000 | (id & 0xff) << 12 | (id >> 8) << 40;
    iommus.set_fault_interrupt(iommu::HostMsi { address, data: FAULT_VECTOR.into() });
}
