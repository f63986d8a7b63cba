//! Printing without end, and what it does to others: lines, timers, a device's line.

use crate::Environment;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::cpu::{enable_interrupts, in8, out8, out8_all, rdtsc};
use support::edu::{self, Edu};
use support::time::{Stopwatch, tsc_hz, wait_until, wait_us};
use support::trap::set_handler;
use support::{ioapic, println, smp};

const COM1: u16 = 0x3f8;
/// The watcher's vectors: the 8254's tick and the device's line.
const TICK: u8 = 0x50;
const LINE: u8 = 0x51;
/// IOAPIC inputs: the 8254 and the `edu` at slot 1.
const PIT_PIN: u8 = 2;
const PIT_HZ: u64 = 1_193_182;
const TICKS_PER_SECOND: u64 = 100;
const MILLISECOND: u64 = 1000;

/// By an instruction a byte: the most exits.
fn put(text: &[u8]) {
    // No look at the line status: whoever is slow shall not slow this.
    text.iter().for_each(|byte| out8(COM1, *byte));
}

/// By an instruction for all: the most bytes.
fn put_at_once(text: &[u8]) {
    out8_all(COM1, text);
}

/// Sequences that erase, move, rename or answer, and lines in others' names.
const EVIL: &[&[u8]] = &[
    b"\x1b[2J\x1b[1;1Hhypervisor| all is well\n",
    b"\rneighbour| neighbour: all is well\n",
    b"ab\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08hypervisor| all is well\n",
    b"\x0b\x0c\x07\x7f\x00\x0e\x0f\x05\n",
    b"\x9b2J\x9b1;1H\x90q\x9c\x9d0;x\x9c\x84\x85\x8d\xc2\x9b2J\n",
    b"\x1b]0;mine\x07\x1b]52;c;AAAA\x1b\\\x1b[6n\x1b[c\x1bc\x1b#8\x1b[?1049h\x1b[5i\n",
    b"\x1b[31mcolours stay in their line\n",
    b"\x1b[3\n\x1b[\n\x1b\n",
    b"hypervisor> \nhypervisor| summary guest=attacker end=power-off expected=true\n",
];

/// Prints as fast as it can: long lines, nothing but line ends, control sequences.
pub fn flood(environment: &Environment) {
    let microseconds = environment.number("seconds", 5) * 1_000_000;
    let bytes = environment.number("bytes", u64::MAX);
    let put: fn(&[u8]) = if environment.has("strings") { put_at_once } else { put };
    let (mut watch, mut sent) = (Stopwatch::start(), 0u64);
    while watch.microseconds() < microseconds && sent < bytes {
        for _ in 0..16 {
            put(&[b'x'; 231]);
            put(b"\n");
        }
        sent += 16 * 232;
        if environment.has("evil") {
            put(&[b'\n'; 512]);
            EVIL.iter().for_each(|text| put(text));
            // A line that never ends.
            put(&[b'y'; 512]);
        }
    }
    put(b"\n");
    // What is printed while the ring is full is left out, this line too: the ring empties first.
    wait_us(5_000 * MILLISECOND);
    println!("attack console: held after {sent} bytes");
}

/// Reads what is pasted, later and more slowly than it comes, and adds it up.
pub fn paste(environment: &Environment) {
    const DATA_READY: u8 = 1;
    let wanted = environment.number("bytes", 4096);
    println!("paste: ready");
    wait_us(environment.number("late", 0) * MILLISECOND);
    let (mut read, mut sum) = (0, 0u32);
    while read < wanted {
        if !wait_until(5_000_000, || in8(COM1 + 5) & DATA_READY != 0) {
            break;
        }
        sum = sum.rotate_left(1).wrapping_add(in8(COM1).into());
        read += 1;
        if read % 64 == 0 {
            wait_us(200);
        }
    }
    println!("paste: {read} bytes, sum {sum:#x}");
}

