//! What Intel's gigabit Ethernet controllers have in common, as far as drivers need it: 82574 (data sheet,
//! revision 3.4, section 10.2) and 82576 (data sheet, revision 2.63, section 8).
//!
//! Offsets are in bytes from BAR 0; registers have 32 bits.

/// CTRL: device control.
pub const CONTROL: u64 = 0x0000;
/// STATUS: device status.
pub const STATUS: u64 = 0x0008;
/// EECD: EEPROM and flash control.
pub const EEPROM_CONTROL: u64 = 0x0010;
/// CTRL_EXT: extended device control.
pub const CONTROL_EXTENDED: u64 = 0x0018;
/// RCTL: receive control.
pub const RECEIVE_CONTROL: u64 = 0x0100;
/// TCTL: transmit control.
pub const TRANSMIT_CONTROL: u64 = 0x0400;
/// MPC: frames that were missed for want of a descriptor; a read clears it.
pub const MISSED: u64 = 0x4010;
/// RXCSUM: checksums of what is received.
pub const RECEIVE_CHECKSUM: u64 = 0x5000;
/// GCR: PCI Express control.
pub const PCIE_CONTROL: u64 = 0x5b00;
/// RAL of place 0: the first four bytes of the controller's own address, lowest first.
pub const ADDRESS_LOW: u64 = 0x5400;
/// RAH of place 0: the other two bytes.
pub const ADDRESS_HIGH: u64 = 0x5404;

/// Fields of CTRL.
pub mod ctrl {
    /// FD: full duplex, where it is forced.
    pub const FULL_DUPLEX: u32 = 1 << 0;
    /// GIO master disable: no new requests to memory.
    pub const MASTER_DISABLE: u32 = 1 << 2;
    /// SLU: set link up.
    pub const LINK_UP: u32 = 1 << 6;
    /// FRCSPD: the speed is forced.
    pub const FORCE_SPEED: u32 = 1 << 11;
    /// FRCDPLX: the duplex mode is forced.
    pub const FORCE_DUPLEX: u32 = 1 << 12;
    /// RST: resets all but the PHY.
    pub const RESET: u32 = 1 << 26;
    /// RFCE and TFCE: pause frames are obeyed and sent.
    pub const FLOW_CONTROL: u32 = 3 << 27;
    /// VME: tags are taken out of frames.
    pub const VLAN_MODE: u32 = 1 << 30;
}

/// Fields of STATUS.
pub mod status {
    /// FD: the link is full duplex.
    pub const FULL_DUPLEX: u32 = 1 << 0;
    /// LU: the link is up.
    pub const LINK_UP: u32 = 1 << 1;
    /// SPEED: in megabits a second; bits 6 and 7.
    pub const fn megabits(status: u32) -> u32 {
        match status >> 6 & 3 {
            0 => 10,
            1 => 100,
            _ => 1000,
        }
    }
    /// GIO master enable status: requests to memory may be under way.
    pub const MASTER_ENABLED: u32 = 1 << 19;
}

/// EECD (EEC to the 82576): the configuration was read from the EEPROM.
pub const EEPROM_AUTO_READ: u32 = 1 << 9;

/// Fields of RCTL. The size of buffers is 2048 bytes where its fields are zero.
pub mod rctl {
    /// EN: frames are received.
    pub const ENABLE: u32 = 1 << 1;
    /// UPE: from and to any station.
    pub const ALL_STATIONS: u32 = 1 << 3;
    /// MPE: to any group.
    pub const ALL_GROUPS: u32 = 1 << 4;
    /// BAM: broadcasts too.
    pub const BROADCAST: u32 = 1 << 15;
    /// SECRC: the frame check sequence is left out.
    pub const STRIP_CHECK: u32 = 1 << 26;
}

/// Fields of TCTL.
pub mod tctl {
    /// EN: frames are sent.
    pub const ENABLE: u32 = 1 << 1;
    /// PSP: short frames are padded.
    pub const PAD: u32 = 1 << 3;
    /// CT and COLD: attempts and distance of half duplex, as the data sheet recommends.
    pub const COLLISIONS: u32 = 15 << 4 | 63 << 12;
    /// RTLC: a late collision is retried.
    pub const RETRY_LATE: u32 = 1 << 24;
}

/// RXCSUM: IPOFL and TUOFL, checksums of IPv4, TCP and UDP are checked.
pub const CHECKSUM_CHECK: u32 = 3 << 8;
/// RAH: AV, the address is valid.
pub const ADDRESS_VALID: u32 = 1 << 31;
/// Bytes of a receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 2048;
/// Bytes of a descriptor of either kind.
pub const DESCRIPTOR_BYTES: usize = 16;
/// Descriptors of a ring come in groups of so many.
pub const DESCRIPTOR_GROUP: u16 = 8;

/// Where in a transmit descriptor its status is, 32 bits, once it was written back.
pub const TRANSMIT_STATUS: usize = 12;
/// DD in that status: the controller is done with it.
pub const TRANSMIT_DONE: u32 = 1 << 0;
/// ICR: LSC, the link changed.
pub const LINK_CHANGED: u32 = 1 << 2;
