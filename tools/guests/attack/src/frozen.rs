//! A guest that is frozen in the middle of its work, and must not be able to tell.
//!
//! Both processors count, with every register that they have in use; timers and interrupts between
//! them come all the time. Somebody freezes the guest and lets it go on. What it counts, what its
//! registers hold, and the time between two looks at any of its clocks must be as without that.

use crate::Environment;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::*};
use support::cpu::{
    cpuid, disable_interrupts, enable_interrupts, in8, out8, rdmsr, rdtsc, read64, set_task_priority,
    task_priority, wait_for_interrupt, write64, wrmsr,
};
use support::time::{Stopwatch, tsc_hz, wait_until};
use support::trap::{hits, hits_at};
use support::{apic, println, smp};

const TIMER: u8 = 0x50;
const THERE: u8 = 0x61;
const HERE: u8 = 0x71;
/// Steps, each of so many timer interrupts of 10 ms.
const STEPS: u64 = 12;
const TICKS: u64 = 10;
/// The class of priority that the guest's task has: nothing of it comes.
const PRIORITY: u64 = 2;
/// Memory that is filled before and looked at afterwards.
const FILLED: u64 = 8 << 20;
const FILLED_WORDS: u64 = 4 << 20 >> 3;

const EFER: u32 = 0xc000_0080;
const PAT: u32 = 0x277;
/// MSRs that hold what software likes, and what this software likes.
const MSRS: [(u32, u64); 8] = [
    (0xc000_0081, 0x0023_0010_0000_1234),
    (0xc000_0082, 0xffff_8000_1234_5678),
    (0xc000_0083, 0x0000_7fff_1234_5678),
    (0xc000_0084, 0x0004_7700),
    (0xc000_0102, 0xffff_8000_0bad_cafe),
    (0x174, 0x1230),
    (0x175, 0x0000_1234_5678_9ab0),
    (0x176, 0x0000_0234_5678_9ab0),
];

/// Rounds that the second processor has answered.
static ANSWERED: AtomicU64 = AtomicU64::new(0);
/// What it found wrong.
static WRONG: AtomicU64 = AtomicU64::new(0);

/// Registers that only assembly reaches: XMM0 to XMM3, DR0 to DR3, DR7 with nothing on.
fn fill_registers(seed: u64) {
    // SAFETY: SSE is switched on first, as CPUID says that it is there; no breakpoint is on.
    unsafe {
        asm!("mov {t}, cr4", "or {t}, 0x600", "mov cr4, {t}", "mov {t}, cr0", "and {t}, -5", "mov cr0, {t}",
             t = out(reg) _);
        asm!("movq xmm0, {0}", "movq xmm1, {1}", "movq xmm2, {0}", "pslldq xmm2, 8", "movq xmm3, {1}",
             in(reg) seed, in(reg) !seed);
        asm!("mov dr0, {0}", "mov dr1, {1}", "mov dr2, {0}", "mov dr3, {1}", in(reg) seed, in(reg) !seed);
    }
    for (number, value) in MSRS {
        wrmsr(number, value);
    }
    set_task_priority(PRIORITY);
}

/// Which of them do not hold that any more, a bit each.
fn changed_registers(seed: u64) -> u64 {
    let (first, second, third, fourth): (u64, u64, u64, u64);
    let debug: [u64; 4];
    // SAFETY: reads what `fill_registers` wrote; XMM2 is put back.
    unsafe {
        asm!("movq {0}, xmm0", "movq {1}, xmm1", "psrldq xmm2, 8", "movq {2}, xmm2", "pslldq xmm2, 8", "movq {3}, xmm3",
             out(reg) first, out(reg) second, out(reg) third, out(reg) fourth);
        let (a, b, c, d);
        asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3", out(reg) a, out(reg) b, out(reg) c, out(reg) d);
        debug = [a, b, c, d];
    }
    let vectors = [first, second, third, fourth] != [seed, !seed, seed, !seed];
    let breakpoints = debug != [seed, !seed, seed, !seed];
    let msrs = MSRS.iter().any(|&(number, value)| rdmsr(number) != value);
    u64::from(vectors)
        | u64::from(breakpoints) << 1
        | u64::from(msrs) << 2
        | u64::from(task_priority() != PRIORITY) << 3
}

/// The second processor answers each message, asleep between them, and looks at its registers.
fn answer() -> ! {
    const SEED: u64 = 0x2222_0000_1111_3333;
    fill_registers(SEED);
    let mut answered = 0;
    loop {
        wait_for_interrupt();
        disable_interrupts();
        while hits_at(1, THERE) > answered {
            answered += 1;
            WRONG.fetch_or(changed_registers(SEED), Relaxed);
            ANSWERED.store(answered, Release);
            apic::send(0, apic::SEND_FIXED | u32::from(HERE));
        }
    }
}

