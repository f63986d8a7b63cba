//! The device table (section 2.2.2): whose DMA goes through which page table, and whose
//! interrupts through which interrupt table.

use crate::IommuError;
use access::TableMemory;
use spec::amdvi::device_entry::{self as entry, interrupts};
use spec::amdvi::device_table_base;
use spec::{Bdf, Hpa, address::PAGE_BYTES};
use tables::MapError;

/// Entries of one bus.
const BUS_BYTES: u64 = 256 * entry::BYTES;
/// Levels of the table that leads nowhere.
const LEVELS: u8 = 4;

/// One unit's device table. An entry that is not granted anything is valid and blocks.
pub(crate) struct DeviceTable {
    base: Hpa,
    buses: u16,
    /// A page table with nothing in it. The bits that allow reads and writes would do to
    /// block; this makes it certain where they are not looked at.
    nothing: Hpa,
    coherent: bool,
}

/// Frames of a device table for `buses` buses, aligned as they must be, with the table
/// that leads nowhere.
pub(crate) const fn frames(buses: u16) -> usize {
    (buses as u64 * BUS_BYTES / PAGE_BYTES) as usize + 1
}

impl DeviceTable {
    /// A table in which everybody is blocked.
    pub fn new(memory: &mut impl TableMemory, buses: u16, coherent: bool) -> Result<Self, IommuError> {
        let buses = buses.clamp(1, 256);
        let nothing = memory.allocate().ok_or(MapError::OutOfFrames)?;
        let bytes = u64::from(buses) * BUS_BYTES;
        let Some(base) = memory.allocate_contiguous((bytes / PAGE_BYTES) as usize) else {
            memory.free(nothing);
            return Err(MapError::OutOfFrames.into());
        };
        let table = Self { base, buses, nothing, coherent };
        for at in (0..bytes).step_by(entry::BYTES as usize) {
            memory.write(base + at + 16, interrupts::BLOCKED);
            memory.write(base + at, entry::blocked(nothing.0, LEVELS));
        }
        if !coherent {
            memory.write_back(nothing, PAGE_BYTES);
            memory.write_back(base, bytes);
        }
        Ok(table)
    }

    /// Value of its base register. Requesters beyond its end are blocked by hardware.
    pub fn register(&self) -> u64 {
        device_table_base(self.base.0, u64::from(self.buses) * BUS_BYTES)
    }

    /// Every requester ID that has an entry.
    pub fn requesters(&self) -> impl Iterator<Item = u16> + use<> {
        0..=(u32::from(self.buses) * 256 - 1) as u16
    }

    /// Lets messages of a requester through that are neither DMA nor interrupts of a
    /// device's own: NMI, INIT, the pins of the old interrupt controllers, and system
    /// management, as the firmware asks for its chips. They end when the requester is
    /// granted anything.
    pub fn pass_signals(
        &self,
        memory: &mut impl TableMemory,
        requester: Bdf,
        setting: u8,
    ) -> Result<(), IommuError> {
        let at = self.entry(requester)?;
        memory.write(at + 8, entry::system_management(setting));
        memory.write(at + 16, interrupts::signals(setting));
        self.write_back(memory, at);
        Ok(())
    }

    /// Gives a blocked requester the table at `root`, tagged `domain`. The quarter that
    /// allows anything goes last.
    pub fn allow_dma(
        &self,
        memory: &mut impl TableMemory,
        requester: Bdf,
        root: Hpa,
        levels: u8,
        domain: u16,
    ) -> Result<(), IommuError> {
        let at = self.entry(requester)?;
        if interrupts::table(memory.read(at + 16)).is_none() {
            memory.write(at + 16, interrupts::BLOCKED);
        }
        memory.write(at + 8, entry::domain(domain));
        memory.write(at, entry::translate(root.0, levels));
        self.write_back(memory, at);
        Ok(())
    }

    /// Blocks a requester's DMA; what is cached from here on is of domain 0.
    pub fn block_dma(&self, memory: &mut impl TableMemory, requester: Bdf) -> Result<(), IommuError> {
        let at = self.entry(requester)?;
        memory.write(at, entry::blocked(self.nothing.0, LEVELS));
        memory.write(at + 8, entry::domain(0));
        self.write_back(memory, at);
        Ok(())
    }

    /// What becomes of a requester's interrupts: the entry's third quarter.
    pub fn interrupts(&self, memory: &impl TableMemory, requester: Bdf) -> Result<u64, IommuError> {
        Ok(memory.read(self.entry(requester)? + 16))
    }

    /// Sets the entry's third quarter, which holds all about interrupts, by one write.
    pub fn set_interrupts(
        &self,
        memory: &mut impl TableMemory,
        requester: Bdf,
        quarter: u64,
    ) -> Result<(), IommuError> {
        let at = self.entry(requester)?;
        memory.write(at + 16, quarter);
        self.write_back(memory, at);
        Ok(())
    }

    fn entry(&self, requester: Bdf) -> Result<Hpa, IommuError> {
        if u16::from(requester.bus()) < self.buses {
            Ok(self.base + u64::from(requester.0) * entry::BYTES)
        } else {
            Err(IommuError::Lacks("an entry in its device table for that bus"))
        }
    }

    fn write_back(&self, memory: &impl TableMemory, at: Hpa) {
        if !self.coherent {
            memory.write_back(at, entry::BYTES);
        }
    }
}
