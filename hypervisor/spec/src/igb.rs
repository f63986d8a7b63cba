//! Intel's 82576 gigabit Ethernet controller (82576 data sheet, revision 2.63): what a driver of its
//! physical function needs, with one queue each way.
//!
//! Offsets are in bytes from BAR 0; registers have 32 bits (section 8.1). Those of causes have a second
//! address, which is that of older controllers and the one that everybody uses.

pub use crate::gigabit::*;

/// MDIC: registers of the PHY (section 8.2.4).
pub const PHY_ACCESS: u64 = 0x0020;
/// ICR: causes that are no queue's; a read clears them where GPIE says so.
pub const INTERRUPT_CAUSE: u64 = 0x00c0;
/// IMS: writing ones lets such causes interrupt.
pub const INTERRUPT_MASK_SET: u64 = 0x00d0;
/// IMC: writing ones keeps them from it.
pub const INTERRUPT_MASK_CLEAR: u64 = 0x00d8;
/// EEMNGCTL: what management firmware reads out of the EEPROM.
pub const EEPROM_MANAGEMENT: u64 = 0x1010;
/// GPIE: how messages are sent.
pub const INTERRUPT_MODE: u64 = 0x1514;
/// EIMS: writing ones lets messages be sent. A bit for each, as in the next three.
pub const MESSAGE_MASK_SET: u64 = 0x1524;
/// EIMC: writing ones keeps messages from being sent.
pub const MESSAGE_MASK_CLEAR: u64 = 0x1528;
/// EIAC: messages that are no more pending once they are sent.
pub const MESSAGE_AUTO_CLEAR: u64 = 0x152c;
/// EIAM: messages that are masked once they are sent.
pub const MESSAGE_AUTO_MASK: u64 = 0x1530;
/// EICR: messages that are pending; a read clears them.
pub const MESSAGE_CAUSE: u64 = 0x1580;
/// EITR of message 0: the least time between two; one for each message, 4 bytes apart.
pub const MESSAGE_THROTTLE: u64 = 0x1680;
/// IVAR of queues 0 and 8: their messages.
pub const QUEUE_ALLOCATION: u64 = 0x1700;
/// IVAR_MISC: the message of what is no queue's.
pub const OTHER_ALLOCATION: u64 = 0x1740;
/// MRQC: how frames that come are given to several queues; 0 gives all to queue 0.
pub const MULTIPLE_QUEUES: u64 = 0x5818;
/// VT_CTL: which pool of queues has what is nobody's.
pub const VIRTUALIZATION: u64 = 0x581c;
/// SWSM: the semaphore before [`RESOURCES`].
pub const SEMAPHORE: u64 = 0x5b50;
/// SW_FW_SYNC: what drivers and firmware have for themselves.
pub const RESOURCES: u64 = 0x5b5c;
/// RDBAL of queue 0: low half of the iova of its ring, a multiple of 128.
pub const RECEIVE_BASE_LOW: u64 = 0xc000;
/// RDBAH of queue 0: high half.
pub const RECEIVE_BASE_HIGH: u64 = 0xc004;
/// RDLEN of queue 0: bytes of its ring, a multiple of 128.
pub const RECEIVE_BYTES: u64 = 0xc008;
/// SRRCTL of queue 0: the kind of its descriptors, and the size of its buffers.
pub const RECEIVE_BUFFERS: u64 = 0xc00c;
/// RDH of queue 0: the descriptor that is the controller's first.
pub const RECEIVE_HEAD: u64 = 0xc010;
/// RDT of queue 0: the descriptor behind the controller's last.
pub const RECEIVE_TAIL: u64 = 0xc018;
/// RXDCTL of queue 0: whether it works, and how descriptors are fetched and written back.
pub const RECEIVE_QUEUE: u64 = 0xc028;
/// TDBAL of queue 0: low half of the iova of its ring, a multiple of 128.
pub const TRANSMIT_BASE_LOW: u64 = 0xe000;
/// TDBAH of queue 0: high half.
pub const TRANSMIT_BASE_HIGH: u64 = 0xe004;
/// TDLEN of queue 0: bytes of its ring, a multiple of 128.
pub const TRANSMIT_BYTES: u64 = 0xe008;
/// TDH of queue 0: the descriptor that is the controller's first.
pub const TRANSMIT_HEAD: u64 = 0xe010;
/// TDT of queue 0: the descriptor behind the controller's last.
pub const TRANSMIT_TAIL: u64 = 0xe018;
/// TXDCTL of queue 0: whether it works, and how descriptors are fetched and written back.
pub const TRANSMIT_QUEUE: u64 = 0xe028;
/// TDWBAL of queue 0: whether its head is written to memory in place of descriptors.
pub const TRANSMIT_HEAD_COPY: u64 = 0xe038;

