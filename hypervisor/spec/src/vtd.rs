//! Registers, tables and descriptors of Intel VT-d (Intel Virtualization Technology
//! for Directed I/O specification, revision 4.1; sections are cited at each item).

use bitflags::bitflags;

/// Register offsets in bytes from a unit's base, section 11.4.
pub mod register {
    /// VER: version, 32 bits.
    pub const VERSION: usize = 0x00;
    /// CAP, 64 bits.
    pub const CAPABILITY: usize = 0x08;
    /// ECAP, 64 bits.
    pub const EXTENDED_CAPABILITY: usize = 0x10;
    /// GCMD, 32 bits.
    pub const GLOBAL_COMMAND: usize = 0x18;
    /// GSTS, 32 bits.
    pub const GLOBAL_STATUS: usize = 0x1c;
    /// RTADDR: hpa of the root table, 64 bits.
    pub const ROOT_TABLE: usize = 0x20;
    /// FSTS, 32 bits.
    pub const FAULT_STATUS: usize = 0x34;
    /// FECTL, 32 bits.
    pub const FAULT_CONTROL: usize = 0x38;
    /// FEDATA, 32 bits.
    pub const FAULT_DATA: usize = 0x3c;
    /// FEADDR, 32 bits.
    pub const FAULT_ADDRESS: usize = 0x40;
    /// FEUADDR, 32 bits.
    pub const FAULT_UPPER_ADDRESS: usize = 0x44;
    /// PMEN: protected memory regions, 32 bits.
    pub const PROTECTED_MEMORY: usize = 0x64;
    /// PLMBASE: first byte of the protected region below 4 GiB, 32 bits.
    pub const PROTECTED_LOW_BASE: usize = 0x68;
    /// PLMLIMIT: its last byte, 32 bits.
    pub const PROTECTED_LOW_LIMIT: usize = 0x6c;
    /// PHMBASE: first byte of the protected region above 4 GiB, 64 bits.
    pub const PROTECTED_HIGH_BASE: usize = 0x70;
    /// PHMLIMIT: its last byte, 64 bits.
    pub const PROTECTED_HIGH_LIMIT: usize = 0x78;
    /// IQH: byte offset of the descriptor that hardware fetches next, 64 bits.
    pub const QUEUE_HEAD: usize = 0x80;
    /// IQT: byte offset of the slot that software fills next, 64 bits.
    pub const QUEUE_TAIL: usize = 0x88;
    /// IQA: hpa and size of the invalidation queue, 64 bits.
    pub const QUEUE_ADDRESS: usize = 0x90;
    /// IRTA: hpa and size of the interrupt remapping table, 64 bits.
    pub const INTERRUPT_TABLE: usize = 0xb8;
}

/// Bits of CAP, section 11.4.2.
pub mod capability {
    /// ND: 2^(4 + 2 * this) domain identifiers; bits 0 to 2.
    pub const fn domains_code(cap: u64) -> u32 {
        (cap & 7) as u32
    }
    /// RWBF: write buffers must be flushed after every update in memory.
    pub const WRITE_BUFFER_FLUSH: u64 = 1 << 4;
    /// CM: the unit may cache entries that are not present.
    pub const CACHING_MODE: u64 = 1 << 7;
    /// PLMR and PHMR: there are protected memory regions.
    pub const PROTECTED_MEMORY: u64 = 1 << 5 | 1 << 6;
    /// SAGAW: whether tables of `levels` (3 to 5) levels are supported; bits 8 to 12.
    pub const fn has_levels(cap: u64, levels: u8) -> bool {
        levels >= 3 && levels <= 5 && cap >> (levels as u32).wrapping_add(8 - 2) & 1 != 0
    }
    /// MGAW: width of the largest address that a device may use; bits 16 to 21.
    pub const fn address_bits(cap: u64) -> u32 {
        ((cap >> 16 & 0x3f) as u32).wrapping_add(1)
    }
    /// FRO: offset of the first fault recording register, in bytes; bits 24 to 33.
    pub const fn fault_records_offset(cap: u64) -> usize {
        ((cap >> 24 & 0x3ff) as usize) << 4
    }
    /// SLLPS: 2 MiB pages.
    pub const PAGES_2_MIB: u64 = 1 << 34;
    /// SLLPS: 1 GiB pages.
    pub const PAGES_1_GIB: u64 = 1 << 35;
    /// PSI: invalidation of chosen pages.
    pub const PAGE_SELECTIVE: u64 = 1 << 39;
    /// NFR: number of fault recording registers; bits 40 to 47.
    pub const fn fault_records(cap: u64) -> usize {
        ((cap >> 40 & 0xff) as usize).wrapping_add(1)
    }
    /// DWD: invalidations can drain writes.
    pub const DRAIN_WRITES: u64 = 1 << 54;
    /// DRD: invalidations can drain reads.
    pub const DRAIN_READS: u64 = 1 << 55;
}

