//! This processor's local APIC (Intel SDM vol. 3 chapter 12, AMD APM vol. 2 chapter 16).
//!
//! The mode that firmware left is adopted. From xAPIC to x2APIC there is a way
//! ([`use_x2apic`]); the way back leads through a disabled APIC and is not taken.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use raw_cpuid::FeatureInfo;
use spec::local_apic::{
    COMMAND, COMMAND_HIGH, END_OF_INTERRUPT, ERROR_STATUS, ID, IN_SERVICE, LVT_CMCI, LVT_ERROR, LVT_LINT0,
    LVT_LINT1, LVT_MASKED, LVT_PERFORMANCE, LVT_THERMAL, LVT_TIMER, REQUESTS, SPURIOUS_VECTOR, TASK_PRIORITY,
    VERSION,
};
use spec::{Hpa, msr};

use crate::cpu::interrupts::{self, APIC_ERROR, SPURIOUS, TIMER};
use crate::cpu::processor;
use crate::cpu::registers;
use crate::memory::paging::{self, Caching, Rights};

const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const COMMAND_PENDING: u32 = 1 << 12;
const COMMAND_ASSERT: u32 = 1 << 14;
const COMMAND_NMI: u32 = 4 << 8;
const COMMAND_INIT: u32 = 5 << 8;
const COMMAND_START_UP: u32 = 6 << 8;
const ALL_BUT_SELF: u32 = 3 << 18;
/// Polls of a pending command before it counts as sent anyhow.
const COMMAND_POLLS: u32 = 1_000_000;

/// Virtual address of the xAPIC registers; 0 in x2APIC mode and before [`init`].
static WINDOW: AtomicU64 = AtomicU64::new(0);
const NOT_READY: u64 = 1;
static MODE: AtomicU64 = AtomicU64::new(NOT_READY);

/// Why a processor's local APIC cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApicError {
    /// CPUID.1:EDX[9] says there is none.
    Absent,
    /// The registers could not be mapped.
    Unmapped,
    /// It is in x2APIC mode and the boot processor's is not.
    OtherMode,
}

fn x2apic() -> bool {
    MODE.load(Ordering::Relaxed) == BASE_X2APIC
}

/// Whether the local APICs are in x2APIC mode.
pub fn is_x2apic() -> bool {
    x2apic()
}

fn ready() -> bool {
    MODE.load(Ordering::Relaxed) != NOT_READY
}

