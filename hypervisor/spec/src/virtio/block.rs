//! Block devices (section 5.2).

/// The type of the device (section 5).
pub const DEVICE_TYPE: u16 = 2;
/// Bytes of a sector, in which everything is counted (section 5.2.4).
pub const SECTOR_BYTES: u64 = 512;

/// Features (section 5.2.3).
pub mod feature {
    /// `SIZE_MAX` of the configuration holds.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// `SEG_MAX` of the configuration holds.
    pub const SEG_MAX: u64 = 1 << 2;
    /// It takes no writes.
    pub const READ_ONLY: u64 = 1 << 5;
    /// `BLOCK_SIZE` of the configuration holds.
    pub const BLOCK_SIZE: u64 = 1 << 6;
    /// It has a cache that can be flushed.
    pub const FLUSH: u64 = 1 << 9;
    /// It has several queues.
    pub const MULTI_QUEUE: u64 = 1 << 12;
    /// It takes discards.
    pub const DISCARD: u64 = 1 << 13;
    /// It writes zeroes that nobody sends.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// The configuration: bytes from its start (section 5.2.4).
pub mod config {
    /// Sectors; 8 bytes.
    pub const CAPACITY: usize = 0;
    /// The most bytes of a segment; 4 bytes.
    pub const SIZE_MAX: usize = 8;
    /// The most segments of a request's data; 4 bytes.
    pub const SEG_MAX: usize = 12;
    /// Bytes of a block; 4 bytes.
    pub const BLOCK_SIZE: usize = 20;
    /// How many queues there are; 2 bytes.
    pub const QUEUES: usize = 34;
    /// The most sectors of a range to discard; 4 bytes.
    pub const MAX_DISCARD_SECTORS: usize = 36;
    /// The most ranges of a discard; 4 bytes.
    pub const MAX_DISCARD_SEG: usize = 40;
    /// Sectors that a range to discard should be aligned to; 4 bytes.
    pub const DISCARD_ALIGNMENT: usize = 44;
    /// The most sectors of a range to write zeroes to; 4 bytes.
    pub const MAX_ZEROES_SECTORS: usize = 48;
    /// The most such ranges of a request; 4 bytes.
    pub const MAX_ZEROES_SEG: usize = 52;
    /// Bytes of all.
    pub const BYTES: usize = 60;
}

/// Bytes that a request begins with: type, 4 bytes that are reserved, and the sector (section 5.2.6).
pub const HEADER_BYTES: usize = 16;
/// Bytes of a range of a discard: its first sector, sectors and flags (section 5.2.6).
pub const RANGE_BYTES: usize = 16;
/// Flag of a range: what is written zeroes to may be unmapped.
pub const RANGE_UNMAP: u32 = 1;
/// Bytes of what `GET_ID` gives (section 5.2.6).
pub const ID_BYTES: usize = 20;

/// Types of requests (section 5.2.6).
pub mod request {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Make what was written last.
    pub const FLUSH: u32 = 4;
    /// Give the name of the device.
    pub const GET_ID: u32 = 8;
    /// The driver needs the contents of ranges no more.
    pub const DISCARD: u32 = 11;
    /// Ranges read zeroes from now on.
    pub const WRITE_ZEROES: u32 = 13;
}

/// What the last byte of a request says in the end (section 5.2.6).
pub mod status {
    /// It is done.
    pub const OK: u8 = 0;
    /// It failed.
    pub const IO_ERROR: u8 = 1;
    /// There is no such request.
    pub const UNSUPPORTED: u8 = 2;
}
