//! The guest's one processor: KVM runs it, the models answer.
//!
//! KVM emulates no interrupt controller here. What interrupts the guest is decided by the models, and
//! comes to the processor when it can take it.

use std::io::{self, ErrorKind, Write as _};

use anyhow::{Context, Result, bail, ensure};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_enable_cap};
use kvm_ioctls::{
    Cap, Kvm, MsrExitReason, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuExit, VcpuFd,
    VmFd,
};
use spec::{Gpa, Width, msr};

use crate::bell::Bell;
use crate::cpuid;
use crate::machine::{End, Machine};
use crate::registers::Registers;

/// Three pages below 4 GiB that VT-x without unrestricted guest needs, and one for page tables; no memory is
/// there.
const TASK_STATE: usize = 0xfffb_d000;
const IDENTITY_MAP: u64 = 0xfffb_c000;

/// Makes a virtual machine whose interrupt controllers are none of KVM's: accesses to MSRs that are a local APIC's
/// come out, those in memory do since nothing is there.
///
/// # Errors
/// This KVM cannot do that.
pub fn make_vm(kvm: &Kvm) -> Result<VmFd> {
    let vm = kvm.create_vm().context("KVM makes no virtual machine: has the processor SVM or VMX?")?;
    for (cap, name) in [(Cap::X86UserSpaceMsr, "user space MSRs"), (Cap::X86MsrFilter, "MSR filters")] {
        ensure!(vm.check_extension(cap), "this KVM has no {name}: Linux 5.10 is the first that has");
    }
    vm.set_identity_map_address(IDENTITY_MAP).context("KVM refuses its identity map")?;
    vm.set_tss_address(TASK_STATE).context("KVM refuses its task state segment")?;
    // Without a local APIC of its own KVM has no x2APIC registers: an access to them is invalid.
    let reasons = MsrExitReason::Filter | MsrExitReason::Inval;
    let mut cap = kvm_enable_cap { cap: Cap::X86UserSpaceMsr as u32, ..Default::default() };
    cap.args[0] = reasons.bits().into();
    vm.enable_cap(&cap).context("KVM keeps MSRs to itself")?;
    let apic_base = MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base: msr::APIC_BASE,
        msr_count: 1,
        bitmap: &[0],
    };
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &[apic_base]).context("KVM filters no MSRs")?;
    Ok(vm)
}

/// Makes its processor, with these registers to start from.
///
/// # Errors
/// KVM refuses something.
pub fn make(kvm: &Kvm, vm: &VmFd, start: impl FnOnce(&mut Registers)) -> Result<VcpuFd> {
    let vcpu = vm.create_vcpu(0).context("KVM makes no processor")?;
    let mut offered: CpuId = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("no CPUID table")?;
    cpuid::restrict(offered.as_mut_slice());
    vcpu.set_cpuid2(&offered).context("KVM refuses the guest's CPUID table")?;
    let mut registers = Registers { system: vcpu.get_sregs().context("no registers")?, ..Default::default() };
    start(&mut registers);
    vcpu.set_sregs(&registers.system).context("KVM refuses the system's registers")?;
    vcpu.set_regs(&registers.general).context("KVM refuses the general registers")?;
    Ok(vcpu)
}

/// Runs the guest until it ends.
///
/// # Errors
/// KVM cannot go on.
pub fn run(vcpu: &mut VcpuFd, machine: &mut Machine, bell: &Bell) -> Result<End> {
    loop {
        bell.take_typed(|byte| machine.receive(byte));
        let time = machine.tick();
        if bell.quits() {
            return Ok(End::Quit);
        }
        if let Some(end) = machine.end() {
            return Ok(end);
        }
        interrupt(vcpu, machine)?;
        if !bell.enter(time) {
            continue;
        }
        let outcome = vcpu.run();
        bell.leave();
        let exit = match outcome {
            Ok(exit) => exit,
            // The bell.
            Err(error) if is_interrupted(error.errno()) => continue,
            Err(error) => return Err(error).context("KVM does not run the processor"),
        };
        let halts = answer(exit, machine)?;
        machine.set_priority(vcpu.get_kvm_run().cr8);
        if halts {
            halt(vcpu, machine, bell);
        }
    }
}