/// STATUS: LAN ID, which of the two ports this is; bits 2 and 3.
pub const fn port(status: u32) -> u32 {
    status >> 2 & 1
}

/// EEMNGCTL: CFG_DONE, the PHY of this port was set up out of the EEPROM.
pub const fn phy_configured(port: u32) -> u32 {
    if port == 0 { 1 << 18 } else { 1 << 19 }
}

/// SW_FW_SYNC: drivers have the PHY of this port.
pub const fn software_has_phy(port: u32) -> u32 {
    if port == 0 { 1 << 1 } else { 1 << 2 }
}

/// SW_FW_SYNC: firmware has the PHY of this port.
pub const fn firmware_has_phy(port: u32) -> u32 {
    software_has_phy(port) << 16
}

/// Fields of SWSM (section 4.7).
pub mod semaphore {
    /// SMBI: a driver has it. A read sets it: who reads zero has it.
    pub const DRIVER: u32 = 1 << 0;
    /// SWESMBI: drivers have it and firmware has not, if it sticks.
    pub const SOFTWARE: u32 = 1 << 1;
}

/// Fields of CTRL_EXT.
pub mod ctrl_ext {
    /// Extended VLAN: frames have an outer tag.
    pub const EXTENDED_VLAN: u32 = 1 << 26;
    /// DRV_LOAD: a driver has the controller, for firmware to know.
    pub const DRIVER_LOADED: u32 = 1 << 28;
}

/// Fields of GCR.
pub mod gcr {
    /// How long a completion is waited for, where the function has no such capability; 0 is the least.
    pub const COMPLETION_TIMEOUT: u32 = 0xf << 12;
    /// Of those: 10 ms.
    pub const COMPLETION_10_MS: u32 = 1 << 12;
    /// A request whose completion did not come is not sent again where this is clear.
    pub const COMPLETION_RESEND: u32 = 1 << 16;
    /// The function has that capability.
    pub const CAPABILITY_2: u32 = 1 << 18;
}

/// Fields of MDIC.
pub mod mdic {
    /// Writes `data` to `register` of the internal PHY.
    pub const fn write(register: u8, data: u16) -> u32 {
        const INTERNAL: u32 = 1 << 21;
        const WRITE: u32 = 1 << 26;
        data as u32 | (register as u32 & 0x1f) << 16 | INTERNAL | WRITE
    }
    /// R: it is done.
    pub const READY: u32 = 1 << 28;
}
/// The PHY's control register (IEEE 802.3, section 22.2.4.1).
pub const PHY_CONTROL: u8 = 0;
/// It agrees with the other end anew, on up to 1,000 megabits a second both ways.
pub const PHY_NEGOTIATE: u16 = 1 << 12 | 1 << 9 | 1 << 8 | 1 << 6;

/// Fields of GPIE.
pub mod mode {
    /// NSICR: each read of ICR clears it.
    pub const READ_CLEARS: u32 = 1 << 0;
    /// Multiple_MSIX: causes have the messages that IVAR gives them.
    pub const MANY_MESSAGES: u32 = 1 << 4;
    /// EIAME: a message masks itself where EIAM has it.
    pub const AUTO_MASK: u32 = 1 << 30;
    /// PBA_support: a message that is sent is not pending any more.
    pub const PENDING_CLEAR: u32 = 1 << 31;
}

