//! Into ring 3 and back (Intel SDM vol. 3 sections 6.8 and 7.12, AMD APM vol. 2 sections 4.10 and 8.9).
//!
//! A call begins at an instruction and with a stack that ring 0 names, and finds three arguments and no
//! register of ring 0's. It is over at the first `SYSCALL`, which is how ring 3 says that it is done, or exception, which is
//! a fault of its. Where SYSCALL is off it is an invalid opcode, and says the same: see [`crate::cpu::syscall`].
//! There are no system calls but this, and no registers are kept from call to call.
//!
//! Interrupts do not end it: their bits are set as in ring 0, and it goes on. On the processors of guests
//! maskable ones wait until ring 0 has gone on with the guest, whose they may be. What takes too long is
//! sent to address 0, where nothing is, by the first interrupt or NMI after its time: the housekeeping CPU
//! has a timer, and sends the others an NMI.
//!
//! Ring 3 can spoil what is not protected from it: GS, by loading a selector, and RFLAGS. Neither is used
//! before it is put back, by the stack: ring 0's begins at the address of a [`Crossing`], which has both.
//!
//! Ring 0 goes on under ring 3's tables until it enters others, where the processor keeps it from the lower half (SMAP
//! and SMEP): the upper half is the same, and each load of CR3 drops the translations of both. VT-x loads the
//! hypervisor's with each exit.
//!
//! Ring 3 is to speculation what a guest is: the barriers of entries and exits are these crossings' as well, and
//! what [`crate::cpu::domains`] says comes between guests.

use core::arch::{global_asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use crate::cpu::barriers::{self, Barriers, DATA_SELECTOR, IN_ASSEMBLY, Steps, ThisProcessor};
use crate::cpu::descriptors::{DATA, IST_LOCAL, STACK_OF_RING_0, USER_CODE, USER_DATA};
use crate::cpu::interrupts::{self, Frame};
use crate::cpu::processor::{self, Local};
use crate::cpu::{apic, registers, timer};
use spec::msr::{GS_BASE, KERNEL_GS_BASE};
use spec::processor::RFLAGS_IF;
use x86_64::registers::control::Cr2;

/// RFLAGS: the bit that is always set.
const ALWAYS: u64 = 1 << 1;
const PAGE_FAULT: u64 = 14;
const INVALID_OPCODE: u64 = 6;
/// The processor that takes its maskable interrupts in ring 3.
const HOUSEKEEPING: usize = 0;

/// Where a call begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The first instruction.
    pub rip: u64,
    /// The stack pointer.
    pub rsp: u64,
    /// RDI, RSI and RDX.
    pub arguments: [u64; 3],
}

/// How a call was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// By `SYSCALL`, or an instruction that is none, with this in RAX and RDI.
    Done {
        /// RAX.
        rax: u64,
        /// RDI.
        rdi: u64,
    },
    /// By this exception.
    Fault {
        /// Its vector.
        vector: u8,
        /// The instruction.
        rip: u64,
        /// CR2, where it was a page fault.
        address: u64,
    },
    /// It took too long.
    Late,
}

/// What the way there and back needs.
#[repr(C)]
struct Crossing {
    /// CR3 in ring 3.
    root: u64,
    /// CR3 in ring 0, where that is another.
    own_root: u64,
    /// This processor's [`Local`].
    local: u64,
    /// RFLAGS of ring 0.
    flags: u64,
    rip: u64,
    rsp: u64,
    /// RFLAGS in ring 3.
    user_flags: u64,
    arguments: [u64; 3],
    /// What it was left by.
    vector: u64,
    /// Where.
    left_at: u64,
    /// RAX and RDI, where it is done.
    said: [u64; 2],
}

/// Goes to ring 3 and comes back when it is left.
///
/// # Safety
/// Interrupts are off, and NMIs come. `root` maps the upper half as the tables in force do, and below that nothing
/// that ring 3 must not reach.
#[unsafe(naked)]
unsafe extern "sysv64" fn cross(crossing: *mut Crossing) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        // Seven words and the return address: the stack is aligned as the processor wants it.
        "mov gs:[{stack}], rsp",
        "pushfq",
        "pop qword ptr [rdi + {flags}]",
        "mov rax, [rdi + {root}]",
        "mov rcx, cr3",
        "cmp rax, rcx",
        "je 4f",
        "mov cr3, rax",
        "4:",
        "push {user_data}",
        "push qword ptr [rdi + {rsp}]",
        "push qword ptr [rdi + {user_flags}]",
        "push {user_code}",
        "push qword ptr [rdi + {rip}]",
        "mov rsi, [rdi + {arguments} + 8]",
        "mov rdx, [rdi + {arguments} + 16]",
        "mov rdi, [rdi + {arguments}]",
        "xor eax, eax",
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor ebp, ebp",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "xor r14d, r14d",
        "xor r15d, r15d",
        "test byte ptr [rip + {steps}], {clear_buffers}",
        "jz 2f",
        "verw word ptr [rip + {selector}]",
        "2:",
        "iretq",
        // Where `ring3_left` goes on: the registers are ring 3's, but for the stack and the flags.
        ".global ring3_returned",
        "ring3_returned:",
        "test byte ptr [rip + {steps}], {fill_returns}",
        "jz 3f",
        crate::fill_returns!(),
        "3:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        steps = sym IN_ASSEMBLY,
        selector = sym DATA_SELECTOR,
        clear_buffers = const Steps::CLEAR_BUFFERS.0,
        fill_returns = const Steps::FILL_RETURNS.0,
        stack = const offset_of!(Local, descriptors) + STACK_OF_RING_0,
        flags = const offset_of!(Crossing, flags),
        root = const offset_of!(Crossing, root),
        rsp = const offset_of!(Crossing, rsp),
        rip = const offset_of!(Crossing, rip),
        user_flags = const offset_of!(Crossing, user_flags),
        arguments = const offset_of!(Crossing, arguments),
        user_data = const USER_DATA,
        user_code = const USER_CODE,
    )
}

