//! Interrupt tables (section 2.2.5): one for each function, shared only by functions
//! that have a requester ID in common, as behind a bridge to conventional PCI. No
//! message of anybody else can so much as name an entry of it.

use super::device_table::DeviceTable;
use crate::{Function, IommuError, RemappedInterrupt, Requester};
use access::TableMemory;
use alloc::vec::Vec;
use spec::amdvi::device_entry::interrupts as quarter;
use spec::amdvi::interrupt_entry as entry;
use spec::apic::DeliveryMode;
use spec::{Bdf, Hpa, address::PAGE_BYTES};
use tables::MapError;

/// Vectors below this are exceptions (AMD APM vol. 2 section 16.6).
const FIRST_VECTOR: u8 = 16;
/// Entries of a table at least: one frame of wide ones.
const MIN_ENTRIES: u32 = 256;

/// Format of a unit's entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    /// 32 bits, to 8-bit APIC IDs.
    Narrow,
    /// 128 bits, to 8-bit APIC IDs.
    Wide,
    /// 128 bits, to 32-bit APIC IDs.
    X2apic,
}

/// An entry that is ready to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Narrow(u32),
    Wide([u64; 2]),
}

/// A run of entries that belongs to one function.
pub(crate) struct Grant {
    requester: Requester,
    /// Every ID under which its messages arrive.
    pub ids: Vec<Bdf>,
    table: Hpa,
    /// Index of the first entry, a multiple of the run's length.
    pub first: u16,
    granted: u16,
    /// Length of the run: a power of two, as a function with several MSI messages puts
    /// their numbers into the low bits of the data.
    entries: u16,
}

/// A table, and how large it is.
#[derive(Clone, Copy)]
struct Table {
    base: Hpa,
    entries: u32,
}

/// One unit's interrupt tables, and who owns which run of which.
pub(crate) struct InterruptTables {
    width: Width,
    coherent: bool,
    tables: Vec<Table>,
    /// Their capacity is what the Plan provides for.
    grants: Vec<Grant>,
}

/// Frames of the tables for `sources` functions with `interrupts` entries together.
pub(crate) fn frames(interrupts: u32, sources: usize) -> usize {
    // Runs and tables are rounded up to powers of two; a table's frames are aligned to
    // their own size.
    4 * (interrupts / MIN_ENTRIES) as usize + 2 * sources
}

impl InterruptTables {
    /// No tables.
    pub fn new(width: Width, sources: usize, coherent: bool) -> Self {
        Self { width, coherent, tables: Vec::with_capacity(sources), grants: Vec::with_capacity(sources) }
    }

    /// What a function was granted.
    pub fn grant_of(&self, requester: Requester) -> Result<&Grant, IommuError> {
        let found = self.grants.iter().find(|grant| grant.requester == requester);
        found.ok_or(IommuError::NotGranted(requester))
    }

    /// Reserves a run for a function and leads its messages there; at most as long as a
    /// message's data can tell apart. Its entries are absent. Device table entries that block may be cached: they are to be flushed.
    pub fn grant(
        &mut self,
        memory: &mut impl TableMemory,
        devices: &DeviceTable,
        function: Function<'_>,
        entries: u16,
    ) -> Result<(), IommuError> {
        let requester = function.requester;
        if self.grant_of(requester).is_ok() {
            return Err(IommuError::InUse(requester));
        }
        if self.grants.len() == self.grants.capacity() {
            return Err(IommuError::OutOfRecords);
        }
        if entries == 0 {
            return Err(IommuError::OutOfInterrupts);
        }
        let granted = entries.min(entry::MOST as u16);
        let entries = granted.next_power_of_two();
        let mut ids = Vec::from([requester.id]);
        ids.extend(function.others().map(|other| other.id));
        let table = match self.shared_table(memory, devices, &ids, requester)? {
            Some(table) => table,
            None => self.new_table(memory, entries)?,
        };
        let first = self.free_run(table, entries).ok_or(IommuError::OutOfInterrupts)?;
        let lead = quarter::remap(table.base.0, table.entries.trailing_zeros());
        for id in &ids {
            devices.set_interrupts(memory, *id, lead)?;
        }
        self.grants.push(Grant { requester, ids, table: table.base, first, granted, entries });
        Ok(())
    }

    /// The table to which one of `ids` leads already.
    fn shared_table(
        &self,
        memory: &impl TableMemory,
        devices: &DeviceTable,
        ids: &[Bdf],
        requester: Requester,
    ) -> Result<Option<Table>, IommuError> {
        let mut shared = None;
        for id in ids {
            let Some(base) = quarter::table(devices.interrupts(memory, *id)?) else { continue };
            match shared {
                Some(other) if other != base => return Err(IommuError::InUse(requester)),
                _ => shared = Some(base),
            }
        }
        Ok(self.tables.iter().find(|table| Some(table.base.0) == shared).copied())
    }

    /// A table in which no entry is present.
    fn new_table(&mut self, memory: &mut impl TableMemory, entries: u16) -> Result<Table, IommuError> {
        let entries = u32::from(entries).max(MIN_ENTRIES);
        let frames = self.frames_of(entries);
        let base = memory.allocate_contiguous(frames).ok_or(MapError::OutOfFrames)?;
        if !self.coherent {
            memory.write_back(base, frames as u64 * PAGE_BYTES);
        }
        let table = Table { base, entries };
        self.tables.push(table);
        Ok(table)
    }

