//! What an IOMMU refused.

use crate::names::Requester;
use core::fmt;

/// What was being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FaultKind {
    /// DMA that reads.
    Read,
    /// DMA that writes.
    Write,
    /// An atomic operation.
    Atomic,
    /// DMA of which the record does not say whether it reads or writes.
    Access,
    /// An interrupt request.
    Interrupt,
}

/// One transaction that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which unit refused it.
    pub unit: usize,
    /// Whose it was, as hardware saw it.
    pub source: Requester,
    /// The address, rounded down to 4 KiB, as the device sees it (a gpa of its
    /// guest); for an interrupt what the record has of it: the index of the table
    /// entry, or the message's address.
    pub address: u64,
    /// What it was.
    pub kind: FaultKind,
    /// Why, as a sentence.
    pub reason: &'static str,
    /// Hardware's code for the reason.
    pub code: u8,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, address, reason, code, .. } = self;
        match self.kind {
            FaultKind::Read => write!(f, "{source} read {address:#x}: "),
            FaultKind::Write => write!(f, "{source} wrote {address:#x}: "),
            FaultKind::Access => write!(f, "{source} accessed {address:#x}: "),
            FaultKind::Atomic => write!(f, "{source} updated {address:#x}: "),
            FaultKind::Interrupt => write!(f, "{source} sent interrupt {address:#x}: "),
        }?;
        write!(f, "{reason} (code {code:#x})")
    }
}

/// What one look at a unit's records found.
#[derive(Default)]
pub(crate) struct Recorded {
    /// A fault.
    pub fault: Option<Fault>,
    /// The fault's requester ID has no bus number.
    pub without_bus: bool,
    /// More faults happened than there was room for.
    pub overflowed: bool,
}
