//! What to do about each exit, once for both vendors.

mod apic;
mod control;
mod hypercall;
mod memory;
mod msr;
pub(crate) mod port;

pub(crate) use control::offered_cr4;

pub use memory::Unemulated;

use crate::cpuid::{Dynamic, Registers};
use crate::host::Host;
use crate::msr::xcr0_is_legal;
use crate::partition::{End, Partition};
use crate::processor::{Activity, VirtualProcessor};
use access::vcpu::{Event, Exit, RAX, RBX, RCX, RDX, TaskSource, Vcpu};
use emulator::decode::Known;
use emulator::task_switch::{self, Failure};
use emulator::{next_rip_at_once, next_rip_by_decoding};
use spec::processor::{CR4_OSXSAVE, RFLAGS_TF};

/// Handles `exit`.
///
/// Part of the loop, with the one exit whose handling is as short as a call; the others
/// are functions of their own, which keeps the loop's variables in registers.
#[inline(always)]
pub fn handle<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, exit: Exit) {
    match exit {
        Exit::Cpuid => cpuid(vp, partition),
        Exit::NestedFault { gpa, access } => memory::handle(vp, partition, gpa, access),
        Exit::ReadMsr => msr::read(vp, partition),
        Exit::WriteMsr => msr::write(vp, partition),
        Exit::Port(access) => port::handle(vp, partition, access),
        Exit::Interrupt | Exit::Kick => vp.collect_interrupts(partition),
        Exit::InterruptWindow | Exit::NmiWindow | Exit::Timer => vp.needs_service = true,
        Exit::Halt => halt(vp, partition),
        Exit::Hypercall => hypercall::handle(vp, partition),
        Exit::Idle => step(vp, partition, Known::Idle),
        Exit::WriteBackCaches => step(vp, partition, Known::WriteBackCaches),
        other => rare(vp, partition, other),
    }
}

#[cold]
#[inline(never)]
fn rare<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, exit: Exit) {
    match exit {
        Exit::Shutdown => {
            partition.log(format_args!("vCPU {}: triple fault at {:#x}", vp.index, vp.cpu.rip()));
            end(vp, partition, End::TripleFault);
        }
        Exit::Exception { vector, error } => exception(vp, partition, vector, error),
        Exit::UndefinedOpcode => raise(vp, Event::UNDEFINED),
        Exit::WriteControl { register, value } => control::write(vp, partition, register, value),
        Exit::SetXcr => set_xcr(vp, partition),
        Exit::GeneralProtection => raise(vp, Event::PROTECTION),
        Exit::Handled => {}
        Exit::TaskSwitch { selector, source } => switch_task(vp, partition, selector, source),
        Exit::EndOfInterrupt { vector } => apic::end_kept(vp, partition, vector),
        Exit::ApicWrite { register } => apic::write_kept(vp, partition, register),
        // INIT reached the machine's processor: nobody here sends it; stay.
        Exit::Init => {}
        Exit::InvalidState => {
            let (control, rip) = (vp.cpu.control(), vp.cpu.rip());
            let (why, number) = vp.cpu.explanation().unwrap_or(("a register", 0));
            partition.log(format_args!(
                "vCPU {}: the processor refuses its state at {rip:#x}: {why} ({number:#x}), {control:x?}",
                vp.index,
            ));
            end(vp, partition, End::InvalidState);
        }
        other => {
            let (index, rip) = (vp.index, vp.cpu.rip());
            let (why, number) = vp.cpu.explanation().unwrap_or(("no more is known", 0));
            partition.log(format_args!(
                "vCPU {index}: an exit that has no business here at {rip:#x}: {other:?}, {why} ({number:#x})"
            ));
            end(vp, partition, End::InvalidState);
        }
    }
}

/// A task switch that the processor leaves to software.
fn switch_task<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    selector: u16,
    source: TaskSource,
) {
    match task_switch::switch(&mut vp.cpu, &partition.memory, selector, source) {
        Ok(()) => {}
        Err(Failure::Fault(event)) => raise(vp, event),
        Err(Failure::NoTask) => {
            let (index, rip) = (vp.index, vp.cpu.rip());
            partition.log(format_args!("vCPU {index}: a task switch where there is no task, at {rip:#x}"));
            end(vp, partition, End::BadAccess);
        }
    }
}