/// Does what the guest left for. Whether it waits for an interrupt now.
fn answer(exit: VcpuExit<'_>, machine: &mut Machine) -> Result<bool> {
    match exit {
        VcpuExit::IoIn(port, bytes) => {
            let width = width_of(bytes.len(), 4).context("a string instruction at a port")?;
            let value = machine.port_read(port, width).to_le_bytes();
            bytes.copy_from_slice(&value[..bytes.len()]);
        }
        VcpuExit::IoOut(port, bytes) => {
            let width = width_of(bytes.len(), 4).context("a string instruction at a port")?;
            machine.port_write(port, width, number(bytes) as u32);
        }
        VcpuExit::MmioRead(gpa, bytes) => match width_of(bytes.len(), 8) {
            Some(width) => {
                let value = machine.memory_read(Gpa(gpa), width).to_le_bytes();
                bytes.copy_from_slice(&value[..bytes.len()]);
            }
            // A part of an access that crosses a page; no device has such registers.
            None => bytes.fill(0xff),
        },
        VcpuExit::MmioWrite(gpa, bytes) => {
            if let Some(width) = width_of(bytes.len(), 8) {
                machine.memory_write(Gpa(gpa), width, number(bytes));
            }
        }
        VcpuExit::X86Rdmsr(access) => match machine.msr_read(access.index) {
            Some(value) => *access.data = value,
            None => *access.error = 1,
        },
        VcpuExit::X86Wrmsr(access) => {
            *access.error = u8::from(!machine.msr_write(access.index, access.data));
        }
        VcpuExit::Hlt => return Ok(true),
        VcpuExit::IrqWindowOpen | VcpuExit::SetTpr | VcpuExit::Intr => {}
        VcpuExit::Shutdown => machine.stop(End::TripleFault),
        VcpuExit::FailEntry(reason, _) => bail!("the processor refuses the guest's state ({reason:#x})"),
        VcpuExit::InternalError => bail!("KVM cannot emulate an instruction of the guest's"),
        other => bail!("the guest left for what is not known here: {other:?}"),
    }
    Ok(false)
}

/// Gives the processor an interrupt that it can take, or has it come out when it can.
fn interrupt(vcpu: &mut VcpuFd, machine: &mut Machine) -> Result<()> {
    if machine.take_nmi() {
        vcpu.nmi().context("KVM refuses an NMI")?;
    }
    let is_ready = vcpu.get_kvm_run().ready_for_interrupt_injection != 0;
    if is_ready
        && machine.has_interrupt()
        && let Some(vector) = machine.take_interrupt()
    {
        let mut events = vcpu.get_vcpu_events().context("no events")?;
        // Nothing else is pending, or the processor would not be ready; so nothing else changes.
        events.flags = 0;
        (events.interrupt.injected, events.interrupt.nr, events.interrupt.soft) = (1, vector, 0);
        vcpu.set_vcpu_events(&events).context("KVM refuses an interrupt")?;
    }
    let (priority, waits) = (machine.priority(), machine.has_interrupt());
    let run = vcpu.get_kvm_run();
    run.cr8 = priority;
    run.request_interrupt_window = waits.into();
    Ok(())
}

/// The guest's processor halts until it has an interrupt to take.
fn halt(vcpu: &mut VcpuFd, machine: &mut Machine, bell: &Bell) {
    if vcpu.get_kvm_run().if_flag == 0 {
        return machine.stop(End::Halted);
    }
    // A prompt has no end of line.
    let _ = std::io::stdout().flush();
    loop {
        bell.take_typed(|byte| machine.receive(byte));
        let time = machine.tick();
        if machine.has_interrupt() || machine.end().is_some() || bell.quits() {
            return;
        }
        bell.halt(time);
    }
}

/// Whether a call ended with this number because of a signal.
fn is_interrupted(number: i32) -> bool {
    let kind = io::Error::from_raw_os_error(number).kind();
    matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// The width of an access of so many bytes, at most `most`. KVM gives the elements of a string instruction at a
/// port at once, and how many they are does not get here: two or four bytes count as one access. No driver of
/// this machine's ports uses string instructions.
fn width_of(bytes: usize, most: usize) -> Option<Width> {
    Width::from_bytes(bytes).filter(|_| bytes <= most)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_widths() {
        assert_eq!(number(&[0x78, 0x56, 0x34, 0x12]), 0x1234_5678);
        assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 0x80]), 0x8000_0000_0000_0001);
        assert_eq!(width_of(4, 4), Some(Width::Dword));
        assert_eq!((width_of(8, 4), width_of(3, 8), width_of(0, 8)), (None, None, None));
    }
}