    fn frames_of(&self, entries: u32) -> usize {
        (u64::from(entries) * self.entry_bytes()).div_ceil(PAGE_BYTES) as usize
    }

    const fn entry_bytes(&self) -> u64 {
        match self.width {
            Width::Narrow => entry::NARROW_BYTES,
            Width::Wide | Width::X2apic => entry::WIDE_BYTES,
        }
    }

    /// The first run of `entries` free entries of a table that starts at a multiple of
    /// them.
    fn free_run(&self, table: Table, entries: u16) -> Option<u16> {
        let in_table = || self.grants.iter().filter(|grant| grant.table == table.base);
        let is_free = |first: &u16| {
            in_table().all(|other| first + entries <= other.first || other.first + other.entries <= *first)
        };
        (0..table.entries as u16).step_by(entries.into()).find(is_free)
    }

    /// Makes a function's entries absent, and blocks the messages of each ID that no
    /// other function has, too. All of it still may be cached:
    /// [`InterruptTables::forget`] the run once it is flushed.
    pub fn clear_all(
        &self,
        memory: &mut impl TableMemory,
        devices: &DeviceTable,
        requester: Requester,
    ) -> Result<(), IommuError> {
        let grant = self.grant_of(requester)?;
        for index in 0..grant.granted {
            self.write(memory, grant, index, self.absent());
        }
        let others = || self.grants.iter().filter(|other| other.requester != requester);
        for id in grant.ids.iter().filter(|id| !others().any(|other| other.ids.contains(id))) {
            devices.set_interrupts(memory, *id, quarter::BLOCKED)?;
        }
        Ok(())
    }

    /// Gives a function's run back, and with the last run the table. None of it may be
    /// cached any more.
    pub fn forget(&mut self, memory: &mut impl TableMemory, requester: Requester) {
        let Some(at) = self.grants.iter().position(|grant| grant.requester == requester) else { return };
        let base = self.grants.swap_remove(at).table;
        if self.grants.iter().any(|other| other.table == base) {
            return;
        }
        if let Some(at) = self.tables.iter().position(|table| table.base == base) {
            let table = self.tables.swap_remove(at);
            for frame in 0..self.frames_of(table.entries) as u64 {
                memory.free(table.base + frame * PAGE_BYTES);
            }
        }
    }

    /// How many of a function's entries let an interrupt pass.
    pub fn present(&self, memory: &impl TableMemory, requester: Requester) -> usize {
        let Ok(grant) = self.grant_of(requester) else { return 0 };
        (0..grant.granted).filter(|index| self.read(memory, grant, *index) != self.absent()).count()
    }

    /// An entry for `interrupt`, or why hardware must not have it.
    pub fn encode(&self, interrupt: RemappedInterrupt) -> Result<Entry, IommuError> {
        let RemappedInterrupt { vector, destination, mode, .. } = interrupt;
        let kind = match mode {
            DeliveryMode::Fixed => 0,
            DeliveryMode::LowestPriority => entry::ARBITRATED,
            _ => return Err(IommuError::DeliveryMode(mode)),
        };
        if vector < FIRST_VECTOR {
            return Err(IommuError::Vector(vector));
        }
        // All ones is a broadcast in every format.
        let broadcast = if self.width == Width::X2apic { u32::MAX } else { 0xff };
        if destination >= broadcast {
            return Err(IommuError::Destination(destination));
        }
        Ok(match self.width {
            Width::Narrow => Entry::Narrow(entry::narrow(kind, vector, destination as u8)),
            Width::Wide | Width::X2apic => Entry::Wide(entry::wide(kind, vector, destination)),
        })
    }

    /// What sends nothing.
    pub const fn absent(&self) -> Entry {
        match self.width {
            Width::Narrow => Entry::Narrow(0),
            Width::Wide | Width::X2apic => Entry::Wide([0; 2]),
        }
    }

    /// Entry `index` of a function's run.
    pub fn read(&self, memory: &impl TableMemory, grant: &Grant, index: u16) -> Entry {
        let at = self.at(grant, index);
        match self.width {
            Width::Narrow => Entry::Narrow((memory.read(at.align_down(8)) >> (8 * (at.0 & 4))) as u32),
            Width::Wide | Width::X2apic => Entry::Wide([memory.read(at), memory.read(at + 8)]),
        }
    }

    /// Replaces an entry so that hardware sees the old one or the new one. A narrow
    /// one's neighbour is written again as it is: hardware writes neither.
    pub fn write(&self, memory: &mut impl TableMemory, grant: &Grant, index: u16, entry: Entry) {
        let at = self.at(grant, index);
        match entry {
            Entry::Narrow(value) => {
                let (word, shift) = (at.align_down(8), 8 * (at.0 & 4));
                let neighbour = memory.read(word) & !(u64::from(u32::MAX) << shift);
                memory.write(word, neighbour | u64::from(value) << shift);
            }
            Entry::Wide(halves) => memory.write_pair(at, halves),
        }
        if !self.coherent {
            memory.write_back(at, self.entry_bytes());
        }
    }

    fn at(&self, grant: &Grant, index: u16) -> Hpa {
        grant.table + (u64::from(grant.first) + u64::from(index)) * self.entry_bytes()
    }
}

impl Grant {
    /// Checks that the function was granted an interrupt `index`.
    pub fn check(&self, index: u16) -> Result<(), IommuError> {
        let granted = self.granted;
        if index < granted { Ok(()) } else { Err(IommuError::InterruptIndex { index, granted }) }
    }
}
