//! An emulated virtio network interface.

use crate::metered;
use devices::virtio::net::{Config, Net};
use devices::virtio::transport::{CAPABILITIES, Transport, WINDOW_BYTES};
use devices::{Backend, Endpoint};
use network::MacAddress;
use plan::Model;
use spec::ethernet::PAYLOAD_BYTES;
use spec::virtio::net::DEVICE_TYPE;
use spec::virtio::pci::{DEVICE_BASE, REVISION, VENDOR};
use vpci::{BarLayout, Description, EmulatedFunction, Identity};

/// Messages of an interface: that of the configuration, and one for each queue.
const MESSAGES: u16 = 4;
/// An Ethernet controller.
const IDENTITY: Identity =
    Identity { vendor: VENDOR, device: DEVICE_BASE + DEVICE_TYPE, class: 0x02_0000, revision: REVISION };
const LAYOUT: BarLayout = BarLayout::new(WINDOW_BYTES, MESSAGES);
const FUNCTION: Description<'static> =
    Description { identity: IDENTITY, messages: MESSAGES, layout: LAYOUT, vendor_specific: CAPABILITIES };
const _: () = assert!(LAYOUT.bytes == Model::VirtioNet.bar_bytes());

/// The function, and what is behind it: an interface with the address `mac`, from which alone its
/// port lets it send.
pub fn build(mac: MacAddress) -> (EmulatedFunction, Endpoint) {
    let config = Config { mac, mtu: PAYLOAD_BYTES as u16, any_source: false };
    let device = Transport::new(Net::new(config), MESSAGES, true);
    let BarLayout { table, pending, .. } = LAYOUT;
    let endpoint = Endpoint::new(metered::model(device), Backend::Served, MESSAGES, table, pending);
    (EmulatedFunction::new(&FUNCTION), endpoint)
}
