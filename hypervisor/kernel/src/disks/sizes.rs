//! How much a drive of each kind is given, wherever its driver is.

use crate::owned::GRANULE_BYTES;
use alloc::boxed::Box;
use alloc::vec::Vec;
use block::Drive;
use driver_compartment::DriveSizes;
use spec::ahci::MOST_PORTS;

/// Requests that a drive has at a time.
pub const REQUESTS: u16 = 32;
/// Bytes of each.
pub const REQUEST_BYTES: usize = 128 << 10;
/// The BAR with the registers of an NVMe controller.
pub const NVME_BAR: u8 = 0;
/// That of an AHCI adapter (ABAR).
pub const AHCI_BAR: u8 = 5;

/// The sizes of what an NVMe drive has.
pub const NVME: nvme::Sizes =
    nvme::Sizes { requests: REQUESTS, request_bytes: REQUEST_BYTES, commands: REQUESTS };
/// Those of a virtio drive.
pub const VIRTIO: virtio_blk::Sizes =
    virtio_blk::Sizes { requests: REQUESTS, request_bytes: REQUEST_BYTES, commands: REQUESTS };
/// Those of a port of an AHCI adapter.
pub const AHCI: ahci::Sizes = ahci::Sizes { ports: 0, requests: REQUESTS, request_bytes: REQUEST_BYTES };
/// Those of a drive whose driver is in ring 3.
pub const APART: DriveSizes = DriveSizes { requests: REQUESTS, request_bytes: REQUEST_BYTES };
/// A driver that only looks for drives, at all ports.
pub const SEARCH: ahci::Sizes = ahci::Sizes { ports: u32::MAX, requests: 1, request_bytes: 4096 };

// The Plan leaves this for them. What is taken is whole pages of this size.
const _: () = {
    let (rest, page) = (plan::DRIVE_MEMORY.bytes() as usize, GRANULE_BYTES as usize);
    let search = (SEARCH.port_bytes() * MOST_PORTS as usize).next_multiple_of(page);
    assert!(NVME.bytes().next_multiple_of(page) <= rest);
    assert!(VIRTIO.bytes().next_multiple_of(page) <= rest);
    assert!(AHCI.port_bytes().next_multiple_of(page) + search <= rest);
    // In ring 3 the data of requests is apart from the queues, and both are as much together.
    assert!(APART.data_bytes().is_multiple_of(page));
};

/// A drive, whoever drives it.
pub type AnyDrive = Box<dyn Drive + Send>;
/// Drives, each with its port where it is at one.
pub type Drives = Vec<(Option<u32>, AnyDrive)>;

/// The bit of a port in a mask of ports; none for what is no port.
pub const fn port_bit(port: u32) -> u32 {
    if port < MOST_PORTS { 1 << port } else { 0 }
}
