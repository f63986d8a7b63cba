//! What the IVRS table says, in the terms of every vendor.

use super::description::{
    Alias, AmdVi, Architecture, InterruptSender, Remapping, ReservedMemory, SEGMENT, Signals, Trouble, Unit,
};
use super::service::Service;
use crate::acpi::ivrs::{Ivhd, Ivmd, Ivrs, Who, flag};
use crate::finding::{Findings, finding};
use crate::pci::Function;
use alloc::vec::Vec;
use spec::{Bdf, RequesterRange};

/// Bytes of a unit's registers up to the heads and tails of its rings. Performance
/// counters, which nobody uses, lie beyond.
const REGISTER_BYTES: u64 = 0x4000;

pub(super) fn remapping(ivrs: &Ivrs, functions: &[Function], findings: &mut Findings<'_>) -> Remapping {
    let buses = Buses::of(functions);
    let mut remapping = Remapping { interrupts: true, ..Remapping::default() };
    for (index, ivhd) in ivrs.units.iter().enumerate() {
        let mut unit = unit(ivhd, &buses, &mut remapping.aliases, findings);
        unit.unsure |= ivrs.incomplete;
        unit.trouble = trouble(ivhd, ivrs.units.get(..index).unwrap_or_default());
        remapping.units.push(unit);
    }
    inherit(&mut remapping, functions, findings);
    for range in &ivrs.reserved {
        let users = RequesterRange { first: range.first, last: range.last };
        if range.segment == SEGMENT && !buses.reach(users) {
            finding!(
                findings,
                "the reserved memory at {} is for {users}, where this machine has no bus",
                range.start
            );
        }
        remapping.reserved.push(reserved(range, users));
    }
    remapping
}

fn unit(ivhd: &Ivhd, buses: &Buses, aliases: &mut Vec<Alias>, findings: &mut Findings<'_>) -> Unit {
    let is_set = |flag| ivhd.flags & flag != 0;
    let mut own = AmdVi {
        function: ivhd.function,
        capability: ivhd.capability,
        msi_number: ivhd.msi_number,
        tunnel_translation: is_set(flag::HT_TUNNEL),
        pass_posted_writes: is_set(flag::PASS_POSTED_WRITES),
        responses_pass_posted_writes: is_set(flag::RESPONSES_PASS),
        isochronous: is_set(flag::ISOCHRONOUS),
        coherent: is_set(flag::COHERENT),
        signals: Vec::new(),
    };
    let (mut requesters, mut io_apics, mut hpets) = (Vec::new(), Vec::new(), Vec::new());
    let mut serves_rest = false;
    for entry in &ivhd.entries {
        let range = match entry.who {
            Who::All => {
                serves_rest = true;
                RequesterRange::ALL
            }
            Who::Functions { first, last, alias } => {
                let range = RequesterRange { first, last };
                if ivhd.segment == SEGMENT && !buses.reach(range) {
                    finding!(
                        findings,
                        "the unit {} serves {range}, where this machine has no bus",
                        ivhd.function
                    );
                }
                requesters.push(range);
                if let Some(requester) = alias.filter(|alias| range != RequesterRange::one(*alias)) {
                    aliases.push(Alias { segment: ivhd.segment, functions: range, requester });
                    requesters.push(RequesterRange::one(requester));
                }
                range
            }
            Who::IoApic { id: number, requester } => {
                add_sender(&mut io_apics, InterruptSender { number, requester }, "I/O APIC", findings);
                RequesterRange::one(requester)
            }
            Who::Hpet { number, requester } => {
                add_sender(&mut hpets, InterruptSender { number, requester }, "timer", findings);
                RequesterRange::one(requester)
            }
            Who::AcpiDevice { requester, .. } => {
                requesters.push(RequesterRange::one(requester));
                RequesterRange::one(requester)
            }
        };
        if entry.settings != 0 {
            own.signals.push(Signals { requesters: range, bits: entry.settings });
        }
    }
    Unit {
        architecture: Architecture::AmdVi(own),
        base: ivhd.base,
        register_bytes: REGISTER_BYTES,
        segment: ivhd.segment,
        requesters,
        serves_rest,
        io_apics,
        hpets,
        trouble: None,
        unsure: ivhd.incomplete,
    }
}

/// What is wrong with a unit, given those before it.
fn trouble(ivhd: &Ivhd, earlier: &[Ivhd]) -> Option<Trouble> {
    let same = |other: &Ivhd| {
        other.base == ivhd.base || (other.segment, other.function) == (ivhd.segment, ivhd.function)
    };
    match ivhd {
        _ if !ivhd.has_registers() => Some(Trouble::Registers),
        _ if earlier.iter().any(same) => Some(Trouble::Twice),
        _ => None,
    }
}

fn add_sender(
    list: &mut Vec<InterruptSender>,
    sender: InterruptSender,
    what: &str,
    findings: &mut Findings<'_>,
) {
    if list.iter().any(|other| other.number == sender.number) {
        finding!(findings, "the {what} {} is listed twice; the first counts", sender.number);
    } else {
        list.push(sender);
    }
}

/// Some firmware lists function 0 of a device and forgets the others: they are where
/// function 0 is, so the same unit serves them.
fn inherit(remapping: &mut Remapping, functions: &[Function], findings: &mut Findings<'_>) {
    for function in functions.iter().filter(|function| function.bdf.function() != 0) {
        let bdf = function.bdf;
        let first = Bdf::new(bdf.bus(), bdf.device(), 0);
        if remapping.service(SEGMENT, bdf) != Service::Nobody || remapping.is_unit(SEGMENT, bdf) {
            continue;
        }
        let (Service::By(unit) | Service::Unusable(unit)) = remapping.service(SEGMENT, first) else {
            continue;
        };
        finding!(findings, "no unit names {bdf}; it is served as {first} is");
        let own = RequesterRange::one(bdf);
        let aliases: Vec<Bdf> = remapping.aliases_of(SEGMENT, first).collect();
        let alias = |requester| Alias { segment: SEGMENT, functions: own, requester };
        remapping.aliases.extend(aliases.into_iter().map(alias));
        if let Some(unit) = remapping.units.get_mut(unit) {
            unit.requesters.push(own);
        }
    }
}

fn reserved(range: &Ivmd, users: RequesterRange) -> ReservedMemory {
    ReservedMemory {
        start: range.start,
        bytes: range.bytes,
        segment: range.segment,
        users: Vec::from([users]),
        readable: range.readable,
        writable: range.writable,
    }
}

/// The buses that functions and bridges say there are.
struct Buses([bool; 256]);

impl Buses {
    fn of(functions: &[Function]) -> Self {
        let mut buses = [false; 256];
        for function in functions {
            let behind = function.bridge.map(|buses| buses.secondary..=buses.subordinate);
            for bus in behind.into_iter().flatten().chain([function.bdf.bus()]) {
                if let Some(bus) = buses.get_mut(usize::from(bus)) {
                    *bus = true;
                }
            }
        }
        Self(buses)
    }

    /// Whether a range has requester IDs on one of them.
    fn reach(&self, range: RequesterRange) -> bool {
        let buses = usize::from(range.first.bus())..=usize::from(range.last.bus());
        self.0.get(buses).is_some_and(|buses| buses.contains(&true))
    }
}
