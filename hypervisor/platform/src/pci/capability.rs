//! What a function says it can do (PCI Express Base Specification 6.0, sections
//! 7.5.3 and 7.6 to 7.9).

use super::quirks::has_doubleword_access_control;
use crate::finding::{Findings, finding};
use crate::names::DeviceId;
use ::pci::capability::{CapabilityFault, walk, walk_extended};
use access::ConfigSpace;
use serde::{Deserialize, Serialize};
use spec::Bdf;
use spec::pci_capability::{access_control, advanced_features, express, extended_id, id, msi, msix, power};
use spec::pci_config::{DEVICE_ID, VENDOR_ID};

/// The capabilities that matter for passing a function through.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Message signalled interrupts.
    pub msi: Option<Msi>,
    /// Message signalled interrupts with a table.
    pub msix: Option<Msix>,
    /// PCI Express.
    pub express: Option<Express>,
    /// Offset of the power management capability.
    pub power_management: Option<u16>,
    /// Whether the way from D3hot to D0 resets it; `None` without power management, and in
    /// older board files.
    #[serde(default)]
    pub power_reset: Option<bool>,
    /// A function-level reset by the advanced features of conventional PCI.
    pub advanced_features_reset: bool,
    /// Access control services.
    pub access_control: Option<AccessControl>,
    /// Alternative routing ID: it has up to 256 functions.
    pub alternative_routing: bool,
    /// Address translation services.
    pub address_translation: bool,
    /// Single-root I/O virtualisation.
    pub sr_iov: Option<SrIov>,
}

/// Message signalled interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Msi {
    /// Offset of the capability.
    pub offset: u16,
    /// Messages it can send: 1 to 32.
    pub messages: u16,
}

/// Message signalled interrupts with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Msix {
    /// Offset of the capability.
    pub offset: u16,
    /// Entries of the table: 1 to 2048.
    pub messages: u16,
    /// BAR that holds the table.
    pub table_bar: u8,
    /// Offset of the table in its BAR, in bytes.
    pub table_offset: u32,
    /// BAR that holds the pending bits.
    pub pending_bar: u8,
    /// Offset of the pending bits in their BAR, in bytes.
    pub pending_offset: u32,
}

/// PCI Express.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Express {
    /// Offset of the capability.
    pub offset: u16,
    /// What kind of port it is.
    pub port: PortType,
    /// It resets alone.
    pub function_level_reset: bool,
    /// It sends requests under the numbers of functions that do not exist.
    pub phantom_functions: bool,
}

/// What kind of port a PCI Express function is (section 7.5.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortType {
    /// Endpoint, legacy ones included.
    Endpoint,
    /// Endpoint inside the root complex.
    IntegratedEndpoint,
    /// Root port.
    RootPort,
    /// Upstream port of a switch.
    UpstreamPort,
    /// Downstream port of a switch.
    DownstreamPort,
    /// Bridge from PCI Express to conventional PCI.
    ToConventional,
    /// Bridge from conventional PCI to PCI Express.
    FromConventional,
    /// Event collector of the root complex.
    EventCollector,
    /// A kind that the specification does not know.
    Unknown,
}

impl PortType {
    const fn from_number(number: u16) -> Self {
        match number {
            express::TYPE_ENDPOINT | express::TYPE_LEGACY_ENDPOINT => Self::Endpoint,
            express::TYPE_INTEGRATED_ENDPOINT => Self::IntegratedEndpoint,
            4 => Self::RootPort,
            5 => Self::UpstreamPort,
            6 => Self::DownstreamPort,
            7 => Self::ToConventional,
            8 => Self::FromConventional,
            10 => Self::EventCollector,
            _ => Self::Unknown,
        }
    }
}

/// Access control services (section 7.7.11). They do nothing until they are enabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AccessControl {
    /// Offset of the capability.
    pub offset: u16,
    /// The services that it has: its capability register.
    pub services: u16,
    /// Those that were enabled when the machine was looked at: its control register. Older
    /// board files do not have it.
    #[serde(default)]
    pub control: u16,
    /// Its registers are said to have 32 bits, against the specification: see
    /// [`has_doubleword_access_control`](super::quirks::has_doubleword_access_control).
    #[serde(default)]
    pub doublewords: bool,
}

impl AccessControl {
    /// Source validation: a port lets only requests through that carry a number of a bus
    /// behind it.
    pub const SOURCE_VALIDATION: u16 = 1 << 0;
    /// Translation blocking: a port lets no request through that says its address is
    /// translated already.
    pub const TRANSLATION_BLOCKING: u16 = 1 << 1;
    /// Request redirect: requests to a peer go up to the root complex.
    pub const REQUEST_REDIRECT: u16 = 1 << 2;
    /// Completion redirect: so do completions.
    pub const COMPLETION_REDIRECT: u16 = 1 << 3;
    /// Upstream forwarding: what was redirected below a port goes on upwards, even when its
    /// address leads back through that port.
    pub const UPSTREAM_FORWARDING: u16 = 1 << 4;
    /// What every root port of several in a device needs. What it gets from below goes to
    /// the IOMMU anyhow, so it needs no upstream forwarding.
    pub const OF_ROOT_PORT: u16 =
        Self::SOURCE_VALIDATION | Self::REQUEST_REDIRECT | Self::COMPLETION_REDIRECT;
    /// What every downstream port of a switch needs.
    pub const OF_DOWNSTREAM_PORT: u16 = Self::OF_ROOT_PORT | Self::UPSTREAM_FORWARDING;

