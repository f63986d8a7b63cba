//! What CPUID tells a guest (Intel SDM vol. 2 "CPUID", AMD APM vol. 3 appendix E).
//!
//! The policy is the table in [`rows`]: for each leaf, which bits of the host's answer
//! the guest sees and which are set regardless. What depends on the guest (topology,
//! frequencies, the hypervisor's own leaves) is computed over it. A leaf that is in no
//! table is zeros, and so is every bit that no row lets through: a feature of tomorrow's
//! processor is hidden until somebody has thought about it.
//!
//! All this happens once, at boot. An exit looks the answer up by index and adds the
//! few bits that change while the guest runs.

mod rows;
#[cfg(test)]
mod tests;

use crate::emulators;
use alloc::vec::Vec;
use rows::{ROWS, Row, Vendors};

/// Values of EAX, EBX, ECX, EDX.
pub type Registers = [u32; 4];

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// What of the guest CPUID depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestCpuidConfig {
    /// Number of vCPUs: cores of one package, without threads.
    pub vcpus: u32,
    /// Rate of the TSC in kHz.
    pub tsc_khz: u32,
    /// The local APIC's timer is the model's, which counts TSC ticks and has TSC-deadline
    /// mode. Else it is the processor's: nothing is said of its rate, and it has that
    /// mode where the processor has it.
    pub modelled_timer: bool,
}

/// What of the vCPU CPUID depends on, at the moment of the exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dynamic {
    /// Its APIC ID.
    pub apic_id: u32,
    /// CR4.OSXSAVE.
    pub cr4_osxsave: bool,
    /// Whether its local APIC is enabled in IA32_APIC_BASE.
    pub apic_enabled: bool,
}

/// What has to be done about an answer at the moment of the exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fix {
    /// It is the same for every vCPU, always.
    Nothing,
    /// There is none yet. (Zeros, once all are in place.)
    Absent,
    /// The subleaf selects one of `count` in [`CpuidPolicy::subleaves`].
    Indexed { first: u8, count: u8 },
    /// Leaf 1: APIC ID, OSXSAVE, APIC.
    Features,
    /// Leaf 8000_0001 of AMD: APIC.
    ExtendedFeatures,
    /// Leaf 0xb: x2APIC ID.
    Topology,
    /// Leaf 8000_001e: APIC ID and core.
    ExtendedTopology,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    registers: Registers,
    fix: Fix,
}

impl Answer {
    const ABSENT: Self = Self { registers: [0; 4], fix: Fix::Absent };
}

/// Leaves from 0 that have a place.
const BASIC: u32 = 0x17;
/// First leaf of the hypervisor's.
const HYPERVISOR_FIRST: u32 = 0x4000_0000;
/// How many of those have a place.
const HYPERVISOR: u32 = 0x11;
/// Leaf 4000_0001 EAX: the clock is the same on all processors.
const CLOCK_STABLE: u32 = 1 << 24;
/// First extended leaf.
const EXTENDED_FIRST: u32 = 0x8000_0000;
/// How many of those have a place.
const EXTENDED: u32 = 0x22;

/// Answers for one guest.
#[derive(Clone, Debug)]
pub struct CpuidPolicy {
    basic: [Answer; BASIC as usize],
    hypervisor: [Answer; HYPERVISOR as usize],
    extended: [Answer; EXTENDED as usize],
    subleaves: Vec<Answer>,
}

impl CpuidPolicy {
    /// The answers for a guest on a processor whose CPUID is `host` (leaf, subleaf).
    pub fn new(host: &dyn Fn(u32, u32) -> Registers, config: GuestCpuidConfig) -> Self {
        let host = Host::new(host);
        let mut policy = Self {
            basic: [Answer::ABSENT; BASIC as usize],
            hypervisor: [Answer::ABSENT; HYPERVISOR as usize],
            extended: [Answer::ABSENT; EXTENDED as usize],
            subleaves: Vec::new(),
        };
        for row in ROWS.iter().filter(|row| host.offers(row)) {
            policy.push_row(&host, row, &config);
        }
        policy.push_topology(&config);
        policy.push_hypervisor(&host, &config);
        policy
    }

    /// The answer for `leaf`, if it is the same for every vCPU and subleaf, always.
    #[inline]
    pub fn constant(&self, leaf: u32) -> Option<&Registers> {
        self.place(leaf).filter(|answer| answer.fix == Fix::Nothing).map(|answer| &answer.registers)
    }

