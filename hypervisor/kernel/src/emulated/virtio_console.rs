//! An emulated virtio console.

use super::place::Owner;
use super::virtio::Kind;
use alloc::string::String;
use devices::blueprint::VirtioDevice;
use devices::{Backend, Endpoint};
use plan::Model;
use spec::virtio::console::{DEVICE_TYPE, QUEUES};
use vpci::EmulatedFunction;

/// A communication controller that no other class says more of.
const KIND: Kind = Kind::new(DEVICE_TYPE, 0x07_8000, QUEUES, Model::VirtioConsole);

/// The function, and what is behind it.
///
/// # Errors
/// A sentence about where the model cannot run.
pub fn build(owner: Owner<'_>) -> Result<(EmulatedFunction, Endpoint), String> {
    KIND.build(owner, VirtioDevice::Console, false, Backend::Served)
}
