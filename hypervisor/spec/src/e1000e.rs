//! Intel's 82574 gigabit Ethernet controller (82574 data sheet, revision 3.4): what a driver needs of it.
//!
//! Offsets are in bytes from BAR 0; registers have 32 bits (section 10.2). What the data sheet
//! leaves to the errata is marked so (82574 specification update).

pub use crate::gigabit::*;

/// ICR: causes that came; a read clears them unless masked ones are among them, writing ones clears.
pub const INTERRUPT_CAUSE: u64 = 0x00c0;
/// EIAC: causes that a message clears, and masks.
pub const INTERRUPT_AUTO_CLEAR: u64 = 0x00dc;
/// IMS: writing ones lets causes interrupt.
pub const INTERRUPT_MASK_SET: u64 = 0x00d0;
/// IMC: writing ones keeps causes from interrupting.
pub const INTERRUPT_MASK_CLEAR: u64 = 0x00d8;
/// IVAR: the message of each cause.
pub const INTERRUPT_ALLOCATION: u64 = 0x00e4;
/// EITR of message 0: the least time between two, in units of 256 ns; one for each message, 4 bytes
/// apart.
pub const INTERRUPT_THROTTLE: u64 = 0x00e8;
/// TIPG: the gap between frames.
pub const TRANSMIT_GAP: u64 = 0x0410;
/// EXTCNF_CTRL: who has the PHY's bus.
pub const EXTENDED_CONFIGURATION: u64 = 0x0f00;
/// RDBAL of queue 0: low half of the iova of its ring, a multiple of 16.
pub const RECEIVE_BASE_LOW: u64 = 0x2800;
/// RDBAH of queue 0: high half.
pub const RECEIVE_BASE_HIGH: u64 = 0x2804;
/// RDLEN of queue 0: bytes of its ring, a multiple of 128.
pub const RECEIVE_BYTES: u64 = 0x2808;
/// RDH of queue 0: the descriptor that is the controller's first.
pub const RECEIVE_HEAD: u64 = 0x2810;
/// RDT of queue 0: the descriptor behind the controller's last.
pub const RECEIVE_TAIL: u64 = 0x2818;
/// TDBAL of queue 0: low half of the iova of its ring, a multiple of 16.
pub const TRANSMIT_BASE_LOW: u64 = 0x3800;
/// TDBAH of queue 0: high half.
pub const TRANSMIT_BASE_HIGH: u64 = 0x3804;
/// TDLEN of queue 0: bytes of its ring, a multiple of 128.
pub const TRANSMIT_BYTES: u64 = 0x3808;
/// TDH of queue 0: the descriptor that is the controller's first.
pub const TRANSMIT_HEAD: u64 = 0x3810;
/// TDT of queue 0: the descriptor behind the controller's last.
pub const TRANSMIT_TAIL: u64 = 0x3818;
/// TXDCTL of queues 0 and 1: how descriptors are fetched and written back.
pub const TRANSMIT_DESCRIPTORS: [u64; 2] = [0x3828, 0x3928];
/// TARC of queue 0: how queues are arbitrated.
pub const TRANSMIT_ARBITRATION: u64 = 0x3840;
/// RFCTL: receive filter control.
pub const RECEIVE_FILTER: u64 = 0x5008;
/// GCR2: PCI Express control.
pub const PCIE_CONTROL_2: u64 = 0x5b64;

/// Fields of CTRL.
pub mod ctrl {
    pub use crate::gigabit::ctrl::*;

    /// Reserved, and to be clear by the errata.
    pub const ERRATA_CLEAR: u32 = 1 << 29;
}

/// EXTCNF_CTRL: software has the PHY's bus, which sticks if firmware has not.
pub const SOFTWARE_HAS_MDIO: u32 = 1 << 5;

/// Fields of CTRL_EXT.
pub mod ctrl_ext {
    /// To be set by the errata.
    pub const ERRATA_SET: u32 = 1 << 22;
    /// To be clear by the errata.
    pub const ERRATA_CLEAR: u32 = 1 << 23;
    /// EIAME: a message masks its causes.
    pub const AUTO_MASK: u32 = 1 << 24;
    /// IAME: a read of ICR masks.
    pub const READ_MASK: u32 = 1 << 27;
    /// DRV_LOAD: a driver has the controller, for firmware to know.
    pub const DRIVER_LOADED: u32 = 1 << 28;
    /// PBA support: the pending bit of a message is cleared by sending it.
    pub const PENDING_CLEAR: u32 = 1 << 31;
}

