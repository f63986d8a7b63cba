//! BARs in the guest's nested tables: those of the machine's functions, and the memory of emulated ones.

use super::mapped::Mapped;
use super::{AssignedBus, Assignment};
use crate::bus_function::BusFunction;
use crate::host::Host;
use crate::mailbox;
use crate::partition::{HOUSEKEEPING, Partition};
use access::{Clock, ConfigSpace, RegisterWindow};
use iommu::Iommu;
use pci::BarKind;
use spec::{Gpa, Hpa};
use tables::{MapError, MemoryType, Permissions};
use vpci::{Bar, PciFunction, Slot};

/// The note of where a BAR is mapped.
fn note<'a>(
    assignments: &'a mut [Assignment],
    shared: &'a mut [Mapped],
    slot: Slot,
    bar: u8,
) -> Option<&'a mut Option<Gpa>> {
    let places = match assignments.iter_mut().find(|assignment| assignment.slot == slot) {
        Some(assignment) => &mut assignment.mapped,
        None => &mut shared.iter_mut().find(|mapped| mapped.slot == slot)?.at,
    };
    places.get_mut(usize::from(bar))
}

impl<C, W, I, T> AssignedBus<C, W, I, T>
where
    C: ConfigSpace,
    W: RegisterWindow,
    I: Iommu,
    T: Clock,
{
    pub(super) fn map_bar<H: Host<Bus = Self>>(
        &mut self,
        partition: &Partition<H>,
        slot: Slot,
        bar: u8,
        gpa: Gpa,
    ) -> Result<(), MapError> {
        let found = self.bus.function(slot).and_then(|function| *function.bars().get(usize::from(bar))?);
        // Registers of an emulated function are not mapped.
        let Some(Bar { host: Some(host), kind, .. }) = found else { return Ok(()) };
        self.reclaim(partition);
        let Self { bus, nested, assignments, shared, .. } = self;
        let Some(function) = bus.function(slot) else { return Ok(()) };
        // A ROM is a copy in memory, and behind an emulated function is nothing but memory.
        let (permissions, memory_type) = match (kind, function) {
            (BarKind::Rom, _) => (Permissions::READ, MemoryType::WriteBack),
            (_, BusFunction::Emulated { .. }) => (Permissions::READ_WRITE, MemoryType::WriteBack),
            (_, BusFunction::PassedThrough(_)) => (Permissions::READ_WRITE, MemoryType::Uncached),
        };
        // Before the first page: should a later one fail, all are taken back together.
        if let Some(place) = note(assignments, shared, slot, bar) {
            *place = Some(gpa);
        }
        for range in function.direct_ranges(bar) {
            let (input, output) = (gpa + range.offset, Hpa(host.0 + range.offset));
            nested.map(input, output, range.bytes, permissions, memory_type)?;
        }
        Ok(())
    }

    /// The function's decode stays on in the machine, so a processor that has not
    /// flushed yet reaches nothing but what its guest owns; its note is taken before
    /// it enters the guest again.
    pub(super) fn unmap_bar<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>, slot: Slot, bar: u8) {
        let Self { bus, nested, assignments, shared, .. } = self;
        let Some(gpa) = note(assignments, shared, slot, bar).and_then(Option::take) else { return };
        let Some(function) = bus.function(slot) else { return };
        for range in function.direct_ranges(bar) {
            // What was not mapped, because its mapping failed halfway, stays so.
            let _ = nested.unmap(gpa + range.offset, range.bytes);
        }
        for vcpu in 0..partition.mailboxes.len() {
            partition.notify(HOUSEKEEPING, vcpu, mailbox::FLUSH);
        }
    }

    /// Gives retired frames back once every processor has taken its FLUSH note.
    fn reclaim<H: Host<Bus = Self>>(&mut self, partition: &Partition<H>) {
        if !self.is_flush_due(partition) {
            self.nested.flushed();
        }
    }
}
