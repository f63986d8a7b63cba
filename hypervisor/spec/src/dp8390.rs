//! The DP8390D network interface controller (National Semiconductor, DP8390D/NS32490D data sheet 1995;
//! sections are cited at each item), and what an NE2000 and Realtek's RTL8029AS put around it.
//!
//! The chip addresses memory of its own by 16 bits, in pages of 256 bytes.

/// Bytes of a page of the receive ring (section 7.0).
pub const PAGE_BYTES: usize = 256;
/// Bytes before each frame in the receive ring (section 7.0).
pub const FRAME_HEADER_BYTES: usize = 4;
/// Bytes of a frame check sequence, which is in the ring behind its frame (section 7.0).
pub const FCS_BYTES: usize = 4;

/// PCI vendor and device of an RTL8029AS.
pub const RTL8029_ID: (u16, u16) = (0x10ec, 0x8029);
/// Ports of an NE2000.
pub const PORTS: u64 = 32;
/// The data port of remote DMA; it answers at eight offsets (RTL8029AS data sheet, section 5).
pub const DATA: u64 = 0x10;
/// A read of this port, or of the seven behind it, resets the chip.
pub const RESET: u64 = 0x18;
/// Where an NE2000's buffer memory begins and ends in the chip's address space.
pub const MEMORY: (u16, u16) = (0x4000, 0x8000);
/// Bytes of the memory with the station address, which begins at address 0: each byte is there twice.
pub const PROM_BYTES: usize = 32;
/// What the bytes 14 and 15 of that memory say (twice again) of an interface with a 16-bit bus.
pub const PROM_IS_16_BIT: u8 = 0x57;

/// CR, the command register, which is at offset 0 of every page (section 10.3).
pub mod command {
    /// STP: the chip is reset, and neither sends nor receives.
    pub const STOP: u8 = 1 << 0;
    /// STA: it leaves the reset.
    pub const START: u8 = 1 << 1;
    /// TXP: it sends a frame; reads 1 until that is over.
    pub const TRANSMIT: u8 = 1 << 2;
    /// RD0: remote DMA reads memory.
    pub const REMOTE_READ: u8 = 1 << 3;
    /// RD1: remote DMA writes memory.
    pub const REMOTE_WRITE: u8 = 1 << 4;
    /// RD2: remote DMA is aborted, or is complete.
    pub const REMOTE_ABORT: u8 = 1 << 5;
    /// PS: how far up the page of the registers is.
    pub const PAGE_SHIFT: u32 = 6;
}

/// Registers of page 0 (section 10.2). Those of one offset that are read and those that are written
/// are different ones.
pub mod page0 {
    /// PSTART, written: the first page of the receive ring.
    pub const PAGE_START: u64 = 0x1;
    /// PSTOP, written: the page behind the last of the receive ring.
    pub const PAGE_STOP: u64 = 0x2;
    /// BNRY: the page that reception must not reach.
    pub const BOUNDARY: u64 = 0x3;
    /// TSR, read: what became of the frame that was sent last.
    pub const TRANSMIT_STATUS: u64 = 0x4;
    /// TPSR, written: the page at which the frame to send begins.
    pub const TRANSMIT_PAGE: u64 = 0x4;
    /// TBCR, written: bytes of the frame to send; two registers.
    pub const TRANSMIT_BYTES: u64 = 0x5;
    /// ISR: what has happened; ones that are written clear.
    pub const INTERRUPT_STATUS: u64 = 0x7;
    /// CRDA read, RSAR written: the address of remote DMA; two registers.
    pub const REMOTE_ADDRESS: u64 = 0x8;
    /// RBCR, written: bytes that remote DMA moves; two registers.
    pub const REMOTE_BYTES: u64 = 0xa;
    /// RTL8029AS, read: always 0x50, "P".
    pub const RTL8029_ID0: u64 = 0xa;
    /// RTL8029AS, read: always 0x43, "C".
    pub const RTL8029_ID1: u64 = 0xb;
    /// RSR, read: what became of the frame that was received last.
    pub const RECEIVE_STATUS: u64 = 0xc;
    /// RCR, written: which frames are received.
    pub const RECEIVE_CONFIG: u64 = 0xc;
    /// CNTR0, read: frames with alignment errors.
    pub const ALIGNMENT_ERRORS: u64 = 0xd;
    /// TCR, written: how frames are sent.
    pub const TRANSMIT_CONFIG: u64 = 0xd;
    /// CNTR1, read: frames with checksum errors.
    pub const CHECKSUM_ERRORS: u64 = 0xe;
    /// DCR, written: the width of data.
    pub const DATA_CONFIG: u64 = 0xe;
    /// CNTR2, read, which clears it: frames that were missed.
    pub const MISSED: u64 = 0xf;
    /// IMR, written: which bits of ISR interrupt.
    pub const INTERRUPT_MASK: u64 = 0xf;
}

