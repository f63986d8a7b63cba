//! An emulated virtio console.

use super::virtio::Kind;
use devices::virtio::console::Console;
use devices::{Backend, Endpoint};
use plan::{Model, Ring};
use spec::virtio::console::{DEVICE_TYPE, QUEUES};
use vpci::EmulatedFunction;

/// A communication controller that no other class says more of.
const KIND: Kind = Kind::new(DEVICE_TYPE, 0x07_8000, QUEUES, Model::VirtioConsole);

/// The function, and what is behind it.
pub fn build(ring: Ring) -> (EmulatedFunction, Endpoint) {
    KIND.build(Console::new(), ring, false, Backend::Served)
}
