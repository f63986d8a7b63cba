//! The table: which bits of the host's CPUID a guest sees.

/// On whose processors a row applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Vendors {
    All,
    Intel,
    Amd,
}

/// One leaf, or one subleaf of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub leaf: u32,
    /// `None`: the leaf does not look at the subleaf.
    pub subleaf: Option<u32>,
    pub vendors: Vendors,
    /// Bits that the guest sees as the host has them.
    pub pass: [u32; 4],
    /// Bits that the guest always sees set.
    pub set: [u32; 4],
}

/// A mask of bits by number.
#[allow(clippy::indexing_slicing, reason = "done by the compiler, which would say so")]
const fn bits(numbers: &[u32]) -> u32 {
    let mut mask = 0;
    let mut index = 0;
    while index < numbers.len() {
        mask |= 1 << numbers[index];
        index += 1;
    }
    mask
}

const ALL: u32 = u32::MAX;
const PASS: [u32; 4] = [ALL; 4];
const NONE: [u32; 4] = [0; 4];

const fn row(leaf: u32, subleaf: Option<u32>, vendors: Vendors, pass: [u32; 4]) -> Row {
    Row { leaf, subleaf, vendors, pass, set: NONE }
}

/// Leaf 1 ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CX16, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT,
/// AES, XSAVE, AVX, F16C, RDRAND. Hidden: MONITOR (3; an idle guest halts), VMX (5), SMX
/// (6), SDBG (11), PDCM (15), OSXSAVE (27, follows CR4), and what belongs to power,
/// thermal and debug-store MSRs.
const FEATURES_C: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// x2APIC and the hypervisor bit. TSC deadline (24) follows the timer that the guest has.
const FEATURES_C_SET: u32 = bits(&[21, 31]);
/// FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFLUSH,
/// MMX, FXSR, SSE, SSE2, SS. APIC (9) follows IA32_APIC_BASE, HTT (28) the number of vCPUs.
/// Hidden: serial number, DS, ACPI thermal, TM, PBE. Machine check has no banks.
const FEATURES_D: u32 =
    bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 27]);

/// Leaf 7 EBX: FSGSBASE, BMI1, AVX2, FDP_EXCPTN_ONLY, SMEP, BMI2, ERMS, INVPCID, FPU CS/DS
/// deprecation, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA. Hidden: TSC_ADJUST (1; its MSR
/// would move the guest's own clock under the hypervisor's timer), SGX, HLE and RTM,
/// resource monitoring and allocation, MPX, AVX-512, processor trace.
const STRUCTURED_B: u32 = bits(&[0, 3, 5, 6, 7, 8, 9, 10, 13, 18, 19, 20, 23, 24, 29]);
/// Leaf 7 ECX: UMIP (all its doing is in CR4), GFNI, VAES, VPCLMULQDQ, MOVDIRI, MOVDIR64B.
/// Hidden: PKU and OSPKE (their state is not offered in XCR0), WAITPKG, CET, LA57 (nested
/// tables are laid out for 48 bits), RDPID (TSC_AUX is not virtualised), SGX.
const STRUCTURED_C: u32 = bits(&[2, 8, 9, 10, 27, 28]);
/// Leaf 7 EDX: FSRM, MD_CLEAR, SERIALIZE. Hidden: everything with an MSR behind it that is
/// not virtualised yet: SPEC_CTRL, STIBP, L1D_FLUSH, ARCH_CAPABILITIES, CORE_CAPABILITIES,
/// SSBD; and AMX, PCONFIG, architectural LBR.
const STRUCTURED_D: u32 = bits(&[4, 10, 14]);

/// Leaf 8000_0001 ECX: LAHF, AltMovCr8, ABM, SSE4A, misaligned SSE, 3DNow! prefetch, XOP, FMA4,
/// TBM, topology extensions. Hidden: SVM, SKINIT, extended APIC space, OSVW, IBS, watchdog,
/// LWP, TCE, performance counters, breakpoint extensions, MONITORX.
const EXTENDED_C: u32 = bits(&[0, 4, 5, 6, 7, 8, 11, 16, 21, 22]);
/// Leaf 8000_0001 EDX that both vendors have: SYSCALL, NX, 1 GiB pages, long mode. Hidden:
/// RDTSCP (TSC_AUX is not virtualised).
const EXTENDED_D: u32 = bits(&[11, 20, 26, 29]);
/// The same of AMD: also the copies of leaf 1's bits, MMX extensions, 3DNow!. Hidden: FFXSR.
const EXTENDED_D_AMD: u32 =
    EXTENDED_D | bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17, 22, 23, 24, 30, 31]);

