//! The way in: multiboot 1, then long mode with 4 GiB mapped one to one.

use core::arch::global_asm;

// The header gives addresses (flag 16) because some loaders, QEMU's among them,
// take a 64-bit ELF only so; others load the same file by its program header.
global_asm!(
    r#"
    .section .multiboot, "a"
    .balign 4
multiboot_header:
    .long 0x1badb002
    .long 0x00010003
    .long -(0x1badb002 + 0x00010003)
    .long multiboot_header
    .long __image_start
    .long __data_end
    .long __bss_end
    .long start32

    .section .text.boot, "ax"
    .code32
start32:
    cli
    cld
    movl %eax, multiboot_magic
    movl %ebx, multiboot_information

    # 2 MiB pages for 4 GiB; what lies above 3 GiB is devices, so uncached.
    movl $boot_directories, %edi
    movl $0x83, %eax
2:  movl %eax, %ecx
    cmpl $0xc0000000, %eax
    jb 3f
    orl $0x18, %ecx
3:  movl %ecx, (%edi)
    movl $0, 4(%edi)
    addl $8, %edi
    addl $0x200000, %eax
    jnc 2b

    movl $boot_pointers, %edi
    movl $boot_directories + 3, %eax
    movl $4, %ecx
4:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x1000, %eax
    loop 4b
    movl $boot_pointers + 3, boot_top
    movl $boot_stack_end, %esp
    movl $first_processor, %ebx
    jmp enter_long_mode

    # Application processors come here from their trampoline.
    .globl application_processor32
application_processor32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $second_stack_end, %esp
    movl $second_processor, %ebx

enter_long_mode:
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $boot_top, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax
    movl %eax, %cr0
    lgdt descriptor_pointer
    ljmp $0x08, $long_mode

    .code64
long_mode:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl %esp, %esp
    movl %ebx, %ebx
    jmp *%rbx

first_processor:
    movl multiboot_magic, %edi
    movl multiboot_information, %esi
    call guest_main
5:  cli
    hlt
    jmp 5b

second_processor:
    call second_processor_main
    jmp 5b

    .section .rodata.boot, "a"
    .balign 16
    .globl descriptors
descriptors:
    .quad 0
    .quad 0x00af9b000000ffff    # 0x08: code, 64 bits
    .quad 0x00cf93000000ffff    # 0x10: data
    .quad 0x00cf9b000000ffff    # 0x18: code, 32 bits
    .globl descriptor_pointer
descriptor_pointer:
    .word 31
    .long descriptors
    .long 0

    .section .data.boot, "aw"
multiboot_magic:        .long 0
multiboot_information:  .long 0

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .globl boot_top
boot_top:         .skip 4096
boot_pointers:    .skip 4096
boot_directories: .skip 4 * 4096
boot_stack:       .skip 64 * 1024
boot_stack_end:
    .globl second_stack, second_stack_end
second_stack:     .skip 64 * 1024
second_stack_end:
    "#,
    options(att_syntax)
);
