//! What one unit can do (sections 3.2 and 3.4.9). Units of one machine differ.

use crate::IommuError;
use crate::emulators;
use access::{ConfigSpace, RegisterWindow};
use platform::remapping::AmdVi;
use spec::amdvi::{capability, feature, register};
use spec::pci_config::VENDOR_ID;
use tables::{Geometry, PageSize};

/// Levels of every table: they cover every guest's layout, and every unit has them.
const LEVELS: u8 = 4;

/// A unit's features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// The extended feature register; 0 where the unit has none.
    pub features: u64,
    /// The header of its capability block.
    pub capability: u32,
    /// It snoops what processors have in their caches.
    pub coherent: bool,
    /// Its events are those of QEMU; see [`super::events`].
    pub qemu_events: bool,
}

impl Features {
    /// Reads the registers, and checks that the unit is there and has what isolation
    /// needs.
    pub fn detect(
        registers: &impl RegisterWindow,
        config: &impl ConfigSpace,
        own: &AmdVi,
    ) -> Result<Self, IommuError> {
        if registers.read64(register::CONTROL) == u64::MAX {
            return Err(IommuError::Lacks("registers: nothing answers at its address"));
        }
        let header = config.read32(own.function, own.capability);
        if header & capability::ID_MASK != capability::IOMMU {
            return Err(IommuError::Lacks("a capability block in its PCI function"));
        }
        let has_features = header & capability::EXTENDED_FEATURES != 0;
        let found = Self {
            features: if has_features { registers.read64(register::EXTENDED_FEATURES) } else { 0 },
            capability: header,
            coherent: own.coherent,
            qemu_events: emulators::is_qemus_unit(config.read32(own.function, VENDOR_ID)),
        };
        match feature::most_levels(found.features) {
            Some(_) => Ok(found),
            None => Err(IommuError::Lacks("host page tables of a depth that is known")),
        }
    }

    fn has(self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Shape of the tables that the unit walks. Every unit takes pages of every size.
    pub fn geometry(self) -> Geometry {
        Geometry {
            levels: LEVELS,
            max_page: PageSize::Size1GiB,
            small_code: false,
            coherent: self.coherent,
            force_snoop: true,
        }
    }

    /// Width of the largest address that a device may use, in bits.
    pub fn address_bits(self) -> u32 {
        self.geometry().input_bits()
    }

    /// Whether the unit may cache that something is absent.
    pub const fn caches_absent(self) -> bool {
        self.capability & capability::CACHES_ABSENT != 0
    }

    /// Whether one command invalidates everything.
    pub fn invalidates_all(self) -> bool {
        self.has(feature::INVALIDATE_ALL)
    }

    /// Whether interrupt entries can have 128 bits.
    pub fn has_wide_entries(self) -> bool {
        self.has(feature::WIDE_INTERRUPT_ENTRIES)
    }

    /// Whether it takes page requests.
    pub fn has_page_requests(self) -> bool {
        self.has(feature::PPR)
    }

    /// Whether it can send interrupts to 32-bit APIC IDs; only wide entries hold them.
    pub const fn reaches_x2apic(self) -> bool {
        let both = feature::X2APIC | feature::WIDE_INTERRUPT_ENTRIES;
        self.features & both == both
    }
}