    /// The answer for `leaf` and `subleaf` on a vCPU in state `dynamic`.
    #[inline(never)]
    pub fn lookup(&self, leaf: u32, subleaf: u32, dynamic: Dynamic) -> Registers {
        let Some(answer) = self.place(leaf) else { return [0; 4] };
        let mut registers = answer.registers;
        match answer.fix {
            Fix::Nothing | Fix::Absent => {}
            Fix::Indexed { first, count } => {
                let chosen = self.subleaves.get(usize::from(first)..).unwrap_or(&[]);
                return match chosen.get(subleaf as usize).filter(|_| subleaf < count.into()) {
                    Some(Answer { fix: Fix::Topology, registers: [eax, ebx, ecx, _] }) => {
                        [*eax, *ebx, *ecx, dynamic.apic_id]
                    }
                    Some(answer) => answer.registers,
                    // After the last there are zeros, but that every subleaf of 0xb tells
                    // its own number and the x2APIC ID.
                    None if leaf == 0xb => [0, 0, subleaf & 0xff, dynamic.apic_id],
                    None => [0; 4],
                };
            }
            Fix::Features => {
                registers[EBX] |= dynamic.apic_id << 24;
                registers[ECX] |= u32::from(dynamic.cr4_osxsave) << 27;
                registers[EDX] |= u32::from(dynamic.apic_enabled) << 9;
            }
            Fix::ExtendedFeatures => registers[EDX] |= u32::from(dynamic.apic_enabled) << 9,
            Fix::Topology => registers[EDX] = dynamic.apic_id,
            Fix::ExtendedTopology => {
                registers[EAX] = dynamic.apic_id;
                registers[EBX] |= dynamic.apic_id & 0xff;
            }
        }
        registers
    }

    /// The state components that XCR0 may have (leaf 0xd); 0 without XSAVE.
    pub fn offered_xcr0(&self) -> u64 {
        const STATE_COMPONENTS: u32 = 0xd;
        let dynamic = Dynamic { apic_id: 0, cr4_osxsave: true, apic_enabled: true };
        let [low, _, _, high] = self.lookup(STATE_COMPONENTS, 0, dynamic);
        u64::from(high) << 32 | u64::from(low)
    }

    /// A number for all of the answers: guests with another number are told something else. It finds
    /// mistakes, not malice (FNV-1a).
    pub fn fingerprint(&self) -> u64 {
        let answers = [&self.basic[..], &self.hypervisor, &self.extended, &self.subleaves];
        let words = answers.into_iter().flatten().flat_map(|answer| answer.registers);
        words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            (hash ^ u64::from(word)).wrapping_mul(0x100_0000_01b3)
        })
    }

    /// Whether the paravirtual clock is said to be the same on all processors.
    pub fn has_stable_clock(&self) -> bool {
        self.constant(HYPERVISOR_FIRST + 1).is_some_and(|features| features[EAX] & CLOCK_STABLE != 0)
    }

    #[inline]
    fn place(&self, leaf: u32) -> Option<&Answer> {
        if leaf < BASIC {
            self.basic.get(leaf as usize)
        } else if leaf >= EXTENDED_FIRST {
            self.extended.get((leaf - EXTENDED_FIRST) as usize)
        } else {
            self.hypervisor.get(leaf.wrapping_sub(HYPERVISOR_FIRST) as usize)
        }
    }

    fn place_mut(&mut self, leaf: u32) -> Option<&mut Answer> {
        if leaf < BASIC {
            self.basic.get_mut(leaf as usize)
        } else if leaf >= EXTENDED_FIRST {
            self.extended.get_mut((leaf - EXTENDED_FIRST) as usize)
        } else {
            self.hypervisor.get_mut(leaf.wrapping_sub(HYPERVISOR_FIRST) as usize)
        }
    }

    /// Adds an answer to those of `leaf`; `indexed`: for the next of its subleaves, which
    /// are pushed together. Of several for one leaf without subleaves the first counts.
    fn push(&mut self, leaf: u32, indexed: bool, registers: Registers, fix: Fix) {
        let next = self.subleaves.len() as u8;
        let Some(place) = self.place_mut(leaf) else { return };
        match (indexed, place.fix) {
            (false, Fix::Absent) => *place = Answer { registers, fix },
            (true, Fix::Absent) => place.fix = Fix::Indexed { first: next, count: 1 },
            (true, Fix::Indexed { first, count }) => place.fix = Fix::Indexed { first, count: count + 1 },
            _ => return,
        }
        if indexed {
            self.subleaves.push(Answer { registers, fix });
        }
    }

    fn push_row(&mut self, host: &Host, row: &Row, config: &GuestCpuidConfig) {
        let mut registers = host.read(row.leaf, row.subleaf.unwrap_or(0));
        for (register, (pass, set)) in registers.iter_mut().zip(row.pass.iter().zip(&row.set)) {
            *register = *register & pass | set;
        }
        let fix = compute(host, row, config, &mut registers);
        self.push(row.leaf, row.subleaf.is_some(), registers, fix);
    }

    /// Leaf 0xb: one thread a core, all cores in one package.
    fn push_topology(&mut self, config: &GuestCpuidConfig) {
        const THREADS: u32 = 1 << 8;
        const CORES: u32 = 2 << 8;
        self.push(0xb, true, [0, 1, THREADS, 0], Fix::Topology);
        self.push(0xb, true, [id_bits(config.vcpus), config.vcpus, CORES | 1, 0], Fix::Topology);
    }

    /// The hypervisor's own leaves. They name KVM's interface, the one that every
    /// kernel of this field knows; only what works here is announced.
    fn push_hypervisor(&mut self, host: &Host, config: &GuestCpuidConfig) {
        /// The guest need not delay after port accesses.
        const NOP_IO_DELAY: u32 = 1 << 1;
        /// Clock MSRs at 0x4b564d00.
        const CLOCK: u32 = 1 << 3;
        /// Ends of interrupts without a write to the local APIC.
        const SILENT_END: u32 = 1 << 6;
        /// One hypercall for interrupts to many processors.
        const SEND_TO_MANY: u32 = 1 << 11;
        /// APIC IDs of 15 bits in MSIs.
        const EXTENDED_DESTINATION: u32 = 1 << 15;
        let text = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
        let last = HYPERVISOR_FIRST + HYPERVISOR - 1;
        self.push(
            HYPERVISOR_FIRST,
            false,
            [last, text(*b"KVMK"), text(*b"VMKV"), text(*b"M\0\0\0")],
            Fix::Nothing,
        );
        let stable = if host.has_steady_tsc() { CLOCK_STABLE } else { 0 };
        let features = NOP_IO_DELAY | CLOCK | SILENT_END | SEND_TO_MANY | EXTENDED_DESTINATION | stable;
        self.push(HYPERVISOR_FIRST + 1, false, [features, 0, 0, 0], Fix::Nothing);
        let timer_khz = if config.modelled_timer { config.tsc_khz } else { 0 };
        self.push(last, false, [config.tsc_khz, timer_khz, 0, 0], Fix::Nothing);
    }
}

