//! The MSRs that say what a processor's VT-x offers (Intel SDM vol. 3 appendix A), and
//! the one by which firmware allows it (section 23.7).

use bitflags::bitflags;

/// IA32_FEATURE_CONTROL.
pub const FEATURE_CONTROL: u32 = 0x3a;

bitflags! {
    /// Bits of [`FEATURE_CONTROL`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct FeatureControl: u64 {
        /// The register cannot be written any more until reset. VMXON needs it.
        const LOCKED = 1 << 0;
        /// VMXON is allowed inside SMX operation.
        const INSIDE_SMX = 1 << 1;
        /// VMXON is allowed outside SMX operation.
        const OUTSIDE_SMX = 1 << 2;
    }
}

/// Revision, region size, memory type: [`basic`].
pub const BASIC: u32 = 0x480;
/// Pin-based controls.
pub const PIN: u32 = 0x481;
/// Primary processor-based controls.
pub const PROCESSOR: u32 = 0x482;
/// VM-exit controls.
pub const EXIT: u32 = 0x483;
/// VM-entry controls.
pub const ENTRY: u32 = 0x484;
/// Miscellany: [`misc`].
pub const MISC: u32 = 0x485;
/// Bits of CR0 that must be 1 in VMX operation.
pub const CR0_FIXED0: u32 = 0x486;
/// Bits of CR0 that may be 1.
pub const CR0_FIXED1: u32 = 0x487;
/// Bits of CR4 that must be 1.
pub const CR4_FIXED0: u32 = 0x488;
/// Bits of CR4 that may be 1.
pub const CR4_FIXED1: u32 = 0x489;
/// Secondary processor-based controls.
pub const SECONDARY: u32 = 0x48b;
/// EPT and VPID: [`Translation`].
pub const EPT_VPID: u32 = 0x48c;
/// Pin-based controls, also those that the older MSR shows as always 1.
pub const TRUE_PIN: u32 = 0x48d;
/// Primary processor-based controls, likewise.
pub const TRUE_PROCESSOR: u32 = 0x48e;
/// VM-exit controls, likewise.
pub const TRUE_EXIT: u32 = 0x48f;
/// VM-entry controls, likewise.
pub const TRUE_ENTRY: u32 = 0x490;

/// Fields of [`BASIC`] (section A.1).
pub mod basic {
    /// Revision that VMXON regions and VMCSs begin with; bit 31 is 0.
    pub const REVISION: u64 = 0x7fff_ffff;
    /// Where the size of a region stands, in bytes, at most 4096.
    pub const SIZE_SHIFT: u32 = 32;
    /// Mask of the size.
    pub const SIZE: u64 = 0x1fff;
    /// Regions and what they point to must be below 4 GiB.
    pub const BELOW_4_GIB: u64 = 1 << 48;
    /// Where the memory type for regions stands.
    pub const MEMORY_TYPE_SHIFT: u32 = 50;
    /// Mask of the memory type.
    pub const MEMORY_TYPE: u64 = 0xf;
    /// Memory type write-back.
    pub const WRITE_BACK: u64 = 6;
    /// The `TRUE` MSRs exist.
    pub const TRUE_CONTROLS: u64 = 1 << 55;
}

/// Fields of [`MISC`] (section A.6).
pub mod misc {
    /// The preemption timer counts down once when this bit of the TSC changes.
    pub const TIMER_RATE: u64 = 0x1f;
    /// Exits keep EFER.LMA in the entry control "IA-32e mode guest". Set wherever there
    /// is unrestricted guest.
    pub const SAVES_LONG_MODE: u64 = 1 << 5;
}

bitflags! {
    /// Bits of [`EPT_VPID`] (section A.10).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Translation: u64 {
        /// Tables of 4 levels.
        const FOUR_LEVELS = 1 << 6;
        /// Uncacheable tables.
        const UNCACHED_TABLES = 1 << 8;
        /// Write-back tables.
        const WRITE_BACK_TABLES = 1 << 14;
        /// 2 MiB pages.
        const PAGES_2_MIB = 1 << 16;
        /// 1 GiB pages.
        const PAGES_1_GIB = 1 << 17;
        /// INVEPT.
        const INVEPT = 1 << 20;
        /// Accessed and dirty flags.
        const ACCESSED_DIRTY = 1 << 21;
        /// INVEPT of one EPT pointer.
        const INVEPT_ONE = 1 << 25;
        /// INVEPT of all.
        const INVEPT_ALL = 1 << 26;
        /// INVVPID.
        const INVVPID = 1 << 32;
        /// INVVPID of one VPID.
        const INVVPID_ONE = 1 << 41;
        /// INVVPID of all.
        const INVVPID_ALL = 1 << 42;
    }
}

/// The EPT pointer (section 24.6.11).
pub mod ept_pointer {
    /// The tables are cached write-back; 0 would be uncacheable.
    pub const WRITE_BACK: u64 = 6;
    /// Levels of the tables less one: 4 levels.
    pub const FOUR_LEVELS: u64 = 3 << 3;
    /// Accessed and dirty flags are kept.
    pub const ACCESSED_DIRTY: u64 = 1 << 6;
}
