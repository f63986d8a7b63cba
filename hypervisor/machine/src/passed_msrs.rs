//! The MSRs that a guest reaches without an exit, whatever the vendor: those that an
//! entry and an exit switch, and those that the hypervisor never uses, which belong to
//! the guest that owns the processor and are cleared between owners.

use spec::msr;

/// Which accesses do not exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    /// Reads.
    Reads,
    /// Reads and writes.
    Both,
}

/// The list. Everything else exits.
pub const PASSED: [(u32, Passed); 12] = [
    (msr::SYSENTER_CS, Passed::Both),
    (msr::SYSENTER_ESP, Passed::Both),
    (msr::SYSENTER_EIP, Passed::Both),
    (msr::STAR, Passed::Both),
    (msr::LSTAR, Passed::Both),
    (msr::CSTAR, Passed::Both),
    (msr::SFMASK, Passed::Both),
    (msr::FS_BASE, Passed::Both),
    (msr::GS_BASE, Passed::Both),
    (msr::KERNEL_GS_BASE, Passed::Both),
    (msr::TSC_AUX, Passed::Both),
    // Reading it leaks nothing that RDTSC does not.
    (msr::TSC, Passed::Reads),
];

#[cfg(test)]
mod tests {
    use super::*;
    use spec::vmx::capability;

    #[test]
    fn what_can_switch_virtualisation_or_reach_others_exits() {
        for never in [
            msr::EFER,
            msr::VM_CR,
            msr::VM_HSAVE_PA,
            msr::APIC_BASE,
            msr::X2APIC_FIRST + 0x30,
            msr::PAT,
            capability::FEATURE_CONTROL,
        ] {
            assert!(PASSED.iter().all(|(passed, _)| *passed != never), "{never:#x}");
        }
    }
}
