//! The second processor (Intel SDM vol. 3 section 10.4.4).

use crate::apic;
use crate::time::{wait_until, wait_us};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Where the second processor starts: below 1 MiB, on a page.
pub const TRAMPOLINE: u64 = 0x8000;

global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .globl trampoline_start, trampoline_end
    .code16
trampoline_start:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_pointer - trampoline_start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $application_processor32
    .balign 4
trampoline_pointer:
    .word 31
    .long descriptors
trampoline_end:
    .code64
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

/// What the second processor runs; 0 is nothing.
static WORK: AtomicUsize = AtomicUsize::new(0);
/// How often the second processor came to Rust code.
static ARRIVALS: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
extern "C" fn second_processor_main() -> ! {
    crate::trap::load();
    apic::install(apic::is_x2apic());
    ARRIVALS.fetch_add(1, Ordering::SeqCst);
    match WORK.load(Ordering::SeqCst) {
        0 => crate::cpu::halt(),
        work => {
            // SAFETY: only `set_work` stores here, and it takes such a function.
            let work: fn() -> ! = unsafe { core::mem::transmute(work) };
            work()
        }
    }
}

/// Puts the trampoline in place.
pub fn install_trampoline() {
    let (start, end) = (&raw const trampoline_start, &raw const trampoline_end);
    let bytes = end as u64 - start as u64;
    for offset in 0..bytes {
        crate::cpu::write8(TRAMPOLINE + offset, crate::cpu::read8(start as u64 + offset));
    }
}

/// What the second processor runs when somebody starts it.
pub fn set_work(work: fn() -> !) {
    WORK.store(work as usize, Ordering::SeqCst);
}

/// Starts the processor with APIC ID `id` on `work`; whether it came.
pub fn start(id: u32, work: fn() -> !) -> bool {
    install_trampoline();
    set_work(work);
    let before = arrivals();
    apic::send(id, apic::SEND_INIT);
    wait_us(10_000);
    for _ in 0..2 {
        apic::send(id, apic::SEND_STARTUP | (TRAMPOLINE >> 12) as u32);
        if wait_until(500_000, || arrivals() != before) {
            return true;
        }
    }
    false
}

/// How often the second processor came to Rust code.
pub fn arrivals() -> u64 {
    ARRIVALS.load(Ordering::SeqCst)
}
