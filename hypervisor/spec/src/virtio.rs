//! Virtual I/O devices (Virtual I/O Device, version 1.2, Committee Specification 01; sections are
//! cited at each item).
//!
//! Everything that is in memory is little-endian, and is encoded to and decoded from plain bytes
//! here: a queue belongs to two sides that do not trust each other.

pub mod block;
pub mod console;
pub mod entropy;
pub mod net;
pub mod packed;
pub mod pci;
pub mod split;

/// `device_status` (section 2.1).
pub mod status {
    /// The driver has found the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is set up.
    pub const DRIVER_OK: u8 = 4;
    /// The features are agreed on.
    pub const FEATURES_OK: u8 = 8;
    /// The device cannot go on until it is reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given the device up.
    pub const FAILED: u8 = 128;
}

/// Features that are not of one type of device (section 6).
pub mod feature {
    /// A descriptor may stand for a table of them.
    pub const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
    /// Each side tells by an index when it wants to be told.
    pub const EVENT_INDEX: u64 = 1 << 29;
    /// The device is not one of before version 1.0.
    pub const VERSION_1: u64 = 1 << 32;
    /// The device reaches memory as the platform lets it, through the IOMMU, and not all of it as it
    /// is. It does not work with a driver that does not take this.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// Queues are packed.
    pub const RING_PACKED: u64 = 1 << 34;
    /// Chains are used in the order in which they were made available.
    pub const IN_ORDER: u64 = 1 << 35;
    /// Memory is accessed in the order that the platform has, not in that of a processor.
    pub const ORDER_PLATFORM: u64 = 1 << 36;
    /// A notification says how far the driver is.
    pub const NOTIFICATION_DATA: u64 = 1 << 38;
    /// A queue can be reset alone.
    pub const RING_RESET: u64 = 1 << 40;
}
