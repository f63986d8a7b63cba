//! INIT, start-up and NMI messages at everybody, again and again.

use crate::Environment;
use core::sync::atomic::{AtomicU64, Ordering};
use support::apic;
use support::cpu::{self, is_bare};
use support::time::wait_until;
use support::trap::hits;
use support::{println, smp};

/// Where some start-up messages lead: a loop around a HLT.
const PARKING: u64 = 0x9_f000;
const HALT_LOOP: [u8; 3] = [0xf4, 0xeb, 0xfd];

static BEATS: AtomicU64 = AtomicU64::new(0);

fn beat() -> ! {
    loop {
        BEATS.fetch_add(1, Ordering::Relaxed);
        core::hint::spin_loop();
    }
}

/// Storms; then the guest's second processor must start as if nothing had been.
pub fn run(environment: &Environment) {
    if !smp::start(1, beat) {
        println!("attack init-storm: BROKEN, the second processor does not start");
        return;
    }
    smp::install_trampoline();
    (PARKING..).zip(HALT_LOOP).for_each(|(address, byte)| cpu::write8(address, byte));
    let mut nmis = 0;
    for round in 0..environment.number("rounds", 2000) as u32 {
        apic::send(1, apic::SEND_INIT);
        // The next INIT comes mostly in the middle of its way up.
        let page = if round % 3 == 0 { PARKING } else { smp::TRAMPOLINE };
        let arrivals = smp::arrivals();
        apic::send(1, apic::SEND_STARTUP | (page >> 12) as u32);
        // On its way up it has no table for an NMI yet: that would be a triple fault of
        // our own making.
        if round % 7 == 1 && wait_until(10_000, || smp::arrivals() != arrivals) {
            apic::send(1, apic::SEND_NMI);
            nmis += 1;
        }
        // Processors that are not ours: everybody else's, and broadcasts. On the
        // emulator itself an INIT to others than 1 would hit nobody or ourselves.
        if !is_bare() {
            for foreign in [2, 3, 7, 0xfe] {
                apic::send(foreign, apic::SEND_INIT);
                apic::send(foreign, apic::SEND_STARTUP | 8);
                apic::send(foreign, apic::SEND_NMI);
                apic::send(foreign, apic::SEND_FIXED | 0x77);
            }
            apic::send(0, 3 << 18 | apic::SEND_INIT); // all but self
            apic::send(0, 3 << 18 | apic::SEND_FIXED | 0x78);
        }
    }
    if hits(2) > nmis {
        println!("attack init-storm: BROKEN, an NMI for another processor came here");
        return;
    }
    let started = smp::start(1, beat);
    let before = BEATS.load(Ordering::Relaxed);
    let beats = wait_until(1_000_000, || BEATS.load(Ordering::Relaxed) != before);
    match started && beats {
        true => println!("attack init-storm: held"),
        false => println!("attack init-storm: BROKEN, the second processor is lost"),
    }
}