/// Bits of ICR, IMS, IMC and EIAC.
pub mod cause {
    /// TXDW: a transmit descriptor was written back; not with MSI-X.
    pub const WRITTEN_BACK: u32 = 1 << 0;
    /// RXT0: frames came; not with MSI-X.
    pub const RECEIVE_TIMER: u32 = 1 << 7;
    /// LSC: the link changed.
    pub const LINK: u32 = crate::gigabit::LINK_CHANGED;
    /// RXQ0: frames came.
    pub const RECEIVE: u32 = 1 << 20;
    /// TXQ0: frames were sent.
    pub const TRANSMIT: u32 = 1 << 22;
    /// Others.
    pub const OTHER: u32 = 1 << 24;
    /// Every cause.
    pub const ALL: u32 = u32::MAX;
}

/// IVAR with the messages (0 to 4) of receive queue 0, transmit queue 0, and other causes. A
/// transmit queue interrupts at every write-back.
pub const fn interrupt_allocation(receive: u8, transmit: u8, other: u8) -> u32 {
    const VALID: u32 = 8;
    const fn field(message: u8) -> u32 {
        message as u32 & 7 | VALID
    }
    field(receive) | field(transmit) << 8 | field(other) << 16 | 1 << 31
}

/// TIPG: the gaps that the data sheet recommends.
pub const GAP: u32 = 8 | 8 << 10 | 6 << 20;

/// Fields of TXDCTL.
pub mod txdctl {
    /// WTHRESH of one: each descriptor is written back when it is done. A field of bits 16 to 21.
    pub const WRITE_BACK: u32 = 1 << 16;
    /// The field WTHRESH.
    pub const WRITE_BACK_MASK: u32 = 0x3f << 16;
    /// To be set by the errata.
    pub const ERRATA_SET: u32 = 1 << 22;
    /// GRAN: thresholds count descriptors.
    pub const GRANULARITY: u32 = 1 << 24;
}
/// TARC0: to be set by the errata.
pub const ARBITRATION_SET: u32 = 1 << 26;
/// TARC0: to be clear by the errata.
pub const ARBITRATION_CLEAR: u32 = 0xf << 27;
/// RFCTL: ACK_DIS, by the errata: TCP acknowledgements interrupt as all else does.
pub const FILTER_NO_ACK: u32 = 1 << 12;
/// GCR: to be set by the errata.
pub const PCIE_SET: u32 = 1 << 22;
/// GCR: L1 without L0s.
pub const PCIE_L1_WITHOUT_L0S: u32 = 1 << 27;
/// GCR2: to be set by the errata, for completions while ASPM saves power.
pub const PCIE_2_SET: u32 = 1 << 0;

/// Legacy receive descriptors (section 7.1.4): the buffer's iova in bytes 0 to 7, and this in bytes 8 to 15.
pub mod receive {
    /// Bytes that were written.
    pub const fn length(descriptor: u64) -> u16 {
        descriptor as u16
    }
    /// DD: the controller is done with it.
    pub const DONE: u64 = 1 << 32;
    /// EOP: the frame ends here.
    pub const END: u64 = 1 << 33;
    /// IXSM: no checksum was looked at.
    pub const NO_CHECKSUM: u64 = 1 << 34;
    /// UDPCS and TCPCS: the checksum of UDP or TCP was looked at.
    pub const CHECKED: u64 = 1 << 36 | 1 << 37;
    /// CE, SE, SEQ and RXE: the frame is damaged.
    pub const DAMAGED: u64 = 1 << 40 | 1 << 41 | 1 << 42 | 1 << 47;
    /// TCPE and IPE: a checksum is wrong.
    pub const WRONG_CHECKSUM: u64 = 1 << 45 | 1 << 46;
}

/// Legacy transmit descriptors (section 7.2): the buffer's iova in bytes 0 to 7, and this in bytes 8 to 15.
pub mod transmit {
    pub use crate::gigabit::TRANSMIT_DONE as DONE;

    /// The second half of a descriptor for a whole frame of `bytes` bytes, which is to be reported
    /// when it is done: EOP, IFCS and RS.
    pub const fn whole(bytes: u16) -> u64 {
        const END: u64 = 1 << 24;
        const INSERT_CHECK: u64 = 1 << 25;
        const REPORT: u64 = 1 << 27;
        bytes as u64 | END | INSERT_CHECK | REPORT
    }
}
