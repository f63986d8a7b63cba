//! Entries of the event log (section 2.5) and of the PPR log (section 2.6), of 128 bits.

/// Bytes of an entry of either log.
pub const BYTES: u64 = 16;

/// EventCode, of the low half; 0 is no event.
pub const fn code(low: u64) -> u8 {
    (low >> 60) as u8
}

/// Codes of events.
pub mod codes {
    /// ILLEGAL_DEV_TABLE_ENTRY.
    pub const ILLEGAL_DEVICE_ENTRY: u8 = 1;
    /// IO_PAGE_FAULT.
    pub const PAGE_FAULT: u8 = 2;
    /// DEV_TAB_HARDWARE_ERROR.
    pub const DEVICE_TABLE_ERROR: u8 = 3;
    /// PAGE_TAB_HARDWARE_ERROR.
    pub const PAGE_TABLE_ERROR: u8 = 4;
    /// ILLEGAL_COMMAND_ERROR.
    pub const ILLEGAL_COMMAND: u8 = 5;
    /// COMMAND_HARDWARE_ERROR.
    pub const COMMAND_ERROR: u8 = 6;
    /// IOTLB_INV_TIMEOUT.
    pub const DEVICE_TIME_OUT: u8 = 7;
    /// INVALID_DEVICE_REQUEST.
    pub const INVALID_REQUEST: u8 = 8;
    /// INVALID_PPR_REQUEST.
    pub const INVALID_PAGE_REQUEST: u8 = 9;
}

/// DeviceID, of the low half, where the event is about a requester.
pub const fn requester(low: u64) -> u16 {
    low as u16
}

/// Whether an event of that code is about a requester.
pub const fn has_requester(code: u8) -> bool {
    !matches!(code, codes::ILLEGAL_COMMAND | codes::COMMAND_ERROR) && code != 0
}

/// I, of the low half of a page fault: it was an interrupt request.
pub const INTERRUPT: u64 = 1 << 51;
/// PR: the page, or the interrupt entry, was present. RW counts only with it.
pub const PRESENT: u64 = 1 << 52;
/// RW: it was a write.
pub const WRITE: u64 = 1 << 53;
/// RZ: a reserved bit was set, or a level was invalid.
pub const RESERVED_BIT: u64 = 1 << 55;
/// TR: it was a request for a translation, not a transaction.
pub const TRANSLATION_REQUEST: u64 = 1 << 56;

/// Fields of a page request, section 2.6.1.
pub mod page_request {
    /// The page, from the high half.
    pub const fn page(high: u64) -> u64 {
        high & !0xfff
    }
    /// Tag, from the low half: what the answer repeats.
    pub const fn tag(low: u64) -> u16 {
        (low >> 32) as u16 & 0x3ff
    }
}

/// What the code of an event says; of a page fault, its flags say more.
pub const fn reason(low: u64) -> &'static str {
    match code(low) {
        codes::ILLEGAL_DEVICE_ENTRY => "its device table entry is invalid",
        codes::PAGE_FAULT if low & RESERVED_BIT != 0 => "a reserved bit is set in a table",
        codes::PAGE_FAULT if low & TRANSLATION_REQUEST != 0 => "translation requests are blocked",
        codes::PAGE_FAULT if low & PRESENT != 0 => "it is not granted that",
        codes::PAGE_FAULT => "nothing is granted there",
        codes::DEVICE_TABLE_ERROR => "the device table cannot be read",
        codes::PAGE_TABLE_ERROR => "a page table cannot be read",
        codes::ILLEGAL_COMMAND => "a command is illegal",
        codes::COMMAND_ERROR => "a command cannot be read",
        codes::DEVICE_TIME_OUT => "the device did not answer an invalidation",
        codes::INVALID_REQUEST => "the request is of a kind that is blocked",
        codes::INVALID_PAGE_REQUEST => "page requests are blocked",
        _ => "the reason is unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fault_of_section_2_5_3() {
        let low = 0x2030_0021_0000_0310;
        assert_eq!((code(low), requester(low)), (codes::PAGE_FAULT, 0x310));
        assert_ne!(low & PRESENT, 0);
        assert_ne!(low & WRITE, 0);
        assert_eq!(low & INTERRUPT, 0);
        assert_eq!(reason(low), "it is not granted that");
        assert_eq!(reason(0x2000_0000_0000_0310), "nothing is granted there");
    }

    #[test]
    fn events_about_commands_have_no_requester() {
        assert!(!has_requester(codes::ILLEGAL_COMMAND) && !has_requester(0));
        assert!(has_requester(codes::PAGE_FAULT) && has_requester(codes::INVALID_REQUEST));
    }
}
