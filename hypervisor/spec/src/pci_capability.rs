//! Capability structures in configuration space (PCI Express Base Specification
//! sections 7.5.2, 7.5.3, 7.7 and 7.9; Power Management Interface Specification
//! section 3.2). Offsets inside a structure are from its first byte, the ID.

/// IDs of capabilities in the first 256 bytes.
pub mod id {
    /// Power management.
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// Message signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// Vendor-specific.
    pub const VENDOR_SPECIFIC: u8 = 0x09;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
    /// Conventional PCI advanced features: function-level reset.
    pub const ADVANCED_FEATURES: u8 = 0x13;
}

/// IDs of extended capabilities.
pub mod extended_id {
    /// Advanced error reporting.
    pub const ADVANCED_ERROR_REPORTING: u16 = 0x0001;
    /// Device serial number.
    pub const SERIAL_NUMBER: u16 = 0x0003;
    /// Access control services.
    pub const ACCESS_CONTROL: u16 = 0x000d;
    /// Alternative routing-ID interpretation.
    pub const ALTERNATIVE_ROUTING: u16 = 0x000e;
    /// Address translation services.
    pub const ADDRESS_TRANSLATION: u16 = 0x000f;
    /// Single root I/O virtualisation.
    pub const SINGLE_ROOT_IOV: u16 = 0x0010;
    /// Page request interface.
    pub const PAGE_REQUEST: u16 = 0x0013;
    /// Resizable BAR.
    pub const RESIZABLE_BAR: u16 = 0x0015;
    /// Latency tolerance reporting.
    pub const LATENCY_TOLERANCE: u16 = 0x0018;
    /// Process address space ID.
    pub const PROCESS_ADDRESS_SPACE: u16 = 0x001b;
}

/// Offset of the first extended capability.
pub const FIRST_EXTENDED: u16 = 0x100;

/// Power management (Power Management Interface Specification section 3.2).
pub mod power {
    /// Bytes of the structure.
    pub const BYTES: u16 = 8;
    /// Capabilities, 2 bytes.
    pub const CAPABILITIES: u16 = 2;
    /// The PME bits of the capabilities: from which states wake-up is offered.
    pub const CAPABILITIES_PME: u16 = 0xf800;
    /// Control and status, 2 bytes.
    pub const CONTROL: u16 = 4;
    /// Mask of the power state, in [`CONTROL`].
    pub const STATE_MASK: u16 = 3;
    /// Full power.
    pub const STATE_D0: u16 = 0;
    /// Off but for configuration space.
    pub const STATE_D3_HOT: u16 = 3;
    /// D3hot to D0 keeps the function's state, in [`CONTROL`].
    pub const NO_SOFT_RESET: u16 = 1 << 3;
}

/// MSI (PCI Express Base Specification section 7.7.1).
pub mod msi {
    /// Message control, 2 bytes.
    pub const CONTROL: u16 = 2;
    /// Low half of the message address.
    pub const ADDRESS: u16 = 4;
    /// High half of the message address, where [`WIDE_ADDRESS`].
    pub const ADDRESS_HIGH: u16 = 8;
    /// Messages are sent, in [`CONTROL`].
    pub const ENABLE: u16 = 1 << 0;
    /// Position of the logarithm of how many messages the function can send.
    pub const CAPABLE_SHIFT: u16 = 1;
    /// Position of the logarithm of how many messages software gave it.
    pub const ENABLED_SHIFT: u16 = 4;
    /// Mask of either logarithm, after shifting.
    pub const COUNT_MASK: u16 = 7;
    /// The address has 64 bits, in [`CONTROL`].
    pub const WIDE_ADDRESS: u16 = 1 << 7;
    /// There are mask and pending bits, in [`CONTROL`].
    pub const MASKABLE: u16 = 1 << 8;
    /// How many messages a function can have.
    pub const MAX_MESSAGES: u16 = 32;
}

