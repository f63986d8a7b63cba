//! What is wrong with known processors, and what is done about it: one table, looked at once
//! on each processor and told once on the log.
//!
//! What can be told by a bit (IA32_ARCH_CAPABILITIES, CPUID) is, and where there is none the
//! model decides, on the side of caution. Speculation has a table of its own,
//! [`crate::cpu::barriers`].

use crate::cpu::facts::{Facts, Maker};

/// What is done about an erratum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Memory that a guest can execute is mapped in pages of 4 KiB.
    SmallCodePages,
    /// The preemption timer of VT-x is not used.
    NoPreemptionTimer,
    /// Bits that each processor sets in a register of its own.
    Set {
        /// The register.
        msr: u32,
        /// The bits.
        bits: u64,
    },
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Erratum {
    /// What goes wrong, and where its maker or others describe it.
    pub what: &'static str,
    /// Which processors have it.
    applies: fn(&Facts) -> bool,
    /// What is done about it.
    pub remedy: Remedy,
}

/// AMD's load-store configuration.
const LS_CFG: u32 = 0xc001_1020;
/// AMD's decode configuration.
const DE_CFG: u32 = 0xc001_1029;

/// The table.
const ERRATA: &[Erratum] = &[
    Erratum {
        what: "a page that changes its size while it is executed stops the machine (CVE-2018-12207)",
        applies: has_page_size_machine_check,
        remedy: Remedy::SmallCodePages,
    },
    Erratum {
        what: "the preemption timer does not count at the rate that it tells (AAX65, AAT59, AAU65)",
        applies: has_broken_timer,
        remedy: Remedy::NoPreemptionTimer,
    },
    Erratum {
        what: "locked instructions to write-combining memory can hang the processor (AMD 793, CVE-2013-6885)",
        applies: |facts| facts.maker == Maker::Amd && facts.family == 0x16 && facts.model <= 0xf,
        remedy: Remedy::Set { msr: LS_CFG, bits: 1 << 15 },
    },
    Erratum {
        what: "vector registers show what others left in them (AMD-SB-7008, CVE-2023-20593)",
        applies: leaks_vector_registers,
        remedy: Remedy::Set { msr: DE_CFG, bits: 1 << 9 },
    },
    Erratum {
        what: "LFENCE does not wait for earlier instructions unless that is switched on (AMD, speculation, G-2)",
        applies: |facts| {
            const ALWAYS_SERIALIZES: u32 = 1 << 2;
            matches!(facts.maker, Maker::Amd | Maker::Hygon)
                && facts.family >= 0x10
                && facts.family != 0x11
                && facts.extended_21a & ALWAYS_SERIALIZES == 0
        },
        remedy: Remedy::Set { msr: DE_CFG, bits: 1 << 1 },
    },
];

/// The rows that apply to a processor.
pub fn of(facts: &Facts) -> impl Iterator<Item = &'static Erratum> {
    ERRATA.iter().filter(move |erratum| (erratum.applies)(facts))
}

/// Whether a processor needs `remedy`.
pub fn need(facts: &Facts, remedy: Remedy) -> bool {
    of(facts).any(|erratum| erratum.remedy == remedy)
}

/// Sets what this processor has to set by itself. A machine that is emulated has had it done
/// by what emulates it, which need not have these registers.
#[cfg(target_os = "none")]
pub fn treat(facts: &Facts) {
    if facts.is_virtual {
        return;
    }
    for erratum in of(facts) {
        let Remedy::Set { msr, bits } = erratum.remedy else { continue };
        let Some(value) = crate::cpu::interrupts::try_read_msr(msr) else { continue };
        // SAFETY: the register is there, and the maker of this processor says to set these
        // bits; they change when instructions take place, not what they do.
        unsafe { crate::cpu::registers::write_msr(msr, value | bits) };
    }
}

/// Tells what applies to this processor, once.
pub fn report(facts: &Facts) {
    for erratum in of(facts) {
        log::info!("erratum: {}: {}", erratum.what, erratum.remedy);
    }
}

impl core::fmt::Display for Remedy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::SmallCodePages => f.write_str("guests' memory is mapped in pages of 4 KiB"),
            Self::NoPreemptionTimer => f.write_str("it is not used"),
            Self::Set { msr, bits } => write!(f, "MSR {msr:#x} has {bits:#x} set"),
        }
    }
}

