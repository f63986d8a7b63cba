//! Interrupts between processors, from a device, and by the old controllers.

use crate::Environment;
use support::apic;
use support::cpu::{cpuid, disable_interrupts, enable_interrupts, hypercall, out8};
use support::cpu::{set_task_priority, task_priority};
use support::edu::Edu;
use support::time::{wait_until, wait_us};
use support::trap::{Acknowledge, acknowledge, hits, hits_at};
use support::{ioapic, pci, println, smp};

const HERE: u8 = 0x60;
const THERE: u8 = 0x61;
const SECOND: u64 = 1_000_000;
/// CPUID 0x40000001 EAX: KVM's call for interrupts to many processors, and its number.
const SEND_TO_MANY: u32 = 1 << 11;
const SEND_INTERRUPT: u64 = 10;

/// The second processor answers every `THERE` with one `HERE`.
fn answer() -> ! {
    let mut answered = 0;
    enable_interrupts();
    loop {
        if hits(THERE) > answered {
            answered += 1;
            apic::send(0, apic::SEND_FIXED | u32::from(HERE));
        }
        core::hint::spin_loop();
    }
}

/// Waits for interrupts, for `msi`.
fn wait() -> ! {
    loop {
        support::cpu::wait_for_interrupt();
    }
}

/// A thousand round trips between two processors, to oneself, by NMI, by shorthand.
pub fn ipi(_: &Environment) {
    if !smp::start(1, answer) {
        println!("ipi: WRONG, the second processor does not start");
        return;
    }
    enable_interrupts();
    for round in 1..=1000 {
        apic::send(1, apic::SEND_FIXED | u32::from(THERE));
        if !wait_until(SECOND, || hits(HERE) == round) {
            println!("ipi: WRONG, round {round} got no answer");
            return;
        }
    }
    println!("ipi: 1000 round trips");
    apic::send(0, apic::SEND_FIXED | 1 << 18 | 0x62);
    check("self", wait_until(SECOND, || hits(0x62) == 1));
    apic::send(0, apic::SEND_FIXED | 2 << 18 | 0x63);
    check("all", wait_until(SECOND, || hits(0x63) == 1 && hits_at(1, 0x63) == 1));
    apic::send(0, apic::SEND_FIXED | 3 << 18 | 0x64);
    check("all-but-self", wait_until(SECOND, || hits_at(1, 0x64) == 1) && hits(0x64) == 0);
    if cpuid(0x4000_0001, 0).eax & SEND_TO_MANY != 0 {
        let sent = hypercall(SEND_INTERRUPT, [0b1111, 0, 0, 0x65]);
        check("to many", sent == 2 && wait_until(SECOND, || hits(0x65) == 1 && hits_at(1, 0x65) == 1));
        check("init to many", hypercall(SEND_INTERRUPT, [0b10, 0, 0, 5 << 8]) < 0);
    }
    apic::send(1, apic::SEND_NMI);
    check("nmi", wait_until(SECOND, || hits_at(1, 2) == 1) && hits(2) == 0);
    priority();
    println!("ipi: done");
}

/// CR8 and the register are one priority, whatever else is written to the local APIC.
fn priority() {
    const VECTOR: u8 = 0x67;
    set_task_priority(9);
    check("priority read", apic::read(apic::TPR) == 0x90);
    set_task_priority(10);
    apic::write(apic::LVT_LINT0, 0x1_0700);
    check("priority kept", task_priority() == 10 && apic::read(apic::TPR) == 0xa0);
    apic::send(0, apic::SEND_FIXED | 1 << 18 | u32::from(VECTOR));
    wait_us(1000);
    check("priority holds", hits(VECTOR) == 0);
    set_task_priority(0);
    check("priority lets go", wait_until(SECOND, || hits(VECTOR) == 1));
    apic::write(apic::TPR, 0x35);
    check("priority written", task_priority() == 3);
    apic::write(apic::TPR, 0);
}

fn check(name: &str, right: bool) {
    println!("ipi {name}: {}", if right { "ok" } else { "WRONG" });
}

/// A device's MSI at each of two processors.
pub fn msi(environment: &Environment) {
    let Some(edu) = Edu::find(0) else {
        println!("msi: WRONG, no edu device");
        return;
    };
    let two = environment.number("cpus", 2) > 1 && smp::start(1, wait);
    enable_interrupts();
    for (processor, vector) in [(0, 0x70), (1, 0x71), (0, 0x72)] {
        if processor == 1 && !two {
            continue;
        }
        if !edu.function.enable_msi(pci::msi_address(processor), vector.into()) {
            println!("msi: WRONG, edu has no MSI capability");
            return;
        }
        for round in 1..=100 {
            edu.raise();
            let came = wait_until(SECOND, || hits_at(processor.into(), vector) == round);
            edu.acknowledge();
            if !came {
                println!(
                    "msi: WRONG, vector {vector:#x} round {round} did not come at processor {processor}"
                );
                return;
            }
        }
        println!("msi: 100 at processor {processor}");
    }
    println!("msi: done");
}

/// The PIT through the 8259A and LINT0, then through the IOAPIC.
pub fn pic(_: &Environment) {
    acknowledge(Acknowledge::Pic);
    for (port, value) in [(0x20, 0x11), (0xa0, 0x11), (0x21, 0x30), (0xa1, 0x38), (0x21, 4), (0xa1, 2)] {
        out8(port, value);
    }
    for (port, value) in [(0x21, 1), (0xa1, 1), (0x21, 0xfe), (0xa1, 0xff)] {
        out8(port, value);
    }
    apic::write(apic::LVT_LINT0, 0x700);
    start_pit();
    enable_interrupts();
    let came = wait_until(5 * SECOND, || hits(0x30) >= 20);
    println!("pic 8259: {} ({} ticks)", if came { "ok" } else { "WRONG" }, hits(0x30));
    disable_interrupts();
    out8(0x21, 0xff);
    apic::write(apic::LVT_LINT0, 1 << 16);

    acknowledge(Acknowledge::Apic);
    ioapic::route(2, 0x40, 0);
    enable_interrupts();
    let came = wait_until(5 * SECOND, || hits(0x40) >= 20);
    println!("pic ioapic: {} ({} ticks)", if came { "ok" } else { "WRONG" }, hits(0x40));
    ioapic::mask(2);
    println!("pic: done");
}

/// Channel 0 at 100 Hz.
fn start_pit() {
    let divisor = 11932u16;
    out8(0x43, 0x34);
    out8(0x40, divisor as u8);
    out8(0x40, (divisor >> 8) as u8);
}
