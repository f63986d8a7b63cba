//! Feature identifiers (section 5.21.1) and fields of their values.

/// Arbitration.
pub const ARBITRATION: u8 = 0x01;
/// Power management.
pub const POWER_MANAGEMENT: u8 = 0x02;
/// Temperature threshold.
pub const TEMPERATURE_THRESHOLD: u8 = 0x04;
/// Error recovery.
pub const ERROR_RECOVERY: u8 = 0x05;
/// Volatile write cache.
pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
/// Number of queues.
pub const NUMBER_OF_QUEUES: u8 = 0x07;
/// Interrupt coalescing.
pub const INTERRUPT_COALESCING: u8 = 0x08;
/// Interrupt vector configuration.
pub const INTERRUPT_VECTOR: u8 = 0x09;
/// Write atomicity normal.
pub const WRITE_ATOMICITY: u8 = 0x0a;
/// Asynchronous event configuration.
pub const ASYNCHRONOUS_EVENTS: u8 = 0x0b;

/// SV of set features: dword 10, bit 31, asks that the value survives a loss of power.
pub const SAVE: u32 = 1 << 31;
/// SEL of get features: dword 10, bits 8 to 10. See [`select`].
pub const fn selected(dword10: u32) -> u32 {
    dword10 >> 8 & 7
}

/// Which value get features gives (section 5.13).
pub mod select {
    /// The current value.
    pub const CURRENT: u32 = 0;
    /// The default value.
    pub const DEFAULT: u32 = 1;
    /// The saved value.
    pub const SAVED: u32 = 2;
    /// What can be done with the feature: bit 0 saveable, bit 1 of one namespace, bit 2
    /// changeable.
    pub const CAPABILITIES: u32 = 3;
    /// In the answer about capabilities: the feature can be changed.
    pub const CHANGEABLE: u32 = 1 << 2;
}

/// The number of queues (section 5.21.1.7), as asked for in dword 11 and answered in dword 0
/// of the completion.
pub mod queues {
    /// NSQR, NSQA: I/O submission queues; bits 0 to 15, one less.
    pub const fn submission(value: u32) -> u32 {
        (value & 0xffff).wrapping_add(1)
    }
    /// NCQR, NCQA: I/O completion queues; bits 16 to 31, one less.
    pub const fn completion(value: u32) -> u32 {
        (value >> 16).wrapping_add(1)
    }
    /// The value for so many queues of each kind, 1 to 65535.
    pub const fn of(submission: u32, completion: u32) -> u32 {
        submission.wrapping_sub(1) & 0xffff | (completion.wrapping_sub(1) & 0xffff) << 16
    }
}
