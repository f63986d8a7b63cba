//! Interrupt remapping entries, section 2.2.5: of 32 bits, or of 128 where the control
//! register's GAEn is set.

/// RemapEn, in either format.
pub const PRESENT: u64 = 1 << 0;
/// IntType, bits 2 to 4: 0 fixed, 1 arbitrated (lowest priority).
const TYPE_SHIFT: u32 = 2;
/// IntType of an arbitrated interrupt.
pub const ARBITRATED: u8 = 1;
/// The table's most entries: a message's data has 9 bits for them, as bits 9 and 10
/// would make it another type of message.
pub const MOST: u32 = 512;

/// Bytes of an entry of 32 bits.
pub const NARROW_BYTES: u64 = 4;
/// Bytes of an entry of 128 bits.
pub const WIDE_BYTES: u64 = 16;

/// An entry of 32 bits: to a physical 8-bit APIC ID.
pub const fn narrow(kind: u8, vector: u8, apic_id: u8) -> u32 {
    (vector as u32) << 16 | (apic_id as u32) << 8 | (kind as u32 & 7) << TYPE_SHIFT | PRESENT as u32
}

/// An entry of 128 bits, as low and high half: to a physical APIC ID, of which bits 24
/// to 31 count where the control register's XTEn is set.
pub const fn wide(kind: u8, vector: u8, apic_id: u32) -> [u64; 2] {
    let low = (apic_id as u64 & 0x00ff_ffff) << 8 | (kind as u64 & 7) << TYPE_SHIFT | PRESENT;
    [low, (apic_id as u64 >> 24) << 56 | vector as u64]
}

/// Where in a message's data, or in an IOAPIC's redirection entry, the index is: bits 0
/// to 10. It stands where the vector and the delivery mode are otherwise.
pub const INDEX_MASK: u32 = 0x7ff;

/// An IOAPIC's redirection entry for `index`. What ends a level-triggered interrupt is
/// the index's low byte, not the vector.
pub const fn redirection_entry(index: u16, level: bool, active_low: bool) -> u64 {
    (level as u64) << 15 | (active_low as u64) << 13 | index as u64 & INDEX_MASK as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_section_2_2_5() {
        assert_eq!(narrow(0, 0x41, 3), 0x0041_0301);
        assert_eq!(narrow(ARBITRATED, 0x41, 3), 0x0041_0305);
        assert_eq!(wide(0, 0x41, 3), [0x301, 0x41]);
        assert_eq!(wide(ARBITRATED, 0x41, 0x0102_0304), [0x0203_0405, 0x0100_0000_0000_0041]);
    }

    #[test]
    fn a_redirection_entry_holds_the_index() {
        assert_eq!(redirection_entry(0x17, false, false), 0x17);
        assert_eq!(redirection_entry(0x117, true, true), 0xa117);
    }
}
