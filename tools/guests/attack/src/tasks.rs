//! Tasks that the processor switches between, in the 32-bit mode that has them: by JMP, by CALL
//! and IRET, and by JMP again into the middle of one; to a task of 16 bits and back; to one that
//! wants to be trapped.

use crate::Environment;
use core::arch::global_asm;
use support::cpu::{disable_interrupts, read32, write16, write32, write64};
use support::println;

// Selectors of the table below: code and data of 32 bits, the two tasks, code of 64 bits, and of
// 16 bits a task, its code and its stack.
global_asm!(
    r#"
    .section .text.tasks, "ax"
    .globl run_tasks, tasks_other, tasks_trap, tasks_invalid, tasks_narrow
run_tasks:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, tasks_outer_stack(%rip)
    sgdt tasks_outer_table(%rip)
    sidt tasks_outer_interrupts(%rip)
    lgdt tasks_table_pointer(%rip)
    pushq $0x08
    leaq 1f(%rip), %rax
    pushq %rax
    lretq

    .code32
1:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    rdmsr
    andl $0xfffffeff, %eax
    wrmsr
    movl $tasks_stack_end, %esp
    lidt tasks_interrupts_pointer
    # A breakpoint where nothing runs, on for this task alone and for all.
    movl $tasks_first, %eax
    movl %eax, %dr0
    movl $0x403, %eax
    movl %eax, %dr7
    movw $0x18, %ax
    ltr %ax
    movl $0x11111111, %ebx
    movl $0x22222222, %esi
    ljmp $0x20, $0
    lcall $0x20, $0
    ljmp $0x20, $0
    ljmp $0x30, $0
    lcall $0x30, $0
    cmpl $0, tasks_bad
    je 6f
    ljmp $0x48, $0
6:  movl %dr7, %eax
    movl %eax, tasks_breakpoints
    movl $0x400, %eax
    movl %eax, %dr7
    movl %ebx, tasks_kept
    movl %esi, tasks_kept + 4

    clts
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmp $0x28, $2f

    .code64
2:  movl $tasks_outer_stack, %eax
    movq (%rax), %rsp
    lgdt tasks_outer_table(%rip)
    lidt tasks_outer_interrupts(%rip)
    pushq $0x08
    leaq 3f(%rip), %rax
    pushq %rax
    lretq
3:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    retq

    # The other task: EBX is its own and counts how often it ran.
    .code32
tasks_other:
    incl %ebx
    movl %ebx, tasks_count
    ljmp $0x18, $0
    incl %ebx
    movl %ebx, tasks_count
    iretl
    incl %ebx
    movl %ebx, tasks_count
    ljmp $0x18, $0
4:  jmp 4b

    # Takes note of a debug exception and of why it came.
tasks_trap:
    pushl %eax
    incl tasks_traps
    movl %dr6, %eax
    movl %eax, tasks_traps + 4
    xorl %eax, %eax
    movl %eax, %dr6
    popl %eax
    iretl

    # Takes note of what a task that does not load raises, in that task, and goes back. Of its
    # segments there is none but the stack, which came with the handler's level.
tasks_invalid:
    pushl %ss
    popl %ds
    popl tasks_faults + 4
    incl tasks_faults
    ljmp $0x18, $0
7:  jmp 7b

    # The task of 16 bits, at the beginning of its segment.
    .code16
tasks_narrow:
    incw %bx
    movl $tasks_narrow_count, %eax
    movw %bx, (%eax)
    ljmp $0x18, $0
    incw %bx
    movl $tasks_narrow_count, %eax
    movw %bx, (%eax)
    iretw
5:  jmp 5b
    .code64

    .section .data.tasks, "aw"
    .balign 16
    .globl tasks_table, tasks_interrupts, tasks_count, tasks_narrow_count, tasks_kept
    .globl tasks_traps, tasks_breakpoints, tasks_bad, tasks_faults
tasks_table:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0
    .quad 0
    .quad 0
    .quad 0
tasks_interrupts:
    .fill 11, 8, 0
tasks_table_pointer:
    .word 79
    .quad tasks_table
tasks_interrupts_pointer:
    .word 87
    .long tasks_interrupts
tasks_outer_table:  .skip 10
tasks_outer_interrupts: .skip 10
    .balign 8
tasks_outer_stack:  .quad 0
tasks_count:        .long 0
tasks_narrow_count: .long 0
tasks_kept:         .long 0, 0
tasks_traps:        .long 0, 0
tasks_breakpoints:  .long 0
tasks_bad:          .long 0
tasks_faults:       .long 0, 0

    .section .bss.tasks, "aw", @nobits
    .balign 128
    .globl tasks_first, tasks_second, tasks_second_stack_end, tasks_third, tasks_third_stack
    .globl tasks_fourth
tasks_first:   .skip 104
    .balign 128
tasks_second:  .skip 104
    .balign 128
tasks_fourth:  .skip 104
    .balign 64
tasks_third:   .skip 44
    .balign 16
tasks_third_stack: .skip 512
    .balign 16
               .skip 1024
tasks_stack_end:
               .skip 1024
tasks_second_stack_end:
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static tasks_table: u8;
    static tasks_interrupts: u8;
    static tasks_first: u8;
    static tasks_second: u8;
    static tasks_second_stack_end: u8;
    static tasks_third: u8;
    static tasks_third_stack: u8;
    static tasks_count: u8;
    static tasks_narrow_count: u8;
    static tasks_kept: u8;
    static tasks_traps: u8;
    static tasks_breakpoints: u8;
    static tasks_bad: u8;
    static tasks_faults: u8;
    static tasks_fourth: u8;
    fn tasks_other();
    fn tasks_trap();
    fn tasks_invalid();
    fn tasks_narrow();
    fn run_tasks();
}

