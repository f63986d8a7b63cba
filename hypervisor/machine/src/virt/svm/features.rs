//! What a processor's AMD-V offers (CPUID 8000_0001 ECX and 8000_000A).

use crate::cpu::facts;
use crate::emulators;
use core::fmt;

/// What the processor offers; each field names the CPUID bit that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Number of address-space identifiers, the host's included (8000_000A EBX).
    pub asids: u32,
    /// The next RIP is saved on exit (8000_000A EDX bit 3).
    pub next_rip: bool,
    /// One ASID can be flushed (8000_000A EDX bit 6).
    pub flush_by_asid: bool,
    /// The faulting instruction's bytes are saved (8000_000A EDX bit 7).
    pub decode_assists: bool,
    /// NMIs are held back and delivered by the processor (8000_000A EDX bit 25).
    pub virtual_nmi: bool,
    /// AVIC in x2APIC mode (8000_000A EDX bits 13 and 18).
    pub x2avic: bool,
    /// Quirk of QEMU's TCG (seen in 7.2 and 10.0): an interrupt that is injected comes a
    /// second time if another thread of the emulator calls the processor before its next
    /// exception, interrupt or exit, even into the handler that keeps interrupts off.
    /// What it delivers as a virtual interrupt comes once.
    pub injects_twice: bool,
}

/// Why a processor cannot run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// CPUID 8000_0001 ECX bit 2 is clear.
    NoSvm,
    /// Firmware set VM_CR.SVMDIS and locked it (AMD APM vol. 2 section 15.4).
    DisabledByFirmware,
    /// CPUID 8000_000A EDX bit 0 is clear.
    NoNestedPaging,
    /// Fewer than 2 ASIDs: none is left for a guest.
    NoAsids,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSvm => "the processor has no AMD-V (CPUID 8000_0001 ECX bit 2)",
            Self::DisabledByFirmware => {
                "the firmware switched AMD-V off and locked it (VM_CR.SVMDIS): enable SVM in its setup"
            }
            Self::NoNestedPaging => "the processor has no nested paging (CPUID 8000_000A EDX bit 0)",
            Self::NoAsids => "the processor has no address-space identifier for guests",
        })
    }
}

const VM_CR_LOCK: u64 = 1 << 3;
const VM_CR_SVMDIS: u64 = 1 << 4;

const X2AVIC: u32 = 1 << 13 | 1 << 18;

impl Features {
    /// What every processor that runs guests has.
    #[cfg(test)]
    pub(super) const LEAST: Self = Self {
        asids: 2,
        next_rip: false,
        flush_by_asid: false,
        decode_assists: false,
        virtual_nmi: false,
        x2avic: false,
        injects_twice: false,
    };

    /// Judges a processor by its CPUID leaves; `vm_cr` reads VM_CR and is called
    /// only where the processor has AMD-V.
    pub fn detect(
        cpuid: impl Fn(u32, u32) -> [u32; 4],
        vm_cr: impl FnOnce() -> u64,
    ) -> Result<Self, Unsupported> {
        let named = facts::named(&cpuid);
        let svm = named.get_svm_info().ok_or(Unsupported::NoSvm)?;
        let vm_cr = vm_cr();
        if vm_cr & VM_CR_SVMDIS != 0 && vm_cr & VM_CR_LOCK != 0 {
            return Err(Unsupported::DisabledByFirmware);
        }
        if !svm.has_nested_paging() {
            return Err(Unsupported::NoNestedPaging);
        }
        if svm.supported_asids() < 2 {
            return Err(Unsupported::NoAsids);
        }
        // Those that the crate has no name for.
        let [.., bits] = cpuid(0x8000_000a, 0);
        Ok(Self {
            asids: svm.supported_asids(),
            next_rip: svm.has_nrip(),
            flush_by_asid: svm.has_flush_by_asid(),
            decode_assists: svm.has_decode_assists(),
            virtual_nmi: bits & 1 << 25 != 0,
            x2avic: bits & X2AVIC == X2AVIC,
            injects_twice: emulators::is_interpreted(&named),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaf 0 of AMD's processors.
    const AMD: [u32; 4] = [1, 0x6874_7541, 0x444d_4163, 0x6974_6e65];

    fn cpuid(svm: u32, asids: u32, bits: u32) -> impl Fn(u32, u32) -> [u32; 4] {
        move |leaf, _| match leaf {
            0 => AMD,
            0x8000_0000 => [0x8000_001f, 0, 0, 0],
            0x8000_0001 => [0, 0, svm << 2, 0],
            0x8000_000a => [1, asids, 0, bits],
            _ => [0; 4],
        }
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(Features::detect(cpuid(0, 16, 1), || 0), Err(Unsupported::NoSvm));
        assert_eq!(Features::detect(cpuid(1, 16, 0), || 0), Err(Unsupported::NoNestedPaging));
        assert_eq!(Features::detect(cpuid(1, 1, 1), || 0), Err(Unsupported::NoAsids));
        assert_eq!(Features::detect(cpuid(1, 16, 1), || 0x18), Err(Unsupported::DisabledByFirmware));
        let short = |leaf, _| match leaf {
            0 => AMD,
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            _ => [!0; 4],
        };
        assert_eq!(Features::detect(short, || 0), Err(Unsupported::NoSvm));
    }

    #[test]
    fn an_unlocked_disable_can_be_undone() {
        let features = Features::detect(cpuid(1, 16, 1 | 1 << 3), || 0x10).unwrap();
        assert!(features.next_rip && !features.flush_by_asid && !features.decode_assists);
        assert_eq!(features.asids, 16);
    }

    #[test]
    fn avic_counts_with_x2apic_mode_only() {
        let has = |bits| Features::detect(cpuid(1, 16, 1 | bits), || 0).unwrap().x2avic;
        assert!(!has(1 << 13) && !has(1 << 18) && has(X2AVIC));
    }

    #[test]
    fn the_emulator_is_known_by_its_name() {
        let injects_twice = |emulated: u32, name: [u32; 4]| {
            let other = cpuid(1, 16, 1);
            let cpuid = |leaf, subleaf| match leaf {
                1 => [0, 0, emulated << 31, 0],
                0x4000_0000 => name,
                _ => other(leaf, subleaf),
            };
            Features::detect(cpuid, || 0).unwrap().injects_twice
        };
        let tcg = [0x4000_0001, 0x5447_4354, 0x4354_4743, 0x4743_5447];
        assert!(injects_twice(1, tcg));
        // A processor answers an unknown leaf with anything.
        assert!(!injects_twice(0, tcg));
        let kvm = [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d];
        assert!(!injects_twice(1, kvm));
    }

    #[test]
    fn does_not_read_vm_cr_without_svm() {
        let _ = Features::detect(cpuid(0, 16, 1), || panic!("#GP on a processor without SVM"));
    }
}
