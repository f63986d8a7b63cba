//! What remaps DMA and interrupts on this machine, whoever made it.
//!
//! The tables of the vendors say the same in their own ways: which units there are,
//! whom each serves, under which requester ID somebody's requests arrive, and which
//! memory the firmware's devices keep using. Here it is said once. What only a unit's
//! own driver understands stays inside [`Architecture`].

mod dmar;
mod ivrs;
mod service;
#[cfg(test)]
mod tests;

pub use service::{Claim, Service, serving};

use crate::acpi::{IoApic, Tables};
use crate::finding::{Findings, finding};
use crate::pci::Function;
use alloc::vec::Vec;
use core::fmt;
use spec::{Bdf, Hpa, RequesterRange};

/// The PCI segment whose functions are known.
pub(crate) const SEGMENT: u16 = 0;

/// Everything that remaps DMA and interrupts. Without units there is no IOMMU.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remapping {
    /// The units. A Plan names them by their index here.
    pub units: Vec<Unit>,
    /// Interrupts may be remapped.
    pub interrupts: bool,
    /// The firmware asks not to enable x2APIC mode.
    pub x2apic_opt_out: bool,
    /// Memory that the firmware's devices keep using.
    pub reserved: Vec<ReservedMemory>,
    /// Requester IDs that are not those of the functions that send them, besides what
    /// follows from the bridges that are seen.
    pub aliases: Vec<Alias>,
}

/// A remapping unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// How it is driven.
    pub architecture: Architecture,
    /// Its registers.
    pub base: Hpa,
    /// Bytes of its registers, whole pages.
    pub register_bytes: u64,
    /// The PCI segment that it serves.
    pub segment: u16,
    /// The requester IDs that it serves by name.
    pub requesters: Vec<RequesterRange>,
    /// It also serves every requester ID of its segment that no unit names.
    pub serves_rest: bool,
    /// I/O APICs whose interrupts it remaps.
    pub io_apics: Vec<InterruptSender>,
    /// Timer blocks whose interrupts it remaps.
    pub hpets: Vec<InterruptSender>,
    /// What is wrong with it. Such a unit cannot be driven; whom it serves nobody holds.
    pub trouble: Option<Trouble>,
    /// It serves more than `requesters`, and nobody can tell whom: so nobody knows either
    /// what is left for a unit that serves the rest.
    pub unsure: bool,
}

/// Why a unit cannot be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No registers can be where the table says.
    Registers,
    /// The table has another unit with the same registers or the same function.
    Twice,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registers => "no registers can be there",
            Self::Twice => "the firmware's table has two of it, which contradict each other",
        })
    }
}

/// How a unit is driven, with what only its driver understands. Whoever picks the
/// driver looks at this once; nobody else does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Intel Virtualization Technology for Directed I/O.
    Vtd,
    /// AMD I/O Virtualization Technology.
    AmdVi(AmdVi),
}

/// What the tables say of an AMD-Vi unit for its driver alone (AMD I/O Virtualization
/// Technology Specification 3.08, sections 5.2.2.1 and 5.2.2.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmdVi {
    /// The unit's own PCI function; its event interrupt is that function's MSI.
    pub function: Bdf,
    /// Offset of its capability block in that function's configuration space.
    pub capability: u16,
    /// Which of the function's MSI messages is the event interrupt.
    pub msi_number: u8,
    /// Translate HyperTransport tunnel traffic (control register, HtTunEn).
    pub tunnel_translation: bool,
    /// Pass posted writes (control register, PassPW).
    pub pass_posted_writes: bool,
    /// Responses may pass posted writes (control register, ResPassPW).
    pub responses_pass_posted_writes: bool,
    /// Isochronous table walks (control register, Isoc).
    pub isochronous: bool,
    /// Table walks snoop the processors' caches (control register, Coherent).
    pub coherent: bool,
    /// What it should let through of whom, untranslated.
    pub signals: Vec<Signals>,
}

/// Messages other than memory accesses and interrupts that are let through (table for
/// IVHD device entries, data setting): bit 0 INIT, bit 1 external interrupts, bit 2
/// NMI, bits 4 and 5 system management, bits 6 and 7 LINT0 and LINT1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signals {
    /// Of whom.
    pub requesters: RequesterRange,
    /// Which.
    pub bits: u8,
}

/// An interrupt controller or timer whose interrupts are remapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterruptSender {
    /// The I/O APIC's ID, or the number of the timer block.
    pub number: u8,
    /// The requester ID that its interrupts carry. A function need not be visible
    /// there.
    pub requester: Bdf,
}

/// A range of memory that devices keep using for the firmware. Where one of them is
/// given to a guest it has to be mapped one to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReservedMemory {
    /// First byte, page-aligned.
    pub start: Hpa,
    /// Bytes, whole pages.
    pub bytes: u64,
    /// PCI segment of its users.
    pub segment: u16,
    /// Who uses it.
    pub users: Vec<RequesterRange>,
    /// They read it.
    pub readable: bool,
    /// They write it.
    pub writable: bool,
}

/// Requests of some functions that arrive under another requester ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alias {
    /// PCI segment.
    pub segment: u16,
    /// Whose requests.
    pub functions: RequesterRange,
    /// Under which requester ID.
    pub requester: Bdf,
}

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