/// Bits that APIC IDs of `vcpus` processors take.
fn id_bits(vcpus: u32) -> u32 {
    u32::BITS - vcpus.saturating_sub(1).leading_zeros()
}

/// What of a leaf depends on more than the host's answer.
fn compute(host: &Host, row: &Row, config: &GuestCpuidConfig, registers: &mut Registers) -> Fix {
    let vcpus = config.vcpus.clamp(1, 255);
    // Cores that share a cache, or a package, less one.
    let others = (1 << id_bits(vcpus)) - 1;
    match row.leaf {
        0 => registers[EAX] = host.last_basic,
        1 => {
            const HTT: u32 = 1 << 28;
            const TSC_DEADLINE: u32 = 1 << 24;
            if config.modelled_timer || host.read(1, 0)[ECX] & TSC_DEADLINE != 0 {
                registers[ECX] |= TSC_DEADLINE;
            }
            if vcpus > 1 {
                registers[EBX] |= vcpus << 16;
                registers[EDX] |= HTT;
            }
            return Fix::Features;
        }
        // Deterministic cache parameters: the last level is shared by all.
        4 if registers[EAX] & 0x1f != 0 => {
            let shared = if registers[EAX] >> 5 & 7 >= 3 { others } else { 0 };
            registers[EAX] |= others.min(0x3f) << 26 | shared << 14;
        }
        // The model's timer never stops.
        6 => {
            const ALWAYS_RUNNING_TIMER: u32 = 1 << 2;
            registers[EAX] = match config.modelled_timer {
                true => ALWAYS_RUNNING_TIMER,
                false => host.read(6, 0)[EAX] & ALWAYS_RUNNING_TIMER,
            };
        }
        0xd => extended_state(host, row.subleaf.unwrap_or(0), registers),
        // The crystal is what the timer counts too.
        0x15 if !config.modelled_timer => *registers = [0; 4],
        // Ratio 1 of a crystal that ticks as the TSC does, and so does the timer. Of one whose Hz
        // take more than 32 bits nothing is said, and software measures.
        0x15 => *registers = config.tsc_khz.checked_mul(1000).map_or([0; 4], |hz| [1, 1, hz, 0]),
        0x16 => {
            *registers = {
                let mhz = (config.tsc_khz / 1000) & 0xffff;
                [mhz, mhz, 0, 0]
            }
        }
        0x8000_0000 => registers[EAX] = host.last_extended,
        0x8000_0001 if host.amd => {
            const COMPATIBLE_LEGACY: u32 = 1 << 1;
            if vcpus > 1 {
                registers[ECX] |= COMPATIBLE_LEGACY;
            }
            return Fix::ExtendedFeatures;
        }
        0x8000_0008 => {
            // Five levels are not offered, so linear addresses have 48 bits.
            let physical = registers[EAX] & 0xff;
            let linear = (registers[EAX] >> 8 & 0xff).min(48);
            registers[EAX] = linear << 8 | physical;
            if host.amd {
                registers[ECX] = id_bits(vcpus) << 12 | (vcpus - 1);
            }
        }
        0x8000_001d if registers[EAX] & 0x1f != 0 && registers[EAX] >> 5 & 7 >= 3 => {
            registers[EAX] |= others << 14;
        }
        0x8000_001e => return Fix::ExtendedTopology,
        _ => {}
    }
    Fix::Nothing
}