/// IVAR with the messages of receive queue 0 and transmit queue 0.
pub const fn queue_allocation(receive: u8, transmit: u8) -> u32 {
    allocation(receive) | allocation(transmit) << 8
}
/// IVAR_MISC with the message of what is no queue's.
pub const fn other_allocation(other: u8) -> u32 {
    allocation(other) << 8
}
const fn allocation(message: u8) -> u32 {
    const VALID: u32 = 1 << 7;
    message as u32 & 0x1f | VALID
}
/// EITR with the least time between two messages, in microseconds.
pub const fn throttle(microseconds: u16) -> u32 {
    (microseconds as u32 & 0x1fff) << 2
}
/// EICR, EIMS and their like: the bit of a message.
pub const fn message(number: u8) -> u32 {
    1 << (number & 0x1f)
}

/// Fields of RXDCTL and TXDCTL.
pub mod queue {
    /// PTHRESH, HTHRESH and WTHRESH: few descriptors left there and many here, then more are fetched;
    /// each is written back when it is done, as MSI-X wants it.
    pub const THRESHOLDS: u32 = 8 | 8 << 8 | 1 << 16;
    /// ENABLE: the queue works. It does once this is read, too.
    pub const ENABLE: u32 = 1 << 25;
}
/// SRRCTL: buffers of 2 KiB, of which each holds a whole frame; advanced descriptors.
pub const ONE_BUFFER: u32 = 2 | 1 << 25;
/// TCTL: CT, how often a frame is tried, as the data sheet has it.
pub const COLLISIONS: u32 = 15 << 4;
/// TCTL: the field CT.
pub const COLLISIONS_MASK: u32 = 0xff << 4;

/// Advanced receive descriptors (section 7.1.5): the buffer's iova in bytes 0 to 7 for the
/// controller, and this in bytes 8 to 15 once it wrote them back.
pub mod receive {
    /// DD: the controller is done with it.
    pub const DONE: u64 = 1 << 0;
    /// EOP: the frame ends here.
    pub const END: u64 = 1 << 1;
    /// UDPCS and L4I: the checksum of UDP, or of TCP, was looked at.
    pub const CHECKED: u64 = 1 << 4 | 1 << 5;
    /// CE, SE, SEQ, CXE and RXE: the frame is damaged.
    pub const DAMAGED: u64 = 1 << 24 | 1 << 25 | 1 << 26 | 1 << 28 | 1 << 31;
    /// L4E and IPE: a checksum is wrong.
    pub const WRONG_CHECKSUM: u64 = 1 << 29 | 1 << 30;
    /// Bytes that were written.
    pub const fn length(descriptor: u64) -> u16 {
        (descriptor >> 32) as u16
    }
    /// The field of that.
    pub const fn with_length(bytes: u16) -> u64 {
        (bytes as u64) << 32
    }
}

/// Advanced transmit descriptors (section 7.2.2.3): the buffer's iova in bytes 0 to 7, and this in
/// bytes 8 to 15.
pub mod transmit {
    pub use crate::gigabit::TRANSMIT_DONE as DONE;

    const DATA: u64 = 3 << 20;
    const END: u64 = 1 << 24;
    const INSERT_CHECK: u64 = 1 << 25;
    const REPORT: u64 = 1 << 27;
    const ADVANCED: u64 = 1 << 29;

    /// A whole frame of `bytes` bytes, which is to be reported when it is done: DTALEN and PAYLEN,
    /// DTYP, EOP, IFCS, RS and DEXT.
    pub const fn whole(bytes: u16) -> u64 {
        bytes as u64 | (bytes as u64) << 46 | DATA | END | INSERT_CHECK | REPORT | ADVANCED
    }
}