// The stack of each begins at the crossing's address; the processor pushed five words, and an error code or
// the stub's 0.
global_asm!(
    r#"
    .text
    # Puts GS back, or what SWAPGS has for it: `crossing` is a register with the address of the crossing. RAX, RCX and
    # RDX are spoiled.
    .macro put_gs_back crossing, msr={gs_base}
    movq {local}(\crossing), %rax
    movq %rax, %rdx
    shrq $32, %rdx
    movl $\msr, %ecx
    wrmsr
    .endm

    # As `exception`: the vector, the error code, and what the processor pushed. The registers are ring 3's.
    .balign 16
    .global ring3_left
ring3_left:
    movq 56(%rsp), %rbx
    movq %rax, {said}(%rbx)
    movq %rdi, {said} + 8(%rbx)
    put_gs_back %rbx
    movq {own_root}(%rbx), %rax
    testq %rax, %rax
    jz 1f
    movq %rax, %cr3
1:  movq (%rsp), %rax
    movq %rax, {vector}(%rbx)
    movq 16(%rsp), %rax
    movq %rax, {left_at}(%rbx)
    # The processor made it null.
    movl ${data}, %eax
    movl %eax, %ss
    pushq {flags}(%rbx)
    popfq
    addq $64, %rsp
    jmp ring3_returned

    # The same by a debug exception, which has a stack of its own: all that is there is moved to where other exceptions
    # leave it.
    .balign 16
    .global ring3_trapped
ring3_trapped:
    cld
    movq {ist_local} + 16(%rsp), %rax
    movq {stack}(%rax), %rdi
    subq $56, %rdi
    movq %rsp, %rsi
    movq %rdi, %rsp
    movl $7, %ecx
    rep movsq
    jmp ring3_left

    # The same by SYSCALL. The flags are clear, RCX has where it was, and all else is ring 3's: the stack pointer is
    # that which an exception would take. SWAPGS leaves what ring 3 had of GS.
    .balign 16
    .global ring3_called
ring3_called:
    swapgs
    movq %gs:{stack}, %rsp
    movq (%rsp), %rbx
    movq %rax, {said}(%rbx)
    movq %rdi, {said} + 8(%rbx)
    movq %rcx, {left_at}(%rbx)
    movq ${invalid_opcode}, {vector}(%rbx)
    put_gs_back %rbx, {kernel_gs_base}
    movq {own_root}(%rbx), %rax
    testq %rax, %rax
    jz 1f
    movq %rax, %cr3
1:  pushq {flags}(%rbx)
    popfq
    addq $8, %rsp
    jmp ring3_returned

    # Called by the stub of an interrupt: behind the return address is what the processor pushed.
    .global ring3_interrupted
ring3_interrupted:
    pushq %rax
    pushq %rcx
    pushq %rdx
    movq 72(%rsp), %rax
    put_gs_back %rax
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    cmpq %gs:{until}, %rax
    jb 1f
    movq $0, 32(%rsp)
1:  popq %rdx
    popq %rcx
    popq %rax
    retq

    # The same for the timer, which has to come again.
    .global ring3_timer
ring3_timer:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    movq 120(%rsp), %rax
    put_gs_back %rax
    pushq $2
    popfq
    subq $8, %rsp
    callq {timer}
    addq $8, %rsp
    testb %al, %al
    jz 1f
    movq $0, 80(%rsp)
1:  popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    retq

    # RAX, which is pushed, has the processor's data.
    .global ring3_nmi
ring3_nmi:
    pushq %rcx
    pushq %rdx
    movq {until}(%rax), %rcx
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    cmpq %rcx, %rax
    jb 1f
    movq $0, 24(%rsp)
1:  popq %rdx
    popq %rcx
    popq %rax
    iretq

    # Any exception but that of an invalid opcode, or an interrupt with its vector, after which ring 3 goes on.
    .global ring3_exception
ring3_exception:
    pushq %rax
    pushq %rcx
    pushq %rdx
    movq 80(%rsp), %rax
    put_gs_back %rax
    popq %rdx
    popq %rcx
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
    # What ring 3 set there is none of ring 0's: by the flag AC it could reach what SMAP keeps from it.
    pushq $2
    popfq
    movq %rsp, %rdi
    callq {handler}
    testb %al, %al
    jnz 1f
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
1:  addq $120, %rsp
    jmp ring3_left
    .purgem put_gs_back
    "#,
    local = const offset_of!(Crossing, local),
    own_root = const offset_of!(Crossing, own_root),
    vector = const offset_of!(Crossing, vector),
    left_at = const offset_of!(Crossing, left_at),
    said = const offset_of!(Crossing, said),
    flags = const offset_of!(Crossing, flags),
    until = const offset_of!(Local, ring3_until),
    gs_base = const GS_BASE,
    kernel_gs_base = const KERNEL_GS_BASE,
    stack = const offset_of!(Local, descriptors) + STACK_OF_RING_0,
    ist_local = const IST_LOCAL,
    invalid_opcode = const INVALID_OPCODE,
    data = const DATA,
    handler = sym exception,
    timer = sym timer_came,
    options(att_syntax)
);

