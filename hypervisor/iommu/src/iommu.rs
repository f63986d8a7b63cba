//! The seam: what the rest of the hypervisor asks of an IOMMU.

use crate::{DomainId, Fault, Function, HostMsi, IommuError, RemappedInterrupt, Requester};
use spec::{Gpa, Hpa};
use tables::Permissions;

/// All units of the machine. Nothing is granted at the start.
///
/// Every call that takes something away returns only once hardware holds nothing
/// of it any more. When it fails, what it was to free stays unfreed, and calling it
/// again (or [`Iommu::flush`]) tries again.
pub trait Iommu {
    /// A domain with nothing in it, for functions behind the units that serve
    /// `functions`.
    fn create_domain(&mut self, functions: &[Requester]) -> Result<DomainId, IommuError>;

    /// Lets the domain's devices reach `bytes` bytes at `gpa`, which are at `hpa`.
    /// An error leaves the domain as it was.
    fn map(
        &mut self,
        domain: DomainId,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), IommuError>;

    /// Takes `bytes` bytes at `gpa` away from the domain's devices.
    fn unmap(&mut self, domain: DomainId, gpa: Gpa, bytes: u64) -> Result<(), IommuError>;

    /// Ends a domain to which nothing is attached, and frees its tables.
    fn destroy_domain(&mut self, domain: DomainId) -> Result<(), IommuError>;

    /// Lets the function, under all its requester IDs, do DMA in the domain.
    fn attach(&mut self, function: Function<'_>, domain: DomainId) -> Result<(), IommuError>;

    /// Blocks the function's DMA. Memory of the guest may be scrubbed and given away
    /// only after this returned with success.
    fn detach(&mut self, requester: Requester) -> Result<(), IommuError>;

    /// The domain to which a requester ID is attached, to attribute a [`Fault`].
    fn domain_of(&self, requester: Requester) -> Option<DomainId>;

    /// Grants the function `entries` interrupts, numbered from 0: its quota for as
    /// long as it lives, whichever of its requester IDs a message carries. None can be
    /// sent before [`Iommu::remap`], and none whose number is beyond what the hardware
    /// can tell apart.
    fn grant_interrupts(&mut self, function: Function<'_>, entries: u16) -> Result<(), IommuError>;

    /// Blocks and returns all interrupts of the function.
    fn revoke_interrupts(&mut self, requester: Requester) -> Result<(), IommuError>;

    /// Lets the function send `interrupt` as its interrupt `index`, in place of what
    /// it was before. The message for the device never changes for an index.
    fn remap(
        &mut self,
        requester: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
    ) -> Result<HostMsi, IommuError>;

    /// As [`Iommu::remap`], for a pin of an IOAPIC: its redirection entry, not masked. The
    /// low byte of the entry, which follows from `index` alone, names the interrupt to the
    /// IOAPIC: where it is not the vector of `interrupt`, the end of a level-triggered
    /// interrupt at a processor ends it at no pin. It stays in service there, and the pin
    /// silent, until the IOAPIC itself is told.
    fn remap_pin(
        &mut self,
        ioapic: Requester,
        index: u16,
        interrupt: RemappedInterrupt,
        active_low: bool,
    ) -> Result<u64, IommuError>;

    /// Blocks interrupt `index` of the function; it keeps its place in the quota.
    fn release(&mut self, requester: Requester, index: u16) -> Result<(), IommuError>;

    /// Flushes everything on every unit, and frees what waited for a flush that
    /// failed before.
    fn flush(&mut self) -> Result<(), IommuError>;

    /// What hardware lets the function do at present: the requester IDs under which it may do
    /// DMA, and the interrupts that it may send, added up.
    fn in_force(&self, function: Requester) -> usize;

    /// Frames that are left for more tables.
    fn frames_left(&self) -> usize;

    /// Takes the next refused transaction that hardware recorded.
    fn next_fault(&mut self) -> Option<Fault>;
}