/// Ends the guest and makes this vCPU notice.
pub fn end<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, end: End) {
    partition.request_end(end);
    vp.needs_service = true;
}

/// Delivers an exception at the next entry.
pub fn raise<V: Vcpu>(vp: &mut VirtualProcessor<V>, event: Event) {
    vp.exception = Some(event);
    vp.needs_service = true;
}

/// Steps over the instruction that exited, which the exit said to be `known`. False
/// where the bytes are no longer that instruction, or cannot be fetched: then
/// nothing was done and the guest executes again what is there now.
///
/// Inlined with a constant `known`, for [`next_rip_at_once`].
#[inline(always)]
pub fn advance<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    known: Known,
) -> bool {
    let next = if let Some(next) = vp.cpu.next_rip() {
        next
    } else if let Some(next) = next_rip_at_once(&vp.cpu, &partition.memory, &mut vp.interpreter.recent, known)
    {
        next
    } else {
        match next_rip_by_decoding(&vp.cpu, &partition.memory, &mut vp.interpreter.recent, known) {
            Some(next) => next,
            None => return false,
        }
    };
    vp.cpu.set_rip(next);
    vp.cpu.clear_interrupt_shadow();
    // The processor would have trapped after the instruction.
    if vp.cpu.rflags() & RFLAGS_TF != 0 {
        raise(vp, Event::Exception { vector: 1, error: None });
    }
    true
}

#[inline(never)]
fn step<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, known: Known) {
    advance(vp, partition, known);
}

#[inline(always)]
fn cpuid<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) {
    if !advance(vp, partition, Known::Cpuid) {
        return;
    }
    let leaf = vp.cpu.register(RAX) as u32;
    if let Some(constant) = partition.cpuid.constant(leaf) {
        return set_answer(vp, constant);
    }
    let subleaf = vp.cpu.register(RCX) as u32;
    let dynamic = Dynamic {
        apic_id: vp.index as u32,
        cr4_osxsave: vp.cpu.control().cr4 & CR4_OSXSAVE != 0,
        apic_enabled: vp.apic.is_enabled(),
    };
    set_answer(vp, &partition.cpuid.lookup(leaf, subleaf, dynamic));
}

#[inline(always)]
fn set_answer<V: Vcpu>(vp: &mut VirtualProcessor<V>, answer: &Registers) {
    for (register, value) in [RAX, RBX, RCX, RDX].into_iter().zip(answer) {
        vp.cpu.set_register(register, u64::from(*value));
    }
}

#[inline(never)]
fn halt<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) {
    if advance(vp, partition, Known::Halt) {
        vp.activity = Activity::Halted;
        vp.needs_service = true;
    }
}

/// An intercepted exception belongs to the guest, but for a machine check.
fn exception<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    vector: u8,
    error: u32,
) {
    const ALIGNMENT_CHECK: u8 = 17;
    const MACHINE_CHECK: u8 = 18;
    match vector {
        MACHINE_CHECK => {
            if !partition.host.survives_machine_check(partition) {
                partition.log(format_args!("vCPU {}: a machine check while it ran ends the guest", vp.index));
                end(vp, partition, End::Stopped);
            }
        }
        ALIGNMENT_CHECK => raise(vp, Event::Exception { vector, error: Some(error) }),
        _ => raise(vp, Event::Exception { vector, error: None }),
    }
}

/// XSETBV, where it exits: the guest gets the state components that CPUID offers it.
fn set_xcr<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) {
    let value = vp.cpu.register(RDX) << 32 | vp.cpu.register(RAX) & 0xffff_ffff;
    let offered = partition.cpuid.offered_xcr0();
    let privileged = vp.cpu.privilege_level() == 0;
    if !privileged || vp.cpu.register(RCX) as u32 != 0 || !xcr0_is_legal(value, offered) {
        raise(vp, Event::PROTECTION);
    } else if advance(vp, partition, Known::SetXcr) {
        vp.cpu.set_xcr0(value);
    }
}
