//! A PCI IDE controller of the PIIX kind: the ATA task file (ATA/ATAPI-7 volume 2, section 7) and
//! the bus-master registers (Programming Interface for Bus Master IDE Controller 1.0, section 2).

/// The command block: offsets from its first port.
pub mod register {
    /// Data, 16 or 32 bits.
    pub const DATA: u64 = 0;
    /// Error when read, features when written.
    pub const ERROR: u64 = 1;
    /// Sector count.
    pub const COUNT: u64 = 2;
    /// LBA low; middle and high follow it.
    pub const LBA_LOW: u64 = 3;
    /// LBA high.
    pub const LBA_HIGH: u64 = 5;
    /// Device.
    pub const DEVICE: u64 = 6;
    /// Status when read, command when written.
    pub const STATUS: u64 = 7;
}

/// DEVICE: the slave is selected.
pub const DEVICE_SLAVE: u8 = 1 << 4;

/// Device control.
pub mod control {
    /// nIEN: the device does not interrupt.
    pub const NO_INTERRUPT: u8 = 1 << 1;
    /// SRST: software reset.
    pub const RESET: u8 = 1 << 2;
    /// HOB: the task file reads what was written before last.
    pub const HIGH_ORDER: u8 = 1 << 7;
}

/// Commands that only parallel devices are still given (ATA/ATAPI-7 volume 1, section 6).
pub mod command {
    /// READ SECTORS.
    pub const READ_SECTORS: u8 = 0x20;
    /// READ SECTORS without retry.
    pub const READ_SECTORS_ONCE: u8 = 0x21;
    /// READ SECTORS EXT.
    pub const READ_SECTORS_EXT: u8 = 0x24;
    /// READ MULTIPLE EXT.
    pub const READ_MULTIPLE_EXT: u8 = 0x29;
    /// WRITE SECTORS.
    pub const WRITE_SECTORS: u8 = 0x30;
    /// WRITE SECTORS without retry.
    pub const WRITE_SECTORS_ONCE: u8 = 0x31;
    /// WRITE SECTORS EXT.
    pub const WRITE_SECTORS_EXT: u8 = 0x34;
    /// WRITE MULTIPLE EXT.
    pub const WRITE_MULTIPLE_EXT: u8 = 0x39;
    /// READ MULTIPLE.
    pub const READ_MULTIPLE: u8 = 0xc4;
    /// WRITE MULTIPLE.
    pub const WRITE_MULTIPLE: u8 = 0xc5;
    /// SET MULTIPLE MODE.
    pub const SET_MULTIPLE: u8 = 0xc6;
    /// EXECUTE DEVICE DIAGNOSTIC.
    pub const DIAGNOSTIC: u8 = 0x90;
    /// INITIALIZE DEVICE PARAMETERS.
    pub const INITIALIZE: u8 = 0x91;
    /// RECALIBRATE, of old (ATA-3).
    pub const RECALIBRATE: u8 = 0x10;
    /// READ VERIFY SECTORS.
    pub const VERIFY: u8 = 0x40;
    /// READ VERIFY SECTORS without retry.
    pub const VERIFY_ONCE: u8 = 0x41;
    /// READ VERIFY SECTORS EXT.
    pub const VERIFY_EXT: u8 = 0x42;
    /// SEEK.
    pub const SEEK: u8 = 0x70;
    /// READ DMA.
    pub const READ_DMA: u8 = 0xc8;
    /// WRITE DMA.
    pub const WRITE_DMA: u8 = 0xca;
    /// STANDBY IMMEDIATE.
    pub const STANDBY: u8 = 0xe0;
    /// IDLE IMMEDIATE.
    pub const IDLE: u8 = 0xe1;
    /// CHECK POWER MODE.
    pub const CHECK_POWER: u8 = 0xe5;
    /// SET FEATURES.
    pub const SET_FEATURES: u8 = 0xef;
}

/// The bus-master registers of one channel, 8 ports.
pub mod bus_master {
    /// Command.
    pub const COMMAND: u64 = 0;
    /// Status.
    pub const STATUS: u64 = 2;
    /// Address of the table, 32 bits.
    pub const TABLE: u64 = 4;
    /// COMMAND: the transfer is on.
    pub const START: u8 = 1 << 0;
    /// COMMAND: from the drive to memory.
    pub const TO_MEMORY: u8 = 1 << 3;
    /// STATUS: the table is not done.
    pub const ACTIVE: u8 = 1 << 0;
    /// STATUS: the transfer failed; written 1 to clear.
    pub const ERROR: u8 = 1 << 1;
    /// STATUS: the drive has interrupted; written 1 to clear.
    pub const INTERRUPT: u8 = 1 << 2;
    /// STATUS: which drives do DMA, for the firmware to set.
    pub const CAPABLE: u8 = 3 << 5;
    /// Table entry, second dword: it is the last.
    pub const LAST: u32 = 1 << 31;
}
