//! What the DMAR table says, in the terms of every vendor: scopes are paths there, and
//! requester IDs here.

use super::description::{Architecture, InterruptSender, Remapping, ReservedMemory, SEGMENT, Trouble, Unit};
use crate::acpi::dmar::{Dmar, Drhd, Rmrr, Scope, ScopeKind};
use crate::finding::{Findings, finding};
use crate::names::DevicePath;
use crate::pci::Function;
use alloc::vec::Vec;
use core::fmt::Display;
use spec::{Bdf, RequesterRange};

pub(super) fn remapping(dmar: &Dmar, functions: &[Function], findings: &mut Findings<'_>) -> Remapping {
    let unit = |(index, drhd)| {
        let earlier = dmar.units.get(..index).unwrap_or_default();
        let unit = self::unit(drhd, earlier, functions, findings);
        Unit { unsure: unit.unsure || dmar.incomplete, ..unit }
    };
    Remapping {
        units: dmar.units.iter().enumerate().map(unit).collect(),
        interrupts: dmar.interrupt_remapping,
        x2apic_opt_out: dmar.x2apic_opt_out,
        reserved: dmar.reserved.iter().map(|range| reserved(range, functions, findings)).collect(),
        aliases: Vec::new(),
    }
}

fn unit(drhd: &Drhd, earlier: &[Drhd], functions: &[Function], findings: &mut Findings<'_>) -> Unit {
    let mut unit = Unit {
        architecture: Architecture::Vtd,
        base: drhd.base,
        register_bytes: drhd.register_bytes,
        segment: drhd.segment,
        requesters: Vec::new(),
        serves_rest: drhd.include_all,
        io_apics: Vec::new(),
        hpets: Vec::new(),
        trouble: match drhd {
            _ if !drhd.has_registers() => Some(Trouble::Registers),
            _ if earlier.iter().any(|other| other.base == drhd.base) => Some(Trouble::Twice),
            _ => None,
        },
        unsure: drhd.incomplete,
    };
    let who = format_args!("the unit at {} names", drhd.base);
    let (scopes, lost) = resolved(drhd.segment, &drhd.scopes, functions, &who, findings);
    unit.unsure |= lost;
    for (scope, requester) in scopes {
        match scope.kind {
            ScopeKind::Endpoint => unit.requesters.push(RequesterRange::one(requester)),
            ScopeKind::Bridge => unit.requesters.extend(behind(functions, requester)),
            ScopeKind::IoApic(number) => unit.io_apics.push(InterruptSender { number, requester }),
            ScopeKind::Hpet(number) => unit.hpets.push(InterruptSender { number, requester }),
            // Devices of the name space that are no PCI functions: nobody is given them.
            ScopeKind::AcpiDevice(_) => {}
        }
    }
    unit
}

fn reserved(rmrr: &Rmrr, functions: &[Function], findings: &mut Findings<'_>) -> ReservedMemory {
    let who = format_args!("the reserved memory at {} is for", rmrr.start);
    let mut users = Vec::new();
    let (scopes, _) = resolved(rmrr.segment, &rmrr.scopes, functions, &who, findings);
    for (scope, requester) in scopes {
        match scope.kind {
            ScopeKind::Bridge => users.extend(behind(functions, requester)),
            _ => users.push(RequesterRange::one(requester)),
        }
    }
    ReservedMemory {
        start: rmrr.start,
        bytes: rmrr.bytes,
        segment: rmrr.segment,
        users,
        readable: true,
        writable: true,
    }
}

/// The scopes that lead somewhere, and where; and whether one of a function leads to where
/// nobody knows. Only segment 0 is scanned, so nobody knows where paths of others lead.
fn resolved<'s>(
    segment: u16,
    scopes: &'s [Scope],
    functions: &[Function],
    who: &dyn Display,
    findings: &mut Findings<'_>,
) -> (Vec<(&'s Scope, Bdf)>, bool) {
    let mut found = Vec::new();
    let mut lost = false;
    for scope in scopes.iter().filter(|_| segment == SEGMENT) {
        let path = DevicePath { root_bus: scope.start_bus, hops: scope.path.clone() };
        let of_function = matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge);
        match resolve(functions, scope) {
            Ok(requester) => {
                // I/O APICs and timers often have a number of which no function is visible.
                if of_function && !functions.iter().any(|function| function.bdf == requester) {
                    finding!(findings, "{who} a device that is not there: {path}");
                }
                found.push((scope, requester));
            }
            Err(why) => {
                lost |= of_function;
                match why {
                    Lost::Nowhere => finding!(findings, "{who} a device whose path leads nowhere: {path}"),
                    Lost::Circle(bridge) => finding!(
                        findings,
                        "{who} a device whose path leads in a circle at the bridge {bridge}: {path}"
                    ),
                }
            }
        }
    }
    (found, lost)
}

/// Why nobody knows where a path leads.
enum Lost {
    /// It begins on a bus that is not there, or one of its bridges is not there or none.
    Nowhere,
    /// The bus behind this bridge does not come after the bridge's own.
    Circle(Bdf),
}

/// Follows a scope's path to a number at which a function is or would be. The buses
/// between are those that the bridges have now.
fn resolve(functions: &[Function], scope: &Scope) -> Result<Bdf, Lost> {
    let mut bus = scope.start_bus;
    let (last, bridges) = scope.path.split_last().ok_or(Lost::Nowhere)?;
    for hop in bridges {
        let bdf = Bdf::new(bus, hop.device(), hop.function());
        let bridge = functions.iter().find(|function| function.bdf == bdf).ok_or(Lost::Nowhere)?;
        let next = bridge.bridge.ok_or(Lost::Nowhere)?.secondary;
        if next <= bus {
            return Err(Lost::Circle(bdf));
        }
        bus = next;
    }
    let is_there = |function: &Function| {
        function.bdf.bus() == bus || function.bridge.is_some_and(|buses| buses.secondary == bus)
    };
    let must_exist = matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge);
    if must_exist && !functions.iter().any(is_there) {
        return Err(Lost::Nowhere);
    }
    Ok(Bdf::new(bus, last.device(), last.function()))
}

/// A bridge's own requester ID and those of everything behind it.
fn behind(functions: &[Function], bridge: Bdf) -> impl Iterator<Item = RequesterRange> {
    let function = functions.iter().find(|function| function.bdf == bridge);
    let buses = function.and_then(|function| function.bridge).filter(|buses| buses.secondary > bridge.bus());
    [RequesterRange::one(bridge)]
        .into_iter()
        .chain(buses.map(|buses| RequesterRange::buses(buses.secondary, buses.subordinate)))
}
