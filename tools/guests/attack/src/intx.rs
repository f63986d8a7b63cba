//! A device's interrupt line: level-triggered, masked, disabled, held down.

use crate::Environment;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::apic;
use support::cpu::{disable_interrupts, enable_interrupts, is_bare, rdtsc};
use support::edu::{self, Edu};
use support::time::{tsc_hz, wait_until, wait_us};
use support::trap::{hits, hits_at, set_handler};
use support::{ioapic, power, println, smp};

const VECTOR: u8 = 0x51;
const SECOND: u64 = 1_000_000;
/// In which nothing that should not come comes.
const QUIET: u64 = 20_000;
/// Bit 10 of the command register.
const INTERRUPT_DISABLE: u16 = 1 << 10;
/// Bit 3 of the status register, in its dword.
const INTERRUPT_STATUS: u32 = 1 << 19;

/// The device's registers, for the handler.
static REGISTERS: AtomicU64 = AtomicU64::new(0);
/// How many more interrupts the handler leaves the device alone.
static IGNORED: AtomicU64 = AtomicU64::new(0);
/// TSC until which it does so, too.
static IGNORED_UNTIL: AtomicU64 = AtomicU64::new(0);
/// It leaves the end of interrupt out.
static ENDLESS: AtomicU64 = AtomicU64::new(0);

/// The device, and the input of the IOAPIC where its line ends.
struct Device {
    edu: Edu,
    pin: u8,
}

fn find() -> Option<Device> {
    let edu = Edu::find(0)?;
    let interrupt = edu.function.read(0x3c);
    if interrupt >> 8 & 0xff != 1 {
        println!("intx: WRONG, the interrupt registers are {interrupt:#x}");
        return None;
    }
    // QEMU's q35 has the lines of slots take turns; a guest is told.
    let pin = if is_bare() { 20 + (edu.function.0 >> 3) as u8 % 4 } else { interrupt as u8 };
    REGISTERS.store(edu.registers, Relaxed);
    set_handler(Some(handle));
    edu.function.command(INTERRUPT_DISABLE, 0);
    ioapic::route_line(pin, VECTOR, 0);
    enable_interrupts();
    Some(Device { edu, pin })
}

/// Serves the device, as far as the test wants.
fn handle(vector: u8) -> bool {
    if vector != VECTOR {
        return true;
    }
    let ignored = IGNORED.load(Relaxed);
    if ignored > 0 {
        IGNORED.store(ignored - 1, Relaxed);
    } else if rdtsc() >= IGNORED_UNTIL.load(Relaxed) {
        edu::acknowledge(REGISTERS.load(Relaxed));
    }
    ENDLESS.load(Relaxed) == 0
}

fn check(name: &str, right: bool) {
    println!("intx {name}: {}", if right { "ok" } else { "WRONG" });
}

/// Raises the interrupt; whether it came once and no more.
fn round_trip(device: &Device) -> bool {
    let before = hits(VECTOR);
    device.edu.raise();
    wait_until(SECOND, || hits(VECTOR) > before && !device.edu.is_raised()) && hits(VECTOR) == before + 1
}

fn stays_quiet() -> bool {
    let before = hits(VECTOR);
    wait_us(QUIET);
    hits(VECTOR) == before
}

fn wait() -> ! {
    loop {
        support::cpu::wait_for_interrupt();
    }
}

