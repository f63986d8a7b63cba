//! Registers that belong to the guest alone: the hypervisor is soft-float, never uses
//! them, and no world switch saves them. Since a guest owns its processors they need
//! no switching, but what one run of a guest left must not meet the next.

use core::arch::asm;
use spec::msr;

use crate::cpu::registers::{self, CR4_OSXSAVE};

/// An XSAVE area whose header says that every component is in its initial state
/// (Intel SDM vol. 1 section 13.4): 512 bytes of legacy area, 64 of header. Of components that
/// are, XRSTOR reads nothing behind those. Without XSAVE, FXRSTOR reads the legacy area.
#[repr(C, align(64))]
struct Initial([u8; 576]);

static INITIAL: Initial = Initial::new();

impl Initial {
    const fn new() -> Self {
        let mut area = [0; 576];
        // The control word of the x87, as FNINIT leaves it: all exceptions masked.
        area[0] = 0x7f;
        area[1] = 0x03;
        // MXCSR, which XRSTOR loads even for an initial state: all exceptions masked.
        area[24] = 0x80;
        area[25] = 0x1f;
        Self(area)
    }
}

/// Puts all extended state that the processor has (x87, SSE, AVX, and what firmware may have
/// used of the rest), XCR0, the debug address registers and TSC_AUX into their initial state.
///
/// # Safety
/// The caller owns these registers of this processor: no guest that still runs has
/// anything in them.
pub unsafe fn reset() {
    // SAFETY: FXRSTOR and XRSTOR read the constant area, which is aligned to 64 bytes
    // and holds legal values; CR0.TS is clear and CR4.OSFXSR set on every processor.
    // XCR0 = 1 is legal always, and so is all that CPUID leaf 0xd tells; XSETBV and XRSTOR
    // exist where CR4.OSXSAVE is set, which the hypervisor does only where CPUID has them.
    unsafe {
        if registers::read_cr4() & CR4_OSXSAVE != 0 {
            let components = registers::cpuid(0xd, 0);
            set_xcr0(u64::from(components.edx) << 32 | u64::from(components.eax));
            asm!("xrstor64 [{0}]", in(reg) &INITIAL, in("eax") components.eax, in("edx") components.edx,
                 options(nostack, preserves_flags, readonly));
            set_xcr0(1);
        } else {
            asm!("fxrstor64 [{0}]", in(reg) &INITIAL, options(nostack, preserves_flags, readonly));
        }
        // AMD's processors keep the pointers to the last instruction and its operand over
        // both of these while no exception waits.
        asm!("fninit", options(nostack, preserves_flags, nomem));
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
pub unsafe fn set_xcr0(value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's promise.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nostack, preserves_flags)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legacy_area_is_what_fninit_leaves() {
        let mut saved = Initial([0xff; 576]);
        // SAFETY: both areas are aligned to 64 bytes and longer than 512; the registers of this
        // thread that the restore changes are put back.
        unsafe {
            let mut before = Initial([0; 576]);
            asm!("fxsave64 [{0}]", "fxrstor64 [{1}]", "fxsave64 [{2}]", "fxrstor64 [{0}]",
                 in(reg) &mut before, in(reg) &INITIAL, in(reg) &mut saved, options(nostack));
        }
        let word = |offset: usize| u16::from_le_bytes([saved.0[offset], saved.0[offset + 1]]);
        assert_eq!((word(0), word(2), word(4) & 0xff), (0x37f, 0, 0), "control, status, tags");
        assert_eq!(word(24), 0x1f80, "MXCSR");
        assert!(saved.0[32..416].iter().all(|&byte| byte == 0), "registers");
    }
}
