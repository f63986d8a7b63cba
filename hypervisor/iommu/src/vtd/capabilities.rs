//! What one unit can do (VT-d specification sections 11.4.2 and 11.4.3). Units of
//! one machine differ.

use crate::IommuError;
use access::RegisterWindow;
use spec::address::PAGE_BYTES;
use spec::vtd::{capability as cap, descriptor, extended as ecap, fault_record, register};
use tables::{Geometry, PageSize};

/// A unit's capability registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// CAP.
    pub cap: u64,
    /// ECAP.
    pub ecap: u64,
}

/// Bytes of registers that a unit says it has, whole pages: where its fault records and its
/// IOTLB registers are is up to it (sections 11.4.2 and 11.4.3). 0 where nothing answers.
pub(crate) fn register_bytes(registers: &impl RegisterWindow) -> u64 {
    let version = registers.read32(register::VERSION);
    if version == 0 || version == u32::MAX {
        return 0;
    }
    let found = registers.read64(register::CAPABILITY);
    let records = cap::fault_records_offset(found) + cap::fault_records(found) * fault_record::BYTES;
    let iotlb = ecap::iotlb_offset(registers.read64(register::EXTENDED_CAPABILITY)) + ecap::IOTLB_BYTES;
    (records.max(iotlb) as u64).next_multiple_of(PAGE_BYTES)
}

impl Capabilities {
    /// Reads the registers, and checks that the unit is there and has what isolation
    /// needs.
    pub fn detect(registers: &impl RegisterWindow) -> Result<Self, IommuError> {
        let version = registers.read32(register::VERSION);
        if version == 0 || version == u32::MAX {
            return Err(IommuError::Lacks("registers: nothing answers at its address"));
        }
        let found = Self {
            cap: registers.read64(register::CAPABILITY),
            ecap: registers.read64(register::EXTENDED_CAPABILITY),
        };
        if found.ecap & ecap::QUEUED_INVALIDATION == 0 {
            return Err(IommuError::Lacks("queued invalidation"));
        }
        if found.ecap & ecap::INTERRUPT_REMAPPING == 0 {
            return Err(IommuError::Lacks("interrupt remapping"));
        }
        if found.levels().is_none() {
            return Err(IommuError::Lacks("second-level tables of 3, 4 or 5 levels"));
        }
        Ok(found)
    }

    /// Levels of its tables: 4 if it can, since they cover every guest's layout.
    fn levels(self) -> Option<u8> {
        [4, 3, 5].into_iter().find(|levels| cap::has_levels(self.cap, *levels))
    }

    /// Shape of the tables that the unit walks.
    pub fn geometry(self) -> Geometry {
        let max_page = if self.cap & cap::PAGES_2_MIB == 0 {
            PageSize::Size4KiB
        } else if self.cap & cap::PAGES_1_GIB == 0 {
            PageSize::Size2MiB
        } else {
            PageSize::Size1GiB
        };
        Geometry {
            levels: self.levels().unwrap_or(4),
            max_page,
            small_code: false,
            coherent: self.is_coherent(),
            force_snoop: self.ecap & ecap::SNOOP_CONTROL != 0,
        }
    }

    /// Width of the largest address that a device may use, in bits.
    pub fn address_bits(self) -> u32 {
        cap::address_bits(self.cap).min(self.geometry().input_bits())
    }

    /// Whether the unit sees what processors have in their caches.
    pub const fn is_coherent(self) -> bool {
        self.ecap & ecap::COHERENT != 0
    }

    /// Whether the unit may cache that something is absent.
    pub const fn caches_absent(self) -> bool {
        self.cap & cap::CACHING_MODE != 0
    }

    /// Whether its write buffers must be flushed after an update of its tables.
    pub const fn needs_write_buffer_flush(self) -> bool {
        self.cap & cap::WRITE_BUFFER_FLUSH != 0
    }

    /// Whether it can send interrupts to 32-bit APIC IDs.
    pub const fn has_extended_interrupts(self) -> bool {
        self.ecap & ecap::EXTENDED_INTERRUPTS != 0
    }

    /// How many domains it can tell apart. Identifier 0 is not given out: a unit in
    /// caching mode tags with it what is absent (section 6.1).
    pub const fn domains(self) -> usize {
        1 << (4 + 2 * cap::domains_code(self.cap))
    }

    /// Bits that make an IOTLB invalidation wait for DMA that is under way.
    pub const fn drain(self) -> u64 {
        let reads = if self.cap & cap::DRAIN_READS != 0 { descriptor::DRAIN_READS } else { 0 };
        let writes = if self.cap & cap::DRAIN_WRITES != 0 { descriptor::DRAIN_WRITES } else { 0 };
        reads | writes
    }
}
