//! MOV to a control register, where it exits.
//!
//! CR8: while an interrupt waits for a lower task priority. CR4: where the processor has
//! bits that CPUID does not tell the guest of, and cannot keep them from it by itself (AMD-V;
//! VT-x divides the register, `machine::vmx::control_registers`).

use super::{advance, raise};
use crate::cpuid::{CpuidPolicy, Dynamic};
use crate::host::Host;
use crate::partition::Partition;
use crate::processor::VirtualProcessor;
use access::vcpu::{ControlRegisters, Event, Vcpu};
use emulator::decode::{Control, Known};
use emulator::{CodeSize, control_write};
use spec::processor::{CR4_PAE, CR4_PCE, CR4_PCIDE, EFER_LMA};

/// Carries out a MOV of `value` to CR`register`; where the hardware does not say what is
/// moved, the instruction does.
pub fn write<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    register: u8,
    value: Option<u64>,
) {
    let decoded = control_write(&vp.cpu, &partition.memory, &mut vp.interpreter.recent);
    let Some(Control::Move { register: named, source }) = decoded else {
        return raise(vp, Event::PROTECTION);
    };
    if named != register || vp.cpu.privilege_level() != 0 {
        return raise(vp, Event::PROTECTION);
    }
    let value = value.unwrap_or_else(|| vp.cpu.register(source.into()));
    let value = if CodeSize::of(&vp.cpu) == CodeSize::Bits64 { value } else { value & 0xffff_ffff };
    match register {
        4 => write_cr4(vp, partition, value),
        8 if value <= 15 => {
            if advance(vp, partition, Known::Control) {
                vp.cpu.set_task_priority((value as u8) << 4);
                vp.needs_service = true;
            }
        }
        _ => raise(vp, Event::PROTECTION),
    }
}

fn write_cr4<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, value: u64) {
    let control = vp.cpu.control();
    if !cr4_is_legal(value, &control, offered_cr4(&partition.cpuid)) {
        return raise(vp, Event::PROTECTION);
    }
    // A single step over it, or its end, is that of the mode that it leads to.
    if advance(vp, partition, Known::Control) {
        vp.cpu.set_control(ControlRegisters { cr4: value, ..control });
    }
}

/// The bits of CR4 that belong to what CPUID offers (Intel SDM vol. 3 section 2.5).
pub fn offered_cr4(cpuid: &CpuidPolicy) -> u64 {
    let dynamic = Dynamic { apic_id: 0, cr4_osxsave: false, apic_enabled: true };
    let [_, _, ecx, edx] = cpuid.lookup(1, 0, dynamic);
    let [_, structured_ebx, structured_ecx, _] = cpuid.lookup(7, 0, dynamic);
    /// Bits of CR4 that come with a bit of a register, by number.
    type Bits = &'static [(u64, u32)];
    // VME and PVI, TSD, DE, PSE, PAE, MCE, PGE, OSFXSR, OSXMMEXCPT.
    let from_edx: Bits = &[
        (0b11, 1),
        (1 << 2, 4),
        (1 << 3, 2),
        (1 << 4, 3),
        (1 << 5, 6),
        (1 << 6, 7),
        (1 << 7, 13),
        (1 << 9, 24),
        (1 << 10, 25),
    ];
    // PCIDE, OSXSAVE; FSGSBASE, SMEP, SMAP; UMIP.
    let from_ecx: Bits = &[(CR4_PCIDE, 17), (1 << 18, 26)];
    let from_ebx: Bits = &[(1 << 16, 0), (1 << 20, 7), (1 << 21, 20)];
    let from_structured_ecx: Bits = &[(1 << 11, 2)];
    let rows =
        [(edx, from_edx), (ecx, from_ecx), (structured_ebx, from_ebx), (structured_ecx, from_structured_ecx)];
    let offered = rows.into_iter().flat_map(|(register, bits)| {
        bits.iter().filter(move |(_, number)| register >> number & 1 != 0).map(|(bit, _)| *bit)
    });
    // RDPMC for programs has no bit of its own.
    offered.fold(CR4_PCE, |all, bit| all | bit)
}

/// Whether CR4 may become `value` where `offered` are the bits that the guest has.
fn cr4_is_legal(value: u64, current: &ControlRegisters, offered: u64) -> bool {
    let long = current.efer & EFER_LMA != 0;
    let sets = |bit| value & bit != 0 && current.cr4 & bit == 0;
    let untags = !sets(CR4_PCIDE) || long && current.cr3 & 0xfff == 0;
    value & !offered == 0 && (!long || value & CR4_PAE != 0) && untags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpuid::GuestCpuidConfig;

    const LONG: ControlRegisters =
        ControlRegisters { cr0: 0x8000_0011, cr2: 0, cr3: 0x1000, cr4: CR4_PAE, efer: 0x500 };

    #[test]
    fn bits_of_what_is_hidden_are_refused() {
        let everything = |leaf: u32, _: u32| match leaf {
            0 => [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
            0x8000_0000 => [0x8000_0021, 0, 0, 0],
            _ => [u32::MAX; 4],
        };
        let config = GuestCpuidConfig { vcpus: 1, tsc_khz: 1_000_000, modelled_timer: false };
        let offered = offered_cr4(&CpuidPolicy::new(&everything, config));
        assert_eq!(offered, 0x0037_0fff);
        for (bit, name) in
            [(12, "LA57"), (13, "VMXE"), (14, "SMXE"), (22, "PKE"), (23, "CET"), (24, "PKS"), (32, "FRED")]
        {
            assert!(!cr4_is_legal(CR4_PAE | 1 << bit, &LONG, offered), "{name}");
        }
        assert!(cr4_is_legal(0x0037_06f0, &LONG, offered));
        assert!(!cr4_is_legal(CR4_PAE | 1 << 63, &LONG, offered));
    }

    #[test]
    fn what_the_processor_lacks_is_not_offered() {
        let nothing = |leaf: u32, _: u32| if leaf == 0 { [0xd, 0, 0, 0] } else { [0; 4] };
        let config = GuestCpuidConfig { vcpus: 1, tsc_khz: 1_000_000, modelled_timer: false };
        assert_eq!(offered_cr4(&CpuidPolicy::new(&nothing, config)), CR4_PCE);
    }

    #[test]
    fn long_mode_keeps_pae_and_alone_has_process_identifiers() {
        assert!(!cr4_is_legal(0, &LONG, u64::MAX), "PAE in long mode");
        assert!(cr4_is_legal(0, &ControlRegisters { efer: 0, ..LONG }, u64::MAX));
        let tagged = CR4_PAE | CR4_PCIDE;
        assert!(cr4_is_legal(tagged, &LONG, u64::MAX));
        assert!(!cr4_is_legal(tagged, &ControlRegisters { cr3: 0x1018, ..LONG }, u64::MAX));
        assert!(!cr4_is_legal(tagged, &ControlRegisters { efer: 0, ..LONG }, u64::MAX));
        // Once they are on, CR3 has one.
        assert!(cr4_is_legal(tagged, &ControlRegisters { cr3: 0x1018, cr4: tagged, ..LONG }, u64::MAX));
    }
}
