//! What remaps DMA and interrupts on this machine, whoever made it.
//!
//! The tables of the vendors say the same in their own ways: which units there are,
//! whom each serves, under which requester ID somebody's requests arrive, and which
//! memory the firmware's devices keep using. Here it is said once. What only a unit's
//! own driver understands stays inside [`Architecture`].

mod description;
mod dmar;
mod ivrs;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use description::SEGMENT;
pub use description::{
    Alias, AmdVi, Architecture, InterruptSender, Remapping, ReservedMemory, Signals, Trouble, Unit,
};
pub use service::{Claim, Service, serving};

use crate::acpi::{IoApic, Tables};
use crate::finding::{Findings, finding};
use crate::pci::Function;
use spec::{Bdf, RequesterRange};

impl Remapping {
    /// Brings the tables of either vendor together with the functions that are there.
    pub(crate) fn new(tables: &Tables, functions: &[Function], findings: &mut Findings<'_>) -> Self {
        let dmar = tables.dmar.as_ref().filter(|table| !table.units.is_empty());
        let ivrs = tables.ivrs.as_ref().filter(|table| !table.units.is_empty());
        let of_dmar = dmar.map(|dmar| dmar::remapping(dmar, functions, &mut findings.of("DMAR")));
        let of_ivrs = ivrs.map(|ivrs| ivrs::remapping(ivrs, functions, &mut findings.of("IVRS")));
        let remapping = match (of_dmar, of_ivrs) {
            (Some(one), None) | (None, Some(one)) => one,
            (Some(dmar), Some(ivrs)) => {
                // No machine has both, so one of them is made up, and the registers will
                // tell which: whom either names is served by that unit or by nobody.
                finding!(findings.of("IVRS"), "there is a DMAR table too, which no machine has; both count");
                dmar.and(ivrs)
            }
            (None, None) => return Self::default(),
        };
        for IoApic { id, base, .. } in &tables.madt.io_apics {
            if remapping.io_apic(*id).is_none() {
                finding!(
                    findings.of("MADT"),
                    "no unit remaps the interrupts of the I/O APIC {id} at {base}; its pins cannot be used"
                );
            }
        }
        remapping
    }

    /// Whether nothing remaps anything.
    pub fn is_absent(&self) -> bool {
        self.units.is_empty()
    }

    /// Two tables' units; both have to allow what either could forbid.
    fn and(mut self, other: Self) -> Self {
        self.units.extend(other.units);
        self.interrupts &= other.interrupts;
        self.x2apic_opt_out |= other.x2apic_opt_out;
        self.reserved.extend(other.reserved);
        self.aliases.extend(other.aliases);
        self
    }

    /// Who serves a requester ID.
    pub fn service(&self, segment: u16, requester: Bdf) -> Service {
        serving(self.units.iter().map(Unit::claim), segment, requester)
    }

    /// The unit that serves a requester ID, where there is one that can be trusted to.
    pub fn unit_of(&self, segment: u16, requester: Bdf) -> Option<usize> {
        self.service(segment, requester).unit()
    }

    /// The requester IDs that the tables give to a function's requests, besides its own.
    pub fn aliases_of(&self, segment: u16, function: Bdf) -> impl Iterator<Item = Bdf> {
        let of = move |alias: &&Alias| alias.segment == segment && alias.functions.contains(function);
        self.aliases.iter().filter(of).map(|alias| alias.requester)
    }

    /// The unit that remaps the interrupts of an I/O APIC, and the requester ID that
    /// they carry.
    pub fn io_apic(&self, id: u8) -> Option<(usize, Bdf)> {
        self.sender(id, |unit| &unit.io_apics)
    }

    /// The unit that remaps the interrupts of a timer block, and the requester ID that
    /// they carry.
    pub fn hpet(&self, number: u8) -> Option<(usize, Bdf)> {
        self.sender(number, |unit| &unit.hpets)
    }

    fn sender(&self, number: u8, list: impl Fn(&Unit) -> &[InterruptSender]) -> Option<(usize, Bdf)> {
        // The numbers are the whole machine's; requester IDs are of segment 0 everywhere.
        let mut on_segment = self.units.iter().enumerate().filter(|(_, unit)| unit.segment == SEGMENT);
        let found = on_segment.find_map(|(index, unit)| {
            let sender = list(unit).iter().find(|sender| sender.number == number)?;
            Some((index, unit.trouble, sender.requester))
        });
        let (index, trouble, requester) = found?;
        trouble.is_none().then_some((index, requester))
    }

    /// Whether a function is a remapping unit itself.
    pub fn is_unit(&self, segment: u16, function: Bdf) -> bool {
        self.units.iter().any(|unit| match &unit.architecture {
            Architecture::Vtd => false,
            Architecture::AmdVi(own) => unit.segment == segment && own.function == function,
        })
    }
}

impl Unit {
    /// Whether it serves a requester ID by name.
    pub fn names(&self, requester: Bdf) -> bool {
        self.requesters.iter().any(|range| range.contains(requester))
    }

    /// What it says about whom it serves.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            segment: self.segment,
            requesters: &self.requesters,
            serves_rest: self.serves_rest,
            usable: self.trouble.is_none(),
            unsure: self.unsure,
        }
    }

    /// Everybody that it serves by name, I/O APICs and timers included.
    pub fn served(&self) -> impl Iterator<Item = RequesterRange> {
        let senders = self.io_apics.iter().chain(&self.hpets);
        self.requesters.iter().copied().chain(senders.map(|sender| RequesterRange::one(sender.requester)))
    }
}

impl ReservedMemory {
    /// Whether any byte is in both ranges.
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |range: &Self| range.start.0.saturating_add(range.bytes);
        self.start.0 < end(other) && other.start.0 < end(self)
    }

    /// Whether a requester ID uses it.
    pub fn is_used_by(&self, segment: u16, requester: Bdf) -> bool {
        self.segment == segment && self.users.iter().any(|range| range.contains(requester))
    }
}
