//! Exceptions and interrupts: counted, acknowledged, and survived where the code
//! that raised one said how.

use crate::apic;
use crate::cpu::{out8, rdtsc};
use crate::println;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

global_asm!(
    r#"
    .section .text.trap, "ax"
    .globl trap_stubs
    .balign 16
trap_stubs:
    .rept 256
    .balign 16
    call trap_common
    .endr

    # Stack: return address into the stubs, error code for some vectors, frame.
trap_common:
    pushq %rax
    movq 8(%rsp), %rax
    subq $trap_stubs, %rax
    shrq $4, %rax
    movq %rax, 8(%rsp)
    cmpq $32, %rax
    jae 2f
    btl %eax, error_code_vectors
    jc 3f
    # A zero where the error code would be: RAX and vector move down by one.
2:  pushq (%rsp)
    movq 16(%rsp), %rax
    movq %rax, 8(%rsp)
    movq $0, 16(%rsp)
3:  pushq %rcx
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
    movq %rsp, %rdi
    cld
    call trap_entered
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

    .section .rodata.trap, "a"
    .balign 4
error_code_vectors:
    .long 0x60227d00    # 8, 10 to 14, 17, 21, 29, 30
    "#,
    options(att_syntax)
);

/// What `trap_common` saved.
#[repr(C)]
pub struct Frame {
    /// R15 to R12.
    high: [u64; 4],
    /// R11, through which a survived fault is told.
    r11: u64,
    /// R10, R9, R8, RDI, RSI, RBP, RBX, RDX, RCX, RAX.
    low: [u64; 10],
    /// Vector.
    pub vector: u64,
    /// Error code or 0.
    pub error: u64,
    /// Where it happened.
    pub rip: u64,
    /// Code segment.
    pub cs: u64,
    /// Flags.
    pub flags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

unsafe extern "C" {
    static trap_stubs: u8;
    static __fixups_start: [u64; 2];
    static __fixups_end: [u64; 2];
    static __image_start: u8;
    static __bss_end: u8;
}

/// How an interrupt is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Acknowledge {
    /// At the local APIC.
    Apic = 0,
    /// At both 8259As.
    Pic = 1,
}

static ACKNOWLEDGE: AtomicU8 = AtomicU8::new(0);
/// Per processor (0 and 1) and vector how often it came.
static HITS: [[AtomicU64; 256]; 2] = [const { [const { AtomicU64::new(0) }; 256] }; 2];
/// TSC at the last interrupt.
static LAST: AtomicU64 = AtomicU64::new(0);
/// Code that tests write at run time: first address, size, and where to go on.
static WILD: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
/// The exception, + 1, that last happened in there.
static WILD_MARK: AtomicU64 = AtomicU64::new(0);
/// Called for interrupts; 0 is none.
static HANDLER: AtomicU64 = AtomicU64::new(0);
/// Called for exceptions that nobody survives; 0 is none.
static HOOK: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
extern "C" fn trap_entered(frame: &mut Frame) {
    let vector = (frame.vector & 255) as u8;
    LAST.store(rdtsc(), Ordering::Relaxed);
    HITS[apic::index()][usize::from(vector)].fetch_add(1, Ordering::Relaxed);
    match vector {
        2 => {}
        0..32 => exception(frame, vector),
        _ => {
            check_flags(frame);
            interrupt(vector);
        }
    }
}

/// No interrupt comes while the processor lets none in; code of a test's making may have
/// an INT of its own.
fn check_flags(frame: &Frame) {
    const INTERRUPT_FLAG: u64 = 1 << 9;
    if frame.flags & INTERRUPT_FLAG == 0 && WILD[1].load(Ordering::Relaxed) == 0 {
        let Frame { vector, rip, .. } = *frame;
        crate::serial::print_anyway(format_args!(
            "interrupt {vector:#x} at {rip:#x} although interrupts were off: WRONG\n"
        ));
    }
}

fn interrupt(vector: u8) {
    let handler = HANDLER.load(Ordering::Relaxed);
    if handler != 0 {
        // SAFETY: only `set_handler` stores here, and it takes such a function.
        let handler: fn(u8) -> bool = unsafe { core::mem::transmute(handler) };
        if !handler(vector) {
            return;
        }
    }
    match ACKNOWLEDGE.load(Ordering::Relaxed) == Acknowledge::Pic as u8 {
        true => {
            out8(0xa0, 0x20);
            out8(0x20, 0x20);
        }
        false => apic::end_of_interrupt(),
    }
}

