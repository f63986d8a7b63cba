//! Finding every function.

use super::{Buses, Capabilities, Function, LegacyInterrupt};
use super::{bar, window};
use crate::finding::{Findings, finding};
use crate::names::{DevFn, DeviceId, DevicePath};
use access::ConfigSpace;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use spec::Bdf;
use spec::pci_config::{
    DEVICE_ID, HEADER_TYPE, HEADER_TYPE_BRIDGE, HEADER_TYPE_CARDBUS, HEADER_TYPE_ENDPOINT,
    HEADER_TYPE_MULTI_FUNCTION, INTERRUPT_LINE, INTERRUPT_PIN, REVISION_ID, SECONDARY_BUS, SUBORDINATE_BUS,
    SUBSYSTEM, VENDOR_ID,
};

/// Bridges of which one is behind the other: more than any machine nests, and what
/// a path can name.
const DEEPEST: usize = 31;
/// Class and subclass of a host bridge.
const HOST_BRIDGE: u32 = 0x0600;

/// Every function on `buses` (first to last), parents before children.
pub(crate) fn scan(
    config: &dyn ConfigSpace,
    buses: core::ops::RangeInclusive<u8>,
    findings: &mut Findings<'_>,
) -> Vec<Function> {
    let mut scan = Scan { config, last_bus: *buses.end(), visited: [false; 256], functions: Vec::new() };
    // A bus that no bridge leads to is the root bus of a further host bridge. Only
    // the name space would tell which there are, so all are tried.
    for bus in buses {
        if !scan.is_visited(bus) {
            scan.bus(&Bus { number: bus, parent: None, path: None, only_device_0: false }, findings);
        }
    }
    scan.functions
}

struct Scan<'a> {
    config: &'a dyn ConfigSpace,
    last_bus: u8,
    visited: [bool; 256],
    functions: Vec<Function>,
}

/// A bus to scan.
struct Bus {
    number: u8,
    /// The bridge that leads to it.
    parent: Option<Bdf>,
    /// That bridge's path.
    path: Option<DevicePath>,
    /// A link, on which there is one device only. Some answer to every number.
    only_device_0: bool,
}

impl Bus {
    fn path_of(&self, bdf: Bdf) -> DevicePath {
        let hop = DevFn::from_byte(bdf.devfn());
        match &self.path {
            None => DevicePath { root_bus: self.number, hops: vec![hop] },
            Some(parent) => {
                let mut path = parent.clone();
                path.hops.push(hop);
                path
            }
        }
    }
}

