//! Configuration space: BARs moved where they must not be, forbidden bits written.

use crate::Environment;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use support::apic;
use support::cpu::{is_bare, read32, write32};
use support::edu::Edu;
use support::pci::{self, Function};
use support::{println, smp};

const OWN: u64 = 0x60_0000;
const CANARY: u32 = 0x5afe_5afe;

/// Moves the device's BAR over everything that matters, pokes it there, and checks
/// that what was there before is still itself.
pub fn bars(environment: &Environment) {
    let Some(edu) = Edu::find(0) else {
        println!("attack bars: BROKEN, no edu device to attack with");
        return;
    };
    let home = edu.function.bar(0);
    let other = Edu::find(1);
    let version = apic::read(apic::VERSION);
    let host = environment.memory_end.next_multiple_of(0x20_0000);
    let mut targets =
        [Some(OWN), Some(0xfee0_0000), Some(0xfec0_0000), Some(host), Some(0x1000_0000), None, None];
    targets[5] = Some(pci::ecam());
    targets[6] = other.map(|other| other.function.bar(0));
    for target in targets.into_iter().flatten() {
        // On the emulator itself a BAR over the ECAM hides the way back.
        if is_bare() && target >= 0xa000_0000 {
            continue;
        }
        write32(OWN, CANARY);
        edu.function.command(2, 0);
        edu.function.write(0x10, target as u32);
        edu.function.command(0, 6);
        poke(target, environment);
        edu.function.command(2, 0);
        edu.function.write(0x10, home as u32);
        edu.function.command(0, 6);
        if let Some(harm) = harm(edu, other, version) {
            println!("attack bars: BROKEN, BAR at {target:#x}: {harm}");
            return;
        }
    }
    // All ones without sizing it, and both again while decoding is on.
    edu.function.write(0x10, u32::MAX);
    edu.function.write(0x10, home as u32);
    edu.function.write(0x30, u32::MAX);
    edu.function.write(0x30, 0);
    match harm(edu, other, version) {
        Some(harm) => println!("attack bars: BROKEN, {harm}"),
        None => println!("attack bars: held"),
    }
}

/// Accesses at a BAR's new place that cannot hurt the guest itself.
fn poke(target: u64, environment: &Environment) {
    let inside = target < environment.memory_end;
    let device = target >= 0xc000_0000;
    if inside || device {
        // The factorial register, the status register: no side effects there.
        let _ = read32(target + 8);
        if inside {
            let _ = read32(target);
        }
    }
}

fn harm(edu: Edu, other: Option<Edu>, version: u32) -> Option<&'static str> {
    if read32(OWN) != CANARY {
        return Some("the guest's memory changed");
    }
    if apic::read(apic::VERSION) != version {
        return Some("the local APIC changed");
    }
    if !edu.answers() {
        return Some("the device does not answer at its old place");
    }
    if other.is_some_and(|other| !other.answers()) {
        return Some("the other device does not answer");
    }
    None
}

/// Read-only registers of a function: offset and the bits that must not change.
const READ_ONLY: &[(u16, u32)] = &[
    (0x00, 0xffff_ffff), // vendor, device
    (0x04, 0x0010_f800), // command's reserved bits, capability list
    (0x08, 0xffff_ffff), // class, revision
    (0x0c, 0x00ff_0000), // header type
    (0x10, 0x0000_000f), // BAR 0's kind
    (0x2c, 0xffff_ffff), // subsystem
    (0x34, 0x0000_00ff), // first capability
    (0x3c, 0xffff_ff00), // pin, latencies
];

static STOP: AtomicBool = AtomicBool::new(false);
static TARGET: AtomicU32 = AtomicU32::new(0);
static WRITES: AtomicU32 = AtomicU32::new(0);

/// The second processor writes through the ECAM what the first writes through CF8.
fn write_by_ecam() -> ! {
    while !STOP.load(Ordering::Relaxed) {
        let function = Function(TARGET.load(Ordering::Relaxed) as u16);
        for (offset, mask) in READ_ONLY {
            function.write_ecam(*offset, value(function, *offset, *mask));
            WRITES.fetch_add(1, Ordering::Relaxed);
        }
    }
    support::cpu::halt()
}