/// Bits of ECAP, section 11.4.3.
pub mod extended {
    /// C: the unit snoops processor caches when it reads its tables.
    pub const COHERENT: u64 = 1 << 0;
    /// QI: queued invalidation.
    pub const QUEUED_INVALIDATION: u64 = 1 << 1;
    /// IR: interrupt remapping.
    pub const INTERRUPT_REMAPPING: u64 = 1 << 3;
    /// EIM: interrupts to 32-bit APIC IDs.
    pub const EXTENDED_INTERRUPTS: u64 = 1 << 4;
    /// SC: second-level leaves may force snooping.
    pub const SNOOP_CONTROL: u64 = 1 << 7;
    /// IRO: offset of the IOTLB registers, in bytes; bits 8 to 17.
    pub const fn iotlb_offset(ecap: u64) -> usize {
        ((ecap >> 8 & 0x3ff) as usize) << 4
    }
    /// Bytes of the IOTLB registers.
    pub const IOTLB_BYTES: usize = 16;
}

bitflags! {
    /// Bits of GCMD and, in the same places, GSTS; sections 11.4.4.1 and 11.4.4.2.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Global: u32 {
        /// TE: DMA remapping.
        const TRANSLATION = 1 << 31;
        /// SRTP: take RTADDR.
        const SET_ROOT_TABLE = 1 << 30;
        /// WBF: flush the write buffers; the status bit stays set meanwhile.
        const WRITE_BUFFER_FLUSH = 1 << 27;
        /// QIE: queued invalidation.
        const QUEUED_INVALIDATION = 1 << 26;
        /// IRE: interrupt remapping.
        const INTERRUPT_REMAPPING = 1 << 25;
        /// SIRTP: take IRTA.
        const SET_INTERRUPT_TABLE = 1 << 24;
        /// CFI: let interrupts in compatibility format pass.
        const COMPATIBILITY_INTERRUPTS = 1 << 23;
        /// The status bits that are states, not the trace of a one-time command: what a
        /// write of GCMD must repeat to leave them alone.
        const STATES = Self::TRANSLATION.bits()
            | Self::QUEUED_INVALIDATION.bits()
            | Self::INTERRUPT_REMAPPING.bits()
            | Self::COMPATIBILITY_INTERRUPTS.bits();
    }
}

bitflags! {
    /// Bits of FSTS, section 11.4.7.1. PFO and the queue's errors are cleared by
    /// writing 1.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct FaultStatus: u32 {
        /// PFO: a fault found every recording register in use.
        const OVERFLOW = 1 << 0;
        /// PPF: some recording register holds a fault.
        const PENDING = 1 << 1;
        /// IQE: a descriptor was malformed; the queue stands.
        const QUEUE_ERROR = 1 << 4;
        /// ICE: a device answered an invalidation wrongly.
        const COMPLETION_ERROR = 1 << 5;
        /// ITE: a device did not answer an invalidation.
        const TIME_OUT_ERROR = 1 << 6;
    }
}

impl FaultStatus {
    /// FRI: index of the first pending recording register; bits 8 to 15.
    pub const fn first_record(self) -> usize {
        (self.bits() >> 8 & 0xff) as usize
    }
}

/// RTADDR.TTM: how the root table is read; 0 is legacy mode. Section 11.4.5.
pub const TABLE_MODE: u64 = 3 << 10;
/// FECTL.IM: no interrupt on faults; section 11.4.7.2.
pub const FAULT_INTERRUPT_MASK: u32 = 1 << 31;
/// PMEN.EPM: enable protected memory regions; section 11.4.8.1.
pub const PROTECTED_MEMORY_ENABLE: u32 = 1 << 31;
/// PMEN.PRS: protected memory regions are on.
pub const PROTECTED_MEMORY_STATUS: u32 = 1 << 0;
/// IRTA.EIME: destinations are 32-bit APIC IDs; section 11.4.9.1.
pub const INTERRUPT_TABLE_EXTENDED: u64 = 1 << 11;

