//! Everything that a processor's own local APIC can be told, by a guest that has it.

use crate::Environment;
use support::apic;
use support::cpu::{self, cpuid, enable_interrupts, rdtsc, try_rdmsr, try_wrmsr};
use support::println;
use support::time::wait_until;
use support::trap::hits;

const APIC_BASE: u32 = 0x1b;
const TSC_DEADLINE: u32 = 0x6e0;
const X2APIC: u32 = 0x800;
const SELF_IPI: u32 = 0x83f;
/// The vectors of this test; none comes from anywhere else.
const TIMER: u8 = 0x50;
const OWN: u8 = 0x51;
/// As a start-up message it leads to [`PARKING`].
const STRAY: u8 = 0x9f;
/// A loop around a HLT, for the guest's other processor when it is started by all this.
const PARKING: u64 = (STRAY as u64) << 12;
const HALT_LOOP: [u8; 3] = [0xf4, 0xeb, 0xfd];
const SECOND: u64 = 1_000_000;

/// Local vector table: CMCI, timer, thermal, performance, LINT0, LINT1, error.
const LOCAL_VECTORS: [u32; 7] = [0x2f, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37];

/// Tries them all; then the guest's own interrupts must come as before.
pub fn run(_: &Environment) {
    (PARKING..).zip(HALT_LOOP).for_each(|(address, byte)| cpu::write8(address, byte));
    enable_interrupts();
    println!("attack commands: {} messages refused", messages());
    println!("attack commands: {} local vectors refused", local_vectors());
    let accepted = modes();
    illegal_vectors();
    storm();
    timers();
    let lost = shadows();
    cpu::disable_interrupts();
    match accepted.or(lost).or_else(outcome) {
        None => println!("attack commands: held"),
        Some(what) => println!("attack commands: BROKEN, {what}"),
    }
}

/// Every destination form with every delivery mode; what could come back to this
/// processor as more than a plain interrupt is not sent to it. Returns how many faulted.
fn messages() -> u32 {
    let mut refused = 0;
    let mut send = |destination: u32, low: u32| {
        let value = u64::from(destination) << 32 | u64::from(low);
        refused += u32::from(try_wrmsr(X2APIC + apic::ICR, value).is_err());
    };
    for mode in 0..8u32 {
        let low = mode << 8 | 1 << 14 | u32::from(STRAY);
        // Physical: other IDs, within the machine and beyond it.
        for id in [1, 2, 3, 4, 7, 0xfe, 0xff, 0x100, 0xffff, 0x10000, 0xffff_fffe] {
            send(id, low);
            send(id, low | 1 << 15);
        }
        // Logical: clusters that this processor is not in, and cluster 0 without it.
        for cluster in [0x1_ffff, 0x7fff_ffff, 0x0000_fffe] {
            send(cluster, low | 1 << 11);
        }
        send(0, low | 3 << 18); // all but self
        // INIT, start-up and SMI to itself are its own end.
        if !matches!(mode, 2 | 5 | 6) {
            send(u32::MAX, low);
            send(u32::MAX, low | 1 << 11);
            send(0, low | 2 << 18); // all
            send(0, low | 1 << 18); // itself
        }
    }
    refused
}

/// Every delivery mode, masked or not, in each entry.
fn local_vectors() -> u32 {
    let mut refused = 0;
    for register in LOCAL_VECTORS {
        for mode in 0..8u64 {
            for flags in [0, 1 << 15, 1 << 16, 1 << 17, 2 << 17, 3 << 17] {
                let entry = mode << 8 | flags | u64::from(STRAY);
                refused += u32::from(try_wrmsr(X2APIC + register, entry).is_err());
            }
        }
        let _ = try_wrmsr(X2APIC + register, 1 << 16);
    }
    refused
}

