//! AHCI host bus adapters: registers and structures in memory (Serial ATA AHCI 1.3.1; sections
//! are cited at each item). Offsets are in bytes; everything in memory is little-endian.

pub mod fis;
pub mod port;

/// CAP: what the HBA can do, 32 bits (section 3.1.1).
pub const CAPABILITIES: usize = 0x00;
/// GHC: control of the whole HBA, 32 bits (section 3.1.2).
pub const CONTROL: usize = 0x04;
/// IS: a bit for each port that has an interrupt, cleared by writing ones (section 3.1.3).
pub const INTERRUPT_STATUS: usize = 0x08;
/// PI: a bit for each port that there is (section 3.1.4).
pub const PORTS_IMPLEMENTED: usize = 0x0c;
/// VS: version, 32 bits (section 3.1.5).
pub const VERSION: usize = 0x10;
/// CAP2: more of what it can do, 32 bits (section 3.1.10).
pub const CAPABILITIES_2: usize = 0x24;
/// BOHC: hand-off from the firmware, 32 bits (section 3.1.11).
pub const HANDOFF: usize = 0x28;

/// How many ports and how many command slots there can be.
pub const MOST_PORTS: u32 = 32;

/// Where the registers of port `number` begin (section 3.3).
pub const fn port_registers(number: u32) -> usize {
    0x100_usize.wrapping_add((number as usize) << 7)
}

/// Fields of CAP, section 3.1.1.
pub mod cap {
    /// NP: how many ports there are, at most; bits 0 to 4, one less.
    pub const fn ports(cap: u32) -> u32 {
        (cap & 0x1f).wrapping_add(1)
    }
    /// NCS: command slots of each port; bits 8 to 12, one less.
    pub const fn slots(cap: u32) -> u32 {
        (cap >> 8 & 0x1f).wrapping_add(1)
    }
    /// SAM: there is no legacy way beside AHCI.
    pub const AHCI_ONLY: u32 = 1 << 18;
    /// SSS: drives are spun up one after the other.
    pub const STAGGERED_SPIN_UP: u32 = 1 << 27;
    /// SNCQ: native command queuing.
    pub const NATIVE_QUEUING: u32 = 1 << 30;
    /// S64A: addresses of 64 bits.
    pub const ADDRESSES_64: u32 = 1 << 31;
}

/// Fields of GHC, section 3.1.2.
pub mod ghc {
    /// HR: resets the HBA, and is set until that is done.
    pub const RESET: u32 = 1 << 0;
    /// IE: the HBA sends interrupts.
    pub const INTERRUPT_ENABLE: u32 = 1 << 1;
    /// AE: AHCI, not a legacy way, is used.
    pub const AHCI_ENABLE: u32 = 1 << 31;
}

/// Fields of CAP2, section 3.1.10.
pub mod cap2 {
    /// BOH: BOHC is there.
    pub const HANDOFF: u32 = 1 << 0;
}

/// Fields of BOHC, section 3.1.11.
pub mod bohc {
    /// BOS: the firmware owns the HBA.
    pub const FIRMWARE_OWNED: u32 = 1 << 0;
    /// OOS: the operating system owns it, or asks for it.
    pub const SYSTEM_OWNED: u32 = 1 << 1;
    /// BB: the firmware is about to finish what it began.
    pub const FIRMWARE_BUSY: u32 = 1 << 4;
}

/// A command header in the command list (section 4.2.2).
pub mod header {
    /// Bytes of a header.
    pub const BYTES: usize = 32;
    /// Bytes of the list, which starts at a multiple of them.
    pub const LIST_BYTES: usize = 1024;
    /// W, of dword 0: data goes to the device.
    pub const WRITE: u32 = 1 << 6;
    /// Dword 0 of a command with a register FIS (CFL is 5 dwords) and `regions` regions of
    /// memory (PRDTL).
    pub const fn of(regions: u16, is_write: bool) -> u32 {
        let write = if is_write { WRITE } else { 0 };
        (regions as u32) << 16 | write | 5
    }
    /// PRDTL, of dword 0: how many regions there are.
    pub const fn regions(dword: u32) -> u16 {
        (dword >> 16) as u16
    }
}

/// A command table (section 4.2.3).
pub mod table {
    /// A table starts at a multiple of this.
    pub const ALIGNMENT: usize = 128;
    /// Where the first region descriptor is; the command's FIS is at 0.
    pub const REGIONS: usize = 0x80;
    /// Bytes of a region descriptor: address, 8 bytes, of which bit 0 is zero; 4 reserved; and
    /// dword 3, which is [`region_bytes`] less one.
    pub const REGION_BYTES: usize = 16;
    /// The most that a region has.
    pub const MOST_REGION_BYTES: u64 = 4 << 20;
    /// DBC: bytes of a region, an even number; bits 0 to 21 of dword 3, one less.
    pub const fn region_bytes(dword: u32) -> u32 {
        (dword & 0x3f_ffff).wrapping_add(1)
    }
}
