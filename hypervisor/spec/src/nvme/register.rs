//! Controller registers (section 3.1): offsets in bytes from BAR 0, and their fields.

/// CAP: controller capabilities, 64 bits (section 3.1.1).
pub const CAPABILITIES: u64 = 0x00;
/// VS: version, 32 bits (section 3.1.2).
pub const VERSION: u64 = 0x08;
/// INTMS: writing ones masks the vectors of their places, 32 bits (section 3.1.3). Not used
/// with MSI-X.
pub const INTERRUPT_MASK_SET: u64 = 0x0c;
/// INTMC: writing ones unmasks, 32 bits (section 3.1.4).
pub const INTERRUPT_MASK_CLEAR: u64 = 0x10;
/// CC: controller configuration, 32 bits (section 3.1.5).
pub const CONFIGURATION: u64 = 0x14;
/// CSTS: controller status, 32 bits (section 3.1.6).
pub const STATUS: u64 = 0x1c;
/// NSSR: subsystem reset, 32 bits (section 3.1.7).
pub const SUBSYSTEM_RESET: u64 = 0x20;
/// AQA: sizes of the admin queues, 32 bits (section 3.1.8).
pub const ADMIN_QUEUE_ATTRIBUTES: u64 = 0x24;
/// ASQ: address of the admin submission queue, 64 bits; bits 0 to 11 are zero (section 3.1.9).
pub const ADMIN_SUBMISSION_QUEUE: u64 = 0x28;
/// ACQ: address of the admin completion queue, 64 bits; bits 0 to 11 are zero (section 3.1.10).
pub const ADMIN_COMPLETION_QUEUE: u64 = 0x30;
/// The first doorbell, which is the tail of the admin submission queue.
pub const DOORBELLS: u64 = 0x1000;

/// Revision 1.4 as VS and the identify structure's VER say it: major, minor, tertiary.
pub const VERSION_1_4: u32 = 1 << 16 | 4 << 8;

/// Offset of the doorbell that takes the tail of submission queue `queue` (section 3.1,
/// SQyTDBL), where CAP.DSTRD is `stride`.
pub const fn submission_doorbell(queue: u16, stride: u32) -> u64 {
    doorbell((queue as u64) << 1, stride)
}

/// Offset of the doorbell that takes the head of completion queue `queue` (section 3.1,
/// CQyHDBL), where CAP.DSTRD is `stride`.
pub const fn completion_doorbell(queue: u16, stride: u32) -> u64 {
    doorbell((queue as u64) << 1 | 1, stride)
}

const fn doorbell(place: u64, stride: u32) -> u64 {
    DOORBELLS.wrapping_add(place << (2_u32.wrapping_add(stride & 0xf)))
}

/// Fields of CAP, section 3.1.1.
pub mod cap {
    /// MQES: most entries of an I/O queue; bits 0 to 15, one less.
    pub const fn queue_entries(cap: u64) -> u32 {
        ((cap & 0xffff) as u32).wrapping_add(1)
    }
    /// CQR: I/O queues have to be contiguous.
    pub const CONTIGUOUS_QUEUES: u64 = 1 << 16;
    /// TO: the longest that CSTS.RDY takes to follow CC.EN, in units of 500 ms; bits 24 to 31.
    pub const fn timeout_half_seconds(cap: u64) -> u32 {
        (cap >> 24 & 0xff) as u32
    }
    /// DSTRD: doorbells are 4 << this bytes apart; bits 32 to 35.
    pub const fn doorbell_stride(cap: u64) -> u32 {
        (cap >> 32 & 0xf) as u32
    }
    /// CSS bit 0: the NVM command set.
    pub const NVM_COMMANDS: u64 = 1 << 37;
    /// MPSMIN: the smallest page has 4096 << this bytes; bits 48 to 51.
    pub const fn page_shift_minimum(cap: u64) -> u32 {
        (cap >> 48 & 0xf) as u32
    }
    /// MPSMAX: the largest page has 4096 << this bytes; bits 52 to 55.
    pub const fn page_shift_maximum(cap: u64) -> u32 {
        (cap >> 52 & 0xf) as u32
    }
    /// CAP of a controller with 4096-byte pages, contiguous queues of at most `entries` and the
    /// NVM command set, which follows CC.EN within `half_seconds`.
    pub const fn of(entries: u16, half_seconds: u8) -> u64 {
        (entries.wrapping_sub(1) as u64) | CONTIGUOUS_QUEUES | (half_seconds as u64) << 24 | NVM_COMMANDS
    }
}

