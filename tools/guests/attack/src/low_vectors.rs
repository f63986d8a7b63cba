//! Interrupts with the vectors of exceptions, 16 to 31, pending in the local APIC when it
//! goes back to the hypervisor: each way in, and each way back, one after the other over
//! restarts of the guest.

use crate::Environment;
use core::sync::atomic::{AtomicU64, Ordering};
use support::apic;
use support::cpu::{disable_interrupts, out8, rdmsr, rdtsc, try_wrmsr, wrmsr};
use support::{ioapic, power, println, smp};

/// How often this processor has left the guest: the only thing here that outlives a restart.
const EXITS: u32 = 0x4248_0000;
/// A run has so many exits at most, and fills them up, so that the next knows its number.
const RUN_SHIFT: u32 = 13;
const APIC_BASE: u32 = 0x1b;
const APIC_ON: u64 = 3 << 10;
const SELF_IPI: u32 = 0x83f;
const REQUESTS: u32 = 0x20;
const LVT_ERROR: u32 = 0x37;
const TO_ITSELF: u32 = 1 << 18;
const VECTORS: core::ops::Range<u32> = 16..32;
/// TSC ticks until something that does not come is given up, and between two looks, each of
/// which may be an exit.
const PATIENCE: u64 = 30_000_000;
const GLANCE: u64 = 200_000;
/// Ways back for each way in.
const ENDS: u64 = 5;
const WAYS: u64 = 6;

static WAY: AtomicU64 = AtomicU64::new(0);
static AT_WORK: AtomicU64 = AtomicU64::new(0);

/// One way in, then one way back; the guest starts again until all have been tried.
pub fn run(environment: &Environment) {
    disable_interrupts();
    let step = rdmsr(EXITS) >> RUN_SHIFT;
    let (way, end) = (step / ENDS, step % ENDS);
    while rdmsr(EXITS) + 64 < (step + 1) << RUN_SHIFT {}
    if way >= WAYS {
        println!("attack low-vectors: BROKEN, it lost count");
        return;
    }
    WAY.store(way, Ordering::SeqCst);
    if environment.number("cpus", 2) > 1 {
        start_sibling();
    }
    come_in(way);
    match end {
        0 => power::reset(),
        1 => power::triple_fault(),
        2 => {
            switch_off();
            come_in(way);
            power::reset()
        }
        3 => {
            apic::send(1, apic::SEND_INIT);
            apic::send(0, apic::SEND_INIT);
        }
        _ if way + 1 == WAYS => println!("attack low-vectors: held"),
        _ => {}
    }
}

/// Without the waits of a well-behaved start, which would cost exits without number.
fn start_sibling() {
    smp::install_trampoline();
    smp::set_work(sibling);
    apic::send(1, apic::SEND_INIT);
    apic::send(1, apic::SEND_STARTUP | (smp::TRAMPOLINE >> 12) as u32);
    wait(|| AT_WORK.load(Ordering::SeqCst) != 0);
}

/// Has everything pending too; in one way it goes on sending while the other processor ends.
fn sibling() -> ! {
    disable_interrupts();
    VECTORS.for_each(|vector| wrmsr(SELF_IPI, vector.into()));
    AT_WORK.store(1, Ordering::SeqCst);
    loop {
        if WAY.load(Ordering::SeqCst) == 2 {
            VECTORS.for_each(|vector| apic::send(0, apic::SEND_FIXED | vector));
            AT_WORK.fetch_add(1, Ordering::SeqCst);
        }
        core::hint::spin_loop();
    }
}

fn come_in(way: u64) {
    match way {
        0 => VECTORS.for_each(|vector| wrmsr(SELF_IPI, vector.into())),
        1 => VECTORS.for_each(|vector| apic::send(0, apic::SEND_FIXED | TO_ITSELF | vector)),
        2 => {
            let before = AT_WORK.load(Ordering::SeqCst);
            wait(|| AT_WORK.load(Ordering::SeqCst) > before + 1);
        }
        3 => VECTORS.for_each(|vector| {
            apic::write(apic::DIVIDE, 0xb);
            apic::write(apic::LVT_TIMER, vector);
            apic::write(apic::INITIAL, 1);
            wait_for(vector);
        }),
        4 => VECTORS.for_each(|vector| {
            apic::write(LVT_ERROR, vector);
            // No processor sends this; it is an error that this entry tells of.
            let _ = try_wrmsr(0x800 + apic::ICR, u64::from(apic::SEND_FIXED | TO_ITSELF | 3));
        }),
        _ => {
            for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 4)] {
                out8(port, value);
            }
            for vector in [0x10, 0x12, 0x1d, 0x1f] {
                ioapic::route(2, vector, 0);
                wait_for(vector.into());
            }
        }
    }
}

/// The local APIC off, which gives it back, and on again.
fn switch_off() {
    let base = rdmsr(APIC_BASE);
    wrmsr(APIC_BASE, base & !APIC_ON);
    wrmsr(APIC_BASE, base & !APIC_ON | 1 << 11);
    wrmsr(APIC_BASE, base);
    apic::write(apic::SVR, 0x1ff);
}

fn wait_for(vector: u32) {
    wait(|| apic::read(REQUESTS) & 1 << vector != 0);
}

fn wait(mut done: impl FnMut() -> bool) {
    let start = rdtsc();
    while !done() && rdtsc() - start < PATIENCE {
        let glance = rdtsc();
        while rdtsc() - glance < GLANCE {
            core::hint::spin_loop();
        }
    }
}
