//! The MSRs that a guest reaches without an exit, whatever the vendor: those that an
//! entry and an exit switch, and those that the hypervisor never uses, which belong to
//! the guest that owns the processor and are cleared between owners.

use access::vcpu::{DirectAccess, InterruptMode};
use spec::local_apic::{END_OF_INTERRUPT, REGISTERS};
use spec::{Hpa, msr};

/// Which accesses do not exit.
pub type Passed = DirectAccess;

const BOTH: Passed = Passed { read: true, write: true };
const READS: Passed = Passed { read: true, write: false };

/// What every guest reaches.
const ALWAYS: [(u32, Passed); 12] = [
    (msr::SYSENTER_CS, BOTH),
    (msr::SYSENTER_ESP, BOTH),
    (msr::SYSENTER_EIP, BOTH),
    (msr::STAR, BOTH),
    (msr::LSTAR, BOTH),
    (msr::CSTAR, BOTH),
    (msr::SFMASK, BOTH),
    (msr::FS_BASE, BOTH),
    (msr::GS_BASE, BOTH),
    (msr::KERNEL_GS_BASE, BOTH),
    (msr::TSC_AUX, BOTH),
    // Reading it leaks nothing that RDTSC does not.
    (msr::TSC, READS),
];

/// What a guest reaches whose interrupts are taken as `interrupts` says, on a processor
/// that has TSC_DEADLINE or not. Everything else exits.
pub fn passed(interrupts: InterruptMode, tsc_deadline: bool) -> impl Iterator<Item = (u32, Passed)> {
    let x2apic = (0..REGISTERS).map(move |register| {
        let access = match (interrupts, register) {
            (InterruptMode::Emulated, _) | (InterruptMode::DirectWithEoiExits, END_OF_INTERRUPT) => {
                DirectAccess::default()
            }
            (InterruptMode::Accelerated, _) => DirectAccess::to_kept(register),
            _ => DirectAccess::to(register),
        };
        (msr::X2APIC_FIRST + u32::from(register), access)
    });
    let deadline = (tsc_deadline && interrupts.is_direct()).then_some((msr::TSC_DEADLINE, BOTH));
    ALWAYS.into_iter().chain(x2apic).chain(deadline)
}

/// A vendor's MSR maps, one for each way of taking interrupts, shared by all guests.
#[derive(Clone, Copy, Debug)]
pub struct MsrMaps {
    virtual_interrupts: Hpa,
    accelerated: Hpa,
    direct: Hpa,
    watching_ends: Hpa,
}

impl MsrMaps {
    /// Makes each with `make`.
    ///
    /// # Errors
    /// That of `make`.
    pub fn new<E>(mut make: impl FnMut(InterruptMode) -> Result<Hpa, E>) -> Result<Self, E> {
        Ok(Self {
            virtual_interrupts: make(InterruptMode::Emulated)?,
            accelerated: make(InterruptMode::Accelerated)?,
            direct: make(InterruptMode::Direct)?,
            watching_ends: make(InterruptMode::DirectWithEoiExits)?,
        })
    }

    /// The map for guests whose interrupts are taken as `interrupts` says.
    pub const fn of(&self, interrupts: InterruptMode) -> Hpa {
        match interrupts {
            InterruptMode::Emulated => self.virtual_interrupts,
            InterruptMode::Accelerated => self.accelerated,
            InterruptMode::Direct => self.direct,
            InterruptMode::DirectWithEoiExits => self.watching_ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::vmx::capability;

    const WAYS: [InterruptMode; 4] = [
        InterruptMode::Emulated,
        InterruptMode::Accelerated,
        InterruptMode::Direct,
        InterruptMode::DirectWithEoiExits,
    ];

    fn access(interrupts: InterruptMode, msr: u32) -> Passed {
        let entry = passed(interrupts, true).find(|(passed, _)| *passed == msr);
        entry.map_or(Passed::default(), |entry| entry.1)
    }

    #[test]
    fn what_can_switch_virtualisation_or_reach_others_exits() {
        let x2apic = [0x02, 0x03, 0x0d, 0x0f, 0x28, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37];
        let others = [
            msr::SPEC_CTRL,
            msr::PRED_CMD,
            msr::FLUSH_CMD,
            msr::EFER,
            msr::VM_CR,
            msr::VM_HSAVE_PA,
            msr::APIC_BASE,
            msr::PAT,
            capability::FEATURE_CONTROL,
        ];
        for never in others.into_iter().chain(x2apic.map(|register| msr::X2APIC_FIRST + register)) {
            for way in WAYS {
                assert_eq!(access(way, never), Passed::default(), "{never:#x}");
            }
        }
    }

    #[test]
    fn the_processor_keeps_what_is_pending_but_no_timer() {
        let x2apic = |register: u32| access(InterruptMode::Accelerated, msr::X2APIC_FIRST + register);
        assert_eq!(x2apic(0x08), BOTH);
        assert_eq!((x2apic(0x0b), x2apic(0x3f)), (x2apic(0x0b), Passed { read: false, write: true }));
        for kept in [0x0a, 0x10, 0x17, 0x18, 0x1f, 0x20, 0x27] {
            assert_eq!(x2apic(kept), READS, "register {kept:#x}");
        }
        for timer in [0x38, 0x39, 0x3e] {
            assert_eq!(x2apic(timer), Passed::default(), "register {timer:#x}");
        }
        assert_eq!(access(InterruptMode::Accelerated, msr::TSC_DEADLINE), Passed::default());
    }

    #[test]
    fn a_guest_with_interrupts_of_its_own_reaches_what_is_its_own() {
        let x2apic = |register: u32| access(InterruptMode::Direct, msr::X2APIC_FIRST + register);
        for register in [0x08, 0x38, 0x3e] {
            assert_eq!(x2apic(register), BOTH, "register {register:#x}");
        }
        for write_only in [0x0b, 0x3f] {
            assert_eq!(x2apic(write_only), Passed { read: false, write: true });
        }
        assert_eq!(x2apic(0x39), READS);
        assert_eq!(access(InterruptMode::Direct, msr::TSC_DEADLINE), BOTH);
        assert_eq!(access(InterruptMode::Emulated, msr::TSC_DEADLINE), Passed::default());
        let end = msr::X2APIC_FIRST + u32::from(END_OF_INTERRUPT);
        assert_eq!(access(InterruptMode::DirectWithEoiExits, end), Passed::default());
        assert!(passed(InterruptMode::Direct, false).all(|(msr, _)| msr != msr::TSC_DEADLINE));
    }
}
