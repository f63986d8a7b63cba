//! What a processor says of itself: who made it, which model it is, and what bears on its
//! errata and on speculation.

use crate::emulators::is_interpreted;
use raw_cpuid::{CpuId, CpuIdReader, CpuIdResult};
use spec::msr;

/// The answers of `cpuid` by name; the processor's own are [`crate::cpu::registers::cpu_id`].
pub fn named(cpuid: impl Fn(u32, u32) -> [u32; 4] + Clone) -> CpuId<impl CpuIdReader> {
    CpuId::with_cpuid_reader(move |leaf, subleaf| {
        let [eax, ebx, ecx, edx] = cpuid(leaf, subleaf);
        CpuIdResult { eax, ebx, ecx, edx }
    })
}

/// Who made the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
    /// Hygon, whose processors are AMD's family 17h.
    Hygon,
    /// Somebody else.
    Other,
}

/// Answers of CPUID and of IA32_ARCH_CAPABILITIES, as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Who made it.
    pub maker: Maker,
    /// Family, the extended one added.
    pub family: u32,
    /// Model, the extended one put before.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// It is no processor but a program that carries out one instruction after the other, and
    /// says so: QEMU's TCG.
    pub is_interpreted: bool,
    /// Something emulates it (leaf 1 ECX bit 31).
    pub is_virtual: bool,
    /// Leaf 7 EBX.
    pub structured_b: u32,
    /// Leaf 7 EDX.
    pub structured_d: u32,
    /// Leaf 7 subleaf 2 EDX.
    pub structured_2d: u32,
    /// Leaf 8000_0008 EBX.
    pub extended_8b: u32,
    /// Leaf 8000_0021 EAX.
    pub extended_21a: u32,
    /// Leaf 8000_0021 ECX.
    pub extended_21c: u32,
    /// IA32_ARCH_CAPABILITIES (MSR 10Ah); 0 where there is none.
    pub arch_capabilities: u64,
}

/// Leaf 7 EDX bit 29: IA32_ARCH_CAPABILITIES is there.
const HAS_ARCH_CAPABILITIES: u32 = 1 << 29;

impl Facts {
    /// Reads them. `msr` is called only for a register that CPUID says is there.
    pub fn read(cpuid: impl Fn(u32, u32) -> [u32; 4], msr: impl Fn(u32) -> u64) -> Self {
        let named = named(&cpuid);
        let maker = match named.get_vendor_info().as_ref().map(|vendor| vendor.as_str()) {
            Some("GenuineIntel") => Maker::Intel,
            Some("AuthenticAMD") => Maker::Amd,
            Some("HygonGenuine") => Maker::Hygon,
            _ => Maker::Other,
        };
        let signature = named.get_feature_info();
        let signature = signature.as_ref();
        // What bears on speculation has no names there. Intel processors give the last leaf's
        // answer for one that they do not have.
        let ([last_basic, ..], [last_extended, ..]) = (cpuid(0, 0), cpuid(0x8000_0000, 0));
        let leaf = |number: u32, subleaf: u32| {
            let last = if number >= 0x8000_0000 { last_extended } else { last_basic };
            if number <= last { cpuid(number, subleaf) } else { [0; 4] }
        };
        let [last_structured, structured_b, _, structured_d] = leaf(7, 0);
        Self {
            maker,
            family: signature.map_or(0, |signature| signature.family_id().into()),
            model: signature.map_or(0, |signature| signature.model_id().into()),
            stepping: signature.map_or(0, |signature| signature.stepping_id().into()),
            is_interpreted: is_interpreted(&named),
            is_virtual: signature.is_some_and(|signature| signature.has_hypervisor()),
            structured_b,
            structured_d,
            structured_2d: if last_structured >= 2 { leaf(7, 2)[3] } else { 0 },
            extended_8b: leaf(0x8000_0008, 0)[1],
            extended_21a: leaf(0x8000_0021, 0)[0],
            extended_21c: leaf(0x8000_0021, 0)[2],
            arch_capabilities: match structured_d & HAS_ARCH_CAPABILITIES {
                0 => 0,
                _ => msr(msr::ARCH_CAPABILITIES),
            },
        }
    }

