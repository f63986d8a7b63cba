//! The MSRs that a guest reaches without an exit, whatever the vendor: those that an
//! entry and an exit switch, and those that the hypervisor never uses, which belong to
//! the guest that owns the processor and are cleared between owners.

use access::vcpu::{DirectAccess, Interrupts};
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
pub fn passed(interrupts: Interrupts, tsc_deadline: bool) -> impl Iterator<Item = (u32, Passed)> {
    let x2apic = (0..REGISTERS).map(move |register| {
        let access = match (interrupts, register) {
            (Interrupts::Virtual, _) | (Interrupts::DirectWatchingEnds, END_OF_INTERRUPT) => {
                DirectAccess::default()
            }
            (Interrupts::Accelerated, _) => DirectAccess::to_kept(register),
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
    pub fn new<E>(mut make: impl FnMut(Interrupts) -> Result<Hpa, E>) -> Result<Self, E> {
        Ok(Self {
            virtual_interrupts: make(Interrupts::Virtual)?,
            accelerated: make(Interrupts::Accelerated)?,
            direct: make(Interrupts::Direct)?,
            watching_ends: make(Interrupts::DirectWatchingEnds)?,
        })
    }

    /// The map for guests whose interrupts are taken as `interrupts` says.
    pub const fn of(&self, interrupts: Interrupts) -> Hpa {
        match interrupts {
            Interrupts::Virtual => self.virtual_interrupts,
            Interrupts::Accelerated => self.accelerated,
            Interrupts::Direct => self.direct,
            Interrupts::DirectWatchingEnds => self.watching_ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::vmx::capability;

    const WAYS: [Interrupts; 4] =
        [Interrupts::Virtual, Interrupts::Accelerated, Interrupts::Direct, Interrupts::DirectWatchingEnds];

    fn access(interrupts: Interrupts, msr: u32) -> Passed {
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
        let x2apic = |register: u32| access(Interrupts::Accelerated, msr::X2APIC_FIRST + register);
        assert_eq!(x2apic(0x08), BOTH);
        assert_eq!((x2apic(0x0b), x2apic(0x3f)), (x2apic(0x0b), Passed { read: false, write: true }));
        for kept in [0x0a, 0x10, 0x17, 0x18, 0x1f, 0x20, 0x27] {
            assert_eq!(x2apic(kept), READS, "register {kept:#x}");
        }
        for timer in [0x38, 0x39, 0x3e] {
            assert_eq!(x2apic(timer), Passed::default(), "register {timer:#x}");
        }
        assert_eq!(access(Interrupts::Accelerated, msr::TSC_DEADLINE), Passed::default());
    }

    #[test]
    fn a_guest_with_interrupts_of_its_own_reaches_what_is_its_own() {
        let x2apic = |register: u32| access(Interrupts::Direct, msr::X2APIC_FIRST + register);
        for register in [0x08, 0x38, 0x3e] {
            assert_eq!(x2apic(register), BOTH, "register {register:#x}");
        }
        for write_only in [0x0b, 0x3f] {
            assert_eq!(x2apic(write_only), Passed { read: false, write: true });
        }
        assert_eq!(x2apic(0x39), READS);
        assert_eq!(access(Interrupts::Direct, msr::TSC_DEADLINE), BOTH);
        assert_eq!(access(Interrupts::Virtual, msr::TSC_DEADLINE), Passed::default());
        let end = msr::X2APIC_FIRST + u32::from(END_OF_INTERRUPT);
        assert_eq!(access(Interrupts::DirectWatchingEnds, end), Passed::default());
        assert!(passed(Interrupts::Direct, false).all(|(msr, _)| msr != msr::TSC_DEADLINE));
    }
}
