//! Code where there is nothing, an instruction at a device that nobody emulates, and a state
//! that no processor enters. Each ends the guest that did it, and nobody else.

use crate::Environment;
use support::cpu::write8;
use support::trap::call_wild;
use support::{ioapic, println};

/// In the window for BARs, where no guest of the lab has one.
const NOTHING: u64 = 0xd000_0000;
/// A page for the code.
const CODE: u64 = 0x61_0000;
/// SGDT [RDI], RET.
const STORE_TABLE: [u8; 4] = [0x0f, 0x01, 0x07, 0xc3];

/// Calls where there is nothing.
pub fn fetch(_: &Environment) {
    println!("wild-fetch: ending");
    let fault = call_wild(NOTHING, 4096, 0);
    println!("wild-fetch: BROKEN, it goes on after {fault:?}");
}

/// Stores a descriptor table's address to the IOAPIC.
pub fn unemulated(_: &Environment) {
    (CODE..).zip(STORE_TABLE).for_each(|(address, byte)| write8(address, byte));
    println!("unemulated: ending");
    let fault = call_wild(CODE, 4096, ioapic::BASE);
    println!("unemulated: BROKEN, it goes on after {fault:?}");
}

/// Sets a bit of CR3 that there is not. A processor raises #GP; QEMU's, with AMD-V, takes it for
/// an entry with an invalid state.
pub fn entry(_: &Environment) {
    println!("bad-entry: ending");
    let mark: u64;
    // SAFETY: reads a register; the write faults, or ends the guest.
    unsafe {
        let bad: u64;
        core::arch::asm!("mov {}, cr3", out(reg) bad);
        support::survivable!(mark, "mov cr3, {r}", r = in(reg) bad | 1 << 60);
    }
    println!("bad-entry: BROKEN, it goes on after {mark}");
}
