//! When nothing can go on: say where and why, stop everything.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use x86_64::registers::control::{Cr0, Cr2, Cr4};

use crate::chipset::power;
use crate::console;
use crate::console::symbols;
use crate::cpu::interrupts::{Frame, exception_name};
use crate::cpu::machine_check::Finding;
use crate::cpu::registers;
use crate::cpu::{apic, processor};
use crate::memory::{layout, paging};

/// Not 0: a processor that gets an NMI stops for ever. The NMI stub reads it.
pub static STOPPING: AtomicU8 = AtomicU8::new(0);
/// The processor that panics, counted from 1; 0 while there is none.
static PANICKING: AtomicUsize = AtomicUsize::new(0);

const BACKTRACE_FRAMES: usize = 32;
const LAST_LINES: usize = 16;

/// Stops the other processors: each halts at its NMI, wherever it is (a guest's turn
/// ends first). Those that have not been started are the firmware's, which has no handler for
/// an NMI: it would reset the machine before anything is said.
pub fn stop_others() {
    STOPPING.store(1, Ordering::SeqCst);
    if processor::count() > 1 {
        apic::send_nmi_to_others();
    }
}

/// Names an address for the report.
struct Place(u64);

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match symbols::find(self.0) {
            Some((name, offset)) => write!(f, "{:#018x} {name}+{offset:#x}", self.0),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}

/// Calls `each` with the return addresses from the frame that RBP points to. Frames
/// must rise within one stack, so the walk ends; nothing unmapped is read.
fn for_each_return(mut rbp: u64, mut each: impl FnMut(u64)) {
    for _ in 0..BACKTRACE_FRAMES {
        if rbp == 0 || rbp % 8 != 0 || !is_stack(rbp) || !is_stack(rbp + 8) {
            return;
        }
        // SAFETY: both words are mapped, aligned memory of a stack; what is there may
        // be anything.
        let (next, address) =
            unsafe { ((rbp as *const u64).read_volatile(), ((rbp + 8) as *const u64).read_volatile()) };
        if address == 0 {
            return;
        }
        each(address);
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}

fn is_stack(address: u64) -> bool {
    let (start, end) = layout::image().data;
    let area = layout::STACKS..layout::STACKS + layout::STACKS_BYTES;
    (area.contains(&address) || (start..end).contains(&address)) && paging::is_mapped(address)
}

fn print_registers(frame: &Frame) {
    let [r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax] = frame.general;
    log::error!("rip {}", Place(frame.rip));
    log::error!("rsp {:#018x} rflags {:#x} cs {:#x} ss {:#x}", frame.rsp, frame.rflags, frame.cs, frame.ss);
    log::error!("rax {rax:#018x} rbx {rbx:#018x} rcx {rcx:#018x} rdx {rdx:#018x}");
    log::error!("rsi {rsi:#018x} rdi {rdi:#018x} rbp {rbp:#018x} r8  {r8:#018x}");
    log::error!("r9  {r9:#018x} r10 {r10:#018x} r11 {r11:#018x} r12 {r12:#018x}");
    log::error!("r13 {r13:#018x} r14 {r14:#018x} r15 {r15:#018x}");
    print_control();
}

fn print_control() {
    log::error!(
        "cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x}",
        Cr0::read_raw(),
        Cr2::read_raw(),
        registers::read_cr3(),
        Cr4::read_raw()
    );
}

/// Makes this processor the only one that runs and the console its own. A second
/// failure, in the report itself, ends here.
fn begin() {
    let this = processor::current_index() + 1;
    match PANICKING.compare_exchange(0, this, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {}
        Err(first) if first == this => {
            power::debug_exit(0x1f);
            registers::halt_forever();
        }
        // Another one reports already. A machine check reaches all processors at once.
        Err(_) => registers::halt_forever(),
    }
    stop_others();
    console::break_lock();
    // First, so that they are what led here and not this report.
    log::error!("the hypervisor stops; the last lines were:");
    console::replay(LAST_LINES + 1);
}

fn finish(rbp: u64) -> ! {
    log::error!("backtrace:");
    for_each_return(rbp, |address| log::error!("  {}", Place(address)));
    log::error!("the hypervisor has stopped");
    power::debug_exit(0x1f);
    registers::halt_forever()
}

/// Reports an exception of the hypervisor itself and stops.
pub(crate) fn exception(frame: &Frame) -> ! {
    begin();
    log::error!(
        "processor {}: exception {} ({}), error code {:#x}",
        processor::current_index(),
        frame.vector,
        exception_name(frame.vector),
        frame.error
    );
    print_registers(frame);
    finish(frame.rbp())
}

/// Reports a machine check that the hypervisor does not survive and stops.
pub(crate) fn machine_check(frame: &Frame, finding: &Finding) -> ! {
    begin();
    log::error!("processor {}: {finding}", processor::current_index());
    print_registers(frame);
    finish(frame.rbp())
}

/// Reports a machine check that came while a guest ran, and that the machine does not survive,
/// and stops.
pub(crate) fn machine_check_in_guest(finding: &Finding) -> ! {
    begin();
    log::error!("processor {}, in a guest: {finding}", processor::current_index());
    print_control();
    finish(0)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let rbp: u64;
    // SAFETY: reading RBP has no effect; frame pointers are on in this target.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    begin();
    log::error!("processor {}: {info}", processor::current_index());
    print_control();
    finish(rbp)
}
