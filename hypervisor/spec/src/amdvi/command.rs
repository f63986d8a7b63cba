//! Commands of 128 bits, section 2.4, as low and high half.

/// Bytes of a command.
pub const BYTES: u64 = 16;
/// Codes, in bits 60 to 63 of the low half.
const CODE_SHIFT: u32 = 60;

/// The code of a command.
pub const fn code(low: u64) -> u8 {
    (low >> CODE_SHIFT) as u8
}

/// COMPLETION_WAIT (section 2.4.1): when everything before is done, `data` is written
/// to the 8 bytes at hpa `at`.
pub const fn completion_wait(at: u64, data: u64) -> [u64; 2] {
    const STORE: u64 = 1 << 0;
    [1 << CODE_SHIFT | at & 0x000f_ffff_ffff_fff8 | STORE, data]
}

/// INVALIDATE_DEVTAB_ENTRY (section 2.4.2): the entry of a requester.
pub const fn invalidate_device(requester: u16) -> [u64; 2] {
    [2 << CODE_SHIFT | requester as u64, 0]
}

/// INVALIDATE_IOMMU_PAGES (section 2.4.3): every page of `domain`, and what is cached of
/// the way to it (S = 1, PDE = 1, and the address that means all).
pub const fn invalidate_domain(domain: u16) -> [u64; 2] {
    const SIZE: u64 = 1 << 0;
    const DIRECTORIES: u64 = 1 << 1;
    const ALL_PAGES: u64 = 0x7fff_ffff_ffff_f000;
    [3 << CODE_SHIFT | (domain as u64) << 32, ALL_PAGES | DIRECTORIES | SIZE]
}

/// INVALIDATE_INTERRUPT_TABLE (section 2.4.5): the entries of a requester's table.
pub const fn invalidate_interrupts(requester: u16) -> [u64; 2] {
    [5 << CODE_SHIFT | requester as u64, 0]
}

/// COMPLETE_PPR_REQUEST (section 2.4.7) with the answer "invalid request": the
/// requester is told that its page request `tag` fails.
pub const fn refuse_page_request(requester: u16, tag: u16) -> [u64; 2] {
    const INVALID_REQUEST: u64 = 1;
    [7 << CODE_SHIFT | requester as u64, INVALID_REQUEST << 44 | (tag as u64 & 0x3ff) << 32]
}

/// INVALIDATE_IOMMU_ALL (section 2.4.8): everything.
pub const INVALIDATE_ALL: [u64; 2] = [8 << CODE_SHIFT, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_section_2_4() {
        assert_eq!(completion_wait(0x1_2345_6008, 7), [0x1000_0001_2345_6009, 7]);
        assert_eq!(invalidate_device(0x1234), [0x2000_0000_0000_1234, 0]);
        assert_eq!(invalidate_domain(0x21), [0x3000_0021_0000_0000, 0x7fff_ffff_ffff_f003]);
        assert_eq!(invalidate_interrupts(0x10), [0x5000_0000_0000_0010, 0]);
        assert_eq!(INVALIDATE_ALL, [0x8000_0000_0000_0000, 0]);
        assert_eq!(code(INVALIDATE_ALL[0]), 8);
    }
}
