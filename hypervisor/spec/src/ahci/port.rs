//! Registers of a port (section 3.3), from where its registers begin, 32 bits each.

/// PxCLB: low half of the command list's address, a multiple of 1024.
pub const COMMAND_LIST: usize = 0x00;
/// PxCLBU: high half of it.
pub const COMMAND_LIST_HIGH: usize = 0x04;
/// PxFB: low half of the address where received FISes go, a multiple of 256.
pub const RECEIVED_FIS: usize = 0x08;
/// PxFBU: high half of it.
pub const RECEIVED_FIS_HIGH: usize = 0x0c;
/// PxIS: causes of interrupts, cleared by writing ones; see [`interrupt`].
pub const INTERRUPT_STATUS: usize = 0x10;
/// PxIE: which of them interrupt.
pub const INTERRUPT_ENABLE: usize = 0x14;
/// PxCMD: command and status; see [`cmd`].
pub const COMMAND: usize = 0x18;
/// PxTFD: the device's status and error; see [`tfd`].
pub const TASK_FILE: usize = 0x20;
/// PxSIG: what the device is; see [`signature`].
pub const SIGNATURE: usize = 0x24;
/// PxSSTS: status of the link; see [`link`].
pub const LINK_STATUS: usize = 0x28;
/// PxSCTL: control of the link; see [`link`].
pub const LINK_CONTROL: usize = 0x2c;
/// PxSERR: errors of the link, cleared by writing ones.
pub const LINK_ERROR: usize = 0x30;
/// PxSACT: a bit for each queued command that is not done; written ones before it is issued.
pub const ACTIVE: usize = 0x34;
/// PxCI: a bit for each command that is issued; writing ones issues.
pub const ISSUE: usize = 0x38;

/// Bytes of the memory where received FISes go (section 4.2.1).
pub const RECEIVED_FIS_BYTES: usize = 256;

/// Causes of interrupts, sections 3.3.5 and 3.3.6.
pub mod interrupt {
    /// DHRS: a register FIS came.
    pub const REGISTERS: u32 = 1 << 0;
    /// PSS: a PIO setup FIS came, and its data.
    pub const PIO_SETUP: u32 = 1 << 1;
    /// DSS: a DMA setup FIS came.
    pub const DMA_SETUP: u32 = 1 << 2;
    /// SDBS: a set device bits FIS came, which queued commands end with.
    pub const DEVICE_BITS: u32 = 1 << 3;
    /// PCS: a device came or went; cleared by clearing PxSERR.DIAG.X.
    pub const CONNECT_CHANGE: u32 = 1 << 6;
    /// PRCS: the link came or went; cleared by clearing PxSERR.DIAG.N.
    pub const LINK_CHANGE: u32 = 1 << 22;
    /// OFS: the device sent more than the command has regions for.
    pub const OVERFLOW: u32 = 1 << 24;
    /// IFS: the link failed a transfer.
    pub const INTERFACE_FATAL: u32 = 1 << 27;
    /// HBDS: the HBA failed to reach memory for data.
    pub const MEMORY_DATA: u32 = 1 << 28;
    /// HBFS: the HBA failed to reach memory in a way that cannot be mended.
    pub const MEMORY_FATAL: u32 = 1 << 29;
    /// TFES: the device said that a command failed.
    pub const TASK_FILE_ERROR: u32 = 1 << 30;
    /// What a port is restarted after (section 6.1).
    pub const FATAL: u32 = OVERFLOW | INTERFACE_FATAL | MEMORY_DATA | MEMORY_FATAL | TASK_FILE_ERROR;
}

/// Fields of PxCMD, section 3.3.7.
pub mod cmd {
    /// ST: the HBA works on the command list.
    pub const START: u32 = 1 << 0;
    /// SUD: spins the device up.
    pub const SPIN_UP: u32 = 1 << 1;
    /// POD: powers the device on, where PxCMD.CPD says that this can be chosen.
    pub const POWER_ON: u32 = 1 << 2;
    /// FRE: received FISes go to memory.
    pub const RECEIVE_ENABLE: u32 = 1 << 4;
    /// FR: they do.
    pub const RECEIVING: u32 = 1 << 14;
    /// CR: the HBA is at work on the command list.
    pub const RUNNING: u32 = 1 << 15;
    /// ICC: the link's power state; bits 28 to 31. 1 is active.
    pub const LINK_ACTIVE: u32 = 1 << 28;
    /// The field ICC.
    pub const LINK_POWER_MASK: u32 = 0xf << 28;
}

/// Fields of PxTFD, section 3.3.8. Its bits are those of [`crate::ata::status`] and, 8 bits up,
/// [`crate::ata::error`].
pub mod tfd {
    /// STS: the device's status.
    pub const fn status(tfd: u32) -> u8 {
        tfd as u8
    }
    /// ERR: the device's error.
    pub const fn error(tfd: u32) -> u8 {
        (tfd >> 8) as u8
    }
}

/// Values of PxSIG, section 3.3.9.
pub mod signature {
    /// A disk.
    pub const ATA: u32 = 0x0000_0101;
    /// A drive of packets, as of CDs.
    pub const ATAPI: u32 = 0xeb14_0101;
    /// A port multiplier.
    pub const PORT_MULTIPLIER: u32 = 0x9669_0101;
}

/// Fields of PxSSTS and PxSCTL, sections 3.3.10 and 3.3.11.
pub mod link {
    /// DET, of both: bits 0 to 3.
    pub const fn detection(register: u32) -> u32 {
        register & 0xf
    }
    /// DET of PxSSTS: a device is there and the link works.
    pub const WORKS: u32 = 3;
    /// DET of PxSSTS: no device is there.
    pub const NOTHING: u32 = 0;
    /// DET of PxSCTL: the link is reset (COMRESET) as long as this is there, 1 ms at least.
    pub const RESET: u32 = 1;
    /// IPM of PxSCTL: no power states of the link; bits 8 to 11.
    pub const NO_POWER_STATES: u32 = 3 << 8;
}