fn exception(frame: &mut Frame, vector: u8) {
    let hook = HOOK.load(Ordering::Relaxed);
    if hook != 0 {
        // SAFETY: only `set_hook` stores here, and it takes such a function.
        let hook: fn(&mut Frame) -> bool = unsafe { core::mem::transmute(hook) };
        if hook(frame) {
            return;
        }
    }
    let mark = u64::from(vector) + 1;
    let [start, bytes, resume] = [0, 1, 2].map(|index: usize| WILD[index].load(Ordering::Relaxed));
    // Wild code may have jumped; only in the image it is a fault of ours.
    let image = (&raw const __image_start) as u64..(&raw const __bss_end) as u64;
    if frame.rip.wrapping_sub(start) < bytes || bytes > 0 && !image.contains(&frame.rip) {
        WILD_MARK.store(mark, Ordering::Relaxed);
        frame.rip = resume;
        return;
    }
    if let Some([_, resume]) = fixups().iter().find(|[at, _]| *at == frame.rip) {
        frame.r11 = mark;
        frame.rip = *resume;
        return;
    }
    let address: u64;
    // SAFETY: reads a control register.
    unsafe { asm!("mov {}, cr2", out(reg) address) };
    let Frame { rip, error, rsp, .. } = *frame;
    crate::serial::print_anyway(format_args!(
        "unexpected exception {vector} error {error:#x} at {rip:#x}, cr2 {address:#x}, rsp {rsp:#x}\n"
    ));
    println!("FAILED");
    crate::power::off();
}

fn fixups() -> &'static [[u64; 2]] {
    // SAFETY: the linker script puts both symbols around the section of pairs.
    unsafe {
        let start = &raw const __fixups_start;
        let end = &raw const __fixups_end;
        core::slice::from_raw_parts(start, end.offset_from(start) as usize)
    }
}

/// An interrupt table with every vector.
#[repr(C, align(16))]
struct Table([[u64; 2]; 256]);

static mut TABLE: Table = Table([[0; 2]; 256]);

/// Fills the table and loads it on this processor, and masks the 8259As: firmware
/// leaves their timer on, at a vector that is an exception's.
pub fn install() {
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    let base = (&raw const trap_stubs) as u64;
    for vector in 0..256 {
        let at = base + 16 * vector as u64;
        // Interrupt gate, present, ring 0, code segment 8 (Intel SDM vol. 3 section 7.14.1).
        let low = at & 0xffff | 8 << 16 | 0x8e00 << 32 | (at >> 16 & 0xffff) << 48;
        // SAFETY: the first processor runs this before any other starts.
        unsafe { (&raw mut TABLE.0[vector]).write([low, at >> 32]) };
    }
    load();
}

/// Loads the table on this processor.
pub fn load() {
    load_table((&raw const TABLE) as u64, 4095);
}

/// Loads any table.
pub fn load_table(base: u64, limit: u16) {
    let pointer = [limit, base as u16, (base >> 16) as u16, (base >> 32) as u16, (base >> 48) as u16];
    // SAFETY: tests that load a bad table mean to.
    unsafe { asm!("lidt [{}]", in(reg) &pointer) };
}

/// How interrupts from vector 32 on are acknowledged from now on.
pub fn acknowledge(how: Acknowledge) {
    ACKNOWLEDGE.store(how as u8, Ordering::Relaxed);
}

/// Calls `hook` at every exception first; true from it ends the handling.
pub fn set_hook(hook: Option<fn(&mut Frame) -> bool>) {
    HOOK.store(hook.map_or(0, |hook| hook as usize as u64), Ordering::Relaxed);
}

/// Calls `handler` at every interrupt from vector 32 on, before its end; false from it
/// leaves that to somebody else.
pub fn set_handler(handler: Option<fn(u8) -> bool>) {
    HANDLER.store(handler.map_or(0, |handler| handler as usize as u64), Ordering::Relaxed);
}

/// How often `vector` came at this processor.
pub fn hits(vector: u8) -> u64 {
    hits_at(apic::index(), vector)
}

/// How often `vector` came at a processor.
pub fn hits_at(processor: usize, vector: u8) -> u64 {
    HITS[processor & 1][usize::from(vector)].load(Ordering::Relaxed)
}

/// TSC when the last trap's handler began.
pub fn last_tsc() -> u64 {
    LAST.load(Ordering::Relaxed)
}

// call_wild_code(start, argument): keeps nothing in registers, since wild code may
// change every one of them, the stack pointer too.
global_asm!(
    r#"
    .section .text.wild, "ax"
call_wild_code:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    movq %rsp, wild_stack
    movq %rdi, %rbx
    movq %rsi, %rdi
    movq %rdi, %rsi
    movl $1, %ecx
    movl $0x10000, %eax
    call *%rbx
    .globl call_wild_end
call_wild_end:
    movq wild_stack, %rsp
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret
    .section .bss.wild, "aw", @nobits
    .balign 8
wild_stack: .skip 8
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    fn call_wild_code(start: u64, argument: u64);
    static call_wild_end: u8;
}

/// Calls code at `start` that may raise anything within its `bytes`, with RDI =
/// RSI = `argument`, RCX = 1 and EAX a masked redirection entry; gives the exception if one
/// ended it.
pub fn call_wild(start: u64, bytes: u64, argument: u64) -> Option<u8> {
    WILD_MARK.store(0, Ordering::Relaxed);
    WILD[2].store((&raw const call_wild_end) as u64, Ordering::Relaxed);
    WILD[1].store(bytes, Ordering::Relaxed);
    WILD[0].store(start, Ordering::Relaxed);
    // SAFETY: registers and stack are restored whatever the code does; that it leaves
    // memory of Rust objects alone is its author's part.
    unsafe { call_wild_code(start, argument) };
    WILD[1].store(0, Ordering::Relaxed);
    match WILD_MARK.load(Ordering::Relaxed) {
        0 => None,
        mark => Some((mark - 1) as u8),
    }
}
