//! RDMSR and WRMSR.

use super::{advance, apic, raise};
use crate::clock;
use crate::host::Host;
use crate::msr::{Policy, efer_is_legal, policy};
use crate::partition::Partition;
use crate::processor::VirtualProcessor;
use access::vcpu::{Event, RAX, RCX, RDX, Vcpu};
use emulator::decode::Known;
use spec::address::is_canonical;
use spec::local_apic::{PROCESSOR_PRIORITY, TASK_PRIORITY};
use spec::msr;
use spec::processor::CR0_PG;

/// RDMSR.
#[inline(never)]
pub fn read<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) {
    let number = vp.cpu.register(RCX) as u32;
    let Some(value) = value_of(vp, partition, number) else {
        return refuse(vp, partition, number, None);
    };
    if advance(vp, partition, Known::ReadMsr) {
        vp.cpu.set_register(RAX, value & 0xffff_ffff);
        vp.cpu.set_register(RDX, value >> 32);
    }
}

fn value_of<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    number: u32,
) -> Option<u64> {
    match policy(number) {
        Policy::Backend => vp.cpu.read_msr(number),
        Policy::ApicBase => Some(vp.apic.base()),
        Policy::TscDeadline => partition.offers_tsc_deadline().then(|| vp.apic.tsc_deadline()),
        Policy::X2Apic(register) if vp.apic.is_x2apic() => {
            if matches!(register, TASK_PRIORITY | PROCESSOR_PRIORITY) {
                vp.take_priority();
            }
            let hardware = if vp.direct.is_on() { vp.error_status(partition, register) } else { 0 };
            vp.apic.read(register, || partition.now()).ok().map(|value| value | hardware)
        }
        Policy::X2Apic(_) => None,
        Policy::Mtrr(index) => Some(vp.mtrrs.read(index)),
        Policy::WallClock => Some(vp.clock_msrs[0]),
        Policy::SystemTime => Some(vp.clock_msrs[1]),
        Policy::PvEoi => Some(vp.pv_eoi.register()),
        Policy::Exits => Some(vp.exits.iter().sum()),
        Policy::Tsc => Some(partition.now()),
        Policy::Constant(value) => Some(value),
        Policy::Deny => None,
    }
}

/// WRMSR.
#[inline(never)]
pub fn write<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) {
    let number = vp.cpu.register(RCX) as u32;
    let value = vp.cpu.register(RDX) << 32 | vp.cpu.register(RAX) & 0xffff_ffff;
    // The write comes before the step: a refused one faults at the instruction.
    // Where the bytes were rewritten meanwhile the guest executes again; every
    // register here tolerates the same value twice but for interrupt commands,
    // which then are sent twice, by a guest that rewrites code that it runs.
    if set(vp, partition, number, value) {
        advance(vp, partition, Known::WriteMsr);
    } else {
        refuse(vp, partition, number, Some(value));
    }
}

fn set<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    number: u32,
    value: u64,
) -> bool {
    match policy(number) {
        Policy::X2Apic(register) => write_x2apic(vp, partition, register, value),
        Policy::TscDeadline if partition.offers_tsc_deadline() => {
            let now = partition.now();
            vp.apic.set_tsc_deadline(value, now);
            vp.needs_service = true;
            true
        }
        Policy::Backend => write_backend(vp, number, value),
        Policy::ApicBase => {
            let done = vp.apic.set_base(value).is_ok();
            if !vp.apic.is_x2apic() {
                vp.leave_hardware(partition);
            }
            vp.publish_address(partition);
            vp.needs_service = true;
            done
        }
        Policy::Mtrr(index) => vp.mtrrs.write(index, value),
        Policy::WallClock => {
            vp.clock_msrs[0] = value;
            clock::write_wall_clock(&partition.memory, value, partition.epoch_at_zero);
            true
        }
        Policy::SystemTime => {
            vp.clock_msrs[1] = value;
            let stable = partition.cpuid.has_stable_clock();
            clock::write_system_time(&partition.memory, value, partition.tsc_hz, stable);
            true
        }
        Policy::PvEoi => vp.pv_eoi.set_register(value),
        Policy::Exits | Policy::Tsc | Policy::Constant(_) => true,
        Policy::Deny | Policy::TscDeadline => false,
    }
}

fn write_x2apic<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    register: u8,
    value: u64,
) -> bool {
    if !vp.apic.is_x2apic() {
        return false;
    }
    let Ok(effect) = vp.apic.write(register, value, || partition.now()) else { return false };
    let effect = if vp.ends_directly(register) { vp.end_watched(partition) } else { effect };
    if apic::apply(partition, vp.index, &vp.apic, effect) {
        vp.needs_service = true;
    }
    if vp.accelerated && vp.apic.accepts_external() {
        vp.take_back(partition);
    }
    if vp.direct.is_on() {
        vp.mirror(partition, register);
    } else if register == TASK_PRIORITY && !vp.accelerated {
        vp.cpu.set_task_priority(vp.apic.task_priority());
    }
    true
}

fn write_backend<V: Vcpu>(vp: &mut VirtualProcessor<V>, number: u32, value: u64) -> bool {
    let canonical = is_canonical(value);
    let legal = match number {
        msr::EFER => {
            let control = vp.cpu.control();
            efer_is_legal(value, control.efer, control.cr0 & CR0_PG != 0)
        }
        msr::PAT => value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)),
        msr::LSTAR | msr::CSTAR | msr::FS_BASE | msr::GS_BASE | msr::KERNEL_GS_BASE => canonical,
        msr::SYSENTER_ESP | msr::SYSENTER_EIP => canonical,
        _ => true,
    };
    legal && vp.cpu.write_msr(number, value)
}

#[cold]
fn refuse<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    number: u32,
    value: Option<u64>,
) {
    if vp.refused_msrs.is_new(number) {
        match value {
            None => partition.log(format_args!("RDMSR {number:#x} refused")),
            Some(value) => partition.log(format_args!("WRMSR {number:#x} = {value:#x} refused")),
        }
    }
    raise(vp, Event::PROTECTION);
}
