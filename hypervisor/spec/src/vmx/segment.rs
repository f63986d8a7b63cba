//! Access rights of a segment register in a VMCS (Intel SDM vol. 3 table 24-2).

/// Bits 0 to 7: type, S, DPL, P, as in a descriptor.
pub const LOW: u32 = 0xff;
/// Where AVL, L, D/B and G begin; 8 to 11 are reserved.
pub const HIGH_SHIFT: u32 = 12;
/// AVL, L, D/B and G, shifted down.
pub const HIGH: u32 = 0xf;
/// The register holds no segment.
pub const UNUSABLE: u32 = 1 << 16;
