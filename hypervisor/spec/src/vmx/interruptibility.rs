//! The guest's interruptibility and activity (Intel SDM vol. 3 section 24.4.2).

/// STI was the last instruction.
pub const STI: u32 = 1 << 0;
/// MOV SS or POP SS was.
pub const MOV_SS: u32 = 1 << 1;
/// NMIs are blocked; with virtual NMIs, the guest's own.
pub const NMI: u32 = 1 << 3;

/// Activity: executing.
pub const ACTIVE: u32 = 0;

/// Activity: in HLT.
pub const HALTED: u32 = 1;

/// Pending debug exceptions: a single step (table 24-4).
pub const PENDING_STEP: u64 = 1 << 14;
