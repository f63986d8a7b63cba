//! Device table entries of 256 bits, section 2.2.2.1, as four quarters of 64 bits.

/// Bytes of an entry.
pub const BYTES: u64 = 32;
/// V: the first two quarters count; else DMA passes untranslated.
pub const VALID: u64 = 1 << 0;
/// TV: Mode, the root, IR and IW count.
pub const TRANSLATION_VALID: u64 = 1 << 1;
/// IR, in the first quarter: reads are allowed at all.
pub const READ: u64 = 1 << 61;
/// IW: writes are.
pub const WRITE: u64 = 1 << 62;
/// Mode: levels of the host page table.
const MODE_SHIFT: u32 = 9;

/// First quarter: DMA through the table at `root`, of `levels` levels.
pub const fn translate(root: u64, levels: u8) -> u64 {
    blocked(root, levels) | READ | WRITE
}

/// First quarter: no DMA whatever the table at `root` says.
pub const fn blocked(root: u64, levels: u8) -> u64 {
    root & 0x000f_ffff_ffff_f000 | (levels as u64 & 7) << MODE_SHIFT | TRANSLATION_VALID | VALID
}

/// Second quarter: the domain that what is cached is tagged with. Device TLBs (I),
/// untranslated I/O and system management messages (IoCtl, SysMgt) stay off, and every
/// fault is recorded (SE = SA = 0).
pub const fn domain(domain: u16) -> u64 {
    domain as u64
}

/// Second quarter of an entry that blocks DMA: system management messages as the table
/// of units asks by the data setting `setting` of an IVHD device entry (section 5.2.2.1,
/// SysMgt in bits 4 and 5).
pub const fn system_management(setting: u8) -> u64 {
    const SYSTEM_MANAGEMENT_SHIFT: u32 = 40;
    (setting as u64 >> 4 & 3) << SYSTEM_MANAGEMENT_SHIFT
}

/// Interrupt fields, in the third quarter.
pub mod interrupts {
    /// IV: the third quarter counts; else interrupts pass.
    pub const VALID: u64 = 1 << 0;
    /// IntCtl = 2: fixed and arbitrated interrupts go through the table.
    const REMAP: u64 = 2 << 60;

    /// No interrupt of any kind: IntCtl = 0, and nothing else passes either.
    pub const BLOCKED: u64 = VALID;

    /// Fixed and arbitrated interrupts through the table of 2^`exponent` entries (0 to
    /// 11) at hpa `table`, a multiple of 128; INIT, NMI, external interrupts and LINT
    /// pins are blocked.
    pub const fn remap(table: u64, exponent: u32) -> u64 {
        table & 0x000f_ffff_ffff_ffc0 | REMAP | (exponent as u64 & 0xf) << 1 | VALID
    }

    /// No fixed and no arbitrated interrupt, but INIT, external interrupts, NMI (bits 0
    /// to 2) and the LINT pins (bits 6 and 7) as the data setting asks.
    pub const fn signals(setting: u8) -> u64 {
        BLOCKED | (setting as u64 & 7) << 56 | (setting as u64 >> 6) << 62
    }

    /// hpa of the table, where there is one.
    pub const fn table(quarter: u64) -> Option<u64> {
        if quarter & 3 << 60 == REMAP { Some(quarter & 0x000f_ffff_ffff_ffc0) } else { None }
    }

    /// Entries of the table.
    pub const fn entries(quarter: u64) -> u32 {
        1 << (quarter >> 1 & 0xf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_are_those_of_section_2_2_2_1() {
        assert_eq!(translate(0x12_3456_7000, 4), 0x6000_0012_3456_7803);
        assert_eq!(blocked(0x12_3456_7000, 4), 0x12_3456_7803);
        assert_eq!(domain(0x21), 0x21);
        assert_eq!(interrupts::BLOCKED, 1);
        assert_eq!(interrupts::remap(0x12_3456_7000, 8), 0x2000_0012_3456_7011);
        assert_eq!(interrupts::table(interrupts::remap(0x12_3456_7000, 8)), Some(0x12_3456_7000));
        assert_eq!(interrupts::entries(interrupts::remap(0, 9)), 512);
        assert_eq!(interrupts::table(interrupts::BLOCKED), None);
    }

    #[test]
    fn settings_are_those_of_section_5_2_2_1() {
        // What firmware asks for of the southbridge.
        assert_eq!(interrupts::signals(0xd7), 0xc700_0000_0000_0001);
        assert_eq!(interrupts::signals(0), interrupts::BLOCKED);
        assert_eq!(system_management(0xd7), 1 << 40);
        assert_eq!(interrupts::table(interrupts::signals(0xff)), None);
    }
}
