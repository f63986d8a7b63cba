//! What leaving the guest costs: TSC ticks a round trip, the loop's own taken off.
//! Under the emulator's icount a tick is an instruction.

use crate::Environment;
use core::sync::atomic::{AtomicU64, Ordering};
use support::apic;
use support::cpu::{self, cpuid, enable_interrupts, in8, out8, rdtsc, try_vmcall, try_vmmcall};
use support::edu::Edu;
use support::trap::{hits, hits_at, last_tsc};
use support::virtio::{Virtio, register};
use support::{ioapic, pci, println, smp};

const ROUNDS: u64 = 1000;
/// Longest wait, in looks at a counter.
const SPINS: u64 = 100_000_000;
/// CPUID.0:EBX of the vendor whose hypercall is VMCALL.
const INTEL: u32 = u32::from_le_bytes(*b"Genu");
/// Ticks in which the longest line is sent, at 115200 baud and on any clock below 5 GHz.
const SETTLED: u64 = 50_000_000;
const IPI: u8 = 0x60;
const ANSWER: u8 = 0x61;
const TIMER: u8 = 0x62;
const MSI: u8 = 0x63;

/// Bulkhead's count of the exits of the processor that reads it, the read included.
const EXITS: u32 = 0x4248_0000;

/// Where configuration space is: finding out takes CPUIDs, which no row should count.
static ECAM: AtomicU64 = AtomicU64::new(0);

/// All of them; those with a device or a second processor only where there is one.
pub fn run(environment: &Environment) {
    let loop_alone = measure(|| ());
    let bench = |name: &str, operation: fn()| {
        println!("bench {name} {}", measure(operation).saturating_sub(loop_alone));
    };
    println!("bench empty {loop_alone}");
    bench("cpuid", || _ = cpuid(0, 0));
    match cpuid(0, 0).ebx {
        INTEL => bench("hypercall", || _ = try_vmcall(u64::MAX)),
        _ => bench("hypercall", || _ = try_vmmcall(u64::MAX)),
    }
    bench("rdmsr APIC_BASE", || _ = cpu::try_rdmsr(0x1b));
    bench("rdmsr EFER", || _ = cpu::try_rdmsr(0xc000_0080));
    bench("port write 0x80", || out8(0x80, 0));
    bench("port read PM timer", || _ = cpu::in32(0x608));
    bench("port write RTC index", || out8(0x70, 0xf));
    bench("port write UART scratch", || out8(0x3ff, 0));
    bench("port read UART status", || _ = in8(0x3fd));
    bench("port read PIC mask", || _ = in8(0x21));
    bench("port read PIT count", || _ = in8(0x40));
    bench("MMIO write IOAPIC index", || cpu::write32(ioapic::BASE, 0));
    bench("MMIO read IOAPIC data", || _ = cpu::read32(ioapic::BASE + 0x10));
    ECAM.store(pci::ecam(), Ordering::Relaxed);
    bench("MMIO read ECAM", || _ = cpu::read32(ECAM.load(Ordering::Relaxed)));
    functions(&bench);
    bench("x2APIC read TPR", || _ = apic::read(apic::TPR));
    bench("x2APIC write EOI", apic::end_of_interrupt);
    bench("x2APIC write timer count", || apic::write(apic::INITIAL, 0));
    enable_interrupts();
    self_ipi();
    timer();
    idle();
    if environment.number("cpus", 1) > 1 {
        two_processors();
    }
    device();
}

/// Where the registers of an emulated function are that a row is about.
static REGISTERS: AtomicU64 = AtomicU64::new(0);

fn port(offset: u16) -> u16 {
    (REGISTERS.load(Ordering::Relaxed) as u16).wrapping_add(offset)
}

fn address(offset: u64) -> u64 {
    REGISTERS.load(Ordering::Relaxed) + offset
}

/// Registers of emulated functions that do nothing when they are accessed, wherever the models run.
fn functions(bench: &dyn Fn(&str, fn())) {
    const SERIAL: u32 = 0x0002_1b36;
    const NE2000: u32 = 0x8029_10ec;
    const ENTROPY: u32 = 4;
    let ports = |id| {
        let function = pci::find(id, 0)?;
        function.command(0, 1);
        Some(function.bar(0) & !3)
    };
    if let Some(base) = ports(SERIAL) {
        REGISTERS.store(base, Ordering::Relaxed);
        bench("port read 16550 function's scratch", || _ = in8(port(7)));
        bench("port write 16550 function's scratch", || out8(port(7), 0));
    }
    if let Some(base) = ports(NE2000) {
        REGISTERS.store(base, Ordering::Relaxed);
        bench("port read NE2000 command", || _ = in8(port(0)));
    }
    if let Some(device) = Virtio::find(ENTROPY, 0) {
        REGISTERS.store(device.base, Ordering::Relaxed);
        bench("MMIO read virtio status", || _ = cpu::read8(address(register::STATUS)));
        bench("MMIO write virtio queue", || cpu::write16(address(register::QUEUE_SELECT), 0));
    }
}

/// Lets the hypervisor send what was printed before something is measured: on an emulator that
/// counts the instructions of all processors its work for the console would count here.
fn settle() {
    let start = rdtsc();
    while rdtsc() - start < SETTLED {
        core::hint::spin_loop();
    }
}