/// Leaf 0xd: x87, SSE and AVX state, if the host has them.
///
/// The sizes are those of everything that is offered, also while the guest has enabled
/// less: a guest that believes them allocates enough.
fn extended_state(host: &Host, subleaf: u32, registers: &mut Registers) {
    const LEGACY_AND_HEADER: u32 = 576;
    const AVX: u32 = 1 << 2;
    let mut size = LEGACY_AND_HEADER;
    if host.read(0xd, 0)[EAX] & AVX != 0 {
        let [bytes, offset, _, _] = host.read(0xd, 2);
        size = offset.saturating_add(bytes);
    }
    match subleaf {
        0 => {
            registers[EBX] = size;
            registers[ECX] = size;
        }
        // XSAVEC and XSAVES make this the size of the compacted form.
        1 if registers[EAX] & 1 << 1 != 0 => registers[EBX] = size,
        _ => {}
    }
}

/// The host's CPUID, with limits.
struct Host<'a> {
    cpuid: &'a dyn Fn(u32, u32) -> Registers,
    amd: bool,
    /// Last basic leaf that the guest gets.
    last_basic: u32,
    /// Last extended leaf that the guest gets.
    last_extended: u32,
    host_basic: u32,
    host_extended: u32,
}

impl<'a> Host<'a> {
    fn new(cpuid: &'a dyn Fn(u32, u32) -> Registers) -> Self {
        let [host_basic, ebx, ecx, edx] = cpuid(0, 0);
        let vendor = [ebx, edx, ecx].map(u32::to_le_bytes);
        let amd = [*b"AuthenticAMD", *b"HygonGenuine"].iter().any(|name| vendor.as_flattened() == name);
        let host_extended = cpuid(EXTENDED_FIRST, 0)[EAX];
        // Leaf 0xb is ours, whatever the host has.
        let last_basic = host_basic.clamp(0xb, if amd { 0xd } else { 0x16 });
        let last_extended = host_extended.clamp(EXTENDED_FIRST, if amd { 0x8000_0021 } else { 0x8000_0008 });
        Self { cpuid, amd, last_basic, last_extended, host_basic, host_extended }
    }

    /// Whether the TSC runs at one rate, whatever the processor does. Under QEMU's TCG there is
    /// one for all processors, which no power state stops.
    fn has_steady_tsc(&self) -> bool {
        const INVARIANT: u32 = 1 << 8;
        let [_, ebx, ecx, edx] = (self.cpuid)(HYPERVISOR_FIRST, 0);
        let is_tcg = emulators::is_tcg(self.read(1, 0)[ECX], [ebx, ecx, edx]);
        is_tcg || self.read(0x8000_0007, 0)[EDX] & INVARIANT != 0
    }

    /// Whether the host has the leaf of `row`, for its vendor.
    fn offers(&self, row: &Row) -> bool {
        let vendor = match row.vendors {
            Vendors::All => true,
            Vendors::Intel => !self.amd,
            Vendors::Amd => self.amd,
        };
        let last = if row.leaf >= EXTENDED_FIRST { self.last_extended } else { self.last_basic };
        vendor && row.leaf <= last
    }

    /// The host's answer; zeros for a leaf that it does not have (Intel processors give
    /// the last leaf's answer then).
    fn read(&self, leaf: u32, subleaf: u32) -> Registers {
        let last = if leaf >= EXTENDED_FIRST { self.host_extended } else { self.host_basic };
        if leaf <= last { (self.cpuid)(leaf, subleaf) } else { [0; 4] }
    }
}
