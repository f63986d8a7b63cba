//! Registers that belong to the guest alone: the hypervisor is soft-float, never uses
//! them, and no world switch saves them. Since a guest owns its processors they need
//! no switching, but what one run of a guest left must not meet the next.
//!
//! Outside of guests CR0.TS is set, so that ring 3 cannot use the extended state either; it is clear only while
//! these functions do.

use access::vcpu::{ExtendedState, OwnRegisters, SAVED_MSRS, SavedProcessor};
use core::arch::asm;
use spec::address::is_canonical;
use spec::msr;
#[cfg(target_os = "none")]
use x86_64::registers::control::Cr0;
use x86_64::registers::control::Cr4;

use crate::cpu::registers::{self, CR4_OSXSAVE};

/// Does what uses extended state.
fn with_extended_state<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: CR0.TS decides about these registers' use alone, and the hypervisor makes none but this.
    #[cfg(target_os = "none")]
    unsafe {
        asm!("clts", options(nomem, nostack, preserves_flags));
    }
    let result = work();
    // SAFETY: as above.
    #[cfg(target_os = "none")]
    unsafe {
        Cr0::write_raw(crate::cpu::processor::CR0.into());
    }
    result
}

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
    // and holds legal values; CR0.TS is clear meanwhile and CR4.OSFXSR set on every processor.
    // XCR0 = 1 is legal always, and so is all that CPUID leaf 0xd tells; XSETBV and XRSTOR
    // exist where CR4.OSXSAVE is set, which the hypervisor does only where CPUID has them.
    with_extended_state(|| unsafe {
        if Cr4::read_raw() & CR4_OSXSAVE != 0 {
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
        if has_tsc_aux() {
            registers::write_msr(msr::TSC_AUX, 0);
        }
    });
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

/// State components that this processor has and [`ExtendedState`] has room for; 0 where there is no
/// XSAVE.
fn components() -> u32 {
    if Cr4::read_raw() & CR4_OSXSAVE == 0 {
        return 0;
    }
    registers::cpuid(0xd, 0).eax & ExtendedState::COMPONENTS as u32
}

fn has_tsc_aux() -> bool {
    registers::cpuid(0x8000_0001, 0).edx & 1 << 27 != 0
}

/// What a guest that has left this processor has in its own registers.
///
/// # Safety
/// As for [`reset`]: these registers are that guest's.
pub unsafe fn save() -> OwnRegisters {
    let mut own = OwnRegisters { xcr0: 1, ..OwnRegisters::default() };
    let [first, second, third, fourth] = &mut own.breakpoints;
    // SAFETY: reading the debug address registers and an MSR that is there has no effect; DR7.GD is
    // clear outside of a guest. XGETBV exists where CR4.OSXSAVE is set. XSAVE and FXSAVE write the
    // area, which is aligned and has room for the components; all of them are switched on for that,
    // which is a legal XCR0, as in `reset`.
    with_extended_state(|| unsafe {
        asm!(
            "mov {}, dr0",
            "mov {}, dr1",
            "mov {}, dr2",
            "mov {}, dr3",
            out(reg) * first,
            out(reg) * second,
            out(reg) * third,
            out(reg) * fourth,
            options(nomem, nostack, preserves_flags)
        );
        if has_tsc_aux() {
            own.tsc_aux = registers::read_msr(msr::TSC_AUX);
        }
        match components() {
            0 => asm!("fxsave64 [{0}]", in(reg) &mut own.extended, options(nostack, preserves_flags)),
            components => {
                own.xcr0 = xcr0();
                set_xcr0(components.into());
                asm!("xsave64 [{0}]", in(reg) &mut own.extended, in("eax") components, in("edx") 0,
                     options(nostack, preserves_flags));
                set_xcr0(own.xcr0);
            }
        }
    });
    own
}

/// Puts back what [`save`] took.
///
/// # Safety
/// As for [`reset`], and [`accepts`] said so.
pub unsafe fn restore(own: &OwnRegisters) {
    let [first, second, third, fourth] = own.breakpoints;
    // SAFETY: the debug address registers take any value. By the caller's promise the area loads
    // without a fault, and `xcr0` and `tsc_aux` are values that their registers take.
    with_extended_state(|| unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}", in(reg) first, in(reg) second,
             in(reg) third, in(reg) fourth, options(nomem, nostack, preserves_flags));
        if has_tsc_aux() {
            registers::write_msr(msr::TSC_AUX, own.tsc_aux);
        }
        match components() {
            0 => asm!("fxrstor64 [{0}]", in(reg) &own.extended, options(nostack, preserves_flags, readonly)),
            components => {
                set_xcr0(components.into());
                asm!("xrstor64 [{0}]", in(reg) &own.extended, in("eax") components, in("edx") 0,
                     options(nostack, preserves_flags, readonly));
                set_xcr0(own.xcr0);
            }
        }
    });
}

/// Whether a write of these values to their registers does not fault.
pub fn accepts(saved: &SavedProcessor) -> bool {
    let is_half = |value: u64| value >> 32 == 0;
    let own = &saved.own;
    let msrs = SAVED_MSRS.iter().zip(saved.msrs).all(|(&number, value)| match number {
        msr::LSTAR | msr::CSTAR | msr::KERNEL_GS_BASE | msr::SYSENTER_ESP | msr::SYSENTER_EIP => {
            is_canonical(value)
        }
        msr::SFMASK => is_half(value),
        _ => true,
    });
    let components = u64::from(components());
    let has_state = own.xcr0 & !components.max(1) == 0 && own.xcr0 & 1 != 0;
    msrs && has_state
        && saved.debug.into_iter().all(is_half)
        && is_half(own.tsc_aux)
        && own.extended.is_loadable(components, mxcsr_mask())
}

/// Bits of MXCSR that software may set (Intel SDM vol. 1 section 11.6.6).
fn mxcsr_mask() -> u32 {
    const MASK: usize = 28;
    const WITHOUT: u32 = 0xffbf;
    let mut area = ExtendedState::default();
    // SAFETY: FXSAVE writes 512 bytes of the area, which is aligned to 64.
    with_extended_state(|| unsafe {
        asm!("fxsave64 [{0}]", in(reg) &mut area, options(nostack, preserves_flags));
    });
    let mask = area
        .0
        .as_flattened()
        .get(MASK..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |mask| u32::from_le_bytes(*mask));
    if mask == 0 { WITHOUT } else { mask }
}

/// XCR0.
///
/// # Safety
/// CR4.OSXSAVE is set.
unsafe fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
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