/// What a driver of such a device relies on.
pub fn run(environment: &Environment) {
    let Some(device) = find() else {
        println!("intx: WRONG, no edu device");
        return;
    };
    let (edu, pin) = (device.edu, device.pin);
    check("quiet", stays_quiet());
    check("delivery", (0..100).all(|_| round_trip(&device)) && stays_quiet());

    // As long as the device asks, each end of interrupt brings the next.
    let before = hits(VECTOR);
    IGNORED.store(50, Relaxed);
    edu.raise();
    // Fifty ways to the housekeeping CPU and back take a busy emulator more than a second.
    let came = wait_until(5 * SECOND, || !edu.is_raised());
    check("level", came && hits(VECTOR) == before + 51 && stays_quiet());

    let before = hits(VECTOR);
    ioapic::mask_only(pin);
    edu.raise();
    let held = stays_quiet() && edu.function.read(4) & INTERRUPT_STATUS != 0;
    ioapic::unmask(pin);
    check("mask", held && wait_until(SECOND, || hits(VECTOR) == before + 1) && stays_quiet());

    ioapic::mask_only(pin);
    edu.raise();
    wait_us(QUIET);
    edu.acknowledge();
    let gone = edu.function.read(4) & INTERRUPT_STATUS == 0;
    ioapic::unmask(pin);
    check("served while masked", gone && stays_quiet());

    let before = hits(VECTOR);
    edu.function.command(0, INTERRUPT_DISABLE);
    edu.raise();
    let held = stays_quiet() && edu.function.read(4) & INTERRUPT_STATUS != 0;
    edu.function.command(INTERRUPT_DISABLE, 0);
    check("disable", held && wait_until(SECOND, || hits(VECTOR) == before + 1) && stays_quiet());

    if environment.number("cpus", 2) > 1 && smp::start(1, wait) {
        ioapic::route_line(pin, VECTOR, 1);
        let came = (1..=100).all(|round| {
            edu.raise();
            wait_until(SECOND, || hits_at(1, VECTOR) == round && !edu.is_raised())
        });
        check("second processor", came);
        ioapic::route_line(pin, VECTOR, 0);
    }
    check("again", round_trip(&device));
    println!("intx: done");
}

/// A line that screams, one whose interrupt never ends, and one that is opened and closed
/// as fast as can be.
pub fn storm(environment: &Environment) {
    let Some(device) = find() else {
        println!("intx-storm: WRONG, no edu device");
        return;
    };
    let (edu, pin) = (device.edu, device.pin);
    let before = hits(VECTOR);
    IGNORED_UNTIL.store(rdtsc() + tsc_hz() * environment.number("seconds", 2), Relaxed);
    edu.raise();
    let over = wait_until(30 * SECOND, || !edu.is_raised());
    println!("intx-storm: {} interrupts of a line that screams", hits(VECTOR) - before);
    check("screaming", over && stays_quiet());

    let before = hits(VECTOR);
    ENDLESS.store(1, Relaxed);
    IGNORED.store(1, Relaxed);
    edu.raise();
    let once = wait_until(SECOND, || hits(VECTOR) > before) && stays_quiet();
    check("never ended", once && hits(VECTOR) == before + 1);
    ENDLESS.store(0, Relaxed);
    edu.acknowledge();
    apic::end_of_interrupt();
    check("ended at last", stays_quiet() && round_trip(&device));

    disable_interrupts();
    IGNORED.store(0, Relaxed);
    edu.raise();
    for _ in 0..environment.number("rounds", 20_000) {
        ioapic::mask_only(pin);
        ioapic::unmask(pin);
    }
    for _ in 0..environment.number("rounds", 20_000) / 10 {
        edu.function.command(0, INTERRUPT_DISABLE);
        edu.function.command(INTERRUPT_DISABLE, 0);
    }
    enable_interrupts();
    check("toggled", wait_until(SECOND, || !edu.is_raised()) && stays_quiet() && round_trip(&device));
    println!("attack intx-storm: held");
}

/// Leaves the line held down and in service, and resets; the next start must hear nothing
/// of it.
pub fn held(_: &Environment) {
    let Some(device) = find() else {
        println!("intx-held: WRONG, no edu device");
        return;
    };
    check("quiet", stays_quiet());
    check("delivery", round_trip(&device));
    ENDLESS.store(1, Relaxed);
    IGNORED.store(1, Relaxed);
    device.edu.raise();
    check("held", wait_until(SECOND, || IGNORED.load(Relaxed) == 0));
    power::reset()
}