/// This processor's exits so far; `None` where nobody counts.
pub fn exits() -> Option<u64> {
    cpu::try_rdmsr(EXITS).ok()
}

/// Says how many exits `rounds` rounds took: `before` and `after` are counts that were read
/// around them, one of which cost an exit itself.
fn report_exits(name: &str, before: Option<u64>, after: Option<u64>, rounds: u64) {
    if let (Some(before), Some(after)) = (before, after) {
        println!("exits {name} {} {rounds}", after - before - 1);
    }
}

/// Ticks of one round of `operation`, loop included.
#[inline(never)]
fn measure(operation: fn()) -> u64 {
    for _ in 0..16 {
        core::hint::black_box(operation)();
    }
    let start = rdtsc();
    for _ in 0..ROUNDS {
        core::hint::black_box(operation)();
    }
    (rdtsc() - start) / ROUNDS
}

fn self_ipi() {
    settle();
    let (before, left) = (hits(IPI), exits());
    let start = rdtsc();
    for round in 1..=ROUNDS {
        apic::send(0, apic::SEND_FIXED | u32::from(IPI));
        while hits(IPI) < before + round {
            core::hint::spin_loop();
        }
    }
    let ticks = (rdtsc() - start) / ROUNDS;
    report_exits("IPI to self", left, exits(), ROUNDS);
    println!("bench IPI to self {ticks}");
}

/// From arming the timer to being back behind its handler. Nothing is asked for the
/// time meanwhile: that could cost exits of its own.
fn timer() {
    settle();
    apic::write(apic::DIVIDE, 0xb);
    apic::write(apic::LVT_TIMER, TIMER.into());
    let left = exits();
    let start = rdtsc();
    for round in 1..=100 {
        apic::write(apic::INITIAL, 1);
        let came = (0..SPINS).any(|_| hits(TIMER) >= round);
        if !came {
            println!("bench: FAILED, no timer interrupt in round {round}");
            return;
        }
    }
    let ticks = (rdtsc() - start) / 100;
    report_exits("timer interrupt", left, exits(), 100);
    println!("bench timer interrupt {ticks}");
}

/// What a tickless idle loop does: sleeps until its timer ends it, and arms it again.
fn idle() {
    settle();
    let (before, left) = (hits(TIMER), exits());
    for round in 1..=100 {
        apic::write(apic::INITIAL, 10_000);
        while hits(TIMER) < before + round {
            cpu::wait_for_interrupt();
        }
    }
    report_exits("timer that ends a HLT", left, exits(), 100);
}

static ARRIVED: AtomicU64 = AtomicU64::new(0);
/// Asks the second processor for its exits; it puts them in the place of 0.
static ASKED: AtomicU64 = AtomicU64::new(IDLE);
const IDLE: u64 = u64::MAX;

/// The second processor's exits so far.
fn exits_of_the_other() -> u64 {
    ASKED.store(0, Ordering::SeqCst);
    while ASKED.load(Ordering::SeqCst) == 0 {
        core::hint::spin_loop();
    }
    ASKED.swap(IDLE, Ordering::SeqCst)
}

fn answer() -> ! {
    let mut answered = 0;
    enable_interrupts();
    loop {
        if ASKED.load(Ordering::Relaxed) == 0 {
            // Where nobody counts it is one, and never read.
            ASKED.store(exits().unwrap_or(1), Ordering::SeqCst);
        }
        if hits(IPI) > answered {
            answered += 1;
            ARRIVED.store(last_tsc(), Ordering::Relaxed);
            apic::send(0, apic::SEND_FIXED | u32::from(ANSWER));
        }
        core::hint::spin_loop();
    }
}

fn two_processors() {
    if !smp::start(1, answer) {
        println!("bench: FAILED, the second processor does not start");
        return;
    }
    settle();
    let (rounds, before) = (200, hits(ANSWER));
    let left = exits().map(|own| own + exits_of_the_other());
    let start = rdtsc();
    for round in 1..=rounds {
        apic::send(1, apic::SEND_FIXED | u32::from(IPI));
        while hits(ANSWER) < before + round {
            core::hint::spin_loop();
        }
    }
    let ticks = (rdtsc() - start) / rounds;
    // The other's count costs an exit too.
    let after = exits().map(|own| own + exits_of_the_other() - 1);
    report_exits("IPI round trip of two", left, after, rounds);
    println!("bench IPI round trip of two {ticks}");
    println!("bench: {} IPIs answered", hits_at(1, IPI));
}

/// From the write that makes the device send its MSI to the handler.
fn device() {
    let Some(edu) = Edu::find(0) else { return };
    if !edu.function.enable_msi(pci::msi_address(0), MSI.into()) {
        return;
    }
    settle();
    let (mut ticks, left) = (0, exits());
    for round in 1..=100 {
        let start = rdtsc();
        edu.raise();
        let came = (0..SPINS).any(|_| hits(MSI) >= round);
        if !came {
            println!("bench: FAILED, no MSI in round {round}");
            return;
        }
        ticks += last_tsc() - start;
        edu.acknowledge();
    }
    report_exits("MSI of a passed-through function", left, exits(), 100);
    println!("bench MSI to handler {}", ticks / 100);
}