/// Halves of a fault recording register, section 11.4.7.6. Writing 1 to F, in its
/// last 4 bytes, clears it.
pub mod fault_record {
    /// Bytes of one register.
    pub const BYTES: usize = 16;
    /// Offset of the 4 bytes that hold F.
    pub const VALID_OFFSET: usize = 12;
    /// F, in those 4 bytes.
    pub const VALID: u32 = 1 << 31;
    /// F, in the high half.
    pub const VALID_HIGH: u64 = 1 << 63;
    /// T1: a read (or, with T2, an atomic operation), in the high half.
    pub const TYPE_1: u64 = 1 << 62;
    /// T2, in the high half.
    pub const TYPE_2: u64 = 1 << 28;
    /// FR: the reason's code, from the high half.
    pub const fn reason(high: u64) -> u8 {
        (high >> 32) as u8
    }
    /// SID: the requester, from the high half.
    pub const fn source(high: u64) -> u16 {
        high as u16
    }
    /// FI of a DMA fault: the page's address, from the low half.
    pub const fn page(low: u64) -> u64 {
        low & !0xfff
    }
    /// FI of an interrupt fault: the table index, from the low half.
    pub const fn interrupt_index(low: u64) -> u16 {
        (low >> 48) as u16
    }
}

/// Root and context entries of legacy mode, sections 9.1 and 9.3. Each has two
/// halves of 64 bits; hardware uses them where P, in the low half, is set.
pub mod context {
    /// P, of root and context entries.
    pub const PRESENT: u64 = 1 << 0;
    /// Bytes of an entry; a table has 256.
    pub const ENTRY_BYTES: u64 = 16;
    /// Low half of a context entry: translate untranslated requests through the
    /// table at `root`, and block translated ones (TT = 0).
    pub const fn low(root: u64) -> u64 {
        root & !0xfff | PRESENT
    }
    /// High half: AW (1 for 3 levels, 2 for 4, 3 for 5) and the domain identifier.
    pub const fn high(levels: u8, domain: u16) -> u64 {
        (levels as u64).wrapping_sub(2) & 7 | (domain as u64) << 8
    }
}

/// Invalidation descriptors of 128 bits, section 6.5.2, as low and high half.
pub mod descriptor {
    /// Bytes of a descriptor.
    pub const BYTES: u64 = 16;
    /// Context cache, everything.
    pub const CONTEXT_GLOBAL: [u64; 2] = [1 | 1 << 4, 0];
    /// Context cache, the entry that `source` used while it was in `domain`.
    pub const fn context_of(domain: u16, source: u16) -> [u64; 2] {
        [1 | 3 << 4 | (domain as u64) << 16 | (source as u64) << 32, 0]
    }
    /// DR: drain reads, of IOTLB descriptors.
    pub const DRAIN_READS: u64 = 1 << 7;
    /// DW: drain writes.
    pub const DRAIN_WRITES: u64 = 1 << 6;
    /// IOTLB, everything; `drain` of [`DRAIN_READS`] and [`DRAIN_WRITES`].
    pub const fn iotlb_global(drain: u64) -> [u64; 2] {
        [2 | 1 << 4 | drain, 0]
    }
    /// IOTLB, all of `domain`.
    pub const fn iotlb_domain(domain: u16, drain: u64) -> [u64; 2] {
        [2 | 2 << 4 | drain | (domain as u64) << 16, 0]
    }
    /// Interrupt entry cache, everything.
    pub const INTERRUPTS_GLOBAL: [u64; 2] = [4, 0];
    /// Interrupt entry cache, the entry at `index`.
    pub const fn interrupt(index: u16) -> [u64; 2] {
        [4 | 1 << 4 | (index as u64) << 32, 0]
    }
    /// Wait until everything before is done, then write `value` to the 4 bytes at
    /// hpa `status`.
    pub const fn wait(status: u64, value: u32) -> [u64; 2] {
        [5 | 1 << 5 | (value as u64) << 32, status & !3]
    }
}

/// Interrupt remapping entries, section 9.10, as two halves of 64 bits.
pub mod interrupt_entry {
    /// P, in the low half.
    pub const PRESENT: u64 = 1 << 0;
    /// TM: level-triggered.
    pub const LEVEL: u64 = 1 << 4;
    /// RH: the one lowest-priority processor of the destination.
    pub const REDIRECTION_HINT: u64 = 1 << 3;
    /// DLM: delivery mode, bits 5 to 7.
    pub const MODE_SHIFT: u32 = 5;
    /// V: vector, bits 16 to 23.
    pub const VECTOR_SHIFT: u32 = 16;
    /// DST where IRTA.EIME is set: the APIC ID, bits 32 to 63.
    pub const EXTENDED_DESTINATION_SHIFT: u32 = 32;
    /// DST where it is not: the APIC ID, bits 40 to 47.
    pub const DESTINATION_SHIFT: u32 = 40;
    /// SVT in the high half: the requester must be SID (SQ = 0: all 16 bits).
    pub const VERIFY_SOURCE: u64 = 1 << 18;
    /// SVT: the requester's bus must be in the range that SID holds.
    pub const VERIFY_BUS: u64 = 2 << 18;
    /// Bytes of an entry.
    pub const BYTES: u64 = 16;
}

