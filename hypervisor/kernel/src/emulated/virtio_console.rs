//! An emulated virtio console.

use alloc::boxed::Box;
use devices::virtio::console::Console;
use devices::virtio::transport::{CAPABILITIES, Transport, WINDOW_BYTES};
use devices::{Backend, Endpoint};
use plan::Model;
use spec::virtio::console::{DEVICE_TYPE, QUEUES};
use spec::virtio::pci::{DEVICE_BASE, REVISION, VENDOR};
use vpci::{BarLayout, Description, EmulatedFunction, Identity};

/// Messages of a console: that of the configuration, and one for each queue.
const MESSAGES: u16 = 1 + QUEUES;
/// A communication controller that no other class says more of.
const IDENTITY: Identity =
    Identity { vendor: VENDOR, device: DEVICE_BASE + DEVICE_TYPE, class: 0x07_8000, revision: REVISION };
const LAYOUT: BarLayout = BarLayout::new(WINDOW_BYTES, MESSAGES);
const FUNCTION: Description<'static> =
    Description { identity: IDENTITY, messages: MESSAGES, layout: LAYOUT, vendor_specific: CAPABILITIES };
const _: () = assert!(LAYOUT.bytes == Model::VirtioConsole.bar_bytes());

/// The function, and what is behind it.
pub fn build() -> (EmulatedFunction, Endpoint) {
    let device = Transport::new(Console::new(), MESSAGES, false);
    let BarLayout { table, pending, .. } = LAYOUT;
    let endpoint = Endpoint::new(Box::new(device), Backend::Served, MESSAGES, table, pending);
    (EmulatedFunction::new(&FUNCTION), endpoint)
}