    /// Those of the processor that runs this.
    #[cfg(target_os = "none")]
    pub fn here() -> Self {
        let cpuid = |leaf, subleaf| {
            let result = crate::cpu::registers::cpuid(leaf, subleaf);
            [result.eax, result.ebx, result.ecx, result.edx]
        };
        // SAFETY: `read` asks only for registers that CPUID says are there.
        Self::read(cpuid, |number| unsafe { crate::cpu::registers::read_msr(number) })
    }

    /// Whether it is one of Intel's family 6, where most errata below are.
    pub fn is_family_6(&self) -> bool {
        self.maker == Maker::Intel && self.family == 6
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An Intel processor of family 6 that says nothing.
    pub(crate) fn intel(model: u32) -> Facts {
        let mut facts = Facts::read(|_, _| [0; 4], |_| 0);
        (facts.maker, facts.family, facts.model) = (Maker::Intel, 6, model);
        facts
    }

    /// An AMD processor that says nothing.
    pub(crate) fn amd(family: u32, model: u32) -> Facts {
        Facts { maker: Maker::Amd, family, ..intel(model) }
    }

    #[test]
    fn known_signatures() {
        let of = |name: &[u8; 12], signature| {
            let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
            let cpuid = |leaf, _| match leaf {
                0 => [1, word(0), word(8), word(4)],
                1 => [signature, 0, 0, 0],
                _ => [0; 4],
            };
            let facts = Facts::read(cpuid, |_| 0);
            (facts.maker, facts.family, facts.model, facts.stepping)
        };
        let (intel, amd, hygon) = (b"GenuineIntel", b"AuthenticAMD", b"HygonGenuine");
        assert_eq!(of(intel, 0x0005_06e3), (Maker::Intel, 6, 0x5e, 3), "Skylake");
        assert_eq!(of(intel, 0x0001_06a5), (Maker::Intel, 6, 0x1a, 5), "Nehalem");
        assert_eq!(of(intel, 0x0000_0f4a), (Maker::Intel, 0xf, 4, 10), "Pentium 4");
        assert_eq!(of(amd, 0x0080_0f12), (Maker::Amd, 0x17, 1, 2), "Zen");
        assert_eq!(of(amd, 0x00a2_0f12), (Maker::Amd, 0x19, 0x21, 2), "Zen 3");
        assert_eq!(of(hygon, 0x0090_0f02), (Maker::Hygon, 0x18, 0, 2), "Dhyana");
    }

    /// Why [`Facts`] keeps words: the crate drops bits that it has no name for.
    #[test]
    fn names_do_not_reach_as_far_as_speculation() {
        let said = |leaf_8b| {
            let named = named(move |leaf, _| match leaf {
                0x8000_0000 => [0x8000_0008, 0, 0, 0],
                0x8000_0008 => [0, leaf_8b, 0, 0],
                _ => [0; 4],
            });
            std::format!("{:?}", named.get_processor_capacity_feature_info())
        };
        assert_eq!(said(1 << 12 | 1 << 14), said(0), "IBPB and IBRS");
        assert_ne!(said(1 << 0), said(0), "CLZERO");
    }

    #[test]
    fn what_is_not_there_is_not_asked_for() {
        let cpuid = |leaf: u32, subleaf: u32| match (leaf, subleaf) {
            (0, _) => {
                [7, u32::from_le_bytes(*b"Genu"), u32::from_le_bytes(*b"ntel"), u32::from_le_bytes(*b"ineI")]
            }
            (1, _) => [0x0005_06e3, 0, 1 << 31, 0],
            (7, 0) => [0, 0, 0, 1 << 26],
            (0x8000_0000, _) => [0x8000_0001, 0, 0, 0],
            (0x4000_0000, _) => [0; 4],
            _ => panic!("leaf {leaf:#x}, {subleaf}"),
        };
        let facts = Facts::read(cpuid, |number| panic!("MSR {number:#x}"));
        assert_eq!((facts.maker, facts.family, facts.model, facts.stepping), (Maker::Intel, 6, 0x5e, 3));
        assert_eq!((facts.structured_d, facts.arch_capabilities), (1 << 26, 0));
    }
}
