//! The switch between the hypervisor and a guest.

use crate::cpu::barriers::{DATA_SELECTOR, IN_ASSEMBLY, Steps};
use access::vcpu::GeneralRegisters;
use core::arch::asm;

/// The switch, with what comes right before VMLOAD of the guest's state and right after
/// VMRUN, and with the operands of those.
macro_rules! switch {
    ($registers:ident, $guest:ident, $host:ident, $before:expr, $after:expr, $($operand:tt)*) => {
        asm!(
            "push rbx",
            "push rbp",
            "push rdx",
            "push rdi",
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
            $before,
            "vmload rax",
            "vmrun rax",
            $after,
            "vmsave rax",
            // RAX and RSP are the host's again; every other register is the guest's.
            "push rdi",
            "mov rdi, [rsp + 8]",
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
            "pop rdi",
            "pop rax",
            "vmload rax",
            "pop rbp",
            "pop rbx",
            inout("rax") $guest => _,
            inout("rdx") $host => _,
            inout("rdi") $registers => _,
            out("rcx") _, out("rsi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            $($operand)*
        )
    };
}

/// Runs the guest whose control block is at `guest` (hpa) until it exits.
///
/// `registers` holds the general registers but RAX and RSP, which live in the
/// control block. `host` (hpa) is where VMSAVE put this processor's own FS, GS, TR
/// and SYSCALL registers; VMRUN does not switch those (AMD APM vol. 2 section 15.5.1).
///
/// # Safety
/// The global interrupt flag is clear, so nothing on this processor can use GS or
/// TR between VMLOAD of the guest's and VMLOAD of the host's. `guest` and `host`
/// are frames that this vCPU owns, `guest` holds a valid control block, and
/// `host` was filled by [`save_host`] on this processor.
///
/// RFLAGS are the host's again after the exit, the direction flag included (section 15.6).
#[inline(always)]
pub unsafe fn run(registers: *mut GeneralRegisters, guest: u64, host: u64) {
    // SAFETY: the caller's promise. Every general register that the guest leaves changed is
    // named, but for RBX and RBP, which are saved and restored here because no operand can
    // be in them; RSP is the host's again at the exit.
    unsafe { switch!(registers, guest, host, "", "",) }
}

/// As [`run`], where barriers are chosen: buffers are cleared after the last access to memory,
/// and the return stack is filled before anything else ([`crate::cpu::barriers`]).
///
/// # Safety
/// As for [`run`].
#[inline(always)]
pub unsafe fn run_guarded(registers: *mut GeneralRegisters, guest: u64, host: u64) {
    // SAFETY: as for `run`. What is added changes the flags, and RSP for a moment.
    unsafe {
        switch!(
            registers,
            guest,
            host,
            "test byte ptr [rip + {steps}], {clear_buffers}\njz 7f\nverw word ptr [rip + {selector}]\n7:",
            concat!(
                "test byte ptr [rip + {steps}], {fill_returns}\njz 8f\n",
                crate::fill_returns!(),
                "\n8:"
            ),
            steps = sym IN_ASSEMBLY,
            selector = sym DATA_SELECTOR,
            clear_buffers = const Steps::CLEAR_BUFFERS.0,
            fill_returns = const Steps::FILL_RETURNS.0,
        )
    }
}

/// Saves this processor's FS, GS, TR, LDTR and SYSCALL registers for [`run`].
///
/// # Safety
/// `host` (hpa) is a 4 KiB frame that nothing else uses; EFER.SVME is set.
pub unsafe fn save_host(host: u64) {
    // SAFETY: VMSAVE writes the frame at RAX alone, which the caller owns.
    unsafe { asm!("vmsave rax", in("rax") host, options(nostack, preserves_flags)) }
}

/// Holds off every event, NMIs too, until [`window`] or [`open`]; the interrupt
/// flag stays set, which is what makes a physical interrupt leave the guest.
///
/// # Safety
/// EFER.SVME is set.
pub unsafe fn close() {
    // SAFETY: only the interrupt flags change; handlers are installed before any
    // processor runs guests.
    unsafe { asm!("clgi", "sti", options(nostack)) }
}

/// Ends what [`close`] began: interrupts are off by their flag again, and NMIs come.
///
/// # Safety
/// As for [`close`].
pub unsafe fn open() {
    // SAFETY: as for `close`.
    unsafe { asm!("cli", "stgi", options(nostack)) }
}

/// Takes what is pending: interrupts and NMIs run through the host's own table.
///
/// # Safety
/// As for [`close`]; the host's GS and TR are loaded.
pub unsafe fn window() {
    // SAFETY: the caller's promise.
    unsafe { crate::cpu::interrupts::take_pending_by_global_flag() }
}

/// Takes NMIs that are pending, and nothing else: maskable interrupts are the guest's.
///
/// # Safety
/// As for [`window`].
pub unsafe fn nmi_window() {
    // SAFETY: as for `window`.
    unsafe { asm!("cli", "stgi", "nop", "clgi", "sti", options(nostack)) }
}
