//! ATA devices: commands, status and what they say of themselves (ATA/ATAPI Command Set 3, ACS-3;
//! sections are cited at each item).

/// Commands, section 7.
pub mod command {
    /// Frees blocks (DATA SET MANAGEMENT with TRIM), section 7.5.
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    /// Reads by DMA with 48-bit addresses, section 7.21.
    pub const READ_DMA_EXT: u8 = 0x25;
    /// Reads a log by PIO, section 7.24.
    pub const READ_LOG_EXT: u8 = 0x2f;
    /// Writes by DMA with 48-bit addresses, section 7.59.
    pub const WRITE_DMA_EXT: u8 = 0x35;
    /// Reads by DMA, one of several commands at a time, section 7.22.
    pub const READ_FPDMA_QUEUED: u8 = 0x60;
    /// Writes likewise, section 7.60.
    pub const WRITE_FPDMA_QUEUED: u8 = 0x61;
    /// Has the write cache written to the medium, section 7.9.
    pub const FLUSH_CACHE: u8 = 0xe7;
    /// The same on devices with 48-bit addresses, section 7.10.
    pub const FLUSH_CACHE_EXT: u8 = 0xea;
    /// Asks for what [`crate::ata::identify`] names, section 7.12.
    pub const IDENTIFY_DEVICE: u8 = 0xec;
}

/// DEVICE: the address is one of a logical block (section 7.1.5).
pub const DEVICE_LBA: u8 = 1 << 6;

/// The status field, section 6.2.
pub mod status {
    /// ERR: the command failed, and the error field says why.
    pub const ERROR: u8 = 1 << 0;
    /// DRQ: the device waits for data to be moved.
    pub const DATA_REQUEST: u8 = 1 << 3;
    /// DF: the device is broken.
    pub const DEVICE_FAULT: u8 = 1 << 5;
    /// DRDY: it takes commands.
    pub const READY: u8 = 1 << 6;
    /// BSY: it is at work, and nothing else that it says counts.
    pub const BUSY: u8 = 1 << 7;
}

/// The error field, section 6.3.
pub mod error {
    /// ABRT: the command was aborted.
    pub const ABORTED: u8 = 1 << 2;
    /// IDNF: the address is not on the medium.
    pub const NOT_FOUND: u8 = 1 << 4;
    /// UNC: the data cannot be read.
    pub const UNCORRECTABLE: u8 = 1 << 6;
    /// ICRC: data was damaged on the link.
    pub const INTERFACE_CRC: u8 = 1 << 7;
}

/// The log of the queued command that failed (section 9.10 of ACS-3, log 10h): offsets in bytes.
pub mod queued_error_log {
    /// The log's address.
    pub const ADDRESS: u64 = 0x10;
    /// Bytes of it.
    pub const BYTES: usize = 512;
    /// NQ, TAG: bit 7 says that the command was no queued one, bits 0 to 4 are its tag.
    pub const TAG: usize = 0;
    /// NQ in [`TAG`].
    pub const NOT_QUEUED: u8 = 1 << 7;
    /// The status field of the command.
    pub const STATUS: usize = 2;
    /// The error field of the command.
    pub const ERROR: usize = 3;
}

/// What DATA SET MANAGEMENT is given (section 7.5.6).
pub mod trim {
    /// FEATURES: the ranges are trimmed.
    pub const TRIM: u16 = 1 << 0;
    /// Bytes of the list, of which the command's count is 1.
    pub const BYTES: usize = 512;
    /// The most blocks of a range.
    pub const MOST_BLOCKS: u64 = 0xffff;
    /// Ranges of the list.
    pub const RANGES: u64 = 64;
    /// A range, 8 bytes: the first block, 48 bits, and how many, 16 bits, where 0 is no range.
    pub const fn range(first_block: u64, blocks: u16) -> u64 {
        first_block & 0xffff_ffff_ffff | (blocks as u64) << 48
    }
}

/// What IDENTIFY DEVICE gives (section 7.12.7): 256 words, named by their numbers.
pub mod identify {
    /// Bytes of it.
    pub const BYTES: usize = 512;
    /// General: [`NOT_ATA`], [`INCOMPLETE`].
    pub const GENERAL: usize = 0;
    /// Of word 0: this is no ATA device.
    pub const NOT_ATA: u16 = 1 << 15;
    /// Of word 0: it knows the rest once it has spun up.
    pub const INCOMPLETE: u16 = 1 << 2;
    /// Serial number, 10 words of two characters each, the first in the high byte.
    pub const SERIAL: usize = 10;
    /// Firmware revision, 4 words.
    pub const FIRMWARE: usize = 23;
    /// Model number, 20 words.
    pub const MODEL: usize = 27;
    /// Capabilities: [`DMA`], [`LBA`].
    pub const CAPABILITIES: usize = 49;
    /// Of word 49: DMA.
    pub const DMA: u16 = 1 << 8;
    /// Of word 49: addresses of logical blocks.
    pub const LBA: u16 = 1 << 9;
    /// How many queued commands it has at a time; bits 0 to 4, one less.
    pub const QUEUE_DEPTH: usize = 75;
    /// Serial ATA capabilities: [`NATIVE_QUEUING`].
    pub const SATA_CAPABILITIES: usize = 76;
    /// Of word 76: native command queuing.
    pub const NATIVE_QUEUING: u16 = 1 << 8;
    /// Command sets that it has: [`FLUSH`], [`FLUSH_EXT`], [`LBA48`]; bits 14 and 15 are 01.
    pub const COMMAND_SETS: usize = 83;
    /// Of word 83: 48-bit addresses.
    pub const LBA48: u16 = 1 << 10;
    /// Of word 83: FLUSH CACHE.
    pub const FLUSH: u16 = 1 << 12;
    /// Of word 83: FLUSH CACHE EXT.
    pub const FLUSH_EXT: u16 = 1 << 13;
    /// Command sets that are enabled: [`WRITE_CACHE`].
    pub const COMMAND_SETS_ENABLED: usize = 85;
    /// Of word 85: the write cache.
    pub const WRITE_CACHE: u16 = 1 << 5;
    /// How many logical blocks there are, 48 bits in 4 words.
    pub const BLOCKS: usize = 100;
    /// Sizes of blocks: [`LARGE_BLOCKS`]; bits 14 and 15 are 01.
    pub const BLOCK_SIZES: usize = 106;
    /// Of word 106: a logical block has other than 256 words.
    pub const LARGE_BLOCKS: u16 = 1 << 12;
    /// Words of a logical block, 32 bits in 2 words.
    pub const BLOCK_WORDS: usize = 117;
    /// Security: [`LOCKED`].
    pub const SECURITY: usize = 128;
    /// Of word 128: it takes no reads and writes before a password.
    pub const LOCKED: u16 = 1 << 2;
    /// DATA SET MANAGEMENT: [`TRIM`].
    pub const DATA_SET_MANAGEMENT: usize = 169;
    /// Of word 169: TRIM.
    pub const TRIM: u16 = 1 << 0;
    /// Integrity: the low byte is [`CHECKED`] where all bytes add up to 0.
    pub const INTEGRITY: usize = 255;
    /// The low byte of word 255 where the high one is a checksum.
    pub const CHECKED: u8 = 0xa5;
    /// Bits 14 and 15 of a word that says whether it says anything.
    pub const VALID_MASK: u16 = 3 << 14;
    /// What they are where it does.
    pub const VALID: u16 = 1 << 14;
}
