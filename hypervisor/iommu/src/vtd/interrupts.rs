//! The interrupt remapping table (VT-d specification sections 5.1 and 9.10): which
//! requester may send which interrupt.

use crate::{Function, IommuError, RemappedInterrupt, Requester};
use access::TableMemory;
use alloc::vec::Vec;
use platform::MessageSource;
use spec::Hpa;
use spec::apic::DeliveryMode;
use spec::vtd::{INTERRUPT_TABLE_EXTENDED, interrupt_entry as entry};

/// Entries that fill one frame; no table is smaller.
const MIN_ENTRIES: u32 = 256;
/// Entries that IRTA.S can express.
const MAX_ENTRIES: u32 = 1 << 16;
/// Vectors below this are exceptions (Intel SDM vol. 3 section 11.5.2).
const FIRST_VECTOR: u8 = 16;

/// A run of entries that belongs to one requester.
#[derive(Clone, Copy)]
pub(crate) struct Grant {
    requester: Requester,
    /// Index of the first entry.
    pub first: u16,
    entries: u16,
    /// High half of each entry: whose interrupt hardware accepts.
    verify: u64,
}

/// One unit's table, and who owns which run of it.
pub(crate) struct InterruptTable {
    base: Hpa,
    entries: u32,
    extended: bool,
    /// Ordered by their first entry; the capacity is what the Plan provides for.
    grants: Vec<Grant>,
}

impl InterruptTable {
    /// A table that lets no interrupt pass. `entries` is rounded up to a power of
    /// two, and to what a frame holds.
    pub fn new(
        memory: &mut impl TableMemory,
        entries: u32,
        grants: usize,
        extended: bool,
    ) -> Result<Self, IommuError> {
        let entries = table_entries(entries);
        let base = memory
            .allocate_contiguous(frames(entries))
            .ok_or(IommuError::Map(tables::MapError::OutOfFrames))?;
        Ok(Self { base, entries, extended, grants: Vec::with_capacity(grants) })
    }

    /// Bytes of the table, for writing it back.
    pub fn bytes(&self) -> u64 {
        u64::from(self.entries) * entry::BYTES
    }

    /// Where it is.
    pub fn base(&self) -> Hpa {
        self.base
    }

    /// Value of IRTA: address, whether destinations have 32 bits, and the size as
    /// the exponent of a power of two, less one.
    pub fn register(&self) -> u64 {
        let extended = if self.extended { INTERRUPT_TABLE_EXTENDED } else { 0 };
        self.base.0 | extended | u64::from(self.entries.trailing_zeros() - 1)
    }

    /// The run of a requester.
    pub fn grant_of(&self, requester: Requester) -> Result<Grant, IommuError> {
        let found = self.grants.iter().find(|grant| grant.requester == requester);
        found.copied().ok_or(IommuError::NotGranted(requester))
    }

    /// Reserves a run for a requester. Its entries are absent.
    pub fn grant(&mut self, function: Function<'_>, entries: u16) -> Result<(), IommuError> {
        let requester = function.requester;
        if self.grant_of(requester).is_ok() {
            return Err(IommuError::InUse(requester));
        }
        if self.grants.len() == self.grants.capacity() {
            return Err(IommuError::OutOfRecords);
        }
        let (position, first) = self.free_run(u32::from(entries)).ok_or(IommuError::OutOfInterrupts)?;
        self.grants.insert(position, Grant { requester, first, entries, verify: verify(function) });
        Ok(())
    }

    /// The first run of `entries` free entries, and its place in the order.
    fn free_run(&self, entries: u32) -> Option<(usize, u16)> {
        if entries == 0 {
            return None;
        }
        let mut free = 0;
        for (position, grant) in self.grants.iter().enumerate() {
            if free + entries <= u32::from(grant.first) {
                return Some((position, free as u16));
            }
            free = u32::from(grant.first) + u32::from(grant.entries);
        }
        (free + entries <= self.entries).then_some((self.grants.len(), free as u16))
    }

    /// Index in the table of a requester's interrupt `index`.
    pub fn entry_of(&self, requester: Requester, index: u16) -> Result<(u16, Grant), IommuError> {
        let grant = self.grant_of(requester)?;
        if index >= grant.entries {
            return Err(IommuError::InterruptIndex { index, granted: grant.entries });
        }
        Ok((grant.first + index, grant))
    }

