//! Code where there is nothing, and an instruction at a device that nobody emulates.
//! Either ends the guest that did it, and nobody else.

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
