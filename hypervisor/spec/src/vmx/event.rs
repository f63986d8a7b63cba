//! Events in a VMCS: the one to be delivered (Intel SDM vol. 3 table 24-16), the one that
//! exited (table 24-18), the one whose delivery an exit interrupted (table 24-19). The
//! three have one layout.

/// The field means something.
pub const VALID: u32 = 1 << 31;
/// There is an error code, or is to be one.
pub const HAS_ERROR: u32 = 1 << 11;
/// In the field of the event that exited: its IRET had just unblocked NMIs.
pub const UNBLOCKED_NMIS: u32 = 1 << 12;
/// Where the type stands.
pub const KIND_SHIFT: u32 = 8;
/// Mask of the type, shifted down.
pub const KIND: u32 = 7;
/// Mask of the vector.
pub const VECTOR: u32 = 0xff;

/// Type: external interrupt.
pub const EXTERNAL: u32 = 0;
/// Type: NMI.
pub const NMI: u32 = 2;
/// Type: exception of the hardware.
pub const EXCEPTION: u32 = 3;
/// Type: INT n.
pub const SOFTWARE_INTERRUPT: u32 = 4;
/// Type: INT1.
pub const PRIVILEGED_EXCEPTION: u32 = 5;
/// Type: INT3 or INTO.
pub const SOFTWARE_EXCEPTION: u32 = 6;
