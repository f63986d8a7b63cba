//! The switch between the hypervisor and a guest, and the instructions of VT-x.

use super::invalidation::Extent;
use crate::cpu::barriers::{DATA_SELECTOR, IN_ASSEMBLY, Steps};
use crate::cpu::processor::Local;
use access::vcpu::GeneralRegisters;
use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use spec::Hpa;
use spec::vmx::field::{self, Field};

/// What [`run`] needs of a vCPU.
#[derive(Default)]
#[repr(C)]
pub struct Context {
    /// The general registers while the guest is out, but for RSP, which is in the VMCS.
    pub general: GeneralRegisters,
    /// What the VMCS has as the host's RSP. 0 makes [`run`] write that and the host's RIP.
    pub host_rsp: u64,
    /// Whether the VMCS was launched since it was cleared, for [`run`] where it asks.
    pub launched: bool,
}

/// What [`run`] says when the guest ran.
pub const RAN: u32 = 0;
/// What [`run`] says when the entry failed before it had begun, and the VMCS has the error.
pub const FAILED: u32 = 1;

/// What [`run`] says when an NMI came before the entry, which then did not take place.
pub const KICKED: u32 = 3;

/// Runs the guest of the current VMCS until it exits. `resumes` tells that it has run since the
/// VMCS was cleared, and that no barrier comes before the entry; else the context says whether
/// it has. Buffers are cleared after the last access to memory, and the return stack is filled
/// before the first return ([`crate::cpu::barriers`]). Returns [`RAN`], [`FAILED`], 2 where no VMCS is current, or
/// [`KICKED`].
///
/// Between the look for a kick and the entry NMIs are not blocked: their handler leads from
/// anywhere there to `entry_kicked`, where the context still holds the guest's registers.
///
/// # Safety
/// The current VMCS is that of a guest whose registers are `context`'s, its host state is
/// this processor's, and interrupts are off.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run(context: *mut Context, resumes: bool) -> u32 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        // The stack is nearly always as deep as the last time.
        "cmp rsp, [rdi + {host_rsp}]",
        "jne 4f",
        "1:",
        ".global entry_window",
        "entry_window:",
        "cmp byte ptr gs:[{kicked}], 0",
        "jne entry_kicked",
        "test sil, sil",
        "mov rax, [rdi]",
        "mov rcx, [rdi + 8]",
        "mov rdx, [rdi + 16]",
        "mov rbx, [rdi + 24]",
        "mov rbp, [rdi + 40]",
        "mov rsi, [rdi + 48]",
        "mov r8, [rdi + 64]",
        "mov r9, [rdi + 72]",
        "mov r10, [rdi + 80]",
        "mov r11, [rdi + 88]",
        "mov r12, [rdi + 96]",
        "mov r13, [rdi + 104]",
        "mov r14, [rdi + 112]",
        "mov r15, [rdi + 120]",
        "mov rdi, [rdi + 56]",
        "jz 2f",
        "vmresume",
        "jmp 5f",
        // The first entry, or one behind barriers. The registers are the guest's.
        "2:",
        "mov rdi, [rsp]",
        "test byte ptr [rip + {steps}], {clear_buffers}",
        "jz 23f",
        "cmp byte ptr [rdi + {launched}], 0",
        "mov rdi, [rdi + 56]",
        "je 22f",
        "verw word ptr [rip + {selector}]",
        "vmresume",
        "jmp 5f",
        "22:",
        "verw word ptr [rip + {selector}]",
        "vmlaunch",
        "jmp 5f",
        "23:",
        "cmp byte ptr [rdi + {launched}], 0",
        "mov rdi, [rdi + 56]",
        "je 24f",
        "vmresume",
        "jmp 5f",
        "24:",
        "vmlaunch",
        ".global entry_window_end",
        "entry_window_end:",
        // No entry: the flags say why. 1, and 1 more where no VMCS is current (carry).
        "5:",
        "mov eax, 1",
        "adc eax, 0",
        "jmp 6f",
        // The exit. RSP is the host's again; every other register is the guest's.
        "3:",
        "push rdi",
        "mov rdi, [rsp + 8]",
        "mov [rdi], rax",
        "pop qword ptr [rdi + 56]",
        "mov [rdi + 8], rcx",
        "mov [rdi + 16], rdx",
        "mov [rdi + 24], rbx",
        "mov [rdi + 40], rbp",
        "mov [rdi + 48], rsi",
        "mov [rdi + 64], r8",
        "mov [rdi + 72], r9",
        "mov [rdi + 80], r10",
        "mov [rdi + 88], r11",
        "mov [rdi + 96], r12",
        "mov [rdi + 104], r13",
        "mov [rdi + 112], r14",
        "mov [rdi + 120], r15",
        "xor eax, eax",
        "6:",
        "pop rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        ".global entry_kicked",
        "entry_kicked:",
        "mov eax, {was_kicked}",
        "jmp 6b",
        "4:",
        "mov [rdi + {host_rsp}], rsp",
        "mov edx, {rsp_field}",
        "vmwrite rdx, rsp",
        "mov edx, {rip_field}",
        "lea rax, [rip + 3b]",
        "test byte ptr [rip + {steps}], {fill_returns}",
        "jz 25f",
        "lea rax, [rip + 26f]",
        "25:",
        "vmwrite rdx, rax",
        "jmp 1b",
        // The exit where the guest's calls must not answer for the hypervisor's returns.
        "26:",
        crate::fill_returns!(),
        "jmp 3b",
        steps = sym IN_ASSEMBLY,
        selector = sym DATA_SELECTOR,
        fill_returns = const Steps::FILL_RETURNS.0,
        clear_buffers = const Steps::CLEAR_BUFFERS.0,
        launched = const offset_of!(Context, launched),
        kicked = const offset_of!(Local, kicked),
        was_kicked = const KICKED,
        host_rsp = const offset_of!(Context, host_rsp),
        rsp_field = const field::HOST_RSP.0,
        rip_field = const field::HOST_RIP.0,
    )
}

