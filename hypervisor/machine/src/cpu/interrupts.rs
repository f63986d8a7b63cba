//! All 256 vectors.
//!
//! Exceptions end in a report. The vectors that devices, timers and other processors
//! may use only set a bit and end the interrupt: whoever runs the processor takes the
//! bits when it likes. NMIs are kicks: another processor wants this one to look up.
//!
//! A local APIC takes the vectors from 16 on, those of exceptions among them, and so does
//! the local APIC of a guest that takes its interrupts itself. When it comes back to the
//! hypervisor, what is pending there is the guest's making: what comes as such an interrupt
//! is told from the exception of the same number ([`crate::cpu::arrival`]), and ended.
//!
//! What comes in ring 3 finds GS as ring 3 left it: [`crate::cpu::ring3`] has the stubs of that. NMIs, double
//! faults, machine checks and debug exceptions come on the way there and back too, and find their processor by their
//! stack.

#[cfg(target_os = "none")]
use core::arch::global_asm;
use core::sync::atomic::Ordering;

#[cfg(target_os = "none")]
use crate::cpu::arrival::{Arrival, Kind};
use crate::cpu::processor;
#[cfg(target_os = "none")]
use crate::cpu::processor::Local;

pub use spec::vectors::{APIC_ERROR, OWN_FIRST, OWN_LAST, POSTED, SPURIOUS, TIMER};

/// Beside the vector of an exception that has an error code: none was pushed.
#[cfg(target_os = "none")]
const WITHOUT_CODE: u64 = 1 << 8;

/// The registers of interrupted code, as the stubs push them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// R15 down to RAX: r15 r14 r13 r12 r11 r10 r9 r8 rdi rsi rbp rbx rdx rcx rax.
    pub general: [u64; 15],
    /// The vector.
    pub vector: u64,
    /// The error code; 0 for vectors that have none.
    pub error: u64,
    /// Instruction pointer.
    pub rip: u64,
    /// Code segment.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

impl Frame {
    /// RBP of the interrupted code.
    pub const fn rbp(&self) -> u64 {
        self.general[10]
    }
}

/// Name of an exception (Intel SDM vol. 3 table 7-1).
pub const fn exception_name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid task state segment",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection",
        14 => "page fault",
        16 => "floating point",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating point",
        20 => "virtualization",
        21 => "control protection",
        28 => "hypervisor injection",
        29 => "VMM communication",
        30 => "security",
        _ => "reserved",
    }
}

