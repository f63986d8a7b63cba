//! The configuration space header of an endpoint (PCI Local Bus Specification 3.0
//! section 6.1, PCI Express Base Specification section 7.5.1). Offsets are in
//! bytes from the start of the function's configuration space.

/// Vendor ID, 2 bytes; all ones where no function answers.
pub const VENDOR_ID: u16 = 0x00;
/// Device ID, 2 bytes.
pub const DEVICE_ID: u16 = 0x02;
/// Command, 2 bytes: see [`command`].
pub const COMMAND: u16 = 0x04;
/// Status, 2 bytes: see [`status`].
pub const STATUS: u16 = 0x06;
/// Revision ID, 1 byte, then the class code, 3 bytes.
pub const REVISION_ID: u16 = 0x08;
/// Cache line size in dwords, 1 byte.
pub const CACHE_LINE_SIZE: u16 = 0x0c;
/// Latency timer, 1 byte.
pub const LATENCY_TIMER: u16 = 0x0d;
/// Header layout (bits 0 to 6) and the multi-function bit (bit 7), 1 byte.
pub const HEADER_TYPE: u16 = 0x0e;
/// Built-in self test, 1 byte.
pub const BIST: u16 = 0x0f;
/// The first of six base address registers, 4 bytes each.
pub const BAR0: u16 = 0x10;
/// Subsystem vendor ID and subsystem ID, 2 bytes each.
pub const SUBSYSTEM: u16 = 0x2c;
/// Expansion ROM base address, 4 bytes; bit 0 enables its decode.
pub const ROM_BAR: u16 = 0x30;
/// Offset of the first capability, 1 byte.
pub const CAPABILITIES: u16 = 0x34;
/// Offset of the first capability in a header of type 2, 1 byte (PC Card Standard 8.0,
/// volume 7, section 4.5).
pub const CARDBUS_CAPABILITIES: u16 = 0x14;
/// Interrupt line, 1 byte: what the firmware tells the operating system.
pub const INTERRUPT_LINE: u16 = 0x3c;
/// Interrupt pin, 1 byte: 0 for none, 1 to 4 for INTA to INTD.
pub const INTERRUPT_PIN: u16 = 0x3d;
/// Bytes of configuration space that the header takes.
pub const HEADER_BYTES: u16 = 0x40;
/// Bytes of configuration space that ports CF8h and CFCh reach.
pub const CONFIG_BYTES: u16 = 0x100;
/// Bytes of configuration space that ECAM reaches, extended capabilities included.
pub const EXTENDED_CONFIG_BYTES: u16 = 0x1000;

/// Bridge control of a type 1 header, 2 bytes (section 7.5.1.3.13).
pub const BRIDGE_CONTROL: u16 = 0x3e;
/// Secondary bus reset, in [`BRIDGE_CONTROL`].
pub const BRIDGE_CONTROL_SECONDARY_RESET: u16 = 1 << 6;
/// Parity errors on the secondary bus are reported, in [`BRIDGE_CONTROL`].
pub const BRIDGE_CONTROL_PARITY_ERRORS: u16 = 1 << 0;
/// Errors from the secondary bus go on to the primary one, in [`BRIDGE_CONTROL`].
pub const BRIDGE_CONTROL_SYSTEM_ERRORS: u16 = 1 << 1;
/// Memory window of a type 1 header: base and limit, 2 bytes each (section 7.5.1.3.8).
pub const BRIDGE_MEMORY: u16 = 0x20;
/// Prefetchable memory window of a type 1 header: base and limit, 2 bytes each, then
/// their upper halves, 4 bytes each (sections 7.5.1.3.9 and 7.5.1.3.10).
pub const BRIDGE_PREFETCHABLE: u16 = 0x24;
/// Primary bus number of a type 1 header, 1 byte: the bus that the bridge is on.
pub const PRIMARY_BUS: u16 = 0x18;
/// Secondary bus number of a type 1 header, 1 byte: the bus right behind the bridge.
pub const SECONDARY_BUS: u16 = 0x19;
/// Subordinate bus number of a type 1 header, 1 byte: the last bus behind the bridge.
pub const SUBORDINATE_BUS: u16 = 0x1a;

/// Header layout 0: an endpoint.
pub const HEADER_TYPE_ENDPOINT: u8 = 0;
/// Header layout 1: a bridge.
pub const HEADER_TYPE_BRIDGE: u8 = 1;
/// Header layout 2: a bridge to CardBus, whose bus numbers are where a bridge has them.
pub const HEADER_TYPE_CARDBUS: u8 = 2;
/// The device has more functions than function 0, in [`HEADER_TYPE`].
pub const HEADER_TYPE_MULTI_FUNCTION: u8 = 1 << 7;

/// Bits of the command register (section 7.5.1.1.3).
pub mod command {
    /// Decodes I/O BARs.
    pub const IO_SPACE: u16 = 1 << 0;
    /// Decodes memory BARs.
    pub const MEMORY_SPACE: u16 = 1 << 1;
    /// May issue memory requests, messages among them.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// Reports poisoned data.
    pub const PARITY_ERROR_RESPONSE: u16 = 1 << 6;
    /// Reports errors as SERR#.
    pub const SERR_ENABLE: u16 = 1 << 8;
    /// Does not assert INTx.
    pub const INTERRUPT_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register (section 7.5.1.1.4).
pub mod status {
    /// INTx is asserted inside the function.
    pub const INTERRUPT: u16 = 1 << 3;
    /// There is a capability list.
    pub const CAPABILITY_LIST: u16 = 1 << 4;
    /// The error bits: each is cleared by writing one to it.
    pub const ERRORS: u16 = 0xf900;
}

/// Bits of a base address register (PCI Local Bus Specification section 6.2.5.1).
pub mod bar {
    /// An I/O BAR rather than a memory BAR.
    pub const IO: u32 = 1 << 0;
    /// Mask of a memory BAR's type.
    pub const TYPE_MASK: u32 = 3 << 1;
    /// The memory BAR takes 64 bits: this register and the next.
    pub const TYPE_64: u32 = 2 << 1;
    /// Reads have no side effects.
    pub const PREFETCHABLE: u32 = 1 << 3;
    /// Bits of a memory BAR that are no address.
    pub const MEMORY_FLAGS: u32 = 0xf;
    /// Bits of an I/O BAR that are no address.
    pub const IO_FLAGS: u32 = 3;
    /// Bits of the expansion ROM BAR that are no address.
    pub const ROM_FLAGS: u32 = 0x7ff;
    /// Enables the expansion ROM's decode.
    pub const ROM_ENABLE: u32 = 1 << 0;
}

/// Ports of configuration mechanism 1 (PCI Local Bus Specification section 3.2.2.3.2).
pub mod port {
    /// Configuration address, 4 bytes.
    pub const ADDRESS: u16 = 0xcf8;
    /// Configuration data, 4 bytes.
    pub const DATA: u16 = 0xcfc;
    /// The address register selects a configuration register.
    pub const ENABLE: u32 = 1 << 31;
}
