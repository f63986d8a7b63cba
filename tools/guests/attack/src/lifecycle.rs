//! Ways to end, and not to.

use crate::Environment;
use support::cpu::{disable_interrupts, read64, write64};
use support::{power, println};

/// A page of memory that no loader uses, to be found scrubbed after a restart.
const MARK_AT: u64 = 0x60_0000;
const MARK: u64 = 0x4d41_524b_4d41_524b;

/// Prints and powers off.
pub fn hello(_: &Environment) {
    println!("hello, world");
}

/// Leaves a mark in memory and resets; at the second start the mark must be gone.
pub fn reboot(_: &Environment) {
    mark("reboot");
    power::reset()
}

/// The same with a triple fault.
pub fn triple_fault(_: &Environment) {
    mark("triple-fault");
    power::triple_fault()
}

fn mark(name: &str) {
    match read64(MARK_AT) {
        MARK => println!("{name}: BROKEN, memory was not scrubbed"),
        _ => println!("{name}: memory is clean"),
    }
    write64(MARK_AT, MARK);
}

/// Halts with interrupts off: nothing but the hypervisor can end it.
pub fn halt_forever(_: &Environment) {
    println!("halt-forever: halting");
    support::cpu::halt()
}

/// Never lets go of its processor.
pub fn spin(_: &Environment) {
    println!("spin: spinning");
    disable_interrupts();
    #[expect(clippy::empty_loop, reason = "PAUSE would let a hypervisor in")]
    loop {}
}