/// Reads register `register` (its x2APIC number) of this processor.
pub fn read(register: u8) -> u32 {
    if x2apic() {
        // SAFETY: in x2APIC mode; callers name registers that both modes have.
        return unsafe { registers::read_msr(msr::X2APIC_FIRST + u32::from(register)) as u32 };
    }
    let address = WINDOW.load(Ordering::Relaxed) + 16 * u64::from(register);
    // SAFETY: `init` mapped the page of registers uncached; each is 32 bits at a
    // multiple of 16.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes register `register` (its x2APIC number) of this processor with a value that it
/// takes.
pub fn write(register: u8, value: u32) {
    if x2apic() {
        // SAFETY: in x2APIC mode; callers write values that the register takes.
        return unsafe { registers::write_msr(msr::X2APIC_FIRST + u32::from(register), value.into()) };
    }
    let address = WINDOW.load(Ordering::Relaxed) + 16 * u64::from(register);
    // SAFETY: as for `read`.
    unsafe { (address as *mut u32).write_volatile(value) };
}

/// Takes this processor's local APIC over: nothing but what the hypervisor asks for
/// can interrupt. On the boot processor the mode is adopted; the others follow it.
pub fn init() -> Result<(), ApicError> {
    if !registers::has(FeatureInfo::has_apic) {
        return Err(ApicError::Absent);
    }
    // SAFETY: the MSR exists wherever there is a local APIC of this century.
    let base = unsafe { registers::read_msr(msr::APIC_BASE) };
    let mut mode = base & BASE_X2APIC;
    if ready() {
        match (x2apic(), mode != 0) {
            (true, false) => mode = BASE_X2APIC,
            (false, true) => return Err(ApicError::OtherMode),
            _ => {}
        }
    }
    if mode == 0 && WINDOW.load(Ordering::Relaxed) == 0 {
        let window = paging::map_window(Hpa(base & BASE_ADDRESS), 4096, Rights::ReadWrite, Caching::Uncached)
            .map_err(|_| ApicError::Unmapped)?;
        WINDOW.store(window as u64, Ordering::Relaxed);
    }
    // Each step is legal: disabled to xAPIC, xAPIC to x2APIC (SDM figure 12-27).
    // SAFETY: enabling changes no address; the hypervisor's vectors are in place.
    unsafe {
        registers::write_msr(msr::APIC_BASE, base | BASE_ENABLE);
        registers::write_msr(msr::APIC_BASE, base | BASE_ENABLE | mode);
    }
    MODE.store(mode, Ordering::Relaxed);
    adopt_mode();
    mask_all();
    Ok(())
}

fn adopt_mode() {
    let local = processor::local();
    let register =
        if x2apic() { 0 } else { WINDOW.load(Ordering::Relaxed) + 16 * u64::from(END_OF_INTERRUPT) };
    local.eoi_register.store(register, Ordering::Relaxed);
    local.set_apic_id(id());
}

/// Masks every local source, takes all priorities, ends what an owner before left in
/// service.
pub fn mask_all() {
    write(SPURIOUS_VECTOR, 0x100 | u32::from(SPURIOUS));
    write(TASK_PRIORITY, 0);
    let entries = read(VERSION) >> 16 & 0xff;
    for (last, register) in [
        (0, LVT_TIMER),
        (2, LVT_LINT0),
        (3, LVT_LINT1),
        (4, LVT_PERFORMANCE),
        (5, LVT_THERMAL),
        (6, LVT_CMCI),
    ] {
        if entries >= last {
            write(register, LVT_MASKED | u32::from(TIMER));
        }
    }
    write(LVT_ERROR, LVT_MASKED | u32::from(APIC_ERROR));
    write(ERROR_STATUS, 0);
    for _ in 0..256 {
        if (0..8).all(|word| read(IN_SERVICE + word) == 0) {
            break;
        }
        end_interrupt();
    }
}

/// Takes what is pending, for nobody: what a guest that ended had coming. Interrupts are
/// off before and after.
///
/// Invariant, here and wherever else interrupts are let in (the functions between
/// `interrupt_windows` and its end in [`crate::cpu::interrupts`]): whatever vector from 16 on is
/// pending, whoever sent it and whenever, is ended and returns, and is a bit in a bitmap at
/// most. Nothing is in service when a window opens, since [`mask_all`] ended that before the
/// APIC was anybody else's, and since each stub ends its interrupt before the next comes; so
/// a bit in service tells an interrupt from the exception of the same number.
///
/// What a sibling that has not left yet sends after this, or while this loop gives up, is
/// taken the same way where this processor next sleeps or enters a guest.
pub fn drain() {
    for _ in 0..256 {
        if (0..8).all(|word| read(REQUESTS + word) == 0) {
            break;
        }
        interrupts::take_pending();
    }
    interrupts::take_vectors();
}

/// Moves this processor to x2APIC mode if it can; true if it is there. To be called
/// on the boot processor before the others start (they follow). With IDs above 254 or
/// IOAPIC interrupts to them, interrupt remapping must be on first.
pub fn use_x2apic() -> bool {
    if !ready() || !registers::has(FeatureInfo::has_x2apic) {
        return x2apic();
    }
    // SAFETY: the processor has x2APIC mode; xAPIC to x2APIC is a legal step, and the
    // registers keep their values but for the destination registers, which the
    // hypervisor does not use.
    unsafe {
        let base = registers::read_msr(msr::APIC_BASE);
        registers::write_msr(msr::APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
    }
    MODE.store(BASE_X2APIC, Ordering::Relaxed);
    adopt_mode();
    mask_all();
    true
}

/// This processor's ID.
pub fn id() -> u32 {
    if x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// Whether the interrupt `vector` is in service; no where no local APIC is in use yet.
pub fn is_in_service(vector: u8) -> bool {
    ready() && read(IN_SERVICE + (vector >> 5)) & 1 << (vector & 31) != 0
}

/// Ends the interrupt in service.
pub fn end_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Sends the command `low` to the processor with ID `destination`.
fn command(destination: u32, low: u32) {
    if !ready() {
        return;
    }
    if x2apic() {
        // An x2APIC command may overtake stores (SDM vol. 3 section 12.12.3).
        // SAFETY: fences order, nothing else; the MSR exists in this mode.
        unsafe {
            asm!("mfence", "lfence", options(nostack, preserves_flags));
            let value = u64::from(destination) << 32 | u64::from(low);
            registers::write_msr(msr::X2APIC_FIRST + u32::from(COMMAND), value);
        }
        return;
    }
    wait_for_command();
    write(COMMAND_HIGH, destination << 24);
    write(COMMAND, low);
    wait_for_command();
}

fn wait_for_command() {
    let _ = (0..COMMAND_POLLS).any(|_| read(COMMAND) & COMMAND_PENDING == 0);
}

/// Sends an NMI to the processor with ID `destination`.
pub fn send_nmi(destination: u32) {
    command(destination, COMMAND_NMI | COMMAND_ASSERT);
}

/// Sends an NMI to every other processor, started or not.
pub(crate) fn send_nmi_to_others() {
    command(0, COMMAND_NMI | COMMAND_ASSERT | ALL_BUT_SELF);
}

/// Sends INIT.
pub(crate) fn send_init(destination: u32) {
    command(destination, COMMAND_INIT | COMMAND_ASSERT);
}

/// Sends a start-up message: the processor starts in real mode at `page << 12`.
pub(crate) fn send_start_up(destination: u32, page: u8) {
    command(destination, COMMAND_START_UP | COMMAND_ASSERT | u32::from(page));
}

/// Sends the interrupt `vector` to the processor with ID `destination`.
pub fn send_interrupt(destination: u32, vector: u8) {
    command(destination, COMMAND_ASSERT | u32::from(vector));
}
