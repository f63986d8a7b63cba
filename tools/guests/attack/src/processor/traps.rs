//! Traps that come with an exit, around one, or in the shadow of another; and what a fault's
//! handler is told.

use super::{CODE, DATA, check};
use crate::Environment;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use support::cpu::{is_bare, write64};
use support::time::wait_until;
use support::trap::{Frame, call_wild, hits_at, set_hook};
use support::{apic, ioapic, println, smp};

const DEBUG: u64 = 1;
const TRAP_FLAG: u64 = 1 << 8;
const RESUME_FLAG: u64 = 1 << 16;
const SINGLE_STEP: u64 = 1 << 14;
const DR6_CLEAR: u64 = 0xffff_0ff0;

/// What debug exceptions told: where each came, from the code's beginning, and DR6.
const TRAPS: usize = 16;
static TOLD: [[AtomicU64; 2]; TRAPS] = [const { [const { AtomicU64::new(0) }; 2] }; TRAPS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Where single-stepping ends, from the code's beginning.
static LAST: AtomicU64 = AtomicU64::new(0);
/// Flags that the last fault's handler found on its stack.
static FLAGS: AtomicU64 = AtomicU64::new(0);

fn take_note(frame: &mut Frame) -> bool {
    if frame.vector != DEBUG {
        FLAGS.store(frame.flags, Ordering::Relaxed);
        return false;
    }
    let status: u64;
    // SAFETY: the debug registers touch no memory.
    unsafe { core::arch::asm!("mov {}, dr6", "mov dr6, {}", out(reg) status, in(reg) DR6_CLEAR) };
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let place = frame.rip.wrapping_sub(CODE);
    if let Some([at, told]) = TOLD.get(count) {
        at.store(place, Ordering::Relaxed);
        told.store(status, Ordering::Relaxed);
    }
    if place >= LAST.load(Ordering::Relaxed) || count >= TRAPS {
        frame.flags &= !TRAP_FLAG;
    }
    true
}

/// Runs `code` while debug exceptions are taken note of, and says what the first told.
fn observe(code: &[u8], argument: u64) -> (usize, [(u64, u64); 4]) {
    let bytes = super::place(code);
    COUNT.store(0, Ordering::Relaxed);
    LAST.store(bytes - 1, Ordering::Relaxed);
    set_hook(Some(take_note));
    let fault = call_wild(CODE, bytes, argument);
    set_hook(None);
    check(fault.is_none(), format_args!("code under observation raises {fault:?}"));
    let told = core::array::from_fn(|index| {
        TOLD.get(index)
            .map_or((0, 0), |[at, status]| (at.load(Ordering::Relaxed), status.load(Ordering::Relaxed)))
    });
    (COUNT.load(Ordering::Relaxed), told)
}

/// PUSHFQ; OR QWORD [RSP], 0x100; POPFQ: a trap after the next instruction.
const STEP: [u8; 10] = [0x9c, 0x48, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d];

/// Tries them.
pub fn run(environment: &Environment) {
    steps();
    shadows();
    int1();
    faults();
    if environment.number("cpus", 2) > 1 {
        nmis();
    }
    println!("processor: traps are tried");
}

/// A single step over each instruction that exits is one trap behind it, and DR6 says so.
fn steps() {
    let cases: [(&str, &[u8], u64); 8] = [
        ("NOP", &[0x90], 0),
        ("CPUID", &[0x0f, 0xa2], 0),
        ("RDMSR", &[0x0f, 0x32], 0),
        ("IN", &[0xe4, 0x80], 0),
        ("OUT", &[0xe6, 0x80], 0),
        ("WBINVD", &[0x0f, 0x09], 0),
        ("a read of the IOAPIC", &[0x8b, 0x07], ioapic::BASE),
        ("a write to the IOAPIC", &[0x89, 0x0f], ioapic::BASE),
    ];
    for (name, instruction, argument) in cases {
        let mut code = [0x90; 16];
        let length = STEP.len() + instruction.len();
        for (place, byte) in code.iter_mut().zip(STEP.iter().chain(instruction)) {
            *place = *byte;
        }
        let (count, told) = observe(code.get(..length + 1).unwrap_or(&code), argument);
        let [(first, status), (second, other), ..] = told;
        check(
            count == 2 && first == length as u64 && second == first + 1,
            format_args!("a step over {name}: {count} traps, at {first:#x} and {second:#x}"),
        );
        check(
            status & other & SINGLE_STEP != 0,
            format_args!("a step over {name}: DR6 is {status:#x}, then {other:#x}"),
        );
    }
    // MOV EAX, CR4; MOV CR4, EAX, stepped.
    let mut code = [0x90; 17];
    for (place, byte) in code.iter_mut().zip(STEP.iter().chain(&[0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0])) {
        *place = *byte;
    }
    let (count, told) = observe(&code, 0);
    let right =
        told.iter().zip([13, 16, 17]).all(|((at, status), place)| *at == place && status & SINGLE_STEP != 0);
    check(count == 3 && right, format_args!("steps over MOV CR4: {count} traps: {told:x?}"));
}

/// In the shadow of MOV SS no trap comes; what exits there ends the shadow.
fn shadows() {
    // MOV EAX, SS; step; MOV SS, EAX; CPUID; NOP.
    let mut code = [0x90; 17];
    let parts = [0x8c, 0xd0].iter().chain(&STEP).chain(&[0x8e, 0xd0, 0x0f, 0xa2, 0x90]);
    for (place, byte) in code.iter_mut().zip(parts) {
        *place = *byte;
    }
    let (count, told) = observe(&code, 0);
    check(
        count == 2 && told[0].0 == 16 && told[1].0 == 17,
        format_args!("MOV SS and CPUID under TF: {count} traps, {told:x?}"),
    );
    // A breakpoint that MOV SS, [RDI] meets, with something behind it that exits or traps. How
    // often it comes differs between processors; that it ends does not.
    write64(DATA, 0x10);
    let behind: [&[u8]; 4] = [&[0x0f, 0xa2], &[0xe6, 0x80], &[0xf1], &[0x0f, 0x01, 0xc1]];
    for instruction in behind {
        let mut code = [0x90; 8];
        for (place, byte) in code.iter_mut().zip([0x8e, 0x17].iter().chain(instruction)) {
            *place = *byte;
        }
        // SAFETY: a breakpoint on data that only this code reads.
        unsafe { core::arch::asm!("mov dr0, {}", "mov dr7, {}", in(reg) DATA, in(reg) 0xf_0701u64) };
        let bytes = super::place(&code);
        COUNT.store(0, Ordering::Relaxed);
        LAST.store(0, Ordering::Relaxed);
        set_hook(Some(take_note));
        let _ = call_wild(CODE, bytes, DATA);
        set_hook(None);
        // SAFETY: as above.
        unsafe { core::arch::asm!("mov dr7, {}", "mov dr0, {}", in(reg) 0x400u64, in(reg) 0u64) };
        let count = COUNT.load(Ordering::Relaxed);
        check(count <= 3, format_args!("a breakpoint on MOV SS before {instruction:x?} comes {count} times"));
    }
}

/// INT1 is a trap: its handler returns behind it.
fn int1() {
    let (count, told) = observe(&[0xf1, 0x90], 0);
    check(count == 1 && told[0].0 == 1, format_args!("INT1: {count} traps, {told:x?}"));
}

/// A fault's handler finds RF on its stack, whoever raised the fault.
fn faults() {
    let cases: [(&str, &[u8]); 3] = [
        ("UD2", &[0x0f, 0x0b]),
        // MOV ECX, 0xc0010117: the host save area.
        ("RDMSR", &[0xb9, 0x17, 0x01, 0x01, 0xc0, 0x0f, 0x32]),
        ("XSETBV", &[0x0f, 0x01, 0xd1]),
    ];
    for (name, code) in cases {
        let bytes = super::place(code);
        FLAGS.store(0, Ordering::Relaxed);
        set_hook(Some(take_note));
        let fault = call_wild(CODE, bytes, 0);
        set_hook(None);
        let flags = FLAGS.load(Ordering::Relaxed);
        let right = fault.is_none() || flags & RESUME_FLAG != 0;
        check(right, format_args!("{name}: flags {flags:#x} at {fault:?}"));
    }
}

/// Lets interrupts in and keeps them out again, mostly in a shadow.
fn flicker() -> ! {
    loop {
        // SAFETY: nothing interrupts but NMIs.
        unsafe { core::arch::asm!("sti", "nop", "cli", "sti", "nop", "cli") };
    }
}

/// The same with HLT in the shadow.
fn doze() -> ! {
    loop {
        // SAFETY: as above.
        unsafe { core::arch::asm!("sti", "hlt") };
    }
}

/// An NMI comes soon, whatever it meets.
fn nmis() {
    const ROUNDS: u64 = 200;
    const SOON: u64 = 200_000;
    for (what, work) in [("a shadow", flicker as fn() -> !), ("HLT in a shadow", doze)] {
        if !smp::start(1, work) {
            return check(false, format_args!("the second processor does not start"));
        }
        let before = hits_at(1, 2);
        let missed = (1..=ROUNDS).find(|round| {
            apic::send(1, apic::SEND_NMI);
            !wait_until(SOON, || hits_at(1, 2) >= before + round)
        });
        check(missed.is_none(), format_args!("the NMI {missed:?} that meets {what} does not come"));
    }
    // Not to be there any more when the guest resets.
    if is_bare() {
        return;
    }
    apic::send(1, apic::SEND_INIT);
}
