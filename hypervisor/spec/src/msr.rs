//! Model-specific register numbers (Intel SDM vol. 4, AMD APM vol. 2 appendix A).

/// Time-stamp counter.
pub const TSC: u32 = 0x10;
/// Base address, enable and x2APIC bits of the local APIC.
pub const APIC_BASE: u32 = 0x1b;
/// What the processor says of speculation and of some errata.
pub const ARCH_CAPABILITIES: u32 = 0x10a;
/// Restrictions of speculation.
pub const SPEC_CTRL: u32 = 0x48;
/// Commands to the branch predictors.
pub const PRED_CMD: u32 = 0x49;
/// Commands to the first-level data cache.
pub const FLUSH_CMD: u32 = 0x10b;
/// Memory type range capabilities.
pub const MTRRCAP: u32 = 0xfe;
/// Memory type default.
pub const MTRR_DEF_TYPE: u32 = 0x2ff;
/// Page attribute table.
pub const PAT: u32 = 0x277;
/// TSC value at which the local APIC timer fires.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// First x2APIC register; register `n` (offset `n << 4` in xAPIC) is at `0x800 + n`.
pub const X2APIC_FIRST: u32 = 0x800;
/// Last of the x2APIC range.
pub const X2APIC_LAST: u32 = 0x8ff;
/// Extended features: SCE, LME, LMA, NXE, SVME.
pub const EFER: u32 = 0xc000_0080;
/// SYSCALL target selectors.
pub const STAR: u32 = 0xc000_0081;
/// SYSCALL target in 64-bit mode.
pub const LSTAR: u32 = 0xc000_0082;
/// SYSCALL target in compatibility mode.
pub const CSTAR: u32 = 0xc000_0083;
/// SYSCALL flag mask.
pub const SFMASK: u32 = 0xc000_0084;
/// FS segment base.
pub const FS_BASE: u32 = 0xc000_0100;
/// GS segment base.
pub const GS_BASE: u32 = 0xc000_0101;
/// GS base that SWAPGS exchanges.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// Auxiliary TSC value, read by RDTSCP.
pub const TSC_AUX: u32 = 0xc000_0103;
/// SYSENTER code segment.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER stack pointer.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER instruction pointer.
pub const SYSENTER_EIP: u32 = 0x176;
/// AVIC doorbell: the APIC ID of the processor to tell (AMD APM vol. 2 section 15.29.6).
pub const AVIC_DOORBELL: u32 = 0xc001_011b;
/// SVM control: SVMDIS, LOCK (AMD APM vol. 2 section 15.30.1).
pub const VM_CR: u32 = 0xc001_0114;
/// Host state-save area, hpa of 4 KiB (AMD APM vol. 2 section 15.30.4).
pub const VM_HSAVE_PA: u32 = 0xc001_0117;
