//! Control registers, model-specific registers, CPUID, flags and the TSC.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};
use raw_cpuid::{CpuId, CpuIdReaderNative, FeatureInfo};
pub use spec::processor::{CR4_LA57, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PCIDE, CR4_PGE};
use x86_64::PhysAddr;
use x86_64::instructions::{self, interrupts};
use x86_64::registers::control::Cr3;
use x86_64::registers::model_specific::Msr;
use x86_64::structures::paging::PhysFrame;

/// Reads a model-specific register.
///
/// # Safety
/// The processor has this register; else it raises #GP, which ends the hypervisor.
#[inline(always)]
pub unsafe fn read_msr(msr: u32) -> u64 {
    // SAFETY: the caller promises that the register exists; reading MSRs that the
    // hypervisor names has no effect on memory.
    unsafe { Msr::new(msr).read() }
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists, `value` is valid in it, and what the write changes about
/// the processor breaks no assumption of running code.
#[inline(always)]
pub unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(msr).write(value) };
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

/// Reads CR3.
#[inline]
pub fn read_cr3() -> u64 {
    let (root, low) = Cr3::read_raw();
    root.start_address().as_u64() | u64::from(low)
}

/// Writes CR3.
///
/// # Safety
/// The code, stack and data in use stay mapped and allowed under it.
#[inline]
pub unsafe fn write_cr3(value: u64) {
    let root = PhysFrame::containing_address(PhysAddr::new_truncate(value));
    // SAFETY: the caller's promise.
    unsafe { Cr3::write_raw(root, value as u16 & 0xfff) };
}

/// Writes CR2, which crate `x86_64` only reads.
///
/// # Safety
/// No page fault is being handled.
#[inline]
pub unsafe fn write_cr2(value: u64) {
    // SAFETY: the caller's promise; the register holds an address for handlers, nothing else.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// Writes DR6, which crate `x86_64` only reads.
///
/// # Safety
/// The reserved bits are as the processor wants them, and no debug exception is being handled.
#[inline]
pub unsafe fn write_dr6(value: u64) {
    // SAFETY: the caller's promise; the register holds a status for handlers, nothing else.
    unsafe { asm!("mov dr6, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// Stops this processor for ever. NMIs are taken and it stops again.
pub fn halt_forever() -> ! {
    loop {
        interrupts::disable();
        instructions::hlt();
    }
}
