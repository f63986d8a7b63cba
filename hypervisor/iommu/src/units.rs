//! All units of the machine: which one serves whom, and the [`Iommu`] of them.

use crate::description::{UnitDescription, UnitLimits};
use crate::domain::UnitTable;
use crate::fault::Recorded;
use crate::unit::{Capabilities, Unit};
use crate::{DomainId, Fault, Function, HostMsi, Iommu, IommuError, RemappedInterrupt, Requester};
use crate::{amdvi, vtd};
use access::{Clock, ConfigSpace, RegisterWindow, TableMemory};
use alloc::vec::Vec;
use platform::remapping::{Architecture, Claim, Service, serving};
use spec::apic::MESSAGES;
use spec::{Gpa, Hpa, RequesterRange};
use tables::Permissions;

impl<R: RegisterWindow> UnitDescription<R> {
    /// The unit that the firmware's tables tell of; `map` gives its registers. Whatever is
    /// wrong with it, it keeps its place, for a Plan names units by their index.
    pub fn of(unit: &platform::remapping::Unit, map: impl Fn(Hpa, u64) -> Option<R>) -> Self {
        let map = |bytes| if unit.trouble.is_none() { map(unit.base, bytes) } else { None };
        let mut registers = map(unit.register_bytes);
        // The table may tell of fewer registers than the unit has.
        if let (Architecture::Vtd, Some(first)) = (&unit.architecture, &registers) {
            let bytes = vtd::register_bytes(first);
            if bytes > unit.register_bytes {
                registers = map(bytes);
            }
        }
        Self {
            registers,
            architecture: unit.architecture.clone(),
            segment: unit.segment,
            serves_rest: unit.serves_rest,
            requesters: unit.served().collect(),
            unsure: unit.unsure,
        }
    }

    /// Whether the unit can send interrupts to 32-bit APIC IDs, which processors in
    /// x2APIC mode have. One that cannot be driven sends nobody's.
    pub fn reaches_x2apic(&self, config: &impl ConfigSpace) -> bool {
        self.registers.is_none() || Capabilities::detect(self, config).is_ok_and(Capabilities::reaches_x2apic)
    }

    /// Frames that the unit takes at most when functions on `buses` buses are
    /// attached, besides the tables of domains.
    pub fn frames_needed(&self, limits: UnitLimits, buses: usize) -> usize {
        match self.architecture {
            _ if self.registers.is_none() => 0,
            Architecture::Vtd => vtd::frames_needed(limits, buses),
            Architecture::AmdVi(_) => amdvi::frames_needed(limits),
        }
    }
}

/// How much the Plan provides for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of each unit.
    pub unit: UnitLimits,
    /// Domains.
    pub domains: usize,
    /// Requester IDs attached at a time, aliases included.
    pub requesters: usize,
}

/// A unit, or why it is not in force.
struct Slot<R> {
    segment: u16,
    serves_rest: bool,
    requesters: Vec<RequesterRange>,
    unsure: bool,
    unit: Result<Unit<R>, IommuError>,
}

impl<R> Slot<R> {
    /// What it says about whom it serves.
    fn claim(&self) -> Claim<'_> {
        Claim {
            segment: self.segment,
            requesters: &self.requesters,
            serves_rest: self.serves_rest,
            usable: self.unit.is_ok(),
            unsure: self.unsure,
        }
    }
}

/// The machine's units, whoever made them, with the frames and the clock that they use.
pub struct Units<R, M, C> {
    units: Vec<Slot<R>>,
    memory: M,
    clock: C,
    /// For each domain, where it is in use, its tables by unit.
    domains: Vec<Domain>,
    attached: Vec<Attachment>,
    lost_faults: u64,
}

#[derive(Default)]
struct Domain {
    in_use: bool,
    tables: Vec<UnitTable>,
}

/// A requester ID that uses a domain on behalf of a function.
#[derive(Clone, Copy)]
struct Attachment {
    function: Requester,
    requester: Requester,
    domain: DomainId,
}