/// What is written: forbidden bits turned over, the others as they are.
fn value(function: Function, offset: u16, mask: u32) -> u32 {
    function.read_ecam(offset) ^ mask
}

/// Writes to forbidden bits of every function, own and foreign, by both ways in at
/// once from two processors; then everything must read as before.
pub fn forbidden(environment: &Environment) {
    let before = snapshot();
    let functions = pci::functions().count();
    let two = environment.number("cpus", 2) > 1 && smp::start(1, write_by_ecam);
    for function in pci::functions() {
        TARGET.store(function.0.into(), Ordering::Relaxed);
        for _ in 0..200 {
            for (offset, mask) in READ_ONLY {
                function.write(*offset, value(function, *offset, *mask));
            }
        }
        extended(function);
    }
    // Functions that are not there, other buses, registers past the end of CF8's.
    for foreign in [0x00f8u16, 0x0100, 0x0110, 0x8000, 0xffff] {
        let foreign = Function(foreign);
        if !is_bare() && foreign.exists() {
            println!("attack config: BROKEN, a function at {:#x}", foreign.0);
            return;
        }
        foreign.write(4, 7);
        foreign.write(0x10, 0xc000_0000);
        foreign.write(0x3c, 0xff);
    }
    STOP.store(true, Ordering::Relaxed);
    let (after, writes) = (snapshot(), WRITES.load(Ordering::Relaxed));
    let same = before == after && pci::functions().count() == functions;
    match (same, two && writes == 0) {
        (false, _) => {
            println!("attack config: BROKEN, a read-only register changed: {before:#x}, {after:#x}")
        }
        (_, true) => println!("attack config: BROKEN, the second processor did not write"),
        _ => println!("attack config: held, {functions} functions"),
    }
}

/// Writes ones over the extended registers; ACS, AER and SR-IOV live there.
fn extended(function: Function) {
    if is_bare() {
        return;
    }
    for offset in (0x100..0x1000).step_by(4) {
        function.write_ecam(offset, u32::MAX);
    }
}

/// All read-only bits of all functions, folded.
fn snapshot() -> u64 {
    let mut fold = 0u64;
    for function in pci::functions() {
        for (offset, mask) in READ_ONLY {
            fold = fold.rotate_left(7) ^ u64::from(function.read(*offset) & mask);
            fold = fold.rotate_left(7) ^ u64::from(function.read_ecam(*offset) & mask);
        }
    }
    fold
}

/// An e1000e's expansion ROM: its size, its place, its signature, and that it is one.
pub fn rom(_: &Environment) {
    const E1000E: u32 = 0x10d3_8086;
    const ROM: u16 = 0x30;
    const ENABLE: u32 = 1;
    const SIGNATURE: u32 = 0xaa55;
    let Some(function) = pci::find(E1000E, 0) else {
        println!("rom: WRONG, no e1000e");
        return;
    };
    let home = function.read(ROM);
    function.write(ROM, !ENABLE);
    let bytes = !function.read(ROM) + 1;
    function.write(ROM, home | ENABLE);
    function.command(0, 2);
    println!("rom: {} KiB at {home:#x}", bytes >> 10);
    support::paging::map(home.into());
    let found = read32(home.into());
    write32(home.into(), !found);
    let unchanged = read32(home.into()) == found;
    match found & 0xffff {
        SIGNATURE if unchanged => println!("rom: signature 55 AA"),
        SIGNATURE => println!("rom: WRONG, it takes writes"),
        _ => println!("rom: WRONG, it begins with {found:#x}"),
    }
    // Where it is moved it is too; the other BARs are not that far away.
    let away = home + (16 << 20);
    function.write(ROM, away | ENABLE);
    support::paging::map(away.into());
    let moved = read32(away.into()) == found;
    println!("rom moved: {}", if moved { "ok" } else { "WRONG" });
}
