//! What the identify command gives (section 5.15): 4096 bytes each; offsets in bytes.

/// Bytes of every structure.
pub const BYTES: usize = 4096;

/// CNS: which structure (section 5.15.1).
pub mod cns {
    /// Of a namespace.
    pub const NAMESPACE: u8 = 0x00;
    /// Of the controller.
    pub const CONTROLLER: u8 = 0x01;
    /// Active namespaces above the given one, in rising order, 4 bytes each.
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
    /// Identifiers of a namespace.
    pub const NAMESPACE_IDENTIFIERS: u8 = 0x03;
}

/// Identify controller (section 5.15.2.2).
pub mod controller {
    /// VID: PCI vendor, 2 bytes.
    pub const VENDOR: usize = 0;
    /// SSVID: PCI subsystem vendor, 2 bytes.
    pub const SUBSYSTEM_VENDOR: usize = 2;
    /// SN: serial number, 20 characters, filled with spaces.
    pub const SERIAL: usize = 4;
    /// MN: model number, 40 characters, filled with spaces.
    pub const MODEL: usize = 24;
    /// FR: firmware revision, 8 characters, filled with spaces.
    pub const FIRMWARE: usize = 64;
    /// MDTS, 1 byte: a command moves at most 2^this of the smallest pages; 0 is no limit.
    pub const TRANSFER_SHIFT: usize = 77;
    /// CNTLID: controller identifier, 2 bytes.
    pub const CONTROLLER_IDENTIFIER: usize = 78;
    /// VER: as the register VS, 4 bytes.
    pub const VERSION: usize = 80;
    /// CNTRLTYPE, 1 byte: 1 is a controller with I/O queues.
    pub const CONTROLLER_TYPE: usize = 111;
    /// CNTRLTYPE: a controller with I/O queues.
    pub const CONTROLLER_TYPE_IO: u8 = 1;
    /// OACS: optional admin commands, 2 bytes.
    pub const OPTIONAL_ADMIN: usize = 256;
    /// OACS: doorbell buffer config.
    pub const DOORBELL_BUFFER_CONFIG: u16 = 1 << 8;
    /// ACL: commands that abort may be asked for at a time, 1 byte, one less.
    pub const ABORT_LIMIT: usize = 258;
    /// AERL: asynchronous event requests at a time, 1 byte, one less.
    pub const EVENT_REQUEST_LIMIT: usize = 259;
    /// FRMW, 1 byte: bit 0 says that slot 1 is read-only, bits 1 to 3 the number of slots.
    pub const FIRMWARE_UPDATES: usize = 260;
    /// ELPE: entries of the error log, 1 byte, one less.
    pub const ERROR_LOG_ENTRIES: usize = 262;
    /// NPSS: power states, 1 byte, one less.
    pub const POWER_STATES: usize = 263;
    /// WCTEMP: warning temperature in kelvins, 2 bytes.
    pub const WARNING_TEMPERATURE: usize = 266;
    /// CCTEMP: critical temperature in kelvins, 2 bytes.
    pub const CRITICAL_TEMPERATURE: usize = 268;
    /// SQES, 1 byte: bits 0 to 3 the smallest, 4 to 7 the largest submission entry, 2^this bytes.
    pub const SUBMISSION_ENTRY: usize = 512;
    /// CQES, 1 byte: the same of the completion entry.
    pub const COMPLETION_ENTRY: usize = 513;
    /// NN: the largest namespace identifier, 4 bytes.
    pub const NAMESPACES: usize = 516;
    /// ONCS: optional NVM commands, 2 bytes.
    pub const OPTIONAL_COMMANDS: usize = 520;
    /// ONCS: dataset management.
    pub const DATASET_MANAGEMENT: u16 = 1 << 2;
    /// ONCS: write zeroes.
    pub const WRITE_ZEROES: u16 = 1 << 3;
    /// VWC, 1 byte: bit 0 says that there is a volatile write cache.
    pub const VOLATILE_WRITE_CACHE: usize = 525;
    /// SGLS, 4 bytes: 0 is PRPs only.
    pub const SCATTER_GATHER: usize = 536;
    /// SUBNQN: name of the subsystem, 256 bytes of UTF-8 that end with a zero.
    pub const SUBSYSTEM_NAME: usize = 768;
    /// PSD0: the descriptor of power state 0, 32 bytes; its first 2 are the maximum power in
    /// units of 0.01 W.
    pub const POWER_STATE_0: usize = 2048;
}

/// Identify namespace (section 5.15.2.1).
pub mod namespace {
    /// NSZE: blocks, 8 bytes.
    pub const SIZE: usize = 0;
    /// NCAP: blocks that may be in use at a time, 8 bytes.
    pub const CAPACITY: usize = 8;
    /// NUSE: blocks in use, 8 bytes.
    pub const USED: usize = 16;
    /// NLBAF: formats of blocks, 1 byte, one less.
    pub const FORMATS: usize = 25;
    /// FLBAS, 1 byte: the format in use in bits 0 to 3.
    pub const FORMAT: usize = 26;
    /// MC, 1 byte: how metadata could be moved.
    pub const METADATA: usize = 27;
    /// NSATTR, 1 byte: bit 0 says that the namespace is write protected.
    pub const ATTRIBUTES: usize = 99;
    /// NSATTR: write protected.
    pub const WRITE_PROTECTED: u8 = 1 << 0;
    /// NGUID, 16 bytes.
    pub const GUID: usize = 104;
    /// EUI64, 8 bytes.
    pub const EUI64: usize = 120;
    /// LBAF0: the first of 16 formats, 4 bytes each. See [`format_metadata_bytes`] and
    /// [`format_block_shift`].
    pub const FORMAT_0: usize = 128;
    /// MS of a format: bytes of metadata a block; bits 0 to 15.
    pub const fn format_metadata_bytes(format: u32) -> u32 {
        format & 0xffff
    }
    /// LBADS of a format: a block has 2^this bytes; bits 16 to 23.
    pub const fn format_block_shift(format: u32) -> u32 {
        format >> 16 & 0xff
    }
    /// A format of blocks of 2^`shift` bytes without metadata.
    pub const fn format_of(shift: u32) -> u32 {
        (shift & 0xff) << 16
    }
}

/// A namespace identification descriptor (section 5.15.2.3): type, length, two zeros, identifier.
pub mod descriptor {
    /// NIDT: EUI64, 8 bytes.
    pub const EUI64: u8 = 1;
    /// NIDT: NGUID, 16 bytes.
    pub const GUID: u8 = 2;
    /// NIDT: UUID, 16 bytes.
    pub const UUID: u8 = 3;
    /// Where the identifier is.
    pub const IDENTIFIER: usize = 4;
}
