//! A processor's state, tried from inside: what an earlier run left, values that no register
//! takes, every instruction that could exit, traps that come with or around an exit, and
//! programs at ring 3 that try what is the kernel's.
//!
//! It fills the registers with marks and resets at its end; at its second start they must be
//! gone.

mod opcodes;
mod programs;
mod registers;
mod residue;
mod traps;

use crate::Environment;
use core::sync::atomic::{AtomicU32, Ordering};
use support::cpu::{is_bare, write8};
use support::{power, println};

/// A page for code that is written at run time, and one for its data.
const CODE: u64 = 0x61_0000;
const DATA: u64 = 0x62_0000;

/// How many checks have failed.
static FAILED: AtomicU32 = AtomicU32::new(0);

/// Says so where something is not right.
fn check(right: bool, what: core::fmt::Arguments<'_>) {
    if !right {
        FAILED.fetch_add(1, Ordering::Relaxed);
        println!("processor: {what}: WRONG");
    }
}

/// Whether the processor is Intel's.
fn is_intel() -> bool {
    support::cpu::cpuid(0, 0).ebx == u32::from_le_bytes(*b"Genu")
}

/// Puts code at [`CODE`], with a RET behind it; gives its size.
fn place(code: &[u8]) -> u64 {
    const RET: u8 = 0xc3;
    (CODE..).zip(code.iter().copied().chain([RET])).for_each(|(address, byte)| write8(address, byte));
    code.len() as u64 + 1
}

/// Tries everything.
pub fn run(environment: &Environment) {
    residue::switch_on();
    residue::check_clean();
    registers::run();
    opcodes::run();
    traps::run(environment);
    programs::run();
    match FAILED.load(Ordering::Relaxed) {
        0 => println!("attack processor: held"),
        count => println!("attack processor: BROKEN, {count} checks failed"),
    }
    if is_bare() {
        power::off();
    }
    residue::leave_marks();
    power::reset()
}