impl<R: RegisterWindow, M: TableMemory, C: Clock> Units<R, M, C> {
    /// Takes over every unit and denies everything. A unit that cannot be put in
    /// force is left out; [`Units::status`] tells why. Allocates all that is
    /// ever needed but table frames.
    pub fn new(
        descriptions: Vec<UnitDescription<R>>,
        mut memory: M,
        clock: C,
        config: &impl ConfigSpace,
        limits: Limits,
    ) -> Self {
        let units: Vec<Slot<R>> = descriptions
            .into_iter()
            .map(|mut description| Slot {
                segment: description.segment,
                serves_rest: description.serves_rest,
                unsure: description.unsure,
                requesters: core::mem::take(&mut description.requesters),
                unit: Unit::start(description, &mut memory, &clock, config, limits.unit),
            })
            .collect();
        let domain =
            || Domain { in_use: false, tables: units.iter().map(|_| UnitTable::default()).collect() };
        let domains = (0..limits.domains).map(|_| domain()).collect();
        let attached = Vec::with_capacity(limits.requesters);
        Self { units, memory, clock, domains, attached, lost_faults: 0 }
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is no unit.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// What unit `index` can do, or why it is not in force; `None` beyond the last.
    pub fn status(&self, index: usize) -> Option<Result<Capabilities, IommuError>> {
        let unit = &self.units.get(index)?.unit;
        Some(unit.as_ref().map(Unit::capabilities).map_err(|error| *error))
    }

    /// The unit that serves a requester: one that names it, else the one of its
    /// segment that serves the rest. `None` where that cannot be told, or is not in force.
    pub fn unit_of(&self, requester: Requester) -> Option<usize> {
        self.serving(requester).ok()
    }

    /// Has every unit send `vector` to the processor `apic_id` when it records a fault.
    /// No unit remaps that message.
    pub fn set_fault_interrupt(&mut self, config: &impl ConfigSpace, vector: u8, apic_id: u32) {
        for unit in self.units.iter_mut().filter_map(|slot| slot.unit.as_mut().ok()) {
            unit.set_fault_interrupt(config, vector, apic_id);
        }
    }

    /// How often faults were lost because too many came at a time.
    pub fn lost_faults(&self) -> u64 {
        self.lost_faults
    }

    /// The frames, for a user that shares them.
    pub fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Gives a fault the bus that its record lacks, where only one requester that is
    /// attached can be meant; else it stays with what hardware said.
    fn with_bus(&self, fault: Fault) -> Fault {
        let candidate = |attachment: &&Attachment| {
            let Requester { segment, id } = attachment.requester;
            (segment, id.devfn()) == (fault.source.segment, fault.source.id.devfn())
                && self.unit_of(attachment.requester) == Some(fault.unit)
        };
        let mut candidates = self.attached.iter().filter(candidate).map(|attachment| attachment.requester);
        let Some(first) = candidates.next() else { return fault };
        if candidates.all(|other| other == first) { Fault { source: first, ..fault } } else { fault }
    }

    fn serving(&self, requester: Requester) -> Result<usize, IommuError> {
        match serving(self.units.iter().map(Slot::claim), requester.segment, requester.id) {
            Service::By(index) => Ok(index),
            Service::Unusable(index) => Err(IommuError::UnitDown(index)),
            Service::Unsure(index) => Err(IommuError::UnsureUnit(requester, index)),
            Service::Nobody => Err(IommuError::NoUnit(requester)),
        }
    }

    /// The unit that serves `requester` with what its calls need.
    fn unit(&mut self, requester: Requester) -> Result<(&mut Unit<R>, &mut M, &C), IommuError> {
        let index = self.serving(requester)?;
        match self.units.get_mut(index) {
            Some(Slot { unit: Ok(unit), .. }) => Ok((unit, &mut self.memory, &self.clock)),
            _ => Err(IommuError::UnitDown(index)),
        }
    }

    fn domain(&mut self, domain: DomainId) -> Result<&mut Domain, IommuError> {
        self.domains.get_mut(usize::from(domain.0)).filter(|found| found.in_use).ok_or(IommuError::NoDomain)
    }

    /// Does `work` on every unit that the domain is on, even after one failed;
    /// gives the first error.
    fn on_each_unit(
        &mut self,
        domain: DomainId,
        mut work: impl FnMut(&mut UnitTable, &mut Unit<R>, &mut M, &C) -> Result<(), IommuError>,
    ) -> Result<(), IommuError> {
        self.domain(domain)?;
        let Self { units, memory, clock, domains, .. } = self;
        let Some(found) = domains.get_mut(usize::from(domain.0)) else { return Err(IommuError::NoDomain) };
        let mut result = Ok(());
        for (slot, table) in units.iter_mut().zip(&mut found.tables) {
            if let Ok(unit) = &mut slot.unit
                && !table.is_free()
            {
                result = result.and(work(table, unit, memory, clock));
            }
        }
        result
    }

    /// Attaches one requester ID; leaves nothing behind when that fails.
    fn attach_requester(&mut self, attachment: Attachment) -> Result<(), IommuError> {
        let Attachment { requester, domain, .. } = attachment;
        let index = self.serving(requester)?;
        let found = self.domain(domain)?;
        let root = found.tables.get(index).and_then(UnitTable::root);
        let root = root.ok_or(IommuError::WrongUnit(requester))?;
        let in_domain = self.attached.iter().find(|other| other.requester == requester);
        if in_domain.is_some_and(|other| other.domain != domain) {
            return Err(IommuError::InUse(requester));
        }
        if self.attached.len() == self.attached.capacity() {
            return Err(IommuError::OutOfRecords);
        }
        let shared = in_domain.is_some();
        self.attached.push(attachment);
        if shared {
            return Ok(());
        }
        let (unit, memory, clock) = self.unit(requester)?;
        unit.attach(memory, clock, requester.id, root, tag(domain))
    }
}

/// A domain's identifier on every unit. 0 is not used: see
/// [`Capabilities::domains`].
const fn tag(domain: DomainId) -> u16 {
    domain.0 + 1
}

impl<R: RegisterWindow, M: TableMemory, C: Clock> Iommu for Units<R, M, C> {
    fn create_domain(&mut self, functions: &[Requester]) -> Result<DomainId, IommuError> {
        let index = self
            .domains
            .iter()
            .position(|domain| !domain.in_use && domain.tables.iter().all(UnitTable::is_free))
            .ok_or(IommuError::OutOfDomains)?;
        let domain = DomainId(u16::try_from(index).map_err(|_| IommuError::OutOfDomains)?);
        for requester in functions {
            let unit = self.serving(*requester)?;
            let (Some(Slot { unit: Ok(unit), .. }), Some(table)) = (
                self.units.get(unit),
                self.domains.get_mut(index).and_then(|domain| domain.tables.get_mut(unit)),
            ) else {
                return Err(IommuError::UnitDown(unit));
            };
            let created = if index + 1 < unit.capabilities().domains() {
                table.create(unit, &mut self.memory)
            } else {
                Err(IommuError::OutOfDomains)
            };
            if let Some(domain) = self.domains.get_mut(index) {
                domain.in_use = true;
            }
            if let Err(error) = created {
                // What remains when this fails too is tried again by `flush`.
                let _ = self.destroy_domain(domain);
                return Err(error);
            }
        }
        if let Some(domain) = self.domains.get_mut(index) {
            domain.in_use = true;
        }
        Ok(domain)
    }