/// MSI-X (PCI Express Base Specification section 7.7.2).
pub mod msix {
    /// Bytes of the structure.
    pub const BYTES: u16 = 12;
    /// Message control, 2 bytes.
    pub const CONTROL: u16 = 2;
    /// Offset and BAR of the table, 4 bytes.
    pub const TABLE: u16 = 4;
    /// Offset and BAR of the pending bits, 4 bytes.
    pub const PENDING: u16 = 8;
    /// Mask of the table size less one, in [`CONTROL`].
    pub const SIZE_MASK: u16 = 0x7ff;
    /// All messages are masked, in [`CONTROL`].
    pub const FUNCTION_MASK: u16 = 1 << 14;
    /// Messages are sent, in [`CONTROL`].
    pub const ENABLE: u16 = 1 << 15;
    /// Mask of the BAR's number, in [`TABLE`] and [`PENDING`].
    pub const BAR_MASK: u32 = 7;
    /// Bytes of a table entry: address, upper address, data, vector control.
    pub const ENTRY_BYTES: u64 = 16;
    /// The entry is masked, in its vector control.
    pub const ENTRY_MASKED: u32 = 1;
    /// How many entries a table can have.
    pub const MAX_ENTRIES: u16 = 2048;
}

/// PCI Express (PCI Express Base Specification section 7.5.3).
pub mod express {
    /// Capabilities, 2 bytes.
    pub const CAPABILITIES: u16 = 0x02;
    /// Mask of the structure's version, in [`CAPABILITIES`].
    pub const VERSION_MASK: u16 = 0xf;
    /// Position of the device and port type, in [`CAPABILITIES`].
    pub const TYPE_SHIFT: u16 = 4;
    /// Mask of the device and port type, in [`CAPABILITIES`].
    pub const TYPE_MASK: u16 = 0xf << TYPE_SHIFT;
    /// Port type: endpoint.
    pub const TYPE_ENDPOINT: u16 = 0;
    /// Port type: legacy endpoint.
    pub const TYPE_LEGACY_ENDPOINT: u16 = 1;
    /// Port type: endpoint integrated into the root complex; it has no link.
    pub const TYPE_INTEGRATED_ENDPOINT: u16 = 9;
    /// The port leads to a slot, in [`CAPABILITIES`].
    pub const SLOT_IMPLEMENTED: u16 = 1 << 8;
    /// Device capabilities, 4 bytes.
    pub const DEVICE_CAPABILITIES: u16 = 0x04;
    /// Function-level reset is offered, in [`DEVICE_CAPABILITIES`].
    pub const FUNCTION_LEVEL_RESET: u32 = 1 << 28;
    /// Phantom functions, in [`DEVICE_CAPABILITIES`].
    pub const PHANTOM_FUNCTIONS: u32 = 3 << 3;
    /// Device control, 2 bytes.
    pub const DEVICE_CONTROL: u16 = 0x08;
    /// Maximum payload size, in [`DEVICE_CONTROL`].
    pub const MAX_PAYLOAD: u16 = 7 << 5;
    /// Relaxed ordering, in [`DEVICE_CONTROL`].
    pub const RELAXED_ORDERING: u16 = 1 << 4;
    /// No-snoop, in [`DEVICE_CONTROL`].
    pub const NO_SNOOP: u16 = 1 << 11;
    /// Maximum read request size, in [`DEVICE_CONTROL`].
    pub const MAX_READ_REQUEST: u16 = 7 << 12;
    /// Initiates a function-level reset, in [`DEVICE_CONTROL`]; reads 0.
    pub const INITIATE_RESET: u16 = 1 << 15;
    /// Messages about correctable, non-fatal and fatal errors and unsupported requests
    /// are sent to the root, in [`DEVICE_CONTROL`].
    pub const ERROR_REPORTING: u16 = 0xf;
    /// Device status, 2 bytes.
    pub const DEVICE_STATUS: u16 = 0x0a;
    /// The error bits of the device status: cleared by writing one.
    pub const DEVICE_STATUS_ERRORS: u16 = 0xf;
    /// Requests of the function are outstanding, in [`DEVICE_STATUS`].
    pub const TRANSACTIONS_PENDING: u16 = 1 << 5;
    /// Link control, 2 bytes.
    pub const LINK_CONTROL: u16 = 0x10;
    /// Slot status, 2 bytes; ports with a slot only.
    pub const SLOT_STATUS: u16 = 0x1a;
    /// Something is in the slot, in [`SLOT_STATUS`].
    pub const PRESENCE_DETECTED: u16 = 1 << 6;
    /// Root control, 2 bytes; root ports only.
    pub const ROOT_CONTROL: u16 = 0x1c;
    /// Errors become system errors (NMI, SMI or a reset), in [`ROOT_CONTROL`].
    pub const ROOT_SYSTEM_ERRORS: u16 = 7;
    /// Port type: root port.
    pub const TYPE_ROOT_PORT: u16 = 4;
    /// Device capabilities 2, 4 bytes (version 2 of the structure).
    pub const DEVICE_CAPABILITIES_2: u16 = 0x24;
    /// Device control 2, 2 bytes (version 2 of the structure).
    pub const DEVICE_CONTROL_2: u16 = 0x28;
    /// Completion timeout value and disable, in [`DEVICE_CONTROL_2`].
    pub const COMPLETION_TIMEOUT: u16 = 0x1f;
    /// Bytes of version 1 of the structure, for an endpoint.
    pub const BYTES_V1: u16 = 0x14;
    /// Bytes of version 1 for an endpoint without a link.
    pub const BYTES_V1_INTEGRATED: u16 = 0x0c;
    /// Bytes of version 2 of the structure.
    pub const BYTES_V2: u16 = 0x3c;
}

