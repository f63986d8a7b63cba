//! Registers that belong to the guest alone: the hypervisor is soft-float, never uses
//! them, and no world switch saves them. Since a guest owns its processors they need
//! no switching, but what one run of a guest left must not meet the next.

use core::arch::asm;
use spec::msr;

use crate::registers::{self, CR4_OSXSAVE};

/// State components of XSAVE that a guest can have switched on: x87, SSE, AVX.
const COMPONENTS: u32 = 7;

/// An XSAVE area whose header says that every component is in its initial state
/// (Intel SDM vol. 1 section 13.4): 512 bytes of legacy area, 64 of header, 256 of AVX.
#[repr(C, align(64))]
struct Initial([u8; 832]);

static INITIAL: Initial = Initial::new();

impl Initial {
    const fn new() -> Self {
        let mut area = [0; 832];
        // MXCSR, which XRSTOR loads even for an initial state: all exceptions masked.
        area[24] = 0x80;
        area[25] = 0x1f;
        Self(area)
    }
}

/// Puts the x87, SSE and AVX registers, XCR0, the debug address registers and TSC_AUX
/// into their state after reset.
///
/// # Safety
/// The caller owns these registers of this processor: no guest that still runs has
/// anything in them.
pub unsafe fn reset() {
    // SAFETY: FXRSTOR and XRSTOR read the constant area, which is aligned to 64 bytes
    // and holds legal values; CR0.TS is clear and CR4.OSFXSR set on every processor.
    // XCR0 = 1 is legal always; XSETBV and XRSTOR exist where CR4.OSXSAVE is set, which
    // the hypervisor does only where CPUID has them.
    unsafe {
        if registers::read_cr4() & CR4_OSXSAVE != 0 {
            let supported = registers::cpuid(0xd, 0).eax & COMPONENTS;
            set_xcr0(supported);
            asm!("xrstor64 [{0}]", in(reg) &INITIAL, in("eax") supported, in("edx") 0,
                 options(nostack, preserves_flags, readonly));
            set_xcr0(1);
        } else {
            asm!("fninit", "fxrstor64 [{0}]", in(reg) &INITIAL,
                 options(nostack, preserves_flags, readonly));
        }
        asm!("mov dr0, {0}", "mov dr1, {0}", "mov dr2, {0}", "mov dr3, {0}", in(reg) 0u64,
             options(nostack, preserves_flags));
        if registers::cpuid(0x8000_0001, 0).edx & 1 << 27 != 0 {
            registers::write_msr(msr::TSC_AUX, 0);
        }
    }
}

/// Sets XCR0.
///
/// # Safety
/// CR4.OSXSAVE is set, and `value` is a legal combination for this processor. The caller
/// owns the extended state.
pub unsafe fn set_xcr0(value: u32) {
    // SAFETY: the caller's promise.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") value, in("edx") 0, options(nostack, preserves_flags)) }
}