impl Scan<'_> {
    fn is_visited(&self, bus: u8) -> bool {
        self.visited.get(usize::from(bus)).copied().unwrap_or(true)
    }

    /// Scans a bus and, depth first, what is behind its bridges.
    fn bus(&mut self, bus: &Bus, findings: &mut Findings<'_>) {
        if let Some(visited) = self.visited.get_mut(usize::from(bus.number)) {
            *visited = true;
        }
        let devices = if bus.only_device_0 { 1 } else { 32 };
        for device in 0..devices {
            let first = Bdf::new(bus.number, device, 0);
            if !self.is_there(first) {
                continue;
            }
            let multifunction = self.config.read8(first, HEADER_TYPE) & HEADER_TYPE_MULTI_FUNCTION != 0;
            for function in 0..if multifunction { 8 } else { 1 } {
                let bdf = Bdf::new(bus.number, device, function);
                if self.is_there(bdf) {
                    self.function(bus, bdf, multifunction, findings);
                }
            }
        }
    }

    fn is_there(&self, function: Bdf) -> bool {
        !matches!(self.config.read16(function, VENDOR_ID), 0xffff | 0)
    }

    fn function(&mut self, bus: &Bus, bdf: Bdf, multifunction: bool, findings: &mut Findings<'_>) {
        let name = bdf.to_string();
        let mut findings = findings.of(&name);
        let function = read_function(self.config, bus, bdf, multifunction, &mut findings);
        let next = function.bridge.and_then(|buses| self.behind(bus, &function, buses, &mut findings));
        self.functions.push(function);
        if let Some(next) = next {
            self.bus(&next, &mut findings);
        }
    }

    /// The bus behind a bridge; `None` where it cannot be scanned.
    fn behind(&self, bus: &Bus, bridge: &Function, buses: Buses, findings: &mut Findings<'_>) -> Option<Bus> {
        let Buses { secondary, subordinate } = buses;
        if secondary == 0 {
            finding!(findings, "the firmware gave no bus to this bridge; what is behind it is not seen");
        } else if secondary <= bus.number || subordinate < secondary {
            finding!(
                findings,
                "this bridge on bus {:#04x} leads to the buses {secondary:#04x} to {subordinate:#04x}, which \
                 cannot be; not followed",
                bus.number
            );
        } else if self.is_visited(secondary) {
            finding!(
                findings,
                "this bridge leads to bus {secondary:#04x}, to which another one leads; not followed"
            );
        } else if secondary > self.last_bus {
            finding!(
                findings,
                "this bridge leads to bus {secondary:#04x}, whose configuration space cannot be reached"
            );
        } else if bridge.path.hops.len() > DEEPEST {
            finding!(findings, "too many bridges are behind one another; not followed");
        } else {
            return Some(Bus {
                number: secondary,
                parent: Some(bridge.bdf),
                path: Some(bridge.path.clone()),
                only_device_0: bridge.is_link(),
            });
        }
        None
    }
}

fn read_id(config: &dyn ConfigSpace, function: Bdf, offset: u16) -> DeviceId {
    DeviceId { vendor: config.read16(function, offset), device: config.read16(function, offset + DEVICE_ID) }
}

fn read_function(
    config: &dyn ConfigSpace,
    bus: &Bus,
    bdf: Bdf,
    multifunction: bool,
    findings: &mut Findings<'_>,
) -> Function {
    let class_revision = config.read32(bdf, REVISION_ID);
    let header = config.read8(bdf, HEADER_TYPE) & !HEADER_TYPE_MULTI_FUNCTION;
    let is_bridge = matches!(header, HEADER_TYPE_BRIDGE | HEADER_TYPE_CARDBUS);
    let is_host_bridge = class_revision >> 16 == HOST_BRIDGE;
    let capabilities = Capabilities::read(config, bdf, findings);
    // Turning a bridge's decoding off would cut what is behind it off, the screen
    // perhaps; that of a host bridge even memory. Neither is ever passed through.
    let (bars, rom_bytes) = if header == HEADER_TYPE_ENDPOINT && !is_host_bridge {
        bar::read(config, bdf, findings)
    } else {
        (Vec::new(), 0)
    };
    let pin = config.read8(bdf, INTERRUPT_PIN);
    if pin > 4 {
        finding!(findings, "its interrupt pin is {pin}, which does not exist; ignored");
    }
    if header > HEADER_TYPE_CARDBUS {
        finding!(findings, "its header is of unknown type {header:#x}");
    }
    Function {
        bdf,
        path: bus.path_of(bdf),
        id: read_id(config, bdf, VENDOR_ID),
        class: class_revision >> 8,
        revision: class_revision as u8,
        subsystem: (header == HEADER_TYPE_ENDPOINT).then(|| read_id(config, bdf, SUBSYSTEM)),
        multifunction,
        bridge: is_bridge.then(|| Buses {
            secondary: config.read8(bdf, SECONDARY_BUS),
            subordinate: config.read8(bdf, SUBORDINATE_BUS),
        }),
        windows: if is_bridge { window::read(config, bdf, header) } else { Vec::new() },
        header,
        physical: None,
        parent: bus.parent,
        bars,
        rom_bytes,
        interrupt: (1..=4)
            .contains(&pin)
            .then(|| LegacyInterrupt { pin: pin - 1, line: config.read8(bdf, INTERRUPT_LINE) }),
        gsi: None,
        capabilities,
    }
}