/// Registers of page 1 (section 10.2).
pub mod page1 {
    /// PAR: the station address; six registers.
    pub const STATION: u64 = 0x1;
    /// CURR: the page at which the next frame is received.
    pub const CURRENT: u64 = 0x7;
    /// MAR: the filter of multicast addresses; eight registers.
    pub const MULTICAST: u64 = 0x8;
}

/// Registers of page 3, which only an RTL8029AS has (RTL8029AS data sheet, section 5).
pub mod page3 {
    /// CONFIG2: the medium.
    pub const CONFIG2: u64 = 0x5;
    /// CONFIG2: it is 10BASE-T.
    pub const CONFIG2_10BASE_T: u8 = 0x40;
    /// CONFIG3: what it can do.
    pub const CONFIG3: u64 = 0x6;
    /// CONFIG3: sending and receiving at a time.
    pub const CONFIG3_FULL_DUPLEX: u8 = 0x40;
    /// 8029ASID: 0x29 and 0x80; two registers.
    pub const ID: u64 = 0xe;
}

/// ISR and IMR (sections 10.3 and 10.4).
pub mod interrupt {
    /// PRX: a frame was received.
    pub const RECEIVED: u8 = 1 << 0;
    /// PTX: the frame was sent.
    pub const SENT: u8 = 1 << 1;
    /// TXE: the frame could not be sent.
    pub const TRANSMIT_ERROR: u8 = 1 << 3;
    /// OVW: the receive ring is full.
    pub const OVERWRITE: u8 = 1 << 4;
    /// CNT: a counter has its highest bit set.
    pub const COUNTER: u8 = 1 << 5;
    /// RDC: remote DMA is complete.
    pub const REMOTE_COMPLETE: u8 = 1 << 6;
    /// RST: the chip is in reset. It does not interrupt, and is not cleared by a write.
    pub const RESET: u8 = 1 << 7;
}

/// DCR (section 10.3).
pub mod data_config {
    /// WTS: data is moved by words.
    pub const WORDS: u8 = 1 << 0;
}

/// TCR (section 10.3).
pub mod transmit_config {
    /// LB: what is sent does not leave the interface.
    pub const LOOPBACK: u8 = 3 << 1;
}

/// TSR (section 10.3).
pub mod transmit_status {
    /// PTX: it was sent.
    pub const SENT: u8 = 1 << 0;
    /// ABT: it was given up.
    pub const ABORTED: u8 = 1 << 3;
    /// CRS: there was no carrier.
    pub const NO_CARRIER: u8 = 1 << 4;
}

/// RCR (section 10.3).
pub mod receive_config {
    /// AB: frames to all.
    pub const BROADCAST: u8 = 1 << 2;
    /// AM: frames to groups that the filter lets pass.
    pub const MULTICAST: u8 = 1 << 3;
    /// PRO: frames to every station.
    pub const PROMISCUOUS: u8 = 1 << 4;
    /// MON: frames are counted, and not received.
    pub const MONITOR: u8 = 1 << 5;
}

/// RSR, and the first byte of a frame's header in the ring (section 10.3).
pub mod receive_status {
    /// PRX: it is whole.
    pub const RECEIVED: u8 = 1 << 0;
    /// MPA: it was missed.
    pub const MISSED: u8 = 1 << 4;
    /// PHY: it went to a group.
    pub const GROUP: u8 = 1 << 5;
    /// DIS: reception is off.
    pub const DISABLED: u8 = 1 << 6;
}

/// Where a counter stops, and where it interrupts (section 10.3).
pub const COUNTER_MOST: u8 = 192;
/// The bit of a counter that interrupts.
pub const COUNTER_HIGH: u8 = 1 << 7;