    fn map(
        &mut self,
        domain: DomainId,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), IommuError> {
        let end = gpa.0.saturating_add(bytes);
        if gpa.0 < MESSAGES.end && end > MESSAGES.start {
            return Err(IommuError::InterruptRange);
        }
        let mut mapped = 0;
        let mut failed = None;
        self.on_each_unit(domain, |table, unit, memory, clock| {
            if failed.is_none() {
                failed = table.map(unit, memory, clock, tag(domain), gpa, hpa, bytes, permissions).err();
                mapped += usize::from(failed.is_none());
            }
            Ok(())
        })?;
        let Some(error) = failed else { return Ok(()) };
        // Take it back from the units that have it.
        self.on_each_unit(domain, |table, unit, memory, clock| {
            if mapped == 0 {
                return Ok(());
            }
            mapped -= 1;
            table.unmap(unit, memory, clock, tag(domain), gpa, bytes)
        })?;
        Err(error)
    }

    fn unmap(&mut self, domain: DomainId, gpa: Gpa, bytes: u64) -> Result<(), IommuError> {
        self.on_each_unit(domain, |table, unit, memory, clock| {
            table.unmap(unit, memory, clock, tag(domain), gpa, bytes)
        })
    }

    fn destroy_domain(&mut self, domain: DomainId) -> Result<(), IommuError> {
        if self.attached.iter().any(|attachment| attachment.domain == domain) {
            return Err(IommuError::DomainInUse);
        }
        self.on_each_unit(domain, |table, unit, memory, clock| {
            table.destroy(unit, memory, clock, tag(domain))
        })?;
        self.domain(domain)?.in_use = false;
        Ok(())
    }

