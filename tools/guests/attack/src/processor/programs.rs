//! Programs at ring 3 that try what is the kernel's, by instructions that exit and that the
//! hypervisor carries out.

use super::{CODE, DATA, check, is_intel};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use support::cpu::{read64, write8, write64};
use support::trap::{Frame, hits, set_hook};
use support::{ioapic, paging, println};

// enter_program(rip, rsp, flags, rax, rdi, rsi): goes to ring 3; comes back when an exception's
// handler returns to program_over.
global_asm!(
    r#"
    .section .text.programs, "ax"
    .globl enter_program, program_over
enter_program:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, program_stack(%rip)
    pushq $0x23
    pushq %rsi
    pushq %rdx
    pushq $0x2b
    pushq %rdi
    movq %rcx, %rax
    movq %r8, %rdi
    movq %r9, %rsi
    movl $1, %ecx
    movl $1, %ebx
    xorl %edx, %edx
    iretq
program_over:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    retq

    .globl install_program_tables
install_program_tables:
    lgdt program_table_pointer(%rip)
    movw $0x30, %ax
    ltr %ax
    retq

    .section .data.programs, "aw"
    .balign 16
    .globl program_table, program_task, program_stack
program_table:
    .quad 0
    .quad 0x00af9b000000ffff    # 0x08: code, 64 bits
    .quad 0x00cf93000000ffff    # 0x10: data
    .quad 0x00cf9b000000ffff    # 0x18: code, 32 bits
    .quad 0x00cff3000000ffff    # 0x20: data of programs
    .quad 0x00affb000000ffff    # 0x28: code of programs, 64 bits
    .quad 0, 0                  # 0x30: the task
program_table_pointer:
    .word 63
    .quad program_table
    .balign 8
program_stack:  .quad 0
    .section .bss.programs, "aw", @nobits
    .balign 16
    .globl program_kernel_stack_end
program_task:   .skip 112
    .skip 16384
program_kernel_stack_end:
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static program_table: u8;
    static program_task: u8;
    static program_stack: u8;
    static program_over: u8;
    static program_kernel_stack_end: u8;
    fn enter_program(rip: u64, rsp: u64, flags: u64, rax: u64, rdi: u64, rsi: u64);
    fn install_program_tables();
}

const PRIVILEGE: u64 = 3 << 12;
/// Memory that programs do not reach.
const KERNEL_DATA: u64 = 0x40_0000;

/// The exception that ended the program, where, from its beginning, and its error code.
static ENDED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn end_of_program(frame: &mut Frame) -> bool {
    if frame.cs & 3 == 0 {
        return false;
    }
    let told = [frame.vector, frame.rip.wrapping_sub(CODE), frame.error];
    ENDED.iter().zip(told).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
    frame.cs = 0x08;
    frame.ss = 0x10;
    frame.flags = 2;
    frame.rip = &raw const program_over as u64;
    frame.rsp = read64(&raw const program_stack as u64);
    true
}

/// What ended a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It came to its UD2.
    Finished,
    /// This exception at its first instruction, or before its end.
    Fault(u64),
}

struct Program<'a> {
    code: &'a [u8],
    flags: u64,
    rax: u64,
    rdi: u64,
    rsi: u64,
}

impl Program<'_> {
    fn run(&self) -> End {
        let code = self.code.iter().copied().chain([0x0f, 0x0b]);
        (CODE..).zip(code).for_each(|(address, byte)| write8(address, byte));
        set_hook(Some(end_of_program));
        // SAFETY: the program's code, stack and data are pages without Rust objects, and every
        // end of it comes back here.
        unsafe { enter_program(CODE, DATA + 0x1000, self.flags | 2, self.rax, self.rdi, self.rsi) };
        set_hook(None);
        let [vector, place, _] = ENDED.each_ref().map(|value| value.load(Ordering::Relaxed));
        if (vector, place) == (6, self.code.len() as u64) { End::Finished } else { End::Fault(vector) }
    }
}

fn run_plain(code: &[u8], flags: u64) -> End {
    Program { code, flags, rax: 0, rdi: DATA, rsi: DATA }.run()
}

fn install() {
    let task = &raw const program_task as u64;
    let table = &raw const program_table as u64;
    write64(task + 4, &raw const program_kernel_stack_end as u64);
    // No port is let through: the map begins behind the segment's end.
    write64(task + 96, 104 << 48);
    write64(table + 0x30, 103 | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56);
    write64(table + 0x38, task >> 32);
    // SAFETY: the table has what the old one had, and programs' segments.
    unsafe { install_program_tables() };
    paging::let_programs(CODE, true);
}

/// Tries them.
pub fn run() {
    install();
    privileged();
    ports();
    hypercall();
    devices();
    alignment();
    println!("processor: programs are tried");
}