// One stub of 32 bytes a vector. The vectors that set a bit go through no Rust: this
// is the cost of every interrupt that is not the guest's own.
#[cfg(target_os = "none")]
global_asm!(
    r#"
    .text
    .balign 32
    .global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 256
    .balign 32
    .if vector == 2
        jmp nmi
    .elseif vector == 1
        jmp debug_exception
    .elseif vector == 6
        # How ring 3 is left.
        pushq $0
        pushq $vector
        testb $3, 24(%rsp)
        jnz ring3_left
        jmp exception
    .elseif vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
        pushq $vector
        jmp exception_with_code
    .elseif vector < {own_first} || (vector > {own_last} && vector < 32)
        pushq $0
        pushq $vector
        jmp exception
    .else
        testb $3, 8(%rsp)
        jz 1f
        .if vector == {timer}
        callq ring3_timer
        .else
        callq ring3_interrupted
        .endif
        # Not locked: only this processor touches its bits, and an instruction is
        # not interrupted halfway.
1:
        btsq $(vector & 63), %gs:({vectors} + (vector >> 6) * 8)
        jmp end_of_interrupt
    .endif
    .set vector, vector + 1
    .endr

    .balign 16
    .global end_of_interrupt
end_of_interrupt:
    pushq %rax
    movq %gs:{eoi}, %rax
    testq %rax, %rax
    jz 1f
    movl $0, (%rax)
    popq %rax
    iretq
1:  pushq %rcx
    pushq %rdx
    movl $0x80b, %ecx
    xorl %edx, %edx
    wrmsr
    popq %rdx
    popq %rcx
    popq %rax
    iretq

    # An NMI comes anywhere, also between a look at the flag and the HLT or the entry into
    # a guest that follows: then that is skipped.
nmi:
    pushq %rax
    movq {ist_local} + 8(%rsp), %rax
    movb $1, {kicked}(%rax)
    cmpb $0, {stopping}(%rip)
    jne 2f
    testb $3, 16(%rsp)
    jnz ring3_nmi
    leaq halt_window(%rip), %rax
    cmpq %rax, 8(%rsp)
    jb 1f
    leaq halt_window_end(%rip), %rax
    cmpq %rax, 8(%rsp)
    jae 1f
    movq %rax, 8(%rsp)
1:  leaq entry_window(%rip), %rax
    cmpq %rax, 8(%rsp)
    jb 3f
    leaq entry_window_end(%rip), %rax
    cmpq %rax, 8(%rsp)
    jae 3f
    leaq entry_kicked(%rip), %rax
    movq %rax, 8(%rsp)
3:  popq %rax
    iretq
2:  cli
    hlt
    jmp 2b

    # The only instructions in ring 0 at which maskable interrupts come.
    .balign 16
    .global interrupt_windows
interrupt_windows:

    # Takes what is pending, by the interrupt flag and by the global one. The instruction
    # after STI is in its shadow.
    .global take_by_interrupt_flag
take_by_interrupt_flag:
    sti
    nop
    nop
    cli
    retq

    .global take_by_global_flag
take_by_global_flag:
    stgi
    nop
    clgi
    retq

    # Waits for an interrupt or a kick. Called with interrupts off; they are off again
    # when it returns. Interrupts may have come before, in ring 3.
    .global halt_for_interrupt
halt_for_interrupt:
halt_window:
    cmpb $0, %gs:{kicked}
    jne halt_window_end
    movq %gs:{vectors}, %rax
    orq %gs:({vectors} + 8), %rax
    orq %gs:({vectors} + 16), %rax
    orq %gs:({vectors} + 24), %rax
    jnz halt_window_end
    sti
    hlt
halt_window_end:
    cli
    retq
    .global interrupt_windows_end
interrupt_windows_end:

    # An exception of this vector pushes an error code and an interrupt does not. The
    # processor aligns the stack to 16 bytes and pushes five words, or six; the stub pushed
    # the vector.
exception_with_code:
    testb $8, %spl
    jnz exception
    pushq (%rsp)
    movq $0, 8(%rsp)
    orq ${without_code}, (%rsp)

exception:
    cmpb $8, (%rsp)
    je exception_on_own_stack
    cmpb $18, (%rsp)
    je exception_on_own_stack
    testb $3, 24(%rsp)
    jnz ring3_exception
exception_in_ring_0:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    # Ring 3's flags are none of this, where it came there.
    pushq $2
    popfq
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    callq {handler}
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

    # By the flag TF ring 3 has it come after any of its instructions, and some come behind SYSCALL: before the first
    # instruction there, with GS and the stack pointer of ring 3. That is ring 3's fault like any other.
debug_exception:
    pushq $0
    pushq $1
    testb $3, 24(%rsp)
    jnz ring3_trapped
    pushq %rax
    leaq ring3_called(%rip), %rax
    cmpq %rax, 24(%rsp)
    popq %rax
    je ring3_trapped

    # It may have come where GS is ring 3's.
exception_on_own_stack:
    pushq %rax
    pushq %rcx
    pushq %rdx
    movq {ist_local} + 40(%rsp), %rax
    movq %rax, %rdx
    shrq $32, %rdx
    movl ${gs_base}, %ecx
    wrmsr
    popq %rdx
    popq %rcx
    popq %rax
    jmp exception_in_ring_0

    # bool read_msr_or_fail(u32 msr, u64 *value): false where RDMSR raises #GP.
    .global read_msr_or_fail
read_msr_or_fail:
    movl %edi, %ecx
read_msr_instruction:
    rdmsr
    movl %eax, (%rsi)
    movl %edx, 4(%rsi)
    movl $1, %eax
    retq
read_msr_failed:
    xorl %eax, %eax
    retq
    "#,
    without_code = const WITHOUT_CODE,
    own_first = const OWN_FIRST,
    own_last = const OWN_LAST,
    timer = const TIMER,
    vectors = const core::mem::offset_of!(Local, vectors),
    eoi = const core::mem::offset_of!(Local, eoi_register),
    kicked = const core::mem::offset_of!(Local, kicked),
    stopping = sym crate::console::panic::STOPPING,
    handler = sym exception,
    ist_local = const crate::cpu::descriptors::IST_LOCAL,
    gs_base = const spec::msr::GS_BASE,
    options(att_syntax)
);

#[cfg(target_os = "none")]
unsafe extern "C" {
    static vector_stubs: [[u8; 32]; 256];
    static read_msr_instruction: u8;
    static read_msr_failed: u8;
    static interrupt_windows: u8;
    static interrupt_windows_end: u8;
    fn halt_for_interrupt();
    fn take_by_interrupt_flag();
    fn take_by_global_flag();
    fn read_msr_or_fail(msr: u32, value: *mut u64) -> bool;
}

#[cfg(target_os = "none")]
static TABLE: spin::Once<[crate::cpu::descriptors::Gate; 256]> = spin::Once::new();

/// Makes this processor take interrupts and exceptions. Its [`Local`] is in place.
#[cfg(target_os = "none")]
pub fn init() {
    use crate::cpu::descriptors::{self, IST_DEBUG, IST_DOUBLE_FAULT, IST_MACHINE_CHECK, IST_NMI};
    let table = TABLE.call_once(|| {
        core::array::from_fn(|vector| {
            let ist = match vector {
                1 => IST_DEBUG,
                2 => IST_NMI,
                8 => IST_DOUBLE_FAULT,
                18 => IST_MACHINE_CHECK,
                _ => 0,
            };
            // SAFETY: stubs are 32 bytes apart, and each is that of its vector.
            unsafe { descriptors::interrupt_gate(&raw const vector_stubs as u64 + 32 * vector as u64, ist) }
        })
    });
    // SAFETY: each gate leads to the stub of its vector.
    unsafe { descriptors::load_interrupt_table(table) };
}

