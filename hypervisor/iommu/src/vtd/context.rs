//! Root and context tables in legacy mode (VT-d specification sections 3.4, 9.1
//! and 9.3): which requester uses which second-level table.

use crate::IommuError;
use access::TableMemory;
use spec::vtd::context;
use spec::{Bdf, Hpa, address::PAGE_BYTES};
use tables::MapError;

/// One unit's root table with its context tables. A requester with no entry, on a
/// bus with a context table or without, can do no DMA.
pub(crate) struct ContextTables {
    root: Hpa,
    coherent: bool,
}

impl ContextTables {
    /// Tables in which nobody is.
    pub fn new(memory: &mut impl TableMemory, coherent: bool) -> Result<Self, IommuError> {
        let root = memory.allocate().ok_or(MapError::OutOfFrames)?;
        let tables = Self { root, coherent };
        tables.write_back(memory, root, PAGE_BYTES);
        Ok(tables)
    }

    /// Value of RTADDR: the root table, in legacy mode (TTM = 0).
    pub fn register(&self) -> u64 {
        self.root.0
    }

    /// Gives a requester the table at `root`, of `levels` levels, tagged `domain`.
    /// The half that has the present bit goes last.
    pub fn set(
        &self,
        memory: &mut impl TableMemory,
        requester: Bdf,
        root: Hpa,
        levels: u8,
        domain: u16,
    ) -> Result<(), IommuError> {
        let at = match self.entry(memory, requester) {
            Some(at) => at,
            None => self.add_bus(memory, requester)?,
        };
        memory.write(at + 8, context::high(levels, domain));
        memory.write(at, context::low(root.0));
        self.write_back(memory, at, context::ENTRY_BYTES);
        Ok(())
    }

    /// Takes a requester's table away. The other half stays until the entry is used
    /// again: hardware may be reading it.
    pub fn clear(&self, memory: &mut impl TableMemory, requester: Bdf) {
        if let Some(at) = self.entry(memory, requester) {
            memory.write(at, 0);
            self.write_back(memory, at, context::ENTRY_BYTES);
        }
    }

    /// Where the requester's entry is, if its bus has a context table.
    fn entry(&self, memory: &impl TableMemory, requester: Bdf) -> Option<Hpa> {
        let low = memory.read(self.root + u64::from(requester.bus()) * context::ENTRY_BYTES);
        let table = Hpa(low).align_down(PAGE_BYTES);
        (low & context::PRESENT != 0).then(|| table + u64::from(requester.devfn()) * context::ENTRY_BYTES)
    }

    /// Gives the requester's bus an empty context table.
    fn add_bus(&self, memory: &mut impl TableMemory, requester: Bdf) -> Result<Hpa, IommuError> {
        let table = memory.allocate().ok_or(MapError::OutOfFrames)?;
        self.write_back(memory, table, PAGE_BYTES);
        let at = self.root + u64::from(requester.bus()) * context::ENTRY_BYTES;
        memory.write(at, table.0 | context::PRESENT);
        self.write_back(memory, at, context::ENTRY_BYTES);
        Ok(table + u64::from(requester.devfn()) * context::ENTRY_BYTES)
    }

    fn write_back(&self, memory: &impl TableMemory, at: Hpa, bytes: u64) {
        if !self.coherent {
            memory.write_back(at, bytes);
        }
    }
}
