//! Who owns which bits of CR0 and CR4 (Intel SDM vol. 3 sections 24.6.6 and 25.3).
//!
//! The guest owns what concerns it alone: a MOV that changes no other bit does not exit,
//! and the processor itself does what follows from it (EFER.LMA, page-directory
//! pointers). The hypervisor owns the few bits below; the guest reads them from a shadow.
//!
//! A MOV that changes one of those exits. It is then not carried out here: the shadow
//! takes the new value and the guest executes the instruction again, which now changes
//! no bit of the hypervisor's. So no mode switch is ever imitated. Should that MOV raise
//! #GP after all, the guest reads bits (CD, NW, NE, MCE) that it wrote in vain; nothing
//! else depends on them.

use super::features::Fixed;
use spec::processor::{CR0_CD, CR0_NW, CR0_PE, CR0_PG, CR4_MCE};

/// Bits of CR4 that are the guest's own: VME, PVI, TSD, DE, PSE, PAE, PGE, PCE, OSFXSR,
/// OSXMMEXCPT, UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP. They are those of features
/// that CPUID may tell it of; writing any other is #GP, as on a processor without it.
const CR4_GUEST: u64 = 0x0037_0fbf;

/// A control register whose bits are divided between guest and hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divided {
    /// Bits that are the hypervisor's.
    pub mask: u64,
    /// Of those, the ones that are set whatever the guest wants.
    forced: u64,
    may: u64,
}

impl Divided {
    /// CR0: caches stay on (CD and NW survive entries and exits, so a guest's would slow
    /// the hypervisor too), and what VMX operation wants fixed is fixed.
    pub const fn cr0(fixed: Fixed) -> Self {
        let may = fixed.may & !(CR0_CD | CR0_NW);
        Self { mask: (fixed.must | !may) & 0xffff_ffff, forced: fixed.must, may }
    }

    /// CR4: VMXE is on and hidden; MCE is on, since a machine check with it off stops the
    /// whole processor.
    pub const fn cr4(fixed: Fixed) -> Self {
        let may = (CR4_GUEST | CR4_MCE | fixed.must) & fixed.may;
        Self { mask: fixed.must | CR4_MCE | !may, forced: fixed.must | CR4_MCE, may }
    }

    /// What the register really holds when the guest set it to `value`.
    pub const fn real(self, value: u64) -> u64 {
        (value | self.forced) & self.may
    }

    /// What the guest reads.
    pub const fn seen(self, real: u64, shadow: u64) -> u64 {
        real & !self.mask | shadow & self.mask
    }
}

/// Whether a MOV of `value` to CR0 that exited is #GP (section 2.5).
pub const fn cr0_is_legal(value: u64) -> bool {
    let no_cache_mode = value & CR0_NW != 0 && value & CR0_CD == 0;
    let paging_unprotected = value & CR0_PG != 0 && value & CR0_PE == 0;
    !no_cache_mode && !paging_unprotected
}

/// Whether a MOV of `value` to CR4 that exited only sets bits of features that guests
/// have.
pub const fn cr4_is_legal(value: u64) -> bool {
    value & !(CR4_GUEST | CR4_MCE) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const CR0: Divided = Divided::cr0(Fixed { must: 0x20, may: 0xffff_ffff });
    const CR4: Divided = Divided::cr4(Fixed { must: 0x2000, may: 0x0037_27ff });
    const VMXE: u64 = 1 << 13;

    #[test]
    fn modes_are_the_guests_caches_and_error_reporting_are_not() {
        assert_eq!(CR0.mask, CR0_CD | CR0_NW | 0x20);
        assert_eq!(CR0.real(0x6000_0010), 0x30, "after reset");
        assert_eq!(CR0.real(0x8005_0033), 0x8005_0033, "a running Linux");
        assert_eq!(CR0.seen(0x30, 0x6000_0010), 0x6000_0010);
    }

    #[test]
    fn what_the_guest_wrote_it_reads() {
        for value in [0, 0x10, 0x11, 0x6000_0010, 0x8005_0033, 0xc005_0013] {
            assert_eq!(CR0.seen(CR0.real(value), value), value, "{value:#x}");
        }
        for value in [0, 0x20, 0x6f0, 0x0037_06a0] {
            assert_eq!(CR4.seen(CR4.real(value), value), value, "{value:#x}");
        }
    }

    #[test]
    fn vmx_is_on_and_hidden() {
        assert_eq!(CR4.real(0) & VMXE, VMXE);
        assert_eq!(CR4.seen(CR4.real(0x20), 0x20) & VMXE, 0);
        assert_ne!(CR4.mask & VMXE, 0);
        assert!(!cr4_is_legal(VMXE), "the guest has no VT-x");
    }

    #[test]
    fn features_that_no_guest_has_cannot_be_switched_on() {
        for (bit, name) in [(12, "LA57"), (14, "SMXE"), (22, "PKE"), (23, "CET"), (24, "PKS"), (32, "FRED")] {
            assert_ne!(CR4.mask & 1 << bit, 0, "{name} must exit");
            assert!(!cr4_is_legal(1 << bit), "{name}");
            assert_eq!(CR4.real(1 << bit) & 1 << bit, 0, "{name}");
        }
        assert!(cr4_is_legal(0x0037_06f0));
    }

    #[test]
    fn values_that_no_processor_takes_are_refused() {
        assert!(!cr0_is_legal(CR0_NW));
        assert!(!cr0_is_legal(CR0_PG));
        assert!(cr0_is_legal(CR0_NW | CR0_CD));
        assert!(cr0_is_legal(0x8005_0033));
    }
}
