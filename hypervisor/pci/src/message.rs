//! The interrupt messages of a function that the hypervisor drives itself (PCI Express Base
//! Specification, sections 7.7.1 and 7.7.2).

use crate::capability::walk;
use access::{ConfigSpace, RegisterWindow};
use spec::Bdf;
use spec::pci_capability::{id, msi, msix};

/// Where a function's messages are told to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Messages {
    /// By MSI: one message.
    Msi {
        /// Offset of the capability.
        at: u16,
    },
    /// By the table of MSI-X.
    Msix {
        /// Offset of the capability.
        at: u16,
        /// The BAR that the table is in.
        bar: u8,
        /// How many bytes into the BAR it begins.
        table: u32,
        /// How many messages it has.
        count: u16,
    },
}

/// A part of a BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The BAR.
    pub bar: u8,
    /// How many bytes into it the part begins.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl Messages {
    /// Those of a function: MSI-X where it has both, `None` where it has neither.
    pub fn find<C: ConfigSpace + ?Sized>(config: &C, function: Bdf) -> Option<Self> {
        let mut found: Option<Self> = None;
        // A list that breaks off has said what it could.
        let _ = walk(config, function, |capability, at| {
            if capability == id::MSIX {
                let place = config.read32(function, at + msix::TABLE);
                let control = config.read16(function, at + msix::CONTROL);
                let (bar, table) = ((place & 7) as u8, place & !7);
                found = Some(Self::Msix { at, bar, table, count: (control & msix::SIZE_MASK) + 1 });
            } else if capability == id::MSI && found.is_none() {
                found = Some(Self::Msi { at });
            }
            Ok(())
        });
        found
    }

    /// How many there are that can be told apart.
    pub const fn count(&self) -> u16 {
        match self {
            Self::Msi { .. } => 1,
            Self::Msix { count, .. } => *count,
        }
    }

    /// Where in its BARs a function has what belongs to messages: the table and the pending bits of MSI-X. Nothing
    /// else is on the pages of these (section 7.7.2).
    pub fn places<C: ConfigSpace + ?Sized>(&self, config: &C, function: Bdf) -> impl Iterator<Item = Place> {
        let places = match *self {
            Self::Msi { .. } => None,
            Self::Msix { at, bar, table, count } => {
                let pending = config.read32(function, at + msix::PENDING);
                let (entries, words) = (u64::from(count), u64::from(count.div_ceil(64)));
                Some([
                    Place { bar, start: table.into(), bytes: entries * msix::ENTRY_BYTES },
                    Place {
                        bar: (pending & msix::BAR_MASK) as u8,
                        start: (pending & !msix::BAR_MASK).into(),
                        bytes: words * 8,
                    },
                ])
            }
        };
        places.into_iter().flatten()
    }

    /// Has the function send `messages` (address and data), as many as it has at most, and enables
    /// them. `table` are the registers of MSI-X's table, from its start on.
    pub fn enable<C: ConfigSpace + ?Sized>(
        &self,
        config: &C,
        function: Bdf,
        table: Option<&dyn RegisterWindow>,
        messages: &[(u64, u32)],
    ) {
        match *self {
            Self::Msi { at } => enable_msi(config, function, at, messages),
            Self::Msix { at, count, .. } => {
                // Entries that nobody fills stay masked.
                config.write16(function, at + msix::CONTROL, msix::ENABLE | msix::FUNCTION_MASK);
                let Some(table) = table else { return };
                for (index, &(address, data)) in messages.iter().take(count.into()).enumerate() {
                    let entry = index * msix::ENTRY_BYTES as usize;
                    table.write32(entry + 12, msix::ENTRY_MASKED);
                    table.write32(entry, address as u32);
                    table.write32(entry + 4, (address >> 32) as u32);
                    table.write32(entry + 8, data);
                    table.write32(entry + 12, 0);
                }
                config.write16(function, at + msix::CONTROL, msix::ENABLE);
            }
        }
    }
}

fn enable_msi<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, at: u16, messages: &[(u64, u32)]) {
    let Some(&(address, data)) = messages.first() else { return };
    let control = config.read16(function, at + msi::CONTROL);
    let control = control & !(msi::ENABLE | msi::COUNT_MASK << msi::ENABLED_SHIFT);
    config.write16(function, at + msi::CONTROL, control);
    config.write32(function, at + msi::ADDRESS, address as u32);
    let is_wide = control & msi::WIDE_ADDRESS != 0;
    if is_wide {
        config.write32(function, at + msi::ADDRESS_HIGH, (address >> 32) as u32);
    }
    let behind = if is_wide { msi::ADDRESS_HIGH } else { msi::ADDRESS } + 4;
    config.write16(function, at + behind, data as u16);
    if control & msi::MASKABLE != 0 {
        config.write32(function, at + behind + 4, !1);
    }
    config.write16(function, at + msi::CONTROL, control | msi::ENABLE);
}