/// What the stubs call for exceptions, and for interrupts with their vectors. Returns only
/// where the interrupted code can go on.
#[cfg(target_os = "none")]
extern "C" fn exception(frame: &mut Frame) {
    let in_window =
        (&raw const interrupt_windows as u64..&raw const interrupt_windows_end as u64).contains(&frame.rip);
    if !is_exception(frame, in_window) {
        return;
    }
    match frame.vector {
        13 if frame.rip == &raw const read_msr_instruction as u64 => {
            frame.rip = &raw const read_msr_failed as u64;
        }
        18 => crate::cpu::machine_check::in_hypervisor(frame),
        _ => crate::console::panic::exception(frame),
    }
}

/// Whether what came is an exception, at an instruction where interrupts are let in or not. What is an
/// interrupt is ended.
#[cfg(target_os = "none")]
pub(crate) fn is_exception(frame: &mut Frame, in_window: bool) -> bool {
    let without_code = frame.vector & WITHOUT_CODE != 0;
    let arrival = Arrival { vector: frame.vector as u8, without_code, in_window };
    frame.vector = arrival.vector.into();
    match arrival.classify(crate::cpu::apic::is_in_service) {
        Kind::Interrupt => crate::cpu::apic::end_interrupt(),
        Kind::Spurious => {}
        Kind::Exception => return true,
    }
    false
}

/// Reads a model-specific register that may not exist.
#[cfg(target_os = "none")]
pub fn try_read_msr(msr: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the #GP of a register that is not there is caught; `value` is ours.
    unsafe { read_msr_or_fail(msr, &mut value) }.then_some(value)
}

/// Waits for an interrupt or a kick (STI, HLT, CLI). Interrupts are off before and
/// after; what came is in [`take_vectors`] and [`was_kicked`]. A kick that came before, or an interrupt in
/// ring 3, makes it return at once.
#[cfg(target_os = "none")]
pub fn halt_until_interrupt() {
    // SAFETY: interrupts only set bits; the stack is the normal one and the red zone
    // is disabled by the target.
    unsafe { halt_for_interrupt() };
}

/// Lets the interrupts in that are pending. Interrupts are off before and after.
#[cfg(target_os = "none")]
pub fn take_pending() {
    // SAFETY: as for `halt_until_interrupt`.
    unsafe { take_by_interrupt_flag() };
}

/// There are none where there is no machine.
#[cfg(not(target_os = "none"))]
pub fn take_pending() {}

/// Lets the interrupts and NMIs in that are pending while the global interrupt flag is clear,
/// as it is again after.
///
/// # Safety
/// EFER.SVME and the interrupt flag are set; the host's GS and TR are loaded.
#[cfg(target_os = "none")]
pub unsafe fn take_pending_by_global_flag() {
    // SAFETY: handlers preserve all registers, and the stack's red zone is disabled by the
    // target; the caller holds no lock that they take.
    unsafe { core::arch::asm!("call {}", sym take_by_global_flag) };
}

/// There are none where there is no machine.
///
/// # Safety
/// It does nothing.
#[cfg(not(target_os = "none"))]
pub unsafe fn take_pending_by_global_flag() {}

/// Takes the vectors that came to this processor since the last call, as a bitmap.
#[inline]
pub fn take_vectors() -> [u64; 4] {
    let vectors = &processor::local().vectors;
    core::array::from_fn(|word| match vectors[word].load(Ordering::Relaxed) {
        0 => 0,
        _ => vectors[word].swap(0, Ordering::Relaxed),
    })
}

/// Does what the stub of `vector` does, for an interrupt that the processor acknowledged
/// without taking it: VT-x can leave a guest like that. A device that sends the vector of
/// an exception ends nothing and nobody.
#[inline]
pub fn acknowledge(vector: u8) {
    if vector == SPURIOUS && !crate::cpu::apic::is_in_service(SPURIOUS) {
        return;
    }
    if matches!(vector, OWN_FIRST..=OWN_LAST | 32..) {
        let word = &processor::local().vectors[usize::from(vector >> 6)];
        // Interrupts are off: no stub comes between.
        word.store(word.load(Ordering::Relaxed) | 1 << (vector & 63), Ordering::Relaxed);
    }
    crate::cpu::apic::end_interrupt();
}

/// Whether this processor was kicked since the last call.
#[inline]
pub fn was_kicked() -> bool {
    let kicked = &processor::local().kicked;
    kicked.load(Ordering::Relaxed) && kicked.swap(false, Ordering::AcqRel)
}
