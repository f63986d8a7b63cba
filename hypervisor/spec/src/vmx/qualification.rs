//! Exit qualifications (Intel SDM vol. 3 section 27.2.1).

/// Port accesses (table 27-5).
pub mod port {
    /// Mask of the size: bytes less one.
    pub const SIZE: u64 = 7;
    /// IN rather than OUT.
    pub const INPUT: u64 = 1 << 3;
    /// INS or OUTS.
    pub const STRING: u64 = 1 << 4;
    /// With a REP prefix.
    pub const REPEAT: u64 = 1 << 5;
    /// Where the port's number stands.
    pub const NUMBER_SHIFT: u32 = 16;
}

/// Accesses to control registers (table 27-3).
pub mod control_register {
    /// Mask of the register's number.
    pub const NUMBER: u64 = 0xf;
    /// Where the kind of access stands, 2 bits.
    pub const KIND_SHIFT: u32 = 4;
    /// Kind: MOV to the register.
    pub const WRITE: u64 = 0;
    /// Kind: MOV from the register.
    pub const READ: u64 = 1;
    /// Kind: CLTS.
    pub const CLTS: u64 = 2;
    /// Kind: LMSW.
    pub const LMSW: u64 = 3;
    /// Where the number of the general register stands, 4 bits.
    pub const SOURCE_SHIFT: u32 = 8;
}

/// Task switches (table 27-2).
pub mod task_switch {
    /// Mask of the new task's selector.
    pub const SELECTOR: u64 = 0xffff;
    /// Where the source stands, 2 bits.
    pub const SOURCE_SHIFT: u32 = 30;
    /// Source: CALL.
    pub const CALL: u64 = 0;
    /// Source: IRET.
    pub const RETURN: u64 = 1;
    /// Source: JMP.
    pub const JUMP: u64 = 2;
    /// Source: a task gate in the IDT.
    pub const GATE: u64 = 3;
}

/// EPT violations (table 27-7).
pub mod ept {
    /// A read.
    pub const READ: u64 = 1 << 0;
    /// A write.
    pub const WRITE: u64 = 1 << 1;
    /// An instruction fetch.
    pub const FETCH: u64 = 1 << 2;
    /// There is a linear address.
    pub const LINEAR: u64 = 1 << 7;
    /// The access was to where that leads, not to the guest's tables on the way.
    pub const TRANSLATED: u64 = 1 << 8;
    /// IRET had just unblocked NMIs.
    pub const UNBLOCKED_NMIS: u64 = 1 << 12;
}

/// Debug exceptions (table 27-1).
pub mod debug {
    /// What belongs into DR6: breakpoints 0 to 3, BD, BS.
    pub const STATUS: u64 = 0x600f;
    /// BS: a single step.
    pub const SINGLE_STEP: u64 = 1 << 14;
    /// Transactional memory: inverted in DR6.
    pub const TRANSACTION: u64 = 1 << 16;
}

/// Entry failures by the guest's state (section 26.8): what the number in the
/// qualification names.
pub const fn entry_failure(number: u64) -> Option<&'static str> {
    Some(match number {
        2 => "a page-directory-pointer entry",
        3 => "an NMI to be delivered while the guest blocks them",
        4 => "the VMCS link pointer",
        _ => return None,
    })
}
