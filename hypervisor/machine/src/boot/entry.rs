//! The first instructions: headers that loaders look for, and the way into 64 bits.
//!
//! Nothing is assumed of CR0, CR4 and EFER. The 32-bit entry points make early tables: the
//! first 4 GiB at 0 and in the direct map, the first GiB at the image's address, all
//! writable and executable, given up as soon as the real ones are there.

use core::arch::global_asm;

global_asm!(
    r#"
    .set IMAGE, 0xffffffff80000000

    # Multiboot2 header (specification section 3.1): within the first 32 KiB of the
    # file, a multiple of 8.
    .section .boot.header, "a"
    .balign 8
multiboot_header:
    .long 0xe85250d6
    .long 0                                     # i386, protected mode
    .long multiboot_header_end - multiboot_header
    .long 0x100000000 - (0xe85250d6 + multiboot_header_end - multiboot_header)
    .word 3, 0                                  # entry address tag
    .long 12
    .long multiboot_start - IMAGE
    .long 0
    .word 5, 1                                  # framebuffer tag, optional
    .long 20
    .long 0, 0, 32                              # any size, 32 bits a dot
    .long 0
    .word 6, 0                                  # modules at page boundaries
    .long 8
    .word 0, 0                                  # end
    .long 8
multiboot_header_end:

    # XEN_ELFNOTE_PHYS32_ENTRY (18): the physical address of the PVH entry.
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_start - IMAGE

    .section .bss.boot, "aw", @nobits
    .balign 4096
early_root:         .skip 4096
early_low:          .skip 4096
early_high:         .skip 4096
early_directories:  .skip 4 * 4096
boot_stack:         .skip {stack_bytes}
boot_stack_top:

    .section .boot.rodata, "a"
    .balign 8
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff                    # 64-bit code
    .quad 0x00cf93000000ffff                    # data
early_gdt_pointer:
    .word 23
    .quad early_gdt - IMAGE
no_long_mode_text:
    .asciz "hypervisor| error: this processor has no 64-bit mode with no-execute pages\r\n"

    .set boot_stack_top_physical, boot_stack_top - IMAGE
    .set early_root_physical, early_root - IMAGE
    .set early_low_physical, early_low - IMAGE
    .set early_high_physical, early_high - IMAGE
    .set early_directories_physical, early_directories - IMAGE
    .set early_gdt_pointer_physical, early_gdt_pointer - IMAGE
    .set no_long_mode_text_physical, no_long_mode_text - IMAGE
    .set in_long_mode_physical, in_long_mode - IMAGE

    .section .boot.text, "ax"
    .code32
pvh_start:
    mov edi, {entry_pvh}
    jmp 1f
multiboot_start:
    mov edi, {entry_multiboot}
    cmp eax, 0x36d76289
    je 1f
    mov edi, {entry_unknown}
1:  cli
    cld
    mov esi, ebx                                # what the loader passes
    mov eax, cr0
    and eax, 0x7fffffff                         # paging off
    mov cr0, eax
    mov esp, offset boot_stack_top_physical

    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    bt edx, 29                                  # long mode
    jnc no_long_mode
    bt edx, 20                                  # no-execute
    jnc no_long_mode

    mov eax, offset early_low_physical
    or eax, 3
    mov dword ptr [early_root_physical], eax
    mov dword ptr [early_root_physical + 256 * 8], eax
    mov eax, offset early_high_physical
    or eax, 3
    mov dword ptr [early_root_physical + 511 * 8], eax
    mov eax, offset early_directories_physical
    or eax, 3
    mov dword ptr [early_high_physical + 510 * 8], eax
    xor ecx, ecx
2:  mov dword ptr [early_low_physical + ecx * 8], eax
    add eax, 4096
    inc ecx
    cmp ecx, 4
    jne 2b
    mov eax, 0x83                               # present, writable, 2 MiB
    xor ecx, ecx
3:  mov dword ptr [early_directories_physical + ecx * 8], eax
    add eax, 0x200000
    inc ecx
    cmp ecx, 2048
    jne 3b

    mov eax, 0x20                               # PAE and nothing else: no LA57, no CET
    mov cr4, eax
    mov eax, offset early_root_physical
    mov cr3, eax
    mov ecx, 0xc0000080
    mov eax, 0x900                              # LME, NXE
    xor edx, edx
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    lgdt [early_gdt_pointer_physical]
    push 8
    mov eax, offset in_long_mode_physical
    push eax
    retf

no_long_mode:
    mov esi, offset no_long_mode_text_physical
    mov edx, 0x3f8
4:  lodsb
    test al, al
    jz 5f
    out dx, al
    jmp 4b
5:  hlt
    jmp 5b

    .code64
in_long_mode:
    movabs rax, offset in_upper_half
    jmp rax
in_upper_half:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lea rsp, [rip + boot_stack_top]
    xor ebp, ebp
    call {entry_32}
    ud2

    # The entry point of the bootloader crate: 64 bits, its tables, BootInfo in RDI.
    .global _start
_start:
    cli
    cld
    mov rax, cr4
    btr rax, 23                                 # CET off: our calls have no shadow
    mov cr4, rax
    lea rsp, [rip + boot_stack_top]
    xor ebp, ebp
    call {entry_loader}
    ud2
    .text
    "#,
    stack_bytes = const 64 * 1024,
    entry_unknown = const ENTRY_UNKNOWN,
    entry_pvh = const ENTRY_PVH,
    entry_multiboot = const ENTRY_MULTIBOOT,
    cr0 = const crate::cpu::processor::CR0,
    entry_32 = sym super::start::entry_32,
    entry_loader = sym super::loader::entry_loader,
);

/// Nobody we know.
pub const ENTRY_UNKNOWN: u32 = 0;
/// The PVH entry.
pub const ENTRY_PVH: u32 = 1;
/// The multiboot2 entry.
pub const ENTRY_MULTIBOOT: u32 = 2;
