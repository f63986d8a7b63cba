//! A unit of either vendor, and the tables that it walks: the one place that tells
//! them apart.

use crate::fault::Recorded;
use crate::{Function, HostMsi, IommuError, RemappedInterrupt, Requester, UnitDescription, UnitLimits};
use crate::{amdvi, vtd};
use access::{Clock, ConfigSpace, RegisterWindow, TableMemory};
use core::fmt;
use platform::remapping::Architecture;
use spec::{Bdf, Gpa, Hpa};
use tables::{AmdVi, Changed, Geometry, MapError, MemoryType, PageTable, Permissions, VtdSecondLevel};

/// A unit in force: what is not granted is blocked.
#[expect(clippy::large_enum_variant, reason = "there are a few, made at boot and never moved")]
pub(crate) enum Unit<R> {
    Vtd(vtd::Unit<R>),
    AmdVi(amdvi::Unit<R>),
}

/// What a unit can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capabilities {
    /// Of Intel VT-d.
    Vtd(vtd::Capabilities),
    /// Of AMD-Vi.
    AmdVi(amdvi::Features),
}

/// Does the same with a unit whoever made it.
macro_rules! on {
    ($self:expr, $unit:ident => $call:expr) => {
        match $self {
            Unit::Vtd($unit) => $call,
            Unit::AmdVi($unit) => $call,
        }
    };
}

impl<R: RegisterWindow> Unit<R> {
    /// Takes the unit over, in whatever state firmware or a boot loader left it, and
    /// denies everything.
    pub fn start(
        description: UnitDescription<R>,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        config: &impl ConfigSpace,
        limits: UnitLimits,
    ) -> Result<Self, IommuError> {
        let registers = description.registers.ok_or(IommuError::Unreachable)?;
        match &description.architecture {
            Architecture::Vtd => vtd::Unit::start(registers, memory, clock, limits).map(Self::Vtd),
            Architecture::AmdVi(own) => {
                amdvi::Unit::start(registers, own, description.segment, memory, clock, config, limits)
                    .map(Self::AmdVi)
            }
        }
    }

    /// What the unit can do.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Vtd(unit) => Capabilities::Vtd(unit.capabilities()),
            Self::AmdVi(unit) => Capabilities::AmdVi(unit.features()),
        }
    }

    /// An empty table that the unit can walk.
    pub fn new_table(&self, memory: &mut impl TableMemory) -> Result<Table, MapError> {
        let geometry = self.capabilities().geometry();
        match self {
            Self::Vtd(_) => PageTable::new(memory, geometry).map(Table::Vtd),
            Self::AmdVi(_) => PageTable::new(memory, geometry).map(Table::AmdVi),
        }
    }

    /// Forgets everything that is cached.
    pub fn flush_all(&mut self, memory: &mut impl TableMemory, clock: &impl Clock) -> Result<(), IommuError> {
        on!(self, unit => unit.flush_all(memory, clock))
    }

    /// After pages of the domain tagged `tag` became present.
    pub fn flush_after_map(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        tag: u16,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.flush_after_map(memory, clock, tag))
    }

    /// After pages of the domain went; DMA to them has ended when this returns.
    pub fn flush_after_unmap(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        tag: u16,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.flush_after_unmap(memory, clock, tag))
    }

    /// Lets a requester use the table at `root`.
    pub fn attach(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        root: Hpa,
        tag: u16,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.attach(memory, clock, requester, root, tag))
    }

    /// Blocks a requester that was in the domain; its DMA has ended when this returns.
    pub fn detach(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Bdf,
        tag: u16,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.detach(memory, clock, requester, tag))
    }

    /// Reserves interrupt entries for a function.
    pub fn grant_interrupts(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        function: Function<'_>,
        entries: u16,
    ) -> Result<(), IommuError> {
        match self {
            Self::Vtd(unit) => unit.grant_interrupts(function, entries),
            Self::AmdVi(unit) => unit.grant_interrupts(memory, clock, function, entries),
        }
    }

    /// Blocks a function's interrupts and returns its entries once none is cached.
    pub fn revoke_interrupts(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.revoke_interrupts(memory, clock, requester))
    }

    /// Sets one interrupt entry, so that none is lost meanwhile.
    pub fn remap(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.remap(memory, clock, requester, index, interrupt))
    }

    /// How many interrupts a requester may send at present.
    pub fn interrupts_in_force(&self, memory: &impl TableMemory, requester: Requester) -> usize {
        on!(self, unit => unit.interrupts_in_force(memory, requester))
    }

    /// The message by which a requester sends its interrupt `index`.
    pub fn message(&self, requester: Requester, index: u16) -> Result<HostMsi, IommuError> {
        on!(self, unit => unit.message(requester, index))
    }

    /// The redirection entry by which an IOAPIC sends its pin `index`.
    pub fn redirection(
        &self,
        ioapic: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
        active_low: bool,
    ) -> Result<u64, IommuError> {
        on!(self, unit => unit.redirection(ioapic, index, interrupt, active_low))
    }

    /// Makes one interrupt entry absent.
    pub fn release(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        requester: Requester,
        index: u16,
    ) -> Result<(), IommuError> {
        on!(self, unit => unit.release(memory, clock, requester, index))
    }

    /// Takes the next recorded fault; `index` and `segment` of the unit go into it.
    pub fn take_fault(
        &mut self,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        index: usize,
        segment: u16,
    ) -> Recorded {
        match self {
            Self::Vtd(unit) => unit.take_fault(index, segment),
            Self::AmdVi(unit) => unit.take_fault(memory, clock, index),
        }
    }

    /// Has the unit send `vector` to the processor `apic_id` when it records a fault.
    pub fn set_fault_interrupt(&mut self, config: &impl ConfigSpace, vector: u8, apic_id: u32) {
        match self {
            Self::Vtd(unit) => unit.set_fault_interrupt(vector, apic_id),
            Self::AmdVi(unit) => unit.set_fault_interrupt(config, vector, apic_id),
        }
    }
}