/// The longest time between two looks at the clocks, in microseconds of each.
#[derive(Default)]
struct Gaps {
    tsc: u64,
    pm: u64,
}

/// A periodic timer of 10 ms.
fn start_timer() {
    apic::write(apic::DIVIDE, 0xb);
    apic::write(apic::LVT_TIMER, 1 << 16);
    apic::write(apic::INITIAL, u32::MAX);
    let mut watch = Stopwatch::start();
    while watch.microseconds() < 20_000 {}
    let counted = u64::from(u32::MAX - apic::read(apic::CURRENT));
    let hz = counted * 1_000_000 / watch.microseconds().max(1);
    apic::write(apic::LVT_TIMER, 1 << 17 | u32::from(TIMER));
    apic::write(apic::INITIAL, (hz / 100) as u32);
}

fn fill_memory() {
    (0..FILLED_WORDS).for_each(|word| write64(FILLED + word * 8, word.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
}

fn is_memory_as_it_was() -> bool {
    (0..FILLED_WORDS).all(|word| read64(FILLED + word * 8) == word.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Works, step by step, with a line for each.
pub fn run(_: &Environment) {
    const SEED: u64 = 0x0123_4567_89ab_cdef;
    let hz = tsc_hz();
    if !smp::start(1, answer) {
        println!("frozen: WRONG, the second processor does not start");
        return;
    }
    fill_memory();
    fill_registers(SEED);
    let modes = (rdmsr(EFER), rdmsr(PAT), cpuid(1, 0).ebx);
    // What firmware leaves in CMOS, and the speaker's port, are state of the chipset.
    (0x40..0x70).for_each(|index| cmos_write(index, index ^ 0x5a));
    out8(0x61, in8(0x61) & 0xfc | 2);
    start_timer();
    enable_interrupts();
    let (mut sum, mut gaps) = (1u64, Gaps::default());
    for step in 1..=STEPS {
        work(step, hz, &mut sum, &mut gaps);
        println!("frozen: step {step}");
    }
    apic::write(apic::INITIAL, 0);
    disable_interrupts();
    let own = changed_registers(SEED);
    check("registers", own | WRONG.load(Relaxed) << 8 == 0);
    check("modes", modes == (rdmsr(EFER), rdmsr(PAT), cpuid(1, 0).ebx));
    check("memory", is_memory_as_it_was());
    check("chipset", in8(0x61) & 3 == 2 && (0x40..0x70).all(|index| cmos_read(index) == index ^ 0x5a));
    check("count", sum == expected_sum());
    println!("frozen: longest gaps {} us by the TSC, {} us by the PM timer", gaps.tsc, gaps.pm);
    check("time", gaps.tsc < 1_500_000 && gaps.pm < 1_500_000);
    println!("frozen: done");
}

/// Until ten interrupts of the timer have come: rounds between the processors, and looks at clocks.
fn work(step: u64, hz: u64, sum: &mut u64, gaps: &mut Gaps) {
    const ROUNDS: u64 = 20;
    let end = hits(TIMER) + TICKS;
    let (mut tsc, mut watch) = (rdtsc(), Stopwatch::start());
    let mut before = watch.microseconds();
    let mut look = |gaps: &mut Gaps| {
        let (now, later) = (rdtsc(), watch.microseconds());
        gaps.tsc = gaps.tsc.max((now - tsc) * 1_000_000 / hz);
        gaps.pm = gaps.pm.max(later - before);
        (tsc, before) = (now, later);
    };
    for round in 1..=ROUNDS {
        *sum = sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step * ROUNDS + round);
        let number = (step - 1) * ROUNDS + round;
        apic::send(1, apic::SEND_FIXED | u32::from(THERE));
        if !wait_until(1_000_000, || hits(HERE) == number && ANSWERED.load(Acquire) == number) {
            println!("frozen: WRONG, message {number} got no answer");
        }
        look(gaps);
    }
    while hits(TIMER) < end {
        wait_until(2_000_000, || hits(TIMER) >= end);
        look(gaps);
    }
}

fn expected_sum() -> u64 {
    const ROUNDS: u64 = 20;
    (1..=STEPS)
        .flat_map(|step| (1..=ROUNDS).map(move |round| step * ROUNDS + round))
        .fold(1, |sum: u64, term| sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(term))
}

fn cmos_write(index: u8, value: u8) {
    out8(0x70, index);
    out8(0x71, value);
}

fn cmos_read(index: u8) -> u8 {
    out8(0x70, index);
    in8(0x71)
}

fn check(what: &str, right: bool) {
    println!("frozen {what}: {}", if right { "ok" } else { "WRONG" });
}
