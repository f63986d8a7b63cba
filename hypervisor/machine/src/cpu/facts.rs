//! What a processor says of itself: who made it, which model it is, and what bears on its
//! errata and on speculation.

use spec::msr;

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
    /// Leaf 1 ECX.
    pub features_c: u32,
    /// Leaf 6 EAX: power management.
    pub power: u32,
    /// Leaf 7 EBX.
    pub structured_b: u32,
    /// Leaf 7 ECX.
    pub structured_c: u32,
    /// Leaf 7 EDX.
    pub structured_d: u32,
    /// Leaf 7 subleaf 2 EDX.
    pub structured_2d: u32,
    /// Leaf 8000_0007 EDX: what the TSC does in power states.
    pub extended_7d: u32,
    /// Leaf 8000_0008 EBX.
    pub extended_8b: u32,
    /// Leaf 8000_0021 EAX.
    pub extended_21a: u32,
    /// Leaf 8000_0021 ECX.
    pub extended_21c: u32,
    /// IA32_ARCH_CAPABILITIES (MSR 10Ah); 0 where there is none.
    pub arch_capabilities: u64,
}

/// Leaf 1 ECX bit 31: something emulates the machine.
const VIRTUAL: u32 = 1 << 31;
/// Leaf 7 EDX bit 29: IA32_ARCH_CAPABILITIES is there.
const HAS_ARCH_CAPABILITIES: u32 = 1 << 29;

impl Facts {
    /// Reads them. `msr` is called only for a register that CPUID says is there.
    pub fn read(cpuid: impl Fn(u32, u32) -> [u32; 4], msr: impl Fn(u32) -> u64) -> Self {
        let [last_basic, ebx, ecx, edx] = cpuid(0, 0);
        let name = [ebx, edx, ecx].map(u32::to_le_bytes);
        let maker = match name.as_flattened() {
            b"GenuineIntel" => Maker::Intel,
            b"AuthenticAMD" => Maker::Amd,
            b"HygonGenuine" => Maker::Hygon,
            _ => Maker::Other,
        };
        // Intel processors give the last leaf's answer for one that they do not have.
        let [last_extended, ..] = cpuid(0x8000_0000, 0);
        let leaf = |number: u32, subleaf: u32| {
            let last = if number >= 0x8000_0000 { last_extended } else { last_basic };
            if number <= last { cpuid(number, subleaf) } else { [0; 4] }
        };
        let [signature, _, features_c, _] = leaf(1, 0);
        let [last_structured, structured_b, structured_c, structured_d] = leaf(7, 0);
        let (family, model, stepping) = identity(signature);
        let is_interpreted = features_c & VIRTUAL != 0 && is_tcg(cpuid(0x4000_0000, 0));
        Self {
            maker,
            family,
            model,
            stepping,
            is_interpreted,
            features_c,
            power: leaf(6, 0)[0],
            structured_b,
            structured_c,
            structured_d,
            structured_2d: if last_structured >= 2 { leaf(7, 2)[3] } else { 0 },
            extended_7d: leaf(0x8000_0007, 0)[3],
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

    /// Whether something emulates it (leaf 1 ECX bit 31).
    pub fn is_virtual(&self) -> bool {
        self.features_c & VIRTUAL != 0
    }

    /// Whether it is one of Intel's family 6, where most errata below are.
    pub fn is_family_6(&self) -> bool {
        self.maker == Maker::Intel && self.family == 6
    }
}

/// Whether the first leaf of what emulates the machine has TCG's name.
fn is_tcg([_, ebx, ecx, edx]: [u32; 4]) -> bool {
    [ebx, ecx, edx].map(u32::to_le_bytes) == [*b"TCGT", *b"CGTC", *b"GTCG"]
}

/// Family, model and stepping in CPUID 1 EAX (Intel SDM vol. 2 "CPUID", figure 3-6).
pub const fn identity(signature: u32) -> (u32, u32, u32) {
    let (base, extended) = (signature >> 8 & 0xf, signature >> 20 & 0xff);
    let family = if base == 0xf { base + extended } else { base };
    let low = signature >> 4 & 0xf;
    let model = if base == 0xf || base == 6 { (signature >> 16 & 0xf) << 4 | low } else { low };
    (family, model, signature & 0xf)
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
        assert_eq!(identity(0x0005_06e3), (6, 0x5e, 3), "Skylake");
        assert_eq!(identity(0x0001_06a5), (6, 0x1a, 5), "Nehalem");
        assert_eq!(identity(0x0080_0f12), (0x17, 1, 2), "Zen");
        assert_eq!(identity(0x00a2_0f12), (0x19, 0x21, 2), "Zen 3");
        assert_eq!(identity(0x0000_0f4a), (0xf, 4, 10), "Pentium 4");
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
            (6 | 0x4000_0000 | 0x8000_0001, _) => [0; 4],
            _ => panic!("leaf {leaf:#x}, {subleaf}"),
        };
        let facts = Facts::read(cpuid, |number| panic!("MSR {number:#x}"));
        assert_eq!((facts.maker, facts.family, facts.model, facts.stepping), (Maker::Intel, 6, 0x5e, 3));
        assert_eq!((facts.structured_d, facts.arch_capabilities), (1 << 26, 0));
    }
}