/// State that XCR0 may enable: x87, SSE, AVX.
const STATE: u32 = bits(&[0, 1, 2]);

/// Cache leaves but for the counts of sharing processors.
const CACHE: [u32; 4] = [0x0000_3fff, ALL, ALL, ALL];

/// The policy, by leaf and subleaf; subleaves count from 0 without a gap.
pub(super) const ROWS: &[Row] = &[
    // Vendor; the last leaf is computed.
    row(0x0, None, Vendors::All, [0, ALL, ALL, ALL]),
    // Family, model, stepping; CLFLUSH size.
    Row {
        leaf: 0x1,
        subleaf: None,
        vendors: Vendors::All,
        pass: [0x0fff_3fff, 0x0000_ff00, FEATURES_C, FEATURES_D],
        set: [0, 0, FEATURES_C_SET, 0],
    },
    // Cache descriptors.
    row(0x2, None, Vendors::Intel, PASS),
    row(0x4, Some(0), Vendors::Intel, CACHE),
    row(0x4, Some(1), Vendors::Intel, CACHE),
    row(0x4, Some(2), Vendors::Intel, CACHE),
    row(0x4, Some(3), Vendors::Intel, CACHE),
    // Power management: only that the APIC's timer never stops, where that is so: computed.
    row(0x6, None, Vendors::All, NONE),
    // The last subleaf is 0.
    row(0x7, Some(0), Vendors::All, [0, STRUCTURED_B, STRUCTURED_C, STRUCTURED_D]),
    // Leaf 0xa is absent: no performance counters. 0xb is computed.
    row(0xd, Some(0), Vendors::All, [STATE, 0, 0, 0]),
    // XSAVEOPT, XSAVEC, XGETBV with ECX = 1; XSAVES would need IA32_XSS.
    row(0xd, Some(1), Vendors::All, [bits(&[0, 1, 2]), 0, 0, 0]),
    // Place of the AVX state.
    row(0xd, Some(2), Vendors::All, [ALL, ALL, 0, 0]),
    // Frequencies, computed.
    row(0x15, None, Vendors::Intel, NONE),
    row(0x16, None, Vendors::Intel, NONE),
    row(0x8000_0000, None, Vendors::All, [0, ALL, ALL, ALL]),
    row(0x8000_0001, None, Vendors::Intel, [0, 0, bits(&[0, 5, 8]), EXTENDED_D]),
    row(0x8000_0001, None, Vendors::Amd, [0x0fff_3fff, 0xf000_0000, EXTENDED_C, EXTENDED_D_AMD]),
    // Name.
    row(0x8000_0002, None, Vendors::All, PASS),
    row(0x8000_0003, None, Vendors::All, PASS),
    row(0x8000_0004, None, Vendors::All, PASS),
    // Caches and TLBs.
    row(0x8000_0005, None, Vendors::Amd, PASS),
    row(0x8000_0006, None, Vendors::All, PASS),
    // The TSC runs at one rate in all states.
    row(0x8000_0007, None, Vendors::All, [0, 0, 0, bits(&[8])]),
    // Address widths; CLZERO, XSAVE error pointers. The counts are computed.
    row(0x8000_0008, None, Vendors::All, [0xffff, bits(&[0, 2]), 0, 0]),
    row(0x8000_0019, None, Vendors::Amd, PASS),
    // 128-bit data paths and the like.
    row(0x8000_001a, None, Vendors::Amd, [0x7, 0, 0, 0]),
    row(0x8000_001d, Some(0), Vendors::Amd, CACHE),
    row(0x8000_001d, Some(1), Vendors::Amd, CACHE),
    row(0x8000_001d, Some(2), Vendors::Amd, CACHE),
    row(0x8000_001d, Some(3), Vendors::Amd, CACHE),
    // Topology, computed: one thread a core, node 0 of 1.
    row(0x8000_001e, None, Vendors::Amd, NONE),
    // No data breakpoint on nested faults, LFENCE serialises, null selectors clear bases.
    row(0x8000_0021, None, Vendors::Amd, [bits(&[0, 2, 6]), 0, 0, 0]),
];