const CODE: u16 = 0x08;
const DATA: u16 = 0x10;
const NARROW_CODE: u16 = 0x38;
const NARROW_DATA: u16 = 0x40;
/// Descriptor types.
const TASK: u64 = 0x89;
const NARROW_TASK: u64 = 0x81;
const READABLE_CODE: u64 = 0x9b;
const WRITABLE_DATA: u64 = 0x93;
/// DR6: a task switch to a task that wants to be told.
const SWITCHED: u32 = 1 << 15;

/// Runs the tasks; each must go on where it was, with its own registers. With `trap=1` the
/// second wants to be trapped, which not every emulator does; with `bad=1` one has data for its
/// code segment, which is for the handler of its fault.
pub fn run(environment: &Environment) {
    disable_interrupts();
    let traps = environment.number("trap", 0) as u32;
    let table = &raw const tasks_table as u64;
    let second = &raw const tasks_second as u64;
    write64(table + 0x18, descriptor(&raw const tasks_first as u64, 103, TASK));
    write64(table + 0x20, descriptor(second, 103, TASK));
    let stack = &raw const tasks_second_stack_end as u32;
    for (offset, value) in [
        (0x20, tasks_other as *const () as u32),
        (0x24, 2),
        (0x38, stack),
        (0x48, DATA.into()),
        (0x4c, CODE.into()),
        (0x50, DATA.into()),
        (0x54, DATA.into()),
        (0x64, traps),
    ] {
        write32(second + offset, value);
    }
    prepare_narrow(table);
    let bad = environment.number("bad", 0) != 0;
    if bad {
        prepare_bad(table);
    }
    let handler = tasks_trap as *const () as u64;
    let gate = handler & 0xffff | u64::from(CODE) << 16 | 0x8e00 << 32 | (handler >> 16) << 48;
    write64(&raw const tasks_interrupts as u64 + 8, gate);
    // SAFETY: the guest is the machine's only program; interrupts are off, and what runs in
    // between keeps to memory of its own.
    unsafe { run_tasks() };
    report(table, traps != 0, bad);
}

/// The task of 16 bits: its code and its stack are segments of their own.
fn prepare_narrow(table: u64) {
    let third = &raw const tasks_third as u64;
    write64(table + 0x30, descriptor(third, 43, NARROW_TASK));
    write64(
        table + u64::from(NARROW_CODE),
        descriptor(tasks_narrow as *const () as u64, 0xff, READABLE_CODE),
    );
    let stack = &raw const tasks_third_stack as u64;
    write64(table + u64::from(NARROW_DATA), descriptor(stack, 0x1ff, WRITABLE_DATA));
    for (offset, value) in [
        (0x0e, 0),
        (0x10, 2),
        (0x1a, 0x1fe),
        (0x22, DATA),
        (0x24, NARROW_CODE),
        (0x26, NARROW_DATA),
        (0x28, DATA),
    ] {
        write16(third + offset, value);
    }
}

/// The task whose CS does not load, and the gate for what that raises (#TS).
fn prepare_bad(table: u64) {
    const INVALID_TASK: u64 = 10;
    let fourth = &raw const tasks_fourth as u64;
    write64(table + 0x48, descriptor(fourth, 103, TASK));
    let stack = &raw const tasks_second_stack_end as u32;
    for (offset, value) in [
        (4, stack - 512),
        (8, DATA.into()),
        (0x20, tasks_other as *const () as u32),
        (0x24, 2),
        (0x38, stack - 256),
        (0x48, DATA.into()),
        (0x4c, DATA.into()),
        (0x50, DATA.into()),
        (0x54, DATA.into()),
    ] {
        write32(fourth + offset, value);
    }
    let handler = tasks_invalid as *const () as u64;
    let gate = handler & 0xffff | u64::from(CODE) << 16 | 0x8e00 << 32 | (handler >> 16) << 48;
    write64(&raw const tasks_interrupts as u64 + 8 * INVALID_TASK, gate);
    write32(&raw const tasks_bad as u64, 1);
}

fn report(table: u64, trapped: bool, bad: bool) {
    let check = |what: &str, right: bool| {
        println!("tasks: {what}: {}", if right { "ok" } else { "WRONG" });
    };
    check("the other ran three times", read32(&raw const tasks_count as u64) == 3);
    check("one of 16 bits ran twice", read32(&raw const tasks_narrow_count as u64) == 2);
    let kept = &raw const tasks_kept as u64;
    check("registers are each one's own", (read32(kept), read32(kept + 4)) == (0x1111_1111, 0x2222_2222));
    // Busy: the first alone, which is the one that is left.
    check("marked busy", [0x18, 0x20, 0x30].map(|task| read32(table + task + 4) >> 9 & 1) == [1, 0, 0]);
    check("breakpoints of a task end with it", read32(&raw const tasks_breakpoints as u64) & 3 == 2);
    let traps = &raw const tasks_traps as u64;
    let told = (read32(traps), read32(traps + 4) & SWITCHED);
    check("trapped where that is asked for", told == if trapped { (3, SWITCHED) } else { (0, 0) });
    let faults = &raw const tasks_faults as u64;
    let told = (read32(faults), read32(faults + 4));
    check("one that does not load is told so", told == if bad { (1, DATA.into()) } else { (0, 0) });
    println!("tasks: done");
}

/// A descriptor of 16 bits, or of a system segment, with byte granularity; `base` is below
/// 4 GiB.
const fn descriptor(base: u64, limit: u64, kind: u64) -> u64 {
    limit | (base & 0xff_ffff) << 16 | kind << 40 | (base >> 24) << 56
}