/// Access control services (PCI Express Base Specification section 7.7.11).
pub mod access_control {
    /// Capabilities, 2 bytes.
    pub const CAPABILITIES: u16 = 4;
    /// Control, 2 bytes.
    pub const CONTROL: u16 = 6;
    /// How much further on the control register is where both are 4 bytes wide, as in root
    /// ports of some chipsets (Intel 100 Series Chipset Family PCH, volume 2, sections
    /// 12.1.46 and 12.1.47).
    pub const WIDER: u16 = 2;
    /// Some peers may be reached directly, in [`CONTROL`].
    pub const EGRESS_CONTROL: u16 = 1 << 5;
    /// Requests whose address is translated reach peers directly, in [`CONTROL`].
    pub const DIRECT_TRANSLATED: u16 = 1 << 6;
}

/// Conventional PCI advanced features (PCI Engineering Change Notice "Advanced
/// Capabilities for Conventional PCI").
pub mod advanced_features {
    /// Bytes of the structure.
    pub const BYTES: u16 = 6;
    /// Capabilities, 1 byte.
    pub const CAPABILITIES: u16 = 3;
    /// Function-level reset is offered, in [`CAPABILITIES`].
    pub const FUNCTION_LEVEL_RESET: u8 = 1 << 1;
    /// Control, 1 byte.
    pub const CONTROL: u16 = 4;
    /// Initiates a function-level reset, in [`CONTROL`].
    pub const INITIATE_RESET: u8 = 1 << 0;
    /// Status, 1 byte.
    pub const STATUS: u16 = 5;
    /// Requests of the function are outstanding, in [`STATUS`].
    pub const TRANSACTIONS_PENDING: u8 = 1 << 0;
}

/// Resizable BARs (PCI Express Base Specification section 7.8.6).
pub mod resizable_bar {
    /// Control of the first of them, 4 bytes; each other is 8 bytes further on.
    pub const CONTROL: u16 = 8;
    /// Bytes from one control to the next.
    pub const STRIDE: u16 = 8;
    /// Position of how many there are, in the first [`CONTROL`].
    pub const COUNT_SHIFT: u32 = 5;
    /// Mask of how many there are, after shifting.
    pub const COUNT_MASK: u32 = 7;
    /// The most that a function has.
    pub const MOST: u16 = 6;
    /// The size of the BAR, in [`CONTROL`].
    pub const SIZE: u32 = 0x3f << 8;
}

/// Advanced error reporting (PCI Express Base Specification section 7.8.4).
pub mod error_reporting {
    /// Mask of uncorrectable errors, 4 bytes.
    pub const UNCORRECTABLE_MASK: u16 = 0x08;
    /// Mask of correctable errors, 4 bytes.
    pub const CORRECTABLE_MASK: u16 = 0x14;
    /// Which errors interrupt, 4 bytes; root ports only.
    pub const ROOT_COMMAND: u16 = 0x2c;
}

/// Single root I/O virtualisation (section 9.3.3).
pub mod single_root_iov {
    /// Control, 2 bytes; bit 0 enables the virtual functions.
    pub const CONTROL: u16 = 8;
}

/// Address translation services, page requests and process address space IDs (sections
/// 10.5.1.3, 10.5.2.2 and 7.8.9.3): their control words enable them.
pub mod translation {
    /// Control of address translation services, 2 bytes.
    pub const SERVICES_CONTROL: u16 = 6;
    /// Control of page requests, 2 bytes.
    pub const PAGE_REQUEST_CONTROL: u16 = 4;
    /// Control of process address space IDs, 2 bytes.
    pub const ADDRESS_SPACE_CONTROL: u16 = 6;
}

/// Latency tolerance reporting (section 7.8.2): the most that it may report, 4 bytes.
pub const LATENCY_TOLERANCE_MOST: u16 = 4;
