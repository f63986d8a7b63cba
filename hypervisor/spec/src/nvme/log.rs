//! Log pages (section 5.14.1).

/// Error information: an entry of 64 bytes for each.
pub const ERROR_INFORMATION: u8 = 0x01;
/// SMART and health information.
pub const HEALTH: u8 = 0x02;
/// Firmware slot information.
pub const FIRMWARE_SLOT: u8 = 0x03;

/// Bytes of one entry of the error log.
pub const ERROR_ENTRY_BYTES: u64 = 64;
/// Bytes of the health log and of the firmware slot log.
pub const PAGE_BYTES: u64 = 512;

/// The health log (section 5.14.1.2); offsets in bytes.
pub mod health {
    /// Composite temperature in kelvins, 2 bytes.
    pub const TEMPERATURE: usize = 1;
    /// Available spare in percent, 1 byte.
    pub const SPARE: usize = 3;
    /// Available spare threshold in percent, 1 byte.
    pub const SPARE_THRESHOLD: usize = 4;
}

/// The firmware slot log (section 5.14.1.3); offsets in bytes.
pub mod firmware {
    /// AFI, 1 byte: the slot that runs in bits 0 to 2.
    pub const ACTIVE: usize = 0;
    /// FRS1: revision in slot 1, 8 characters.
    pub const REVISION_1: usize = 8;
}