    /// Whether it has all of `services`.
    pub const fn has(self, services: u16) -> bool {
        self.services & services == services
    }

    /// The services to enable: all that keep functions apart and that it has. Egress control
    /// and direct translated requests, which let peers reach each other, stay off.
    pub const fn wanted(self) -> u16 {
        self.services & (Self::OF_DOWNSTREAM_PORT | Self::TRANSLATION_BLOCKING)
    }

    fn read(config: &dyn ConfigSpace, function: Bdf, offset: u16, doublewords: bool) -> Self {
        let control = access_control::CONTROL + if doublewords { access_control::WIDER } else { 0 };
        Self {
            offset,
            services: config.read16(function, offset + access_control::CAPABILITIES),
            control: config.read16(function, offset + control),
            doublewords,
        }
    }
}

/// Single-root I/O virtualisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SrIov {
    /// Offset of the capability.
    pub offset: u16,
    /// Most virtual functions.
    pub total: u16,
    /// Device ID of the virtual functions.
    pub device: u16,
}

impl Capabilities {
    /// Reads the lists of a function.
    pub(super) fn read(config: &dyn ConfigSpace, function: Bdf, findings: &mut Findings<'_>) -> Self {
        let mut capabilities = Self::default();
        let walked = walk(config, function, |id, offset| {
            capabilities.take(config, function, id, offset, findings);
            Ok(())
        });
        // Only PCI Express functions have extended capabilities; what is behind a
        // conventional bridge may answer with the first 256 bytes again.
        let walked_extended = match capabilities.express {
            Some(_) => capabilities.read_extended(config, function),
            None => Ok(()),
        };
        for fault in [walked, walked_extended].into_iter().filter_map(Result::err) {
            finding!(findings, "{fault}; the rest of the list is ignored");
        }
        capabilities
    }

    fn take(
        &mut self,
        config: &dyn ConfigSpace,
        function: Bdf,
        id: u8,
        offset: u16,
        findings: &mut Findings<'_>,
    ) {
        let read16 = |at: u16| config.read16(function, offset + at);
        let read32 = |at: u16| config.read32(function, offset + at);
        // No capability used here is longer than 0x3c bytes, but a list may lead to
        // the last bytes of the space.
        let fits = |bytes: u16| offset + bytes <= 0x100;
        match id {
            id::POWER_MANAGEMENT if fits(power::BYTES) => {
                self.power_management = Some(offset);
                self.power_reset = Some(read16(power::CONTROL) & power::NO_SOFT_RESET == 0);
            }
            id::MSI if fits(10) => {
                let control = read16(msi::CONTROL);
                let log2 = (control >> msi::CAPABLE_SHIFT & msi::COUNT_MASK).min(5);
                self.msi = Some(Msi { offset, messages: 1 << log2 });
            }
            id::MSIX if fits(msix::BYTES) => {
                let (table, pending) = (read32(msix::TABLE), read32(msix::PENDING));
                self.msix = Some(Msix {
                    offset,
                    messages: (read16(msix::CONTROL) & msix::SIZE_MASK) + 1,
                    table_bar: (table & msix::BAR_MASK) as u8,
                    table_offset: table & !msix::BAR_MASK,
                    pending_bar: (pending & msix::BAR_MASK) as u8,
                    pending_offset: pending & !msix::BAR_MASK,
                });
            }
            id::EXPRESS if fits(express::BYTES_V1_INTEGRATED) => {
                let number = (read16(express::CAPABILITIES) & express::TYPE_MASK) >> express::TYPE_SHIFT;
                let device = read32(express::DEVICE_CAPABILITIES);
                self.express = Some(Express {
                    offset,
                    port: PortType::from_number(number),
                    function_level_reset: device & express::FUNCTION_LEVEL_RESET != 0,
                    phantom_functions: device & express::PHANTOM_FUNCTIONS != 0,
                });
            }
            id::ADVANCED_FEATURES if fits(advanced_features::BYTES) => {
                let features = config.read8(function, offset + advanced_features::CAPABILITIES);
                self.advanced_features_reset = features & advanced_features::FUNCTION_LEVEL_RESET != 0;
            }
            id::POWER_MANAGEMENT | id::MSI | id::MSIX | id::EXPRESS | id::ADVANCED_FEATURES => {
                finding!(findings, "its capability {id:#x} at offset {offset:#x} is cut off; ignored");
            }
            _ => {}
        }
    }

    fn read_extended(&mut self, config: &dyn ConfigSpace, function: Bdf) -> Result<(), CapabilityFault> {
        let id = DeviceId {
            vendor: config.read16(function, VENDOR_ID),
            device: config.read16(function, DEVICE_ID),
        };
        walk_extended(config, function, |extended, _, offset| {
            match extended {
                extended_id::ACCESS_CONTROL if offset <= 0xff8 => {
                    // The control register of the wide kind must be inside the space too.
                    let doublewords = offset <= 0xff4 && has_doubleword_access_control(id);
                    let found = AccessControl::read(config, function, offset, doublewords);
                    self.access_control = Some(found);
                }
                extended_id::ALTERNATIVE_ROUTING => self.alternative_routing = true,
                extended_id::ADDRESS_TRANSLATION => self.address_translation = true,
                extended_id::SINGLE_ROOT_IOV if offset <= 0xfc0 => {
                    self.sr_iov = Some(SrIov {
                        offset,
                        total: config.read16(function, offset + 0x0e),
                        device: config.read16(function, offset + 0x1a),
                    });
                }
                _ => {}
            }
            Ok(())
        })
    }
}
