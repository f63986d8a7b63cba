//! An emulated virtio network interface.

use super::virtio::Kind;
use devices::virtio::net::{Config, Net};
use devices::{Backend, Endpoint};
use network::MacAddress;
use plan::{Model, Ring};
use spec::ethernet::PAYLOAD_BYTES;
use spec::virtio::net::DEVICE_TYPE;
use vpci::EmulatedFunction;

/// Queues of an interface: to receive, to send, and for commands.
const QUEUES: u16 = 3;
/// An Ethernet controller.
const KIND: Kind = Kind::new(DEVICE_TYPE, 0x02_0000, QUEUES, Model::VirtioNet);

/// The function, and what is behind it: an interface with the address `mac`, from which alone its
/// port lets it send.
pub fn build(mac: MacAddress, ring: Ring) -> (EmulatedFunction, Endpoint) {
    let config = Config { mac, mtu: PAYLOAD_BYTES as u16, any_source: false };
    KIND.build(Net::new(config), ring, true, Backend::Served)
}
