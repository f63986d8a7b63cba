//! An instruction that touches a device, rewritten by the second processor while
//! the hypervisor decodes it.

use crate::Environment;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::cpu::{read32, write8, write32, write64};
use support::trap::call_wild;
use support::{ioapic, println, smp};

/// A page for the code; another with canaries right behind.
const CODE: u64 = 0x61_0000;
const CANARIES: u64 = 0x61_1000;
const CANARY: u32 = 0x0bad_cafe;

/// What the first 8 bytes of the code may become, all with RDI at the device. RET
/// fills the rest, so that every length ends in one. A processor may fetch a mixture
/// of two; the last four bytes are all RET so that no mixture can jump or write to
/// where the guest has memory: as a displacement they lead far below zero.
const FORMS: &[[u8; 8]] = &[
    [0x89, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // mov [rdi], eax
    [0x8b, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // mov eax, [rdi]
    [0xc7, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // mov dword [rdi], 0xc3c3c3c3
    [0x66, 0x89, 0x47, 0x10, 0xc3, 0xc3, 0xc3, 0xc3], // mov [rdi + 16], ax
    [0x0f, 0xb6, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // movzx eax, byte [rdi]
    [0xf0, 0x87, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // lock xchg [rdi], eax
    [0x0f, 0x0b, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // ud2
    [0x90, 0x90, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // nops
    [0xf3, 0xa5, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // rep movsd
    [0x67, 0x89, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // mov [edi], eax
    [0x2e, 0x8b, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // mov eax, cs:[rdi]
    [0x0f, 0xc1, 0x07, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], // xadd [rdi], eax
];

static STOP: AtomicBool = AtomicBool::new(false);
static REWRITES: AtomicU64 = AtomicU64::new(0);

fn rewrite() -> ! {
    let mut round = 0usize;
    while !STOP.load(Ordering::Relaxed) {
        write64(CODE, u64::from_le_bytes(FORMS[round % FORMS.len()]));
        round += 1;
        REWRITES.fetch_add(1, Ordering::Relaxed);
    }
    support::cpu::halt()
}

/// Runs the changing code a few thousand times against the IOAPIC's index register.
pub fn run(environment: &Environment) {
    (0..4096).for_each(|at| write8(CODE + at, 0xc3));
    (0..1024).for_each(|at| write32(CANARIES + 4 * at, CANARY));
    if !smp::start(1, rewrite) {
        println!("attack rewrite: BROKEN, the second processor does not start");
        return;
    }
    let version = ioapic::read(1);
    let (mut faults, mut calm) = (0, 0);
    for round in 0..environment.number("rounds", 20_000) as usize {
        write64(CODE, u64::from_le_bytes(FORMS[round % FORMS.len()]));
        match call_wild(CODE, 4096, ioapic::BASE) {
            Some(_) => faults += 1,
            None => calm += 1,
        }
    }
    STOP.store(true, Ordering::Relaxed);
    println!("rewrite: {calm} ran, {faults} faulted, {} rewrites", REWRITES.load(Ordering::Relaxed));
    let canaries = (0..1024).all(|at| read32(CANARIES + 4 * at) == CANARY);
    match (canaries, ioapic::read(1) == version) {
        (false, _) => println!("attack rewrite: BROKEN, memory changed"),
        (_, false) => println!("attack rewrite: BROKEN, the IOAPIC changed"),
        _ => println!("attack rewrite: held"),
    }
}