impl Capabilities {
    /// Reads what a unit can do, and checks that it is there and has what isolation
    /// needs.
    pub fn detect<R: RegisterWindow>(
        description: &UnitDescription<R>,
        config: &impl ConfigSpace,
    ) -> Result<Self, IommuError> {
        let registers = description.registers.as_ref().ok_or(IommuError::Unreachable)?;
        match &description.architecture {
            Architecture::Vtd => vtd::Capabilities::detect(registers).map(Self::Vtd),
            Architecture::AmdVi(own) => amdvi::Features::detect(registers, config, own).map(Self::AmdVi),
        }
    }

    /// Shape of the tables that the unit walks.
    pub fn geometry(self) -> Geometry {
        match self {
            Self::Vtd(capabilities) => capabilities.geometry(),
            Self::AmdVi(features) => features.geometry(),
        }
    }

    /// Width of the largest address that a device may use, in bits.
    pub fn address_bits(self) -> u32 {
        match self {
            Self::Vtd(capabilities) => capabilities.address_bits(),
            Self::AmdVi(features) => features.address_bits(),
        }
    }

    /// How many domains it can tell apart. Identifier 0 is not given out: with it a
    /// unit may tag what is absent.
    pub const fn domains(self) -> usize {
        match self {
            Self::Vtd(capabilities) => capabilities.domains(),
            Self::AmdVi(_) => amdvi::DOMAINS,
        }
    }

    /// Whether it can send interrupts to 32-bit APIC IDs.
    pub const fn reaches_x2apic(self) -> bool {
        match self {
            Self::Vtd(capabilities) => capabilities.has_extended_interrupts(),
            Self::AmdVi(features) => features.reaches_x2apic(),
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vtd(found) => write!(f, "VT-d, capabilities {:#x}, {:#x}", found.cap, found.ecap),
            Self::AmdVi(found) => write!(f, "AMD-Vi, features {:#x}", found.features),
        }
    }
}

/// A domain's table, in the format of the unit that walks it.
pub(crate) enum Table {
    Vtd(PageTable<VtdSecondLevel>),
    AmdVi(PageTable<AmdVi>),
}

/// Does the same with a table in any format.
macro_rules! of {
    ($self:expr, $table:ident => $call:expr) => {
        match $self {
            Table::Vtd($table) => $call,
            Table::AmdVi($table) => $call,
        }
    };
}

impl Table {
    /// The table of the highest level.
    pub fn root(&self) -> Hpa {
        of!(self, table => table.root())
    }

    /// Maps a range; see [`PageTable::map`].
    pub fn map(
        &mut self,
        memory: &mut impl TableMemory,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<Changed, MapError> {
        of!(self, table => table.map(memory, gpa.0, hpa, bytes, permissions, MemoryType::WriteBack))
    }

    /// Unmaps a range; see [`PageTable::unmap`].
    pub fn unmap(
        &mut self,
        memory: &mut impl TableMemory,
        gpa: Gpa,
        bytes: u64,
    ) -> Result<Changed, MapError> {
        of!(self, table => table.unmap(memory, gpa.0, bytes))
    }

    /// Ends the table; see [`PageTable::destroy`].
    pub fn destroy(self, memory: &mut impl TableMemory) -> Changed {
        of!(self, table => table.destroy(memory))
    }
}
