//! Registers, tables, commands and events of AMD-Vi (AMD I/O Virtualization Technology
//! (IOMMU) specification, document 48882, revision 3.08; sections are cited at each
//! item).

pub mod command;
pub mod device_entry;
pub mod event;
pub mod interrupt_entry;

use bitflags::bitflags;

/// Register offsets in bytes from a unit's base, section 3.4. All are of 64 bits.
pub mod register {
    /// Device table base: hpa, and the number of 4 KiB blocks less one.
    pub const DEVICE_TABLE: usize = 0x00;
    /// Command buffer base: hpa, and the exponent of its length in commands.
    pub const COMMAND_BUFFER: usize = 0x08;
    /// Event log base, likewise.
    pub const EVENT_LOG: usize = 0x10;
    /// Control.
    pub const CONTROL: usize = 0x18;
    /// Exclusion range, its base with the enable bits.
    pub const EXCLUSION_BASE: usize = 0x20;
    /// Exclusion range, its limit.
    pub const EXCLUSION_LIMIT: usize = 0x28;
    /// Extended features.
    pub const EXTENDED_FEATURES: usize = 0x30;
    /// PPR log base: as the event log's.
    pub const PPR_LOG: usize = 0x38;
    /// Where the event interrupt goes in x2APIC mode.
    pub const X2APIC_EVENT_INTERRUPT: usize = 0x170;
    /// Where the PPR interrupt goes in x2APIC mode.
    pub const X2APIC_PPR_INTERRUPT: usize = 0x178;
    /// Byte offset of the command that hardware fetches next.
    pub const COMMAND_HEAD: usize = 0x2000;
    /// Byte offset of the slot that software fills next.
    pub const COMMAND_TAIL: usize = 0x2008;
    /// Byte offset of the event that software reads next.
    pub const EVENT_HEAD: usize = 0x2010;
    /// Byte offset of the slot that hardware fills next.
    pub const EVENT_TAIL: usize = 0x2018;
    /// Status.
    pub const STATUS: usize = 0x2020;
    /// Byte offset of the page request that software reads next.
    pub const PPR_HEAD: usize = 0x2030;
    /// Byte offset of the slot that hardware fills next.
    pub const PPR_TAIL: usize = 0x2038;
    /// Bytes of the registers that this names.
    pub const BYTES: usize = 0x4000;
}

bitflags! {
    /// Bits of the control register, section 3.4.1 (MMIO offset 18h).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Control: u64 {
        /// IommuEn: translate, remap, check.
        const ENABLE = 1 << 0;
        /// HtTunEn: translate HyperTransport tunnel traffic.
        const TUNNEL_TRANSLATION = 1 << 1;
        /// EventLogEn.
        const EVENT_LOG = 1 << 2;
        /// EventIntEn: interrupt on events and on overflow of their log.
        const EVENT_INTERRUPT = 1 << 3;
        /// PassPW.
        const PASS_POSTED_WRITES = 1 << 8;
        /// ResPassPW.
        const RESPONSES_PASS_POSTED_WRITES = 1 << 9;
        /// Coherent: reads of the device table snoop the processors' caches.
        const COHERENT = 1 << 10;
        /// Isoc: table walks use the isochronous channel.
        const ISOCHRONOUS = 1 << 11;
        /// CmdBufEn.
        const COMMAND_BUFFER = 1 << 12;
        /// PPRLogEn.
        const PPR_LOG = 1 << 13;
        /// PPRIntEn.
        const PPR_INTERRUPT = 1 << 14;
        /// PPREn: take page requests.
        const PPR = 1 << 15;
        /// GAEn: interrupt entries have 128 bits.
        const WIDE_INTERRUPT_ENTRIES = 1 << 17;
        /// XTEn: interrupt entries hold 32-bit APIC IDs.
        const X2APIC = 1 << 50;
        /// IntCapXTEn: the unit's own interrupts go where its registers from 170h on say.
        const X2APIC_OWN_INTERRUPTS = 1 << 51;
    }
}

