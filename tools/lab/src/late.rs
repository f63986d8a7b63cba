//! Devices behind ports for QEMU's AMD-Vi, which are plugged before the first instruction.
//!
//! amd-iommu looks a device's bus number up once, when the machine is made. Firmware has
//! not numbered the buses behind ports then, and all DMA from there would be translated as
//! that of 00:00.0. So the ports get the numbers that firmware will give them, and only
//! then are the devices plugged.

use crate::qmp::Qmp;
use anyhow::{Result, ensure};

/// What makes a bus: its number is in its configuration space.
const PORTS: [&str; 2] = ["pcie-root-port", "pcie-pci-bridge"];

/// Register with primary, secondary and subordinate bus number (PCI-to-PCI bridge
/// specification section 3.2.5).
const BUS_NUMBERS: u32 = 0x18;

/// A port on bus 0.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Port {
    slot: u8,
    id: String,
}

/// The devices of a machine that are plugged late, and the ports that they are behind.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Late {
    /// In the order of their slots, in which firmware numbers their buses from 1.
    ports: Vec<Port>,
    devices: Vec<String>,
}

impl Late {
    /// Takes from the arguments of `-device` those that stand behind a port of theirs.
    pub(crate) fn take<'a>(devices: impl Iterator<Item = &'a str> + Clone) -> Self {
        let mut ports: Vec<Port> = devices.clone().filter_map(Port::of).collect();
        ports.sort_by_key(|port| port.slot);
        let behind = |device: &&str| {
            property(device, "bus").is_some_and(|bus| ports.iter().any(|port| port.id == bus))
        };
        let devices = devices.filter(behind).map(str::to_owned).collect();
        Self { ports, devices }
    }

    /// Whether this argument of `-device` is one of them.
    pub(crate) fn has(&self, device: &str) -> bool {
        self.devices.iter().any(|late| late == device)
    }

    /// Whether there is nothing to plug.
    pub(crate) fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Numbers the buses, plugs the devices and lets the machine go, which was started
    /// with `-S`.
    ///
    /// # Errors
    /// The emulator refuses a device.
    pub(crate) fn plug(&self, qmp: &mut Qmp) -> Result<()> {
        for (port, bus) in self.ports.iter().zip(1u32..) {
            let (address, value) = port.numbering(bus);
            qmp.monitor(&format!("o/w 0xcf8 {address:#x}"))?;
            qmp.monitor(&format!("o/w 0xcfc {value:#x}"))?;
        }
        for device in &self.devices {
            let complaint = qmp.monitor(&format!("device_add {device}"))?;
            ensure!(complaint.trim().is_empty(), "device_add {device}: {}", complaint.trim());
        }
        qmp.monitor("cont").map(drop)
    }
}

impl Port {
    fn of(device: &str) -> Option<Self> {
        let driver = device.split(',').next().unwrap_or_default();
        let on_root_bus = PORTS.contains(&driver) && property(device, "bus").is_none();
        let slot = property(device, "addr").filter(|_| on_root_bus)?;
        Some(Self { slot: u8::from_str_radix(slot, 16).ok()?, id: property(device, "id")?.to_owned() })
    }

    /// What to write to the ports 0xcf8 and 0xcfc.
    fn numbering(&self, bus: u32) -> (u32, u32) {
        (1 << 31 | u32::from(self.slot) << 11 | BUS_NUMBERS, bus << 16 | bus << 8)
    }
}

/// The value of `name` in a list of options.
fn property<'a>(device: &'a str, name: &str) -> Option<&'a str> {
    device.split(',').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: [&str; 6] = [
        "pcie-root-port,id=port5,chassis=5,addr=5",
        "edu,bus=port5,addr=0,dma_mask=0xffffffffffffffff",
        "pcie-pci-bridge,id=bridge2,addr=2",
        "e1000,bus=bridge2,addr=1",
        "nvme,serial=x,addr=3",
        "e1000e,bus=elsewhere,addr=1",
    ];

    #[test]
    fn what_stands_behind_a_port_is_late_and_the_ports_are_not() {
        let late = Late::take(DEVICES.into_iter());
        assert_eq!(late.devices, [DEVICES[1], DEVICES[3]]);
        assert!(late.has(DEVICES[3]) && !late.has(DEVICES[0]) && !late.has(DEVICES[4]));
        assert!(Late::take(["nvme,addr=3"].into_iter()).is_empty());
    }

    #[test]
    fn buses_are_numbered_in_the_order_of_their_slots() {
        let late = Late::take(DEVICES.into_iter());
        let ids: Vec<_> = late.ports.iter().map(|port| port.id.as_str()).collect();
        assert_eq!(ids, ["bridge2", "port5"]);
        assert_eq!(late.ports[0].numbering(1), (0x8000_1018, 0x0001_0100));
        assert_eq!(late.ports[1].numbering(2), (0x8000_2818, 0x0002_0200));
    }
}
