//! Faults in fault handlers: each step nests deeper, the last is a triple fault.

use crate::Environment;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use support::trap::{Frame, set_hook};
use support::{power, println};

const TRAP_FLAG: u64 = 1 << 8;
const STEPS: u64 = 5_000;
const DEPTH: u64 = 80;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// #DB after every instruction, its handler's return included; #UD inside the
/// handler of #UD; with `stack-breakpoints` breakpoints on the stack that exceptions
/// are delivered to, for real processors (QEMU 10.0 stops at an assertion of its own there,
/// hypervisor or not; Bochs, without its debugger, has no breakpoints); at last no handler at all.
pub fn run(environment: &Environment) {
    single_steps();
    handlers_in_handlers();
    if environment.has("stack-breakpoints") {
        breakpoint_on_the_stack();
    }
    println!("nested-faults: ending by a triple fault");
    power::triple_fault()
}

fn single_steps() {
    set_hook(Some(|frame: &mut Frame| {
        if frame.vector == 1 && COUNT.fetch_add(1, Ordering::Relaxed) >= STEPS {
            frame.flags &= !TRAP_FLAG;
        }
        frame.vector == 1
    }));
    // SAFETY: the hook counts the steps and ends them.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], 0x100",
            "popfq",
            "2: inc {0}",
            "cmp {0}, {1}",
            "jb 2b",
            "pushfq",
            "and qword ptr [rsp], -0x101",
            "popfq",
            inout(reg) 0u64 => _,
            in(reg) STEPS,
        );
    }
    set_hook(None);
    println!("nested-faults: {} single steps", COUNT.load(Ordering::Relaxed));
}

fn handlers_in_handlers() {
    COUNT.store(0, Ordering::Relaxed);
    set_hook(Some(deeper));
    undefined();
    set_hook(None);
    println!("nested-faults: {} deep", COUNT.load(Ordering::Relaxed));
}

fn undefined() {
    // SAFETY: the hook steps over it.
    unsafe { asm!("ud2") };
}

fn deeper(frame: &mut Frame) -> bool {
    if frame.vector != 6 {
        return false;
    }
    if COUNT.fetch_add(1, Ordering::Relaxed) + 1 < DEPTH {
        undefined();
    }
    frame.rip += 2;
    true
}

/// A data breakpoint where the next exception's frame is pushed: delivering it
/// raises #DB, whose delivery writes there again (CVE-2015-8104 and its kin).
fn breakpoint_on_the_stack() {
    COUNT.store(0, Ordering::Relaxed);
    set_hook(Some(|frame: &mut Frame| {
        match frame.vector {
            1 => _ = COUNT.fetch_add(1, Ordering::Relaxed),
            6 => frame.rip += 2,
            _ => return false,
        }
        true
    }));
    for offset in [8u64, 16, 40, 48] {
        // SAFETY: debug registers touch no memory; the hook steps over the rest.
        unsafe {
            asm!(
                "mov {at}, rsp",
                "and {at}, -16",
                "sub {at}, {offset}",
                "mov dr0, {at}",
                "mov {at:e}, 0x90701", // DR0: write, 8 bytes, global and local; GE
                "mov dr7, {at}",
                "ud2",
                "mov {at:e}, 0x400",
                "mov dr7, {at}",
                at = out(reg) _,
                offset = in(reg) offset,
            );
        }
    }
    set_hook(None);
    let count = COUNT.load(Ordering::Relaxed);
    println!("nested-faults: {count} breakpoints on the stack{}", if count == 0 { ", WRONG" } else { "" });
}
