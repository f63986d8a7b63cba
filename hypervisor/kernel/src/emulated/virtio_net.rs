//! An emulated virtio network interface.

use super::place::Owner;
use super::virtio::Kind;
use alloc::string::String;
use devices::blueprint::VirtioDevice;
use devices::virtio::net::Config;
use devices::{Backend, Endpoint};
use network::MacAddress;
use plan::Model;
use spec::ethernet::PAYLOAD_BYTES;
use spec::virtio::net::DEVICE_TYPE;
use vpci::EmulatedFunction;

/// The most pairs of queues, to receive and to send: more processors share them.
const MOST_PAIRS: u16 = 4;
/// An Ethernet controller, with a queue for commands beside its pairs.
const KIND: Kind = Kind::new(DEVICE_TYPE, 0x02_0000, 2 * MOST_PAIRS + 1, Model::VirtioNet);

/// The function, and what is behind it: an interface with the address
/// `mac`, from which alone its port lets it send, and a pair of queues for each of the guest's processors.
///
/// # Errors
/// A sentence about where the model cannot run.
pub fn build(owner: Owner<'_>, mac: MacAddress) -> Result<(EmulatedFunction, Endpoint), String> {
    let config = Config { mac, mtu: PAYLOAD_BYTES as u16, any_source: false };
    let pairs = u16::try_from(owner.guest.config.cpus.len()).unwrap_or(MOST_PAIRS).clamp(1, MOST_PAIRS);
    KIND.build(owner, VirtioDevice::Net { config, pairs }, true, Backend::Served)
}