bitflags! {
    /// Bits of the status register, section 3.4.15 (MMIO offset 2020h). All but the RUN
    /// bits are cleared by writing 1.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Status: u64 {
        /// EventOverflow: the event log was full, and recording stopped.
        const EVENT_OVERFLOW = 1 << 0;
        /// EventLogInt: an event was recorded; no further event interrupts until cleared.
        const EVENT_INTERRUPT = 1 << 1;
        /// EventLogRun.
        const EVENT_LOG_RUNS = 1 << 3;
        /// CmdBufRun: 0 also once a command was illegal or could not be read.
        const COMMANDS_RUN = 1 << 4;
        /// PPROverflow.
        const PPR_OVERFLOW = 1 << 5;
        /// PPRInt.
        const PPR_INTERRUPT = 1 << 6;
        /// PPRLogRun.
        const PPR_LOG_RUNS = 1 << 7;
    }
}

/// Fields of the extended feature register, section 3.4.9 (MMIO offset 30h).
pub mod feature {
    /// PPRSup: peripheral page requests.
    pub const PPR: u64 = 1 << 1;
    /// XTSup: interrupts to 32-bit APIC IDs.
    pub const X2APIC: u64 = 1 << 2;
    /// IASup: the command that invalidates everything.
    pub const INVALIDATE_ALL: u64 = 1 << 6;
    /// GASup: interrupt entries of 128 bits.
    pub const WIDE_INTERRUPT_ENTRIES: u64 = 1 << 7;
    /// HATS: the most levels that a host page table may have (4 to 6); `None` for the
    /// reserved code.
    pub const fn most_levels(features: u64) -> Option<u8> {
        match features >> 10 & 3 {
            3 => None,
            code => Some((code as u8).wrapping_add(4)),
        }
    }
}

/// The capability block in the unit's configuration space, section 3.2.
pub mod capability {
    /// Capability ID, with the type of the block (3: IOMMU) in bits 16 to 18.
    pub const ID: u32 = 0x0f;
    /// Mask of the ID and of the type.
    pub const ID_MASK: u32 = 7 << 16 | 0xff;
    /// The ID and the type of an IOMMU's block.
    pub const IOMMU: u32 = 3 << 16 | ID;
    /// NpCache: the unit may cache entries that are not present.
    pub const CACHES_ABSENT: u32 = 1 << 26;
    /// EFRSup: the extended feature register is there.
    pub const EXTENDED_FEATURES: u32 = 1 << 27;
}

/// Value of the device table's base register: where it is, and its bytes, a multiple of
/// 4 KiB up to 2 MiB.
pub const fn device_table_base(table: u64, bytes: u64) -> u64 {
    table & 0x000f_ffff_ffff_f000 | (bytes >> 12).wrapping_sub(1) & 0x1ff
}

/// Value of a base register of the command buffer or of a log: where it is, and the
/// exponent of its length in entries of 16 bytes, 8 (one page) to 15.
pub const fn ring_base(ring: u64, exponent: u32) -> u64 {
    ring & 0x000f_ffff_ffff_f000 | (exponent as u64 & 0xf) << 56
}

/// Value of a register at 170h and on: a fixed interrupt to a physical 32-bit APIC ID.
pub const fn own_interrupt(vector: u8, apic_id: u32) -> u64 {
    (apic_id as u64 & 0x00ff_ffff) << 8 | (vector as u64) << 32 | (apic_id as u64 >> 24) << 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_features_decode() {
        let features = 0x29d7;
        assert_eq!(feature::most_levels(features), Some(6));
        assert_ne!(features & feature::X2APIC, 0);
        assert_ne!(features & feature::WIDE_INTERRUPT_ENTRIES, 0);
        assert_ne!(features & feature::INVALIDATE_ALL, 0);
        assert_ne!(features & feature::PPR, 0);
        assert_eq!(feature::most_levels(0), Some(4));
        assert_eq!(feature::most_levels(0xc00), None);
    }

    #[test]
    fn registers_are_those_of_section_3_4() {
        assert_eq!(device_table_base(0x1234_0000, 2 << 20), 0x1234_01ff);
        assert_eq!(ring_base(0x1234_5000, 8), 0x0800_0000_1234_5000);
        assert_eq!(own_interrupt(0x19, 0x0102_0304), 0x0100_0019_0203_0400);
        let x2apic = Control::X2APIC | Control::X2APIC_OWN_INTERRUPTS;
        assert_eq!(x2apic.bits(), 0x000c_0000_0000_0000);
    }
}
