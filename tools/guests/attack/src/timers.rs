//! Do the timers agree? Each is held against the PM timer.

use crate::Environment;
use core::fmt::Arguments;
use support::apic;
use support::cpu::{cpuid, disable_interrupts, enable_interrupts, in8, out8, rdtsc, wrmsr};
use support::time::{Stopwatch, tsc_hz, wait_until, wait_us};
use support::trap::{hits, last_tsc};
use support::{println, smp};

const ONE_SHOT: u8 = 0x50;
const PERIODIC: u8 = 0x51;
const DEADLINE: u8 = 0x52;
const TSC_DEADLINE: u32 = 0x6e0;
const PIT_HZ: u64 = 1_193_182;

/// Runs every timer.
pub fn run(_: &Environment) {
    enable_interrupts();
    let hz = tsc_hz();
    println!("timers: TSC at {} kHz", hz / 1000);
    one_shot();
    periodic();
    deadline(hz);
    pit();
    rtc();
    disable_interrupts();
    println!("timers: done");
}

/// Reports `found` against `expected` with the emulator's tolerance: a busy host
/// delays interrupts, it never makes them early.
fn report(name: &str, found: u64, expected: u64) {
    judge(
        name,
        found * 100 >= expected * 90 && found <= expected * 3,
        format_args!("{found} for {expected}"),
    );
}

fn judge(name: &str, right: bool, what: Arguments<'_>) {
    println!("timer {name}: {}, {what}", if right { "ok" } else { "WRONG" });
}

/// APIC timer ticks in a second with divider 1, by the current count.
fn apic_hz() -> u64 {
    apic::write(apic::DIVIDE, 0xb);
    apic::write(apic::LVT_TIMER, 1 << 16);
    apic::write(apic::INITIAL, u32::MAX);
    let mut watch = Stopwatch::start();
    while watch.microseconds() < 20_000 {}
    let ticks = u64::from(u32::MAX - apic::read(apic::CURRENT));
    ticks * 1_000_000 / watch.microseconds().max(1)
}

fn one_shot() {
    let hz = apic_hz();
    apic::write(apic::LVT_TIMER, ONE_SHOT.into());
    apic::write(apic::INITIAL, (hz / 20) as u32);
    let mut watch = Stopwatch::start();
    wait_until(1_000_000, || hits(ONE_SHOT) > 0);
    report("one-shot", watch.microseconds(), 50_000);
    wait_us(120_000);
    judge("one-shot-once", hits(ONE_SHOT) == 1, format_args!("{} interrupts", hits(ONE_SHOT)));
}

fn periodic() {
    let hz = apic_hz();
    apic::write(apic::LVT_TIMER, 1 << 17 | u32::from(PERIODIC));
    apic::write(apic::INITIAL, (hz / 100) as u32);
    let mut watch = Stopwatch::start();
    wait_until(3_000_000, || hits(PERIODIC) >= 20);
    report("periodic", watch.microseconds(), 200_000);
    apic::write(apic::INITIAL, 0);
    let stopped = hits(PERIODIC);
    wait_us(50_000);
    judge("periodic-stop", hits(PERIODIC) <= stopped + 1, format_args!("{} after", hits(PERIODIC) - stopped));
}

fn deadline(hz: u64) {
    if cpuid(1, 0).ecx & 1 << 24 == 0 {
        println!("timer deadline: absent");
        return;
    }
    apic::write(apic::LVT_TIMER, 2 << 17 | u32::from(DEADLINE));
    wrmsr(TSC_DEADLINE, rdtsc() + hz / 20);
    let mut watch = Stopwatch::start();
    wait_until(1_000_000, || hits(DEADLINE) > 0);
    report("deadline", watch.microseconds(), 50_000);
    // One in the past fires at once; 0 disarms.
    wrmsr(TSC_DEADLINE, 1);
    judge("deadline-past", wait_until(500_000, || hits(DEADLINE) == 2), format_args!("{}", hits(DEADLINE)));
    wrmsr(TSC_DEADLINE, rdtsc() + hz / 20);
    wrmsr(TSC_DEADLINE, 0);
    wait_us(100_000);
    judge("deadline-disarm", hits(DEADLINE) == 2, format_args!("{}", hits(DEADLINE)));
    apic::write(apic::LVT_TIMER, 1 << 16);
}

/// Channel 2 with its gate and output in port 0x61, as kernels calibrate.
fn pit() {
    let ticks = PIT_HZ / 20;
    out8(0x61, in8(0x61) & !2 | 1);
    out8(0x43, 0xb0);
    out8(0x42, ticks as u8);
    out8(0x42, (ticks >> 8) as u8);
    let mut watch = Stopwatch::start();
    wait_until(1_000_000, || in8(0x61) & 1 << 5 != 0);
    report("pit", watch.microseconds(), 50_000);
}

/// Two changes of the seconds are a second apart.
fn rtc() {
    let change = || {
        let before = cmos(0);
        wait_until(3_000_000, || cmos(0xa) & 0x80 == 0 && cmos(0) != before)
    };
    let seen = change();
    let mut watch = Stopwatch::start();
    let seen = seen && change();
    match seen {
        true => report("rtc", watch.microseconds(), 1_000_000),
        false => println!("timer rtc: WRONG, its seconds stand still"),
    }
    println!("timer rtc: {:02x}:{:02x}:{:02x}", cmos(4), cmos(2), cmos(0));
}

fn cmos(register: u8) -> u8 {
    out8(0x70, register);
    in8(0x71)
}

/// How late a timer's handler begins, in ticks of the TSC, which on the emulators that this is
/// for is as fast as the timer. `rounds=N` says how often; with `busy` the second processor sends
/// interrupts to itself all the while.
pub fn latency(environment: &Environment) {
    const LATENCY: u8 = 0x53;
    if environment.has("busy") && !smp::start(1, busy) {
        println!("latency: FAILED, the second processor does not start");
        return;
    }
    apic::write(apic::DIVIDE, 0xb);
    apic::write(apic::LVT_TIMER, LATENCY.into());
    enable_interrupts();
    let rounds = environment.number("rounds", 2000);
    let (mut least, mut most, mut sum) = (u64::MAX, 0, 0);
    // The first finds its code and data cold.
    for round in 0..=rounds {
        let count = 20_000 + round * 7919 % 10_007;
        let start = rdtsc();
        apic::write(apic::INITIAL, count as u32);
        while hits(LATENCY) <= round {
            core::hint::spin_loop();
        }
        let late = last_tsc().wrapping_sub(start + count);
        if round > 0 {
            (least, most, sum) = (least.min(late), most.max(late), sum + late);
        }
    }
    println!("latency: {least} at least, {most} at most, {} on average, {rounds} times", sum / rounds);
}

fn busy() -> ! {
    enable_interrupts();
    loop {
        apic::send(0, apic::SEND_FIXED | 1 << 18 | 0x54);
    }
}
