//! What a compartment is for: its driver, and what that is given.

use crate::drive::DriveSizes;
use crate::nic::NicSizes;
use serde::{Deserialize, Serialize};
use spec::Iova;
use virtio::Layout;

#[cfg(feature = "drivers")]
pub mod build;
mod first;

#[cfg(feature = "drivers")]
pub use first::serve_first;
pub use first::{FIRST_WORDS, Unmade};

/// Which driver, with what there is to know of its function beside its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Driver {
    /// An NVMe controller, whose registers are behind BAR 0.
    Nvme,
    /// An AHCI adapter, whose registers are behind BAR 5, and which of its ports: a drive for each of them that
    /// there is, in their order.
    Ahci {
        /// A bit for each.
        ports: u32,
    },
    /// A virtio block device.
    VirtioBlock(Layout),
    /// An 82574, whose registers are behind BAR 0.
    E1000e,
    /// An 82576, likewise.
    Igb,
    /// A virtio network interface.
    VirtioNet(Layout),
}

/// How much its device can have at a time, and the area has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Room {
    /// Of a drive.
    Requests(DriveSizes),
    /// Of an interface: as many frames on their way through the area, and in the device's rings either way.
    Frames {
        /// The area's.
        area: NicSizes,
        /// The rings', of each.
        rings: u16,
    },
}

/// What a compartment with a driver is for.
///
/// The registers and the memory for queues are mapped where the program looks for them; ring 0 says here what
/// cannot be seen there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The driver.
    pub driver: Driver,
    /// Messages that its function was given.
    pub messages: u16,
    /// Bytes of the BAR with its registers, which begins at [`BAR`](crate::layout::BAR).
    pub registers_bytes: u64,
    /// Where the device finds the memory for queues, which begins at [`QUEUES`](crate::layout::QUEUES), a
    /// multiple of 4096; and its bytes.
    pub own: Iova,
    /// See there.
    pub own_bytes: u64,
    /// How much of what there is.
    pub room: Room,
    /// Where the device finds the data of a drive's requests, [`DriveSizes::data_bytes`] for each drive: at a
    /// multiple of 4096. It is not mapped in the compartment.
    pub data: Iova,
}