/// Whether ring 3 is left for what came there. Interrupts come there where its interrupt flag is set.
extern "C" fn exception(frame: &mut Frame) -> bool {
    let in_window = frame.rflags & RFLAGS_IF != 0;
    interrupts::is_exception(frame, in_window)
}

/// The housekeeping CPU's timer came in ring 3, and whoever set it does so again only once that is left. Whether
/// it has to be left now; where not, the timer comes when it has.
extern "C" fn timer_came() -> bool {
    let until = processor::local().ring3_until.load(Ordering::Relaxed);
    let is_late = registers::read_tsc() >= until;
    if !is_late {
        timer::arm_timer(until);
    }
    is_late
}

/// Runs ring 3 from `start` under the tables at `root` until it is left, or for `ticks` of the TSC. It is code of
/// guest `domain`.
///
/// # Safety
/// `root` maps the upper half as the hypervisor's tables do, which are in force, and below that nothing that
/// ring 3 must not reach, or that anybody refers to meanwhile.
pub(crate) unsafe fn enter(
    root: u64,
    start: &Start,
    ticks: u64,
    (domain, barriers): (u32, &Barriers),
) -> Left {
    let local = processor::local();
    if local.domains.before(domain) {
        barriers::before_start(barriers, &mut ThisProcessor);
    }
    let guards = barriers.guards();
    if guards {
        barriers::before_entry(barriers, &mut ThisProcessor);
    }
    // AMD-V holds events by the global interrupt flag, with the other one set.
    let held = x86_64::instructions::interrupts::are_enabled();
    let interrupts = if local.index() == HOUSEKEEPING { RFLAGS_IF } else { 0 };
    let mut crossing = Crossing {
        root,
        own_root: if processor::is_kept_from_ring_3() { 0 } else { registers::read_cr3() },
        local: core::ptr::from_ref(local) as u64,
        flags: 0,
        rip: start.rip,
        rsp: start.rsp,
        user_flags: ALWAYS | interrupts,
        arguments: start.arguments,
        vector: 0,
        left_at: 0,
        said: [0; 2],
    };
    // VT-x leaves it to whoever runs, and it is the guest's.
    let guests_cr2 = Cr2::read_raw();
    let until = registers::read_tsc().saturating_add(ticks);
    local.ring3_until.store(until, Ordering::Relaxed);
    if held {
        // SAFETY: AMD-V is on where events are held by its flag; handlers are installed, and maskable
        // interrupts stay off.
        unsafe { core::arch::asm!("cli", "stgi", options(nostack)) };
    }
    // SAFETY: the caller's promise about the tables; interrupts are off and NMIs come.
    unsafe { cross(&mut crossing) };
    if held {
        // SAFETY: as above; events are held as they were.
        unsafe { core::arch::asm!("clgi", "sti", options(nostack)) };
        // An NMI that came meanwhile was to keep the guest from being entered.
        if local.kicked.load(Ordering::Relaxed) {
            apic::send_nmi(local.apic_id());
        }
    }
    local.ring3_until.store(0, Ordering::Relaxed);
    if guards {
        barriers::after_exit(barriers, &mut ThisProcessor);
    }
    if local.domains.after() {
        barriers::before_start(barriers, &mut ThisProcessor);
    }
    let Crossing { vector, left_at: rip, said: [rax, rdi], .. } = crossing;
    if vector == INVALID_OPCODE {
        return Left::Done { rax, rdi };
    }
    let address = if vector == PAGE_FAULT { take_cr2(guests_cr2) } else { 0 };
    match rip == 0 && registers::read_tsc() >= until {
        true => Left::Late,
        false => Left::Fault { vector: vector as u8, rip, address },
    }
}

/// Reads CR2 after a page fault of ring 3, and puts back what it was before.
#[cold]
fn take_cr2(before: u64) -> u64 {
    let address = Cr2::read_raw();
    // SAFETY: no page fault is being handled any more.
    unsafe { registers::write_cr2(before) };
    address
}

/// Interrupts the processors that are in ring 3 for longer than they may be.
pub fn look_for_late() {
    processor::late_in_ring_3(registers::read_tsc()).for_each(apic::send_nmi);
}