/// Interrupt requests in remappable format, section 5.1.2.2.
pub mod remappable {
    /// Address of a message for `handle`, to which hardware adds the subhandle in
    /// the data (SHV is set).
    pub const fn msi_address(handle: u16) -> u64 {
        let handle = handle as u64;
        crate::apic::MESSAGE_ADDRESS | (handle & 0x7fff) << 5 | 1 << 4 | 1 << 3 | (handle >> 15) << 2
    }
    /// An IOAPIC's redirection entry for `handle` (section 5.1.5.1). Its vector is what
    /// the IOAPIC compares with the ends of level interrupts that it is told of: that of
    /// the remapping entry, where processors are to tell.
    pub const fn redirection_entry(handle: u16, vector: u8, level: bool, active_low: bool) -> u64 {
        let handle = handle as u64;
        (handle & 0x7fff) << 49
            | 1 << 48
            | (level as u64) << 15
            | (active_low as u64) << 13
            | (handle >> 15) << 11
            | vector as u64
    }
}

/// What the code of a fault says, section 7.3 and appendix A.
pub const fn fault_reason(code: u8) -> &'static str {
    match code {
        0x01 => "nothing is attached on this bus",
        0x02 => "the function is not attached",
        0x03 => "its context entry is invalid",
        0x04 => "the address is beyond what the tables translate",
        0x05 => "the page may not be written",
        0x06 => "the page may not be read",
        0x07 => "the address of a page table is invalid",
        0x08 => "the address of the root table is invalid",
        0x09 => "the address of a context table is invalid",
        0x0a => "a reserved bit is set in a root entry",
        0x0b => "a reserved bit is set in a context entry",
        0x0c => "a reserved bit is set in a page table",
        0x0d => "translated and translation requests are blocked",
        0x0e => "the translation leads to the interrupt range",
        0x20 => "the interrupt request has a reserved bit set",
        0x21 => "the interrupt index is beyond the table",
        0x22 => "the interrupt is not granted",
        0x23 => "the interrupt table cannot be read",
        0x24 => "a reserved bit is set in an interrupt entry",
        0x25 => "interrupts in compatibility format are blocked",
        0x26 => "the interrupt belongs to another requester",
        0x27 => "an interrupt descriptor cannot be accessed",
        0x28 => "a reserved bit is set in an interrupt descriptor",
        _ => "the reason is unknown",
    }
}

/// Whether the code of a fault is that of an interrupt request.
pub const fn is_interrupt_fault(code: u8) -> bool {
    code >= 0x20 && code < 0x30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_capabilities_decode() {
        let cap = 0x00d2_008c_222f_0686;
        assert_eq!(capability::address_bits(cap), 48);
        assert!(capability::has_levels(cap, 3) && capability::has_levels(cap, 4));
        assert!(!capability::has_levels(cap, 5) && !capability::has_levels(cap, 2));
        assert_ne!(cap & capability::CACHING_MODE, 0);
        assert_eq!(capability::fault_records_offset(cap), 0x220);
        assert_eq!(capability::fault_records(cap), 1);
        assert_eq!(cap >> 34 & 3, 3);
    }

    #[test]
    fn descriptors_are_those_of_section_6_5_2() {
        assert_eq!(descriptor::CONTEXT_GLOBAL, [0x11, 0]);
        assert_eq!(descriptor::context_of(7, 0x1234), [0x1234_0007_0031, 0]);
        assert_eq!(descriptor::iotlb_global(0xc0), [0xd2, 0]);
        assert_eq!(descriptor::iotlb_domain(9, 0), [0x9_0022, 0]);
        assert_eq!(descriptor::interrupt(5), [0x5_0000_0014, 0]);
        assert_eq!(descriptor::wait(0x1004, 3), [0x3_0000_0025, 0x1004]);
    }

    #[test]
    fn requests_are_those_of_section_5_1_2_2() {
        assert_eq!(remappable::msi_address(0), 0xfee0_0018);
        assert_eq!(remappable::msi_address(0x8003), 0xfee0_007c);
        assert_eq!(remappable::redirection_entry(0x8003, 0x41, true, true), 0x0007_0000_0000_a841);
    }

    #[test]
    fn context_entries_are_those_of_section_9_3() {
        assert_eq!(context::low(0x1_2345_6000), 0x1_2345_6001);
        assert_eq!(context::high(4, 0x21), 0x2102);
        assert_eq!(context::high(3, 1), 0x101);
    }
}
