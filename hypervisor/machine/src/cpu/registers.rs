//! Control registers, model-specific registers, CPUID, flags and the TSC.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};
use raw_cpuid::{CpuId, CpuIdReaderNative, FeatureInfo};
pub use spec::processor::{CR4_LA57, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PCIDE, CR4_PGE};

/// Reads a model-specific register.
///
/// # Safety
/// The processor has this register; else it raises #GP, which ends the hypervisor.
#[inline(always)]
pub unsafe fn read_msr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller promises that the register exists; reading MSRs that the
    // hypervisor names has no effect on memory.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack)) };
    (high as u64) << 32 | low as u64
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists, `value` is valid in it, and what the write changes about
/// the processor breaks no assumption of running code.
#[inline(always)]
pub unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: the caller's promise. No `nomem`: a write may order memory accesses.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack))
    };
}

/// CPUID leaf `leaf`, subleaf `subleaf`. The target requires a 64-bit processor,
/// so the instruction exists.
#[inline]
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    #[allow(unused_unsafe)] // newer compilers made the intrinsic safe
    // SAFETY: CPUID exists on every x86-64 processor and touches no memory.
    unsafe {
        __cpuid_count(leaf, subleaf)
    }
}

/// The answers of CPUID by name.
pub fn cpu_id() -> CpuId<CpuIdReaderNative> {
    CpuId::new()
}

/// What CPUID leaf 1 tells of this processor.
pub fn has(feature: impl Fn(&FeatureInfo) -> bool) -> bool {
    cpu_id().get_feature_info().is_some_and(|info| feature(&info))
}

/// Whether this processor has pages of 1 GiB.
pub fn has_giant_pages() -> bool {
    cpu_id().get_extended_processor_and_feature_identifiers().is_some_and(|info| info.has_1gib_pages())
}

/// The time-stamp counter, not before earlier loads are done.
#[inline(always)]
pub fn read_tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: LFENCE and RDTSC read no memory; CR4.TSD does not matter at level 0.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    (high as u64) << 32 | low as u64
}

macro_rules! control_register {
    ($read:ident, $write:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        #[inline]
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading a control register at level 0 has no side effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack)) };
            value
        }

        #[doc = concat!("Writes ", $name, ".")]
        ///
        /// # Safety
        /// The value is valid, and the code, stack and data in use stay mapped and
        /// allowed under it.
        #[inline]
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller's promise.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack)) };
        }
    };
}

control_register!(read_dr6, write_dr6, "dr6");
control_register!(read_cr0, write_cr0, "cr0");
control_register!(read_cr2, write_cr2, "cr2");
control_register!(read_cr3, write_cr3, "cr3");
control_register!(read_cr4, write_cr4, "cr4");

/// Drops this processor's cached translation of one page, global or not.
#[inline]
pub fn invalidate_page(virtual_address: u64) {
    // SAFETY: INVLPG only drops a cached translation.
    unsafe { asm!("invlpg [{}]", in(reg) virtual_address, options(nostack)) };
}

/// Stops this processor for ever. NMIs are taken and it stops again.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: with interrupts off HLT waits; it touches no memory.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
