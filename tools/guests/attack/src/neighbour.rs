//! The innocent beside an attacker: watches its memory, its interrupts and its time.

use crate::Environment;
use crate::hostile::Port;
use core::ops::Range;
use support::apic;
use support::cpu::{read64, wait_for_interrupt, write64};
use support::println;
use support::time::Stopwatch;
use support::trap::hits;

/// The image and its stacks end below.
pub const FIRST: u64 = 0x80_0000;
/// The neighbour's own timer.
const TIMER: u8 = 0x40;
/// Bytes between two canaries.
const STEP: u64 = 512;

/// For `seconds` checks a canary over all its memory, and that no interrupt comes
/// but its own timer's.
pub fn run(environment: &Environment) {
    let end = environment.memory_end & !0xfff;
    mark(FIRST..end);
    let port = if environment.has("serial") { Port::find(0) } else { None };
    start_timer();
    let microseconds = environment.number("seconds", 5) * 1_000_000;
    let (mut watch, mut rounds) = (Stopwatch::start(), 0u64);
    while watch.microseconds() < microseconds {
        wait_for_interrupt();
        if let Some(harm) =
            check_memory(end, rounds).or_else(check_interrupts).or_else(|| check_port(port.as_ref()))
        {
            println!("neighbour: HARMED, {harm}");
            return;
        }
        rounds += 1;
    }
    match is_marked(FIRST..end) {
        true => println!("neighbour: unharmed after {rounds} rounds"),
        false => println!("neighbour: HARMED, memory changed"),
    }
}

/// Puts a canary over memory.
pub fn mark(memory: Range<u64>) {
    memory.step_by(STEP as usize).for_each(|address| write64(address, canary(address)));
}

/// Whether it is all there.
pub fn is_marked(memory: Range<u64>) -> bool {
    memory.step_by(STEP as usize).all(|address| read64(address) == canary(address))
}

/// An interrupt that came and is not its own timer's.
pub fn stray_interrupt() -> Option<u8> {
    (0..=255).filter(|vector| *vector != TIMER).find(|vector| hits(*vector) > 0)
}

fn canary(address: u64) -> u64 {
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// A slice of the memory each round, so that the timer is not starved.
fn check_memory(end: u64, round: u64) -> Option<Harm> {
    const SLICES: u64 = 64;
    let slice = (end - FIRST) / SLICES & !(STEP - 1);
    let start = FIRST + round % SLICES * slice;
    (start..start + slice)
        .step_by(STEP as usize)
        .find(|address| read64(*address) != canary(*address))
        .map(|address| Harm::Memory(address, read64(address)))
}

fn check_interrupts() -> Option<Harm> {
    stray_interrupt().map(Harm::Interrupt)
}

/// Its serial port holds what was written there once.
fn check_port(port: Option<&Port>) -> Option<Harm> {
    port.filter(|port| !port.is_well()).map(|_| Harm::Port)
}

fn start_timer() {
    apic::write(apic::DIVIDE, 0xb);
    apic::write(apic::LVT_TIMER, 1 << 17 | u32::from(TIMER));
    apic::write(apic::INITIAL, 10_000_000);
}

enum Harm {
    Memory(u64, u64),
    Interrupt(u8),
    Port,
}

impl core::fmt::Display for Harm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Memory(address, value) => write!(f, "memory at {address:#x} became {value:#x}"),
            Self::Port => f.write_str("its serial port changed"),
            Self::Interrupt(vector) => write!(f, "interrupt {vector:#x} came out of nowhere"),
        }
    }
}