/// Fields of CC, section 3.1.5.
pub mod cc {
    /// EN: the controller works; clearing it resets.
    pub const ENABLE: u32 = 1 << 0;
    /// CSS: the command set; bits 4 to 6. 0 is NVM.
    pub const fn command_set(cc: u32) -> u32 {
        cc >> 4 & 7
    }
    /// MPS: pages have 4096 << this bytes; bits 7 to 10.
    pub const fn page_shift(cc: u32) -> u32 {
        cc >> 7 & 0xf
    }
    /// AMS: how the controller arbitrates; bits 11 to 13. 0 is round robin.
    pub const fn arbitration(cc: u32) -> u32 {
        cc >> 11 & 7
    }
    /// SHN: a shutdown is announced; bits 14 and 15. See the values `SHUTDOWN_*`.
    pub const fn shutdown(cc: u32) -> u32 {
        cc >> 14 & 3
    }
    /// The field SHN.
    pub const SHUTDOWN_MASK: u32 = 3 << 14;
    /// SHN: nothing is announced, as a value of [`shutdown`].
    pub const SHUTDOWN_NONE: u32 = 0;
    /// SHN: normal, in its place.
    pub const SHUTDOWN_NORMAL: u32 = 1 << 14;
    /// SHN: abrupt, in its place.
    pub const SHUTDOWN_ABRUPT: u32 = 2 << 14;
    /// IOSQES: an I/O submission entry has 1 << this bytes; bits 16 to 19. NVM has 6.
    pub const fn submission_entry_shift(cc: u32) -> u32 {
        cc >> 16 & 0xf
    }
    /// IOCQES: an I/O completion entry has 1 << this bytes; bits 20 to 23. NVM has 4.
    pub const fn completion_entry_shift(cc: u32) -> u32 {
        cc >> 20 & 0xf
    }
    /// IOSQES and IOCQES of the NVM command set, in their places.
    pub const NVM_ENTRIES: u32 = 6 << 16 | 4 << 20;
    /// Every field; the rest is reserved.
    pub const FIELDS: u32 = 0x00ff_fff1;
}

/// Fields of CSTS, section 3.1.6.
pub mod csts {
    /// RDY: the controller takes commands.
    pub const READY: u32 = 1 << 0;
    /// CFS: the controller met an error that it cannot say in a completion.
    pub const FATAL: u32 = 1 << 1;
    /// SHST: how far a shutdown is; bits 2 and 3.
    pub const SHUTDOWN_MASK: u32 = 3 << 2;
    /// SHST: shutting down.
    pub const SHUTDOWN_BUSY: u32 = 1 << 2;
    /// SHST: done.
    pub const SHUTDOWN_DONE: u32 = 2 << 2;
    /// NSSRO: a subsystem reset happened.
    pub const SUBSYSTEM_RESET: u32 = 1 << 4;
    /// PP: command processing is paused.
    pub const PAUSED: u32 = 1 << 5;
}

/// Fields of AQA, section 3.1.8.
pub mod aqa {
    /// ASQS: entries of the admin submission queue; bits 0 to 11, one less.
    pub const fn submission_entries(aqa: u32) -> u32 {
        (aqa & 0xfff).wrapping_add(1)
    }
    /// ACQS: entries of the admin completion queue; bits 16 to 27, one less.
    pub const fn completion_entries(aqa: u32) -> u32 {
        (aqa >> 16 & 0xfff).wrapping_add(1)
    }
    /// AQA of queues of so many entries each, 2 to 4096.
    pub const fn of(submission_entries: u32, completion_entries: u32) -> u32 {
        submission_entries.wrapping_sub(1) & 0xfff | (completion_entries.wrapping_sub(1) & 0xfff) << 16
    }
    /// Every field; the rest is reserved.
    pub const FIELDS: u32 = 0x0fff_0fff;
}
