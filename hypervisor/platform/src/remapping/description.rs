//! What remaps DMA and interrupts, as both vendors' tables say it.

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
