//! Events delivered to a stack where there is nothing, while the processor stands at an
//! instruction that is in order: the delivery faults each time, and each time it is tried
//! again. It must end the guest that did it, and nobody else.

use crate::Environment;
use core::arch::asm;
use support::cpu::{disable_interrupts, wrmsr};
use support::{apic, println};

/// In the window for BARs, where no guest of the lab has one, and the stack in there.
const NOTHING: u64 = 0xd000_0000;
const STACK: u64 = NOTHING + 0x800;
/// Ordinary memory.
const MEMORY: u64 = 0x60_0000;
const SELF_IPI: u32 = 0x83f;
const VECTOR: u64 = 0x51;

/// An interrupt, at an instruction that reads memory.
pub fn interrupt(_: &Environment) {
    begin();
    wrmsr(SELF_IPI, VECTOR);
    // SAFETY: nothing comes back from here.
    unsafe {
        asm!("mov rsp, {stack}", "sti", "nop", "2: mov rax, [{memory}]", "jmp 2b",
             stack = in(reg) STACK, memory = in(reg) MEMORY, options(noreturn))
    }
}

/// An NMI.
pub fn nmi(_: &Environment) {
    begin();
    // SAFETY: as above.
    unsafe {
        asm!("mov rsp, {stack}", "wrmsr", "2: mov rax, [{memory}]", "jmp 2b",
             stack = in(reg) STACK, memory = in(reg) MEMORY,
             in("ecx") 0x800 + apic::ICR, in("eax") apic::SEND_NMI, in("edx") 0, options(noreturn))
    }
}

/// An interrupt, at a string instruction that writes where the stack is: it could be carried
/// out for ever instead.
pub fn string(_: &Environment) {
    begin();
    wrmsr(SELF_IPI, VECTOR);
    // SAFETY: as above.
    unsafe {
        asm!("mov rsp, {stack}", "sti", "nop", "2: rep stosb", "jmp 2b",
             stack = in(reg) STACK, in("rdi") NOTHING, in("rcx") u64::MAX, in("al") 0u8, options(noreturn))
    }
}

fn begin() {
    disable_interrupts();
    println!("deliver: ending");
}