/// Intel's family 6 but for the Atoms and Xeon Phis that are known not to have it, unless the
/// processor says by PSCHANGE_MC_NO that it does not.
fn has_page_size_machine_check(facts: &Facts) -> bool {
    const PSCHANGE_MC_NO: u64 = 1 << 6;
    const UNAFFECTED: &[u32] = &[
        0x1c, 0x26, 0x27, 0x35, 0x36, // Bonnell, Saltwell
        0x37, 0x4a, 0x4d, 0x5a, // Silvermont
        0x4c, 0x75, // Airmont
        0x5c, 0x5f, 0x7a, // Goldmont, Goldmont Plus
        0x86, // Tremont of servers
        0x57, 0x85, // Knights Landing, Knights Mill
    ];
    facts.is_family_6() && facts.arch_capabilities & PSCHANGE_MC_NO == 0 && !UNAFFECTED.contains(&facts.model)
}

/// By their makers' errata: AAX65, AAT59 and AAU65 of Westmere, and of the Xeon E3-1220 v2.
/// Earlier ones cannot run guests.
fn has_broken_timer(facts: &Facts) -> bool {
    facts.is_family_6() && matches!((facts.model, facts.stepping), (0x25, 2 | 5) | (0x2e, 6) | (0x3a, 8))
}

/// Zen 2, by model, whatever its microcode.
fn leaks_vector_registers(facts: &Facts) -> bool {
    facts.maker == Maker::Amd
        && facts.family == 0x17
        && matches!(facts.model, 0x30..=0x4f | 0x60..=0x7f | 0x90..=0x91 | 0xa0..=0xaf)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::cpu::facts::tests::{amd, intel};
    use std::vec::Vec;

    const FENCED: Remedy = Remedy::Set { msr: 0xc001_1029, bits: 1 << 1 };

    fn remedies(facts: Facts) -> Vec<Remedy> {
        of(&facts).map(|erratum| erratum.remedy).collect()
    }

    #[test]
    fn large_pages_of_code_are_kept_from_the_processors_that_stop_over_them() {
        for affected in [0x1a, 0x2a, 0x3c, 0x4e, 0x55, 0x5e, 0x9e, 0xa5] {
            assert!(need(&intel(affected), Remedy::SmallCodePages), "model {affected:#x}");
            let says_no = Facts { arch_capabilities: 1 << 6, ..intel(affected) };
            assert!(!need(&says_no, Remedy::SmallCodePages), "model {affected:#x}");
        }
        for atom in [0x1c, 0x37, 0x4c, 0x5c, 0x7a, 0x86, 0x57] {
            assert!(!need(&intel(atom), Remedy::SmallCodePages), "model {atom:#x}");
        }
        // A model that nobody here knows has it, unless it says otherwise.
        assert!(need(&intel(0xfe), Remedy::SmallCodePages));
        assert!(!need(&amd(0x17, 0x31), Remedy::SmallCodePages));
        assert!(!need(&Facts { family: 0x13, ..intel(1) }, Remedy::SmallCodePages));
    }

    #[test]
    fn preemption_timers_that_lie_are_known_by_model_and_stepping() {
        for (model, stepping, broken) in [
            (0x25, 2, true),
            (0x25, 5, true),
            (0x2e, 6, true),
            (0x3a, 8, true),
            (0x25, 4, false),
            (0x3a, 9, false),
        ] {
            let facts = Facts { stepping, ..intel(model) };
            assert_eq!(need(&facts, Remedy::NoPreemptionTimer), broken, "{model:#x} {stepping}");
        }
    }

    #[test]
    fn what_is_set_on_processors_of_amd() {
        let leak = Remedy::Set { msr: 0xc001_1029, bits: 1 << 9 };
        assert_eq!(remedies(amd(0x17, 0x31)), [leak, FENCED], "Zen 2");
        assert_eq!(remedies(amd(0x17, 0x01)), [FENCED], "Zen");
        let jaguar = Remedy::Set { msr: 0xc001_1020, bits: 1 << 15 };
        assert_eq!(remedies(amd(0x16, 0x00)), [jaguar, FENCED], "Jaguar");
        let zen_4 = Facts { extended_21a: 1 << 2, ..amd(0x19, 0x11) };
        assert_eq!(remedies(zen_4), [], "Zen 4");
        assert_eq!(remedies(amd(0xf, 0x6b)), [], "K8 has no such register");
    }
}