/// Reads a field of the current VMCS.
///
/// # Safety
/// This processor is in VMX operation. (Without a current VMCS, or where the processor
/// lacks the field, the value is undefined.)
#[inline(always)]
pub unsafe fn read(field: Field) -> u64 {
    let value: u64;
    // SAFETY: VMREAD of a register touches no memory that Rust knows; `readonly` orders
    // it after VMWRITEs and entries, which count as writing memory.
    unsafe {
        asm!("vmread {0}, {1}", out(reg) value, in(reg) u64::from(field.0),
             options(pure, readonly, nostack));
    }
    value
}

/// Writes a field of the current VMCS.
///
/// # Safety
/// This processor is in VMX operation, and the value breaks no assumption about the
/// current VMCS: a pointer leads to a frame that belongs to its guest, host state is the
/// host's.
#[inline(always)]
pub unsafe fn write(field: Field, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("vmwrite {0}, {1}", in(reg) u64::from(field.0), in(reg) value, options(nostack)) };
}

/// The instructions that take the hpa of a region in memory; each returns whether it
/// succeeded.
macro_rules! with_region {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[must_use]
        pub unsafe fn $name(region: Hpa) -> bool {
            let done: u8;
            // SAFETY: the caller's promise. Success is neither carry nor zero.
            unsafe {
                asm!(concat!($instruction, " [{0}]"), "seta {1}", in(reg) &region.0,
                     out(reg_byte) done, options(nostack));
            }
            done != 0
        }
    };
}

with_region! {
    /// Enters VMX operation.
    ///
    /// # Safety
    /// CR4.VMXE is set and IA32_FEATURE_CONTROL allows it; the region is given to this
    /// processor for as long as it stays in VMX operation.
    enter_operation, "vmxon"
}

with_region! {
    /// Writes what the processor holds of a VMCS back and marks it as not launched.
    ///
    /// # Safety
    /// The processor is in VMX operation; the region is a VMCS's and no other processor
    /// uses it.
    clear, "vmclear"
}

with_region! {
    /// Makes a VMCS the current one.
    ///
    /// # Safety
    /// As for [`clear`].
    load, "vmptrld"
}

/// Drops mappings cached for an EPT pointer (or for all).
///
/// # Safety
/// This processor is in VMX operation and offers this extent.
pub unsafe fn invalidate_nested(extent: Extent, ept_pointer: u64) {
    let descriptor = [ept_pointer, 0];
    // SAFETY: INVEPT reads the descriptor and drops translations, nothing else.
    unsafe {
        asm!("invept {0}, [{1}]", in(reg) extent as u64, in(reg) &descriptor, options(readonly, nostack));
    }
}

/// Drops combined mappings cached for a VPID (or for all).
///
/// # Safety
/// As for [`invalidate_nested`].
pub unsafe fn invalidate_tagged(extent: Extent, vpid: u16) {
    let descriptor = [u64::from(vpid), 0];
    // SAFETY: as for INVEPT.
    unsafe {
        asm!("invvpid {0}, [{1}]", in(reg) extent as u64, in(reg) &descriptor, options(readonly, nostack));
    }
}

/// Takes the NMI that made the guest exit through the host's own table. Until that
/// handler's IRET the processor blocks further NMIs (Intel SDM vol. 3 section 27.5.5).
///
/// # Safety
/// The interrupt table is in place.
pub unsafe fn take_nmi() {
    // SAFETY: the handler of vector 2 preserves all registers and has its own stack.
    unsafe { asm!("int 2", options(nostack)) };
}
