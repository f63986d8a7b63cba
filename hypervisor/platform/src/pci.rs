//! PCI functions of the machine (PCI Express Base Specification 6.0, chapter 7).

mod bar;
mod capability;
pub mod quirks;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
mod window;

use crate::names::{DeviceId, DevicePath};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::{Bdf, Hpa};

pub use capability::{AccessControl, Capabilities, Express, Msi, Msix, PortType, SrIov};
pub(crate) use scan::scan;
pub use window::Window;

/// A function as the scan found it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Function {
    /// Its address, which is its requester ID too.
    pub bdf: Bdf,
    /// Its path from the root, which does not change when buses are numbered anew.
    pub path: DevicePath,
    /// Vendor and device ID.
    pub id: DeviceId,
    /// Class, subclass and programming interface, the class in bits 16 to 23.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor and device ID; `None` for bridges.
    pub subsystem: Option<DeviceId>,
    /// Its device has several functions.
    pub multifunction: bool,
    /// Buses behind it; `None` if it is no bridge.
    pub bridge: Option<Buses>,
    /// The addresses that it claims for what is behind it.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// The layout of its header: 0 a function, 1 a bridge, 2 a CardBus bridge. Older board
    /// files do not have it and leave 0.
    #[serde(default)]
    pub header: u8,
    /// The physical function of which it is a virtual one; `None` for all others. The scan
    /// sees no virtual functions: they exist only while the physical one's driver says so.
    #[serde(default)]
    pub physical: Option<Bdf>,
    /// The bridge that it is behind; `None` on a root bus.
    pub parent: Option<Bdf>,
    /// Base address registers that decode something. Those of bridges and host
    /// bridges are not looked at.
    pub bars: Vec<Bar>,
    /// Bytes of the expansion ROM, 0 for none.
    pub rom_bytes: u32,
    /// Legacy interrupt; `None` if it uses none.
    pub interrupt: Option<LegacyInterrupt>,
    /// The global system interrupt of its pin, where an operating system that ran on the
    /// machine told it; the scan cannot see it.
    #[serde(default)]
    pub gsi: Option<u32>,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl Function {
    /// Class and subclass, as `class << 8 | subclass`.
    pub fn class_code(&self) -> u16 {
        (self.class >> 8) as u16
    }
    /// Whether it is a bridge of any kind (class 6), host bridges included.
    pub fn is_bridge(&self) -> bool {
        self.bridge.is_some() || self.class >> 16 == 6
    }
    /// Whether it resets alone, by a function-level reset.
    pub fn has_function_level_reset(&self) -> bool {
        self.capabilities.advanced_features_reset
            || self.capabilities.express.is_some_and(|express| express.function_level_reset)
    }
    /// Whether it can be reset without its neighbours: by a function-level reset, or by a
    /// power state that loses its own. `None` where an older board file does not say.
    pub fn resets_alone(&self) -> Option<bool> {
        match (self.has_function_level_reset(), self.capabilities.power_management) {
            (true, _) => Some(true),
            (false, None) => Some(false),
            (false, Some(_)) => self.capabilities.power_reset,
        }
    }
    /// What kind of PCI Express port it is; `None` for conventional PCI.
    pub fn port(&self) -> Option<PortType> {
        self.capabilities.express.map(|express| express.port)
    }
    /// Whether it leads to a link, on which there is one device, rather than to a bus.
    pub fn is_link(&self) -> bool {
        self.bridge.is_some() && matches!(self.port(), Some(PortType::RootPort | PortType::DownstreamPort))
    }
}

/// Bus numbers of a bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Buses {
    /// The bus right behind it.
    pub secondary: u8,
    /// The last bus behind it.
    pub subordinate: u8,
}

/// A legacy interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LegacyInterrupt {
    /// Pin, 0 for INTA to 3 for INTD.
    pub pin: u8,
    /// The interrupt line register: what the firmware routed it to with PICs.
    pub line: u8,
}

/// What a base address register decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarKind {
    /// I/O ports.
    Port,
    /// Memory with a 32-bit address.
    Memory32,
    /// Memory with a 64-bit address: the next register is its upper half.
    Memory64,
}

/// A base address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bar {
    /// Its number, 0 to 5.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// Reads of it have no side effects.
    pub prefetchable: bool,
    /// Where the firmware placed it; a port number for ports. 0 means nowhere.
    pub address: Hpa,
    /// How much it decodes, a power of two.
    pub bytes: u64,
}

impl Bar {
    /// Whether it decodes memory.
    pub fn is_memory(&self) -> bool {
        self.kind != BarKind::Port
    }
    /// The first and last 4 KiB page, as page numbers, that a memory BAR reaches;
    /// `None` where it has no address.
    pub fn pages(&self) -> Option<(u64, u64)> {
        let last = self.address.0.checked_add(self.bytes.checked_sub(1)?)?;
        (self.is_memory() && self.address.0 != 0).then_some((self.address.0 >> 12, last >> 12))
    }
}