/// Asks for modes that there are not, for xAPIC mode, for another page; switches the APIC
/// off by software and on.
fn modes() -> Option<&'static str> {
    let base = try_rdmsr(APIC_BASE).unwrap_or(0);
    let values = [base & !(1 << 11), base & !(1 << 10), base + 0x1000, base | 1 << 9, u64::MAX, 0x900];
    let accepted = values.iter().any(|value| try_wrmsr(APIC_BASE, *value).is_ok());
    for _ in 0..100 {
        let _ = try_wrmsr(X2APIC + apic::SVR, 0xff);
        let _ = try_wrmsr(X2APIC + apic::SVR, 0x100); // spurious vector 0
        let _ = try_wrmsr(X2APIC + apic::SVR, 0x1ff);
    }
    accepted.then_some("its APIC took a mode or a place that it cannot have")
}

fn illegal_vectors() {
    for vector in 0..16 {
        // Through SELF_IPI it would be between this guest and its processor, and the
        // emulator delivers what a processor refuses.
        let _ = try_wrmsr(X2APIC + apic::ICR, 1 << 14 | 1 << 18 | vector);
        let _ = try_wrmsr(X2APIC + apic::LVT_TIMER, 1 << 17 | vector);
        apic::write(apic::INITIAL, 1);
    }
    apic::write(apic::INITIAL, 0);
}

/// Ten thousand interrupts to itself in a row.
fn storm() {
    for _ in 0..10_000 {
        let _ = try_wrmsr(SELF_IPI, OWN.into());
    }
}

/// A timer that always fires: a short period, or a deadline in the past.
fn timers() {
    const DEADLINE: u32 = 1 << 24;
    let start = rdtsc();
    apic::write(apic::DIVIDE, 0xb);
    if cpuid(1, 0).ecx & DEADLINE != 0 {
        apic::write(apic::LVT_TIMER, 2 << 17 | u32::from(TIMER));
        for _ in 0..10_000 {
            let _ = try_wrmsr(TSC_DEADLINE, start);
        }
    } else {
        apic::write(apic::LVT_TIMER, 1 << 17 | u32::from(TIMER));
        // A shorter period stops the emulator, hypervisor or not: its clock never gets on.
        apic::write(apic::INITIAL, 20_000);
        wait_until(SECOND / 10, || hits(TIMER) > 1000);
        apic::write(apic::INITIAL, 0);
    }
    apic::write(apic::LVT_TIMER, 1 << 16);
}

/// The shadow of STI, and HLT with something pending: an interrupt is neither lost nor let in
/// early, and no HLT is slept through.
fn shadows() -> Option<&'static str> {
    for round in 0..200 {
        cpu::disable_interrupts();
        let before = hits(OWN);
        let _ = try_wrmsr(SELF_IPI, OWN.into());
        cpu::sti_cli();
        if hits(OWN) != before {
            return Some("an interrupt came in the shadow of STI");
        }
        match round % 2 {
            0 => cpu::wait_for_interrupt(),
            // What comes while the processor sleeps: its timer.
            _ => {
                apic::write(apic::LVT_TIMER, OWN.into());
                apic::write(apic::INITIAL, 1000);
                cpu::wait_for_interrupt();
            }
        }
        cpu::disable_interrupts();
        if hits(OWN) == before {
            return Some("an interrupt that was pending did not end HLT");
        }
        // The timer of this round does not reach into the next.
        apic::write(apic::INITIAL, 0);
        apic::write(apic::LVT_TIMER, 1 << 16);
    }
    None
}

/// The guest's own interrupts once more, and what never may have come.
fn outcome() -> Option<&'static str> {
    enable_interrupts();
    apic::write(apic::SVR, 0x1ff);
    apic::write(apic::TPR, 0);
    let (own, timer) = (hits(OWN), hits(TIMER));
    if own == 0 || timer == 0 {
        return Some("its own interrupts did not come");
    }
    apic::send(0, apic::SEND_FIXED | 1 << 18 | u32::from(OWN));
    if !wait_until(SECOND, || hits(OWN) > own) {
        return Some("an interrupt to itself does not come any more");
    }
    apic::write(apic::LVT_TIMER, TIMER.into());
    apic::write(apic::INITIAL, 1000);
    if !wait_until(SECOND, || hits(TIMER) > timer) {
        return Some("its timer does not fire any more");
    }
    (hits(STRAY) == 0).then_some("no message to itself came back")
}