    fn attach(&mut self, function: Function<'_>, domain: DomainId) -> Result<(), IommuError> {
        if self.attached.iter().any(|attachment| attachment.function == function.requester) {
            return Err(IommuError::InUse(function.requester));
        }
        for requester in core::iter::once(function.requester).chain(function.others()) {
            let attachment = Attachment { function: function.requester, requester, domain };
            if let Err(error) = self.attach_requester(attachment) {
                // All requester IDs or none. What cannot be detached stays on
                // record, so that nobody else gets it.
                if self.attached.iter().any(|other| other.function == function.requester) {
                    self.detach(function.requester)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn detach(&mut self, requester: Requester) -> Result<(), IommuError> {
        let of_function = |attachment: &Attachment| attachment.function == requester;
        if !self.attached.iter().any(of_function) {
            return Err(IommuError::NotGranted(requester));
        }
        let mut result = Ok(());
        for index in (0..self.attached.len()).rev() {
            let Some(attachment) = self.attached.get(index).copied().filter(of_function) else { continue };
            let same = |other: &&Attachment| other.requester == attachment.requester;
            if self.attached.iter().filter(same).count() == 1 {
                let (unit, memory, clock) = self.unit(attachment.requester)?;
                let detached = unit.detach(memory, clock, attachment.requester.id, tag(attachment.domain));
                if detached.is_err() {
                    result = result.and(detached);
                    continue;
                }
            }
            self.attached.swap_remove(index);
        }
        result
    }

    fn domain_of(&self, requester: Requester) -> Option<DomainId> {
        let found = self.attached.iter().find(|attachment| attachment.requester == requester);
        found.map(|attachment| attachment.domain)
    }

    fn grant_interrupts(&mut self, function: Function<'_>, entries: u16) -> Result<(), IommuError> {
        let unit = self.serving(function.requester)?;
        for alias in function.others() {
            if self.serving(alias)? != unit {
                return Err(IommuError::WrongUnit(alias));
            }
        }
        let (unit, memory, clock) = self.unit(function.requester)?;
        unit.grant_interrupts(memory, clock, function, entries)
    }

    fn revoke_interrupts(&mut self, requester: Requester) -> Result<(), IommuError> {
        let (unit, memory, clock) = self.unit(requester)?;
        unit.revoke_interrupts(memory, clock, requester)
    }

    fn remap(
        &mut self,
        requester: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
    ) -> Result<HostMsi, IommuError> {
        let (unit, memory, clock) = self.unit(requester)?;
        unit.remap(memory, clock, requester, index, interrupt)?;
        unit.message(requester, index)
    }

    fn remap_pin(
        &mut self,
        ioapic: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
        active_low: bool,
    ) -> Result<u64, IommuError> {
        let (unit, memory, clock) = self.unit(ioapic)?;
        unit.remap(memory, clock, ioapic, index, interrupt)?;
        unit.redirection(ioapic, index, interrupt, active_low)
    }

    fn release(&mut self, requester: Requester, index: u16) -> Result<(), IommuError> {
        let (unit, memory, clock) = self.unit(requester)?;
        unit.release(memory, clock, requester, index)
    }

    fn flush(&mut self) -> Result<(), IommuError> {
        let Self { units, memory, clock, domains, .. } = self;
        let mut result = Ok(());
        for (index, slot) in units.iter_mut().enumerate() {
            let Ok(unit) = &mut slot.unit else { continue };
            result = result.and(unit.flush_all(memory, clock));
            for (domain, tag) in domains.iter_mut().zip(1..) {
                if let Some(table) = domain.tables.get_mut(index) {
                    result = result.and(table.settle(unit, memory, clock, tag));
                }
            }
        }
        result
    }

    fn in_force(&self, function: Requester) -> usize {
        let attached = self.attached.iter().filter(|attachment| attachment.function == function).count();
        let unit = self.unit_of(function).and_then(|index| self.units.get(index));
        let interrupts = match unit {
            Some(Slot { unit: Ok(unit), .. }) => unit.interrupts_in_force(&self.memory, function),
            _ => 0,
        };
        attached + interrupts
    }

    fn frames_left(&self) -> usize {
        self.memory.left()
    }

    fn next_fault(&mut self) -> Option<Fault> {
        let Self { units, memory, clock, .. } = self;
        let mut taken = Recorded::default();
        for (index, slot) in units.iter_mut().enumerate() {
            let Ok(unit) = &mut slot.unit else { continue };
            taken = unit.take_fault(memory, clock, index, slot.segment);
            self.lost_faults += u64::from(taken.overflowed);
            if taken.fault.is_some() {
                break;
            }
        }
        let fault = taken.fault?;
        Some(if taken.without_bus { self.with_bus(fault) } else { fault })
    }
}
