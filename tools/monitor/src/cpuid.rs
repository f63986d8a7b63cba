//! What the guest's processor says that it is: what KVM offers, but for what this machine has not.

use kvm_bindings::kvm_cpuid_entry2;

/// Leaf 1 EBX: initial APIC ID, and how many processors share the package.
const TOPOLOGY: u32 = 0xffff_0000;
/// One processor.
const ALONE: u32 = 1 << 16;
/// Leaf 1 ECX: x2APIC, and that there is a hypervisor.
const X2APIC: u32 = 1 << 21;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 ECX: MONITOR, VMX, and the deadline timer, which would count by the processor's own TSC.
const NOT_HERE: u32 = 1 << 3 | 1 << 5 | 1 << 24;
/// Leaf 1 EDX: several processors.
const THREADS: u32 = 1 << 28;
/// Leaf 8000_0001 ECX: SVM.
const SVM: u32 = 1 << 2;
/// KVM's features: its clock, by either pair of registers, that needs no check, and no delay after I/O. What
/// else it offers would be for its own interrupt controllers.
const KVM_FEATURES: u32 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 24;

/// Takes out of KVM's table what the machine does not have.
pub fn restrict(entries: &mut [kvm_cpuid_entry2]) {
    for entry in entries {
        match entry.function {
            1 => {
                entry.ebx = entry.ebx & !TOPOLOGY | ALONE;
                entry.ecx = entry.ecx & !NOT_HERE | X2APIC | HYPERVISOR;
                entry.edx &= !THREADS;
            }
            // Extended topology: one processor, which is number 0.
            0xb | 0x1f => {
                entry.ebx = u32::from(entry.index < 2);
                (entry.eax, entry.edx) = (0, 0);
            }
            0x4000_0001 => (entry.eax, entry.edx) = (entry.eax & KVM_FEATURES, 0),
            0x8000_0001 => entry.ecx &= !SVM,
            // One thread.
            0x8000_0008 => entry.ecx = 0,
            0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (0, 0, 0),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_processor_with_the_local_apic_of_the_models() {
        let all = |function| kvm_cpuid_entry2 {
            function,
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
            ..Default::default()
        };
        let mut entries = [all(1), all(0xb), all(0x4000_0001), all(0x8000_0001), all(7)];
        restrict(&mut entries);
        let [first, topology, kvm, extended, other] = entries;
        assert_eq!((first.ebx >> 16, first.ecx & NOT_HERE, first.edx & THREADS), (1, 0, 0));
        assert_eq!(first.ecx & (X2APIC | HYPERVISOR), X2APIC | HYPERVISOR);
        assert_eq!((topology.eax, topology.ebx, topology.edx), (0, 1, 0));
        assert_eq!((kvm.eax, extended.ecx & SVM, other.ebx), (KVM_FEATURES, 0, u32::MAX));
    }
}