fn privileged() {
    let cases: [(&str, &[u8]); 22] = [
        ("HLT", &[0xf4]),
        ("CLI", &[0xfa]),
        ("STI", &[0xfb]),
        ("RDMSR", &[0x0f, 0x32]),
        ("WRMSR", &[0x0f, 0x30]),
        ("MOV to CR0", &[0x0f, 0x22, 0xc0]),
        ("MOV to CR3", &[0x0f, 0x22, 0xd8]),
        ("MOV to CR4", &[0x0f, 0x22, 0xe0]),
        ("MOV to CR8", &[0x44, 0x0f, 0x22, 0xc0]),
        ("MOV from CR4", &[0x0f, 0x20, 0xe0]),
        ("MOV to DR7", &[0x0f, 0x23, 0xf8]),
        ("XSETBV", &[0x31, 0xc9, 0x0f, 0x01, 0xd1]),
        ("INVD", &[0x0f, 0x08]),
        ("WBINVD", &[0x0f, 0x09]),
        ("INVLPG", &[0x0f, 0x01, 0x3f]),
        ("LGDT", &[0x0f, 0x01, 0x17]),
        ("LIDT", &[0x0f, 0x01, 0x1f]),
        ("LMSW", &[0x0f, 0x01, 0xf0]),
        ("CLTS", &[0x0f, 0x06]),
        ("RDPMC", &[0x0f, 0x33]),
        ("MONITOR", &[0x0f, 0x01, 0xc8]),
        ("INT 2", &[0xcd, 0x02]),
    ];
    for (name, code) in cases {
        // QEMU lets programs invalidate caches.
        if matches!(name, "INVD" | "WBINVD") && !is_intel() {
            continue;
        }
        let end = run_plain(code, 0);
        check(matches!(end, End::Fault(6 | 13)), format_args!("{name} at ring 3: {end:?}"));
    }
    // What is anybody's.
    for (name, code) in [("CPUID", &[0x0f, 0xa2]), ("RDTSC", &[0x0f, 0x31])] {
        check(run_plain(code, 0) == End::Finished, format_args!("{name} at ring 3 faults"));
    }
}

/// Ports are for those whose I/O privilege level lets them.
fn ports() {
    for (name, code) in
        [("IN", &[0xe4, 0x80][..]), ("OUT", &[0xe6, 0x80]), ("INSB", &[0x6c]), ("OUTSB", &[0x6e])]
    {
        let (without, with) = (run_plain(code, 0), run_plain(code, PRIVILEGE));
        check(without == End::Fault(13), format_args!("{name} at ring 3: {without:?}"));
        check(with == End::Finished, format_args!("{name} at ring 3 with IOPL 3: {with:?}"));
    }
}

/// A call that interrupts processors is the kernel's.
fn hypercall() {
    const SEND_INTERRUPT: u64 = 10;
    const VECTOR: u8 = 0x66;
    let code = if is_intel() { [0x0f, 0x01, 0xc1] } else { [0x0f, 0x01, 0xd9] };
    let before = hits(VECTOR);
    let end =
        Program { code: &code, flags: 1 << 9, rax: SEND_INTERRUPT, rdi: DATA, rsi: VECTOR.into() }.run();
    check(hits(VECTOR) == before, format_args!("a program's hypercall interrupts its kernel: {end:?}"));
}

/// Registers of devices that programs are not let at, and instructions with one operand there
/// and one where they are not let at.
fn devices() {
    const LOAD: &[u8] = &[0x8b, 0x07];
    const STORE: &[u8] = &[0x89, 0x07];
    const MOVE: &[u8] = &[0xa5];
    let try_at = |code, rdi, rsi| Program { code, flags: 0, rax: 0, rdi, rsi }.run();
    for (name, code) in [("load", LOAD), ("store", STORE)] {
        let end = try_at(code, ioapic::BASE, 0);
        check(end == End::Fault(14), format_args!("a {name} at the IOAPIC by a program: {end:?}"));
    }
    paging::let_programs(ioapic::BASE, true);
    check(
        try_at(LOAD, ioapic::BASE, 0) == End::Finished,
        format_args!("a program's load from its device faults"),
    );
    write64(KERNEL_DATA, 0x5a5a);
    let stolen = try_at(MOVE, KERNEL_DATA, ioapic::BASE);
    check(stolen == End::Fault(14), format_args!("a move from a device to the kernel: {stolen:?}"));
    check(read64(KERNEL_DATA) == 0x5a5a, format_args!("a program wrote its kernel's memory"));
    let leaked = try_at(MOVE, ioapic::BASE, KERNEL_DATA);
    check(leaked == End::Fault(14), format_args!("a move from the kernel to a device: {leaked:?}"));
    paging::let_programs(ioapic::BASE, false);
}

/// An alignment check reaches the kernel's handler, and once.
fn alignment() {
    const CHECK: u64 = 1 << 18;
    // SAFETY: AM concerns programs alone.
    unsafe { core::arch::asm!("mov {r}, cr0", "or {r}, 1 << 18", "mov cr0, {r}", r = out(reg) _) };
    let end = run_plain(&[0x8b, 0x47, 0x01], CHECK);
    // QEMU does not look at it.
    let right = end == End::Fault(17) || end == End::Finished && !is_intel();
    check(right, format_args!("an unaligned load: {end:?}"));
    println!("processor: an unaligned load: {end:?}");
}
