//! The local APIC in both its modes (Intel SDM vol. 3 chapter 11).

use crate::cpu::{cpuid, rdmsr, read32, write32, wrmsr};
use core::sync::atomic::{AtomicBool, Ordering};

const APIC_BASE: u32 = 0x1b;
const X2APIC_ENABLE: u64 = 1 << 10;
const GLOBAL_ENABLE: u64 = 1 << 11;
const XAPIC: u64 = 0xfee0_0000;

/// APIC ID register's number (its offset in xAPIC >> 4).
pub const ID: u32 = 2;
/// Version.
pub const VERSION: u32 = 3;
/// Task priority.
pub const TPR: u32 = 8;
/// End of interrupt.
pub const EOI: u32 = 0xb;
/// Spurious interrupt vector, software enable.
pub const SVR: u32 = 0xf;
/// Interrupt command, low half.
pub const ICR: u32 = 0x30;
/// Timer's local vector.
pub const LVT_TIMER: u32 = 0x32;
/// LINT0's local vector.
pub const LVT_LINT0: u32 = 0x35;
/// Timer's initial count.
pub const INITIAL: u32 = 0x38;
/// Timer's current count.
pub const CURRENT: u32 = 0x39;
/// Timer's divider.
pub const DIVIDE: u32 = 0x3e;

static X2APIC: AtomicBool = AtomicBool::new(false);

/// Enables this processor's APIC: x2APIC where `x2apic` and the processor has it.
pub fn install(x2apic: bool) {
    let x2apic = x2apic && cpuid(1, 0).ecx & 1 << 21 != 0;
    let mode = GLOBAL_ENABLE | if x2apic { X2APIC_ENABLE } else { 0 };
    wrmsr(APIC_BASE, rdmsr(APIC_BASE) | mode);
    X2APIC.store(x2apic, Ordering::Relaxed);
    write(SVR, 0x1ff);
    write(TPR, 0);
    // Firmware lets the 8259A in (virtual wire); who wants it asks for it.
    write(LVT_LINT0, 0x1_0700);
}

/// Whether x2APIC is in use.
pub fn is_x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// Reads a register by its number.
pub fn read(register: u32) -> u32 {
    match is_x2apic() {
        true => rdmsr(0x800 + register) as u32,
        false => read32(XAPIC + u64::from(register) * 16),
    }
}

/// Writes a register by its number.
pub fn write(register: u32, value: u32) {
    match is_x2apic() {
        true => wrmsr(0x800 + register, value.into()),
        false => write32(XAPIC + u64::from(register) * 16, value),
    }
}

/// This processor's APIC ID.
pub fn id() -> u32 {
    if is_x2apic() { read(ID) } else { read(ID) >> 24 }
}

unsafe extern "C" {
    static second_stack: u8;
    static second_stack_end: u8;
}

/// This processor's index: 0 or 1. Told by its stack, since trap handlers ask and
/// every register that knows may cost an exit, which benchmarks would count.
pub fn index() -> usize {
    let here = 0u8;
    let stack = (&raw const second_stack) as usize..(&raw const second_stack_end) as usize;
    usize::from(stack.contains(&((&raw const here) as usize)))
}

/// Ends the interrupt in service.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sends an interrupt command: `low` is the ICR's low half without a destination.
pub fn send(destination: u32, low: u32) {
    if is_x2apic() {
        wrmsr(0x800 + ICR, u64::from(destination) << 32 | u64::from(low));
        return;
    }
    for _ in 0..1_000_000 {
        if read(ICR) & 1 << 12 == 0 {
            break;
        }
    }
    write(ICR + 1, destination << 24);
    write(ICR, low);
}

/// INIT, level assert.
pub const SEND_INIT: u32 = 0x4500;
/// Start-up; the low byte is the page.
pub const SEND_STARTUP: u32 = 0x4600;
/// NMI.
pub const SEND_NMI: u32 = 0x4400;
/// A fixed interrupt; the low byte is the vector.
pub const SEND_FIXED: u32 = 0x4000;
