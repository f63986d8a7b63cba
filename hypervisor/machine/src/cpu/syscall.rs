//! SYSCALL, which ring 3 is left by (AMD APM vol. 2 section 6.1.1, Intel SDM vol. 3 section 6.8.8): no exception is
//! delivered then, and the flags are masked.
//!
//! It is on where AMD-V is, since VMLOAD brings the hypervisor's MSRs back with each exit, and on the housekeeping CPU,
//! where no guest runs. VT-x leaves the guest's MSRs there, so EFER.SCE stays clear on the processors of its guests.
//!
//! Ring 3's flag TF is masked like the others, and processors go by the flags that SYSCALL leaves. Some emulators trap behind
//! it by those of before (XSA-204 is of one; Bochs does): a debug exception there has a stack of its own and is ring 3's
//! ([`crate::cpu::interrupts`]).

use crate::cpu::descriptors::CODE;
use crate::cpu::registers;
use spec::msr;
use spec::processor::EFER_SCE;

/// The flags that are cleared: all but the one that is always set.
const FLAGS: u64 = 0xffff_fffd;

unsafe extern "C" {
    /// Where it leads: see [`crate::cpu::ring3`].
    static ring3_called: [u8; 0];
}

/// Has SYSCALL lead out of ring 3 on this processor.
///
/// # Safety
/// GS base is that of this processor's [`Local`](crate::cpu::processor::Local), and these MSRs are nobody else's whenever
/// the hypervisor runs.
pub unsafe fn enable() {
    // SYSRET, which takes the other half, is never executed.
    let star = u64::from(CODE) << 32;
    let entry = (&raw const ring3_called) as u64;
    // SAFETY: they are in every 64-bit processor. The code segment is followed by that of data, as SYSCALL takes them,
    // `entry` is code that believes nothing of ring 3, and there is no 32-bit code that CSTAR would be for.
    unsafe {
        registers::write_msr(msr::STAR, star);
        registers::write_msr(msr::LSTAR, entry);
        registers::write_msr(msr::CSTAR, entry);
        registers::write_msr(msr::SFMASK, FLAGS);
        registers::write_msr(msr::KERNEL_GS_BASE, registers::read_msr(msr::GS_BASE));
        registers::write_msr(msr::EFER, registers::read_msr(msr::EFER) | EFER_SCE);
    }
}