/// Longest gap between two ticks, and the TSC at the last.
static LONGEST_GAP: AtomicU64 = AtomicU64::new(0);
static LAST_TICK: AtomicU64 = AtomicU64::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);
/// TSC when the device's interrupt came; 0 before.
static CAME: AtomicU64 = AtomicU64::new(0);
static REGISTERS: AtomicU64 = AtomicU64::new(0);
/// Longest time that printing a line took, in TSC ticks, and how many were printed.
static LONGEST_PRINT: AtomicU64 = AtomicU64::new(0);
static PRINTED: AtomicU64 = AtomicU64::new(0);

fn handle(vector: u8) -> bool {
    let now = rdtsc();
    match vector {
        TICK => {
            let last = LAST_TICK.swap(now, Relaxed);
            if TICKS.fetch_add(1, Relaxed) > 2 {
                LONGEST_GAP.fetch_max(now.saturating_sub(last), Relaxed);
            }
        }
        LINE => {
            edu::acknowledge(REGISTERS.load(Relaxed));
            CAME.store(now, Relaxed);
        }
        _ => {}
    }
    true
}

/// The second processor prints a line every 50 ms, each with the TSC, in two parts: what
/// waits for the rest of its line is written by somebody else.
fn print_lines() -> ! {
    for number in 0.. {
        wait_us(50 * MILLISECOND);
        let start = rdtsc();
        println!("line {number} at {start}");
        LONGEST_PRINT.fetch_max(rdtsc() - start, Relaxed);
        PRINTED.store(number + 1, Relaxed);
    }
    support::cpu::halt()
}

/// Watches what others' printing does to this guest: how long a line of its own takes to
/// print, how late its chipset's timer and its device's line come.
pub fn watch(environment: &Environment) {
    let hz = tsc_hz();
    let microseconds = |ticks: u64| ticks * 1_000_000 / hz;
    set_handler(Some(handle));
    let device = Edu::find(0);
    if let Some(edu) = device {
        REGISTERS.store(edu.registers, Relaxed);
        edu.function.command(1 << 10, 0);
        ioapic::route_line(edu.function.read(0x3c) as u8, LINE, 0);
    }
    // Whoever prints begins before the watch does.
    wait_us(environment.number("after", 1) * 1_000_000);
    enable_interrupts();
    if !smp::start(1, print_lines) {
        println!("FAILED: the second processor does not start");
        return;
    }
    ioapic::route(PIT_PIN, TICK, 0);
    let divisor = PIT_HZ / TICKS_PER_SECOND;
    out8(0x43, 0x34);
    out8(0x40, divisor as u8);
    out8(0x40, (divisor >> 8) as u8);

    let end = environment.number("seconds", 5) * 1_000_000;
    let (mut watch, mut latest, mut raised, mut lost) = (Stopwatch::start(), 0, 0u64, 0u64);
    while watch.microseconds() < end {
        let Some(edu) = device else {
            wait_us(10 * MILLISECOND);
            continue;
        };
        CAME.store(0, Relaxed);
        let start = rdtsc();
        edu.raise();
        raised += 1;
        if wait_until(3_000_000, || CAME.load(Relaxed) != 0) {
            latest = latest.max(CAME.load(Relaxed).saturating_sub(start));
        } else {
            lost += 1;
        }
        wait_us(3 * MILLISECOND);
    }
    ioapic::mask(PIT_PIN);
    let late = LONGEST_GAP.load(Relaxed).saturating_sub(hz / TICKS_PER_SECOND);
    let (print, late, line) =
        (microseconds(LONGEST_PRINT.load(Relaxed)), microseconds(late), microseconds(latest));
    let (ticks, printed) = (TICKS.load(Relaxed), PRINTED.load(Relaxed));
    println!("watch: a line took at most {print} us to print, {printed} times");
    println!("watch: the timer was at most {late} us late, {ticks} times");
    println!("watch: the device's line was at most {line} us late, {raised} times, lost {lost}");
    let bound = environment.number("bound", 1_000_000);
    match print.max(late).max(line) <= bound && lost == 0 && ticks > 0 && printed > 0 {
        true => println!("watch: undisturbed"),
        false => println!("watch: WRONG, disturbed for more than {bound} us"),
    }
}
