//! The state into which an exit brings the processor back (Intel SDM vol. 3 section 24.5).

use super::world;
use crate::cpu::descriptors::{self, CODE, DATA};
use crate::cpu::registers;
use crate::memory::paging;
use spec::msr;
use spec::vmx::field;
use x86_64::registers::control::{Cr0, Cr4};

/// Writes this processor's state into the current VMCS, but for RSP and RIP, which
/// [`world::run`] writes.
///
/// # Safety
/// The processor is in VMX operation, and the current VMCS will be entered on it alone.
pub unsafe fn write_state() {
    let tables = descriptors::in_use();
    // SAFETY: these MSRs exist on every 64-bit processor.
    let (efer, pat, gs_base) = unsafe {
        (registers::read_msr(msr::EFER), registers::read_msr(msr::PAT), registers::read_msr(msr::GS_BASE))
    };
    // Ring 3's may be in force.
    let root = paging::root().map_or_else(registers::read_cr3, |root| root.0);
    let state = [
        (field::HOST_CR0, Cr0::read_raw()),
        (field::HOST_CR3, root),
        (field::HOST_CR4, Cr4::read_raw()),
        (field::HOST_CS, CODE.into()),
        (field::HOST_SS, DATA.into()),
        (field::HOST_DS, DATA.into()),
        (field::HOST_ES, DATA.into()),
        (field::HOST_FS, 0),
        (field::HOST_GS, 0),
        (field::HOST_TR, tables.task.into()),
        (field::HOST_FS_BASE, 0),
        (field::HOST_GS_BASE, gs_base),
        (field::HOST_TR_BASE, tables.task_base),
        (field::HOST_GDTR_BASE, tables.segments),
        (field::HOST_IDTR_BASE, tables.interrupts),
        (field::HOST_SYSENTER_CS, 0),
        (field::HOST_SYSENTER_ESP, 0),
        (field::HOST_SYSENTER_EIP, 0),
        (field::HOST_EFER, efer),
        (field::HOST_PAT, pat),
    ];
    for (field, value) in state {
        // SAFETY: the caller's promise; the values are those in use.
        unsafe { world::write(field, value) };
    }
}
