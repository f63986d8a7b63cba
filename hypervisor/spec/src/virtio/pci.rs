//! Virtio over PCI (section 4.1).

/// The PCI vendor of every virtio device (section 4.1.2).
pub const VENDOR: u16 = 0x1af4;
/// What the PCI device ID of a device of type 0 would be (section 4.1.2).
pub const DEVICE_BASE: u16 = 0x1040;
/// PCI device IDs of devices that can also do as those of before version 1.0: of a network interface and
/// of a block device (section 4.1.2.1).
pub const TRANSITIONAL_NET: u16 = 0x1000;
/// See [`TRANSITIONAL_NET`].
pub const TRANSITIONAL_BLOCK: u16 = 0x1001;
/// The least PCI revision of a device that is not transitional (section 4.1.2.1).
pub const REVISION: u8 = 1;
/// No message: what a vector register reads that has none (section 4.1.4.3).
pub const NO_VECTOR: u16 = 0xffff;

/// `cfg_type` of a capability: what it says the place of (section 4.1.4).
pub mod structure {
    /// The common configuration.
    pub const COMMON: u8 = 1;
    /// Where the driver notifies.
    pub const NOTIFY: u8 = 2;
    /// The interrupt status.
    pub const ISR: u8 = 3;
    /// The configuration of the type of device.
    pub const DEVICE: u8 = 4;
    /// Access to any of them through configuration space.
    pub const CONFIG_ACCESS: u8 = 5;
}

/// Fields of a capability that says where a structure is: bytes from its start (section 4.1.4).
pub mod structure_capability {
    /// Bytes of the capability; 1 byte.
    pub const LENGTH: u16 = 2;
    /// [`structure`](super::structure); 1 byte.
    pub const STRUCTURE: u16 = 3;
    /// Number of the BAR; 1 byte.
    pub const BAR: u16 = 4;
    /// Bytes from the start of the BAR; 4 bytes.
    pub const OFFSET: u16 = 8;
    /// Bytes of the structure; 4 bytes.
    pub const STRUCTURE_BYTES: u16 = 12;
    /// Of where the driver notifies: bytes from one queue to the next, in units of `QUEUE_NOTIFY`; 4 bytes.
    pub const MULTIPLIER: u16 = 16;
    /// Bytes of all.
    pub const BYTES: u16 = 16;
    /// Bytes of all, of where the driver notifies.
    pub const NOTIFY_BYTES: u16 = 20;
}

/// Registers in configuration space by which a driver reaches BARs that it cannot map: bytes from the
/// first of them, which is behind `cfg_type` (section 4.1.4.9).
pub mod config_access {
    /// Number of the BAR; 1 byte, and 3 that are reserved.
    pub const BAR: u64 = 0;
    /// Bytes from the start of the BAR; 4 bytes.
    pub const OFFSET: u64 = 4;
    /// How wide the access is: 1, 2 or 4; 4 bytes.
    pub const LENGTH: u64 = 8;
    /// Makes the access when it is read or written; 4 bytes.
    pub const DATA: u64 = 12;
    /// Bytes of all of them.
    pub const BYTES: u16 = 16;
}

/// Registers of the common configuration: bytes from its start (section 4.1.4.3).
pub mod common {
    /// Which 32 features `DEVICE_FEATURE` shows; 4 bytes.
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    /// Features that the device offers; 4 bytes.
    pub const DEVICE_FEATURE: u64 = 0x04;
    /// Which 32 features `DRIVER_FEATURE` shows; 4 bytes.
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    /// Features that the driver takes; 4 bytes.
    pub const DRIVER_FEATURE: u64 = 0x0c;
    /// Message of configuration changes; 2 bytes.
    pub const CONFIG_VECTOR: u64 = 0x10;
    /// How many queues there are; 2 bytes.
    pub const QUEUES: u64 = 0x12;
    /// [`status`](super::super::status); 1 byte.
    pub const STATUS: u64 = 0x14;
    /// Changes with the device's configuration; 1 byte.
    pub const GENERATION: u64 = 0x15;
    /// Which queue the registers behind are of; 2 bytes.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// Its descriptors; 2 bytes.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// Its message; 2 bytes.
    pub const QUEUE_VECTOR: u64 = 0x1a;
    /// Whether it is enabled; 2 bytes.
    pub const QUEUE_ENABLE: u64 = 0x1c;
    /// Where it is notified, in units of the capability's multiplier; 2 bytes.
    pub const QUEUE_NOTIFY: u64 = 0x1e;
    /// Where its descriptor table is; 8 bytes, also as two of 4.
    pub const QUEUE_DESCRIPTORS: u64 = 0x20;
    /// Where its available ring is, or the driver's event suppression; 8 bytes.
    pub const QUEUE_DRIVER: u64 = 0x28;
    /// Where its used ring is, or the device's event suppression; 8 bytes.
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// Bytes of the registers that every device has: up to here.
    pub const BYTES: u32 = 0x38;
    /// Whether it is being reset; 2 bytes.
    pub const QUEUE_RESET: u64 = 0x3a;
}

/// The interrupt status (section 4.1.4.5).
pub mod isr {
    /// A queue has something.
    pub const QUEUE: u8 = 1;
    /// The configuration has changed.
    pub const CONFIGURATION: u8 = 2;
}

/// What a capability that says where a structure is holds from its length byte on, without it
/// (section 4.1.4): all but the first three bytes of `virtio_pci_cap`.
pub const fn capability(structure: u8, bar: u8, offset: u32, bytes: u32) -> [u8; 13] {
    let (at, length) = (offset.to_le_bytes(), bytes.to_le_bytes());
    [structure, bar, 0, 0, 0, at[0], at[1], at[2], at[3], length[0], length[1], length[2], length[3]]
}

/// As [`capability`], of where the driver notifies: queue n at `multiplier` times its `QUEUE_NOTIFY`
/// bytes from the start (section 4.1.4.4).
pub const fn notify_capability(bar: u8, offset: u32, bytes: u32, multiplier: u32) -> [u8; 17] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = capability(structure::NOTIFY, bar, offset, bytes);
    let [w, x, y, z] = multiplier.to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, w, x, y, z]
}

/// As [`capability`], with the registers of [`config_access`] behind the type.
pub const fn config_access_capability() -> [u8; 17] {
    let mut contents = [0; 17];
    contents[0] = structure::CONFIG_ACCESS;
    contents
}

const _: () = assert!(config_access_capability().len() == 1 + config_access::BYTES as usize);