    /// Makes a requester's entries absent. They still may be cached:
    /// [`InterruptTable::forget`] the run once they are flushed.
    pub fn clear_all(
        &self,
        memory: &mut impl TableMemory,
        coherent: bool,
        requester: Requester,
    ) -> Result<(), IommuError> {
        let grant = self.grant_of(requester)?;
        for index in 0..grant.entries {
            self.write_low(memory, coherent, grant.first + index, 0);
        }
        Ok(())
    }

    /// Gives a requester's run back. None of it may be cached any more.
    pub fn forget(&mut self, requester: Requester) {
        self.grants.retain(|grant| grant.requester != requester);
    }

    /// How many of a requester's entries let an interrupt pass.
    pub fn present(&self, memory: &impl TableMemory, requester: Requester) -> usize {
        let Ok(grant) = self.grant_of(requester) else { return 0 };
        let is_present = |index: &u16| {
            let [low, _] = self.read(memory, grant.first + index);
            low & entry::PRESENT != 0
        };
        (0..grant.entries).filter(is_present).count()
    }

    /// Low half of an entry for `interrupt`, or why hardware must not have it.
    pub fn encode(&self, interrupt: RemappedInterrupt) -> Result<u64, IommuError> {
        let RemappedInterrupt { vector, destination, mode, level } = interrupt;
        if !matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::Nmi) {
            return Err(IommuError::DeliveryMode(mode));
        }
        if vector < FIRST_VECTOR && mode != DeliveryMode::Nmi {
            return Err(IommuError::Vector(vector));
        }
        // All ones is a broadcast in either format.
        let (shift, broadcast) = if self.extended {
            (entry::EXTENDED_DESTINATION_SHIFT, u32::MAX)
        } else {
            (entry::DESTINATION_SHIFT, 0xff)
        };
        if destination >= broadcast {
            return Err(IommuError::Destination(destination));
        }
        Ok(entry::PRESENT
            | u64::from(mode as u8) << entry::MODE_SHIFT
            | if level { entry::LEVEL } else { 0 }
            | u64::from(vector) << entry::VECTOR_SHIFT
            | u64::from(destination) << shift)
    }

    /// Both halves of an entry.
    pub fn read(&self, memory: &impl TableMemory, index: u16) -> [u64; 2] {
        let at = self.at(index);
        [memory.read(at), memory.read(at + 8)]
    }

    /// Writes the half that has the present bit: the one write by which hardware
    /// sees the old entry or the new one.
    pub fn write_low(&self, memory: &mut impl TableMemory, coherent: bool, index: u16, low: u64) {
        let at = self.at(index);
        memory.write(at, low);
        if !coherent {
            memory.write_back(at, entry::BYTES);
        }
    }

    /// Fills an absent entry: first the half that hardware does not look at yet.
    pub fn fill(&self, memory: &mut impl TableMemory, coherent: bool, index: u16, [low, high]: [u64; 2]) {
        memory.write(self.at(index) + 8, high);
        self.write_low(memory, coherent, index, low);
    }

    fn at(&self, index: u16) -> Hpa {
        self.base + u64::from(index) * entry::BYTES
    }
}

impl Grant {
    /// High half of the run's entries.
    pub const fn verify(&self) -> u64 {
        self.verify
    }
}

/// Frames of a table of `entries` entries.
pub(crate) fn frames(entries: u32) -> usize {
    (u64::from(table_entries(entries)) * entry::BYTES / spec::address::PAGE_BYTES) as usize
}

fn table_entries(entries: u32) -> u32 {
    entries.clamp(MIN_ENTRIES, MAX_ENTRIES).next_power_of_two()
}

/// Whose interrupt hardware accepts: one ID exactly, or any of one bus, where a bridge from
/// PCI Express to conventional PCI may leave the IDs of what is behind it as they are.
fn verify(function: Function<'_>) -> u64 {
    match function.messages {
        MessageSource::Requester(id) => entry::VERIFY_SOURCE | u64::from(id.0),
        MessageSource::Bus(bus) => entry::VERIFY_BUS | u64::from(bus) << 8 | u64::from(bus),
    }
}
