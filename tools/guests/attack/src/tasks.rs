//! Tasks that the processor switches between, in the 32-bit mode that has them: by JMP, by CALL
//! and IRET, and by JMP again into the middle of one.

use crate::Environment;
use core::arch::global_asm;
use support::cpu::{disable_interrupts, read32, write32, write64};
use support::println;

// Selectors of the table below: code and data of 32 bits, the two tasks, code of 64 bits.
global_asm!(
    r#"
    .section .text.tasks, "ax"
    .globl run_tasks, tasks_other
run_tasks:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, tasks_outer_stack(%rip)
    sgdt tasks_outer_table(%rip)
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
    movw $0x18, %ax
    ltr %ax
    movl $0x11111111, %ebx
    movl $0x22222222, %esi
    ljmp $0x20, $0
    lcall $0x20, $0
    ljmp $0x20, $0
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
    .code64

    .section .data.tasks, "aw"
    .balign 16
    .globl tasks_table, tasks_count, tasks_kept
tasks_table:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff
tasks_table_pointer:
    .word 47
    .quad tasks_table
tasks_outer_table:  .skip 10
    .balign 8
tasks_outer_stack:  .quad 0
tasks_count:        .long 0
tasks_kept:         .long 0, 0

    .section .bss.tasks, "aw", @nobits
    .balign 128
    .globl tasks_first, tasks_second, tasks_second_stack_end
tasks_first:   .skip 104
    .balign 128
tasks_second:  .skip 104
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
    static tasks_first: u8;
    static tasks_second: u8;
    static tasks_second_stack_end: u8;
    static tasks_count: u8;
    static tasks_kept: u8;
    fn tasks_other();
    fn run_tasks();
}

const CODE: u32 = 0x08;
const DATA: u32 = 0x10;

/// Runs both tasks; each must go on where it was, with its own registers.
pub fn run(_: &Environment) {
    disable_interrupts();
    let table = &raw const tasks_table as u64;
    let second = &raw const tasks_second as u64;
    write64(table + 0x18, state_segment(&raw const tasks_first as u64));
    write64(table + 0x20, state_segment(second));
    let stack = &raw const tasks_second_stack_end as u32;
    for (offset, value) in [
        (0x20, tasks_other as *const () as u32),
        (0x24, 2),
        (0x38, stack),
        (0x48, DATA),
        (0x4c, CODE),
        (0x50, DATA),
        (0x54, DATA),
    ] {
        write32(second + offset, value);
    }
    // SAFETY: the guest is the machine's only program; interrupts are off, and what runs in
    // between keeps to memory of its own.
    unsafe { run_tasks() };
    let count = read32(&raw const tasks_count as u64);
    let kept = &raw const tasks_kept as u64;
    println!("tasks: the other ran {count} times: {}", if count == 3 { "ok" } else { "WRONG" });
    let own = (read32(kept), read32(kept + 4)) == (0x1111_1111, 0x2222_2222);
    println!("tasks: registers are each one's own: {}", if own { "ok" } else { "WRONG" });
    // Busy: the first alone, which is the one that is left.
    let busy = [0x18, 0x20].map(|task| read32(table + task + 4) >> 9 & 1);
    println!("tasks: marked busy: {}", if busy == [1, 0] { "ok" } else { "WRONG" });
    println!("tasks: done");
}

/// Descriptor of a free task state segment of 32 bits at `base`, which is below 4 GiB.
const fn state_segment(base: u64) -> u64 {
    0x0000_8900_0000_0067 | (base & 0xff_ffff) << 16 | (base >> 24) << 56
}
