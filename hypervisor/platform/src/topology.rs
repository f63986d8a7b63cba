//! The machine as a whole: who is behind whom, who can be kept apart from whom.

use crate::acpi::{Ecam, Fadt, Hpet, InterruptOverride, IoApic, Madt, NmiSource, Processor, SoftOff, Tables};
use crate::finding::{Finding, Findings, finding};
use crate::memory::{MemoryRegion, usable_ram};
use crate::names::DevicePath;
use crate::pci::{self, Function};
use crate::remapping::{Remapping, ReservedMemory, SEGMENT, Service};
use access::ConfigSpace;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::{Bdf, Hpa};

/// The machine: what its tables say, its memory, its PCI functions. As JSON it is
/// a board file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Board")]
pub struct Platform {
    /// What the ACPI tables say.
    pub tables: Tables,
    /// The memory map.
    pub memory: Vec<MemoryRegion>,
    /// Every PCI function of segment 0, parents before children.
    pub functions: Vec<Function>,
    /// What makes no sense about the PCI functions; `tables` has its own findings.
    pub findings: Vec<Finding>,
    /// How many of the lowest bits of an APIC ID number the threads of a core; 0 where
    /// cores have one thread each, or nobody knows.
    pub thread_bits: u8,
    /// How many bits a physical address of the processors has; 0 where nobody knows.
    pub address_bits: u8,
    /// What guests can execute is mapped in pages of 4 KiB, by an erratum of the processors.
    /// Its tables take one byte in 512.
    pub small_code_pages: bool,
    /// Whether the processors have RDSEED or RDRAND; `None` where nobody told.
    pub random_numbers: Option<bool>,
    /// The APIC ID of the processor that boots the machine, on which the hypervisor runs;
    /// `None` where nobody told.
    pub boot_processor: Option<u32>,
    /// What remaps DMA and interrupts. It follows from the tables and the functions, so
    /// a board file does not have it.
    #[serde(skip_serializing)]
    pub remapping: Remapping,
}

/// A board file as it is written.
#[derive(Deserialize)]
struct Board {
    tables: Tables,
    memory: Vec<MemoryRegion>,
    functions: Vec<Function>,
    findings: Vec<Finding>,
    #[serde(default)]
    thread_bits: u8,
    #[serde(default)]
    address_bits: u8,
    #[serde(default)]
    small_code_pages: bool,
    #[serde(default)]
    random_numbers: Option<bool>,
    #[serde(default)]
    boot_processor: Option<u32>,
}

impl From<Board> for Platform {
    fn from(board: Board) -> Self {
        let Board {
            tables,
            memory,
            functions,
            findings,
            thread_bits,
            address_bits,
            small_code_pages,
            random_numbers,
            boot_processor,
        } = board;
        // Whoever wrote the file had the findings.
        let remapping = Remapping::new(&tables, &functions, &mut Findings::new(&mut Vec::new(), ""));
        let functions = functions.into_iter().map(with_quirks).collect();
        Self {
            tables,
            memory,
            functions,
            findings,
            thread_bits,
            address_bits,
            small_code_pages,
            random_numbers,
            boot_processor,
            remapping,
        }
    }
}

/// What a board file of an older version does not say follows from the device's ID.
fn with_quirks(mut function: Function) -> Function {
    if let Some(services) = &mut function.capabilities.access_control {
        services.doublewords |= pci::quirks::has_doubleword_access_control(function.id);
    }
    function
}

/// A pin of an I/O APIC, and what remaps the interrupts of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoApicPin {
    /// The I/O APIC.
    pub io_apic: IoApic,
    /// Which of its pins, from 0.
    pub pin: u8,
    /// The unit that remaps its interrupts, as an index into the units of
    /// [`Platform::remapping`], and the requester ID that they carry; `None` where no
    /// table says.
    pub source: Option<(usize, Bdf)>,
}

impl Platform {
    /// Scans PCI and joins it with what the tables say and with the memory map.
    pub fn discover(tables: Tables, memory: Vec<MemoryRegion>, config: &dyn ConfigSpace) -> Self {
        let mut platform = Self { tables, memory, ..Self::default() };
        let mut list = Vec::new();
        let mut findings = Findings::new(&mut list, "PCI");
        let buses = platform.buses(&mut findings);
        platform.functions = pci::scan(config, buses, &mut findings);
        platform.remapping = Remapping::new(&platform.tables, &platform.functions, &mut findings);
        platform.findings = list;
        platform
    }

    /// The buses of segment 0 that can be reached.
    fn buses(&self, findings: &mut Findings<'_>) -> core::ops::RangeInclusive<u8> {
        for ecam in self.tables.ecam.iter().filter(|ecam| ecam.segment != 0) {
            finding!(findings, "segment {} is not used; only segment 0 is", ecam.segment);
        }
        let segment_0 = || self.tables.ecam.iter().filter(|ecam| ecam.segment == 0);
        let first = segment_0().map(|ecam| ecam.first_bus).min();
        let last = segment_0().map(|ecam| ecam.last_bus).max();
        match (first, last) {
            (Some(first), Some(last)) => first..=last,
            // Ports 0xcf8 and 0xcfc reach every bus.
            _ => 0..=255,
        }
    }

    /// Everything odd about the machine.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.tables.findings.iter().chain(&self.findings)
    }

    /// The processors that can be used, the one that boots first and the others in the order
    /// of the MADT. A configuration numbers them from 0.
    pub fn processors(&self) -> impl Iterator<Item = &Processor> {
        let boots = |processor: &&Processor| Some(processor.apic_id) == self.boot_processor;
        let enabled = || self.tables.madt.processors.iter().filter(|processor| processor.enabled);
        enabled().filter(boots).chain(enabled().filter(move |processor| !boots(processor)))
    }

    /// Notes which processor boots the machine. It is there, whatever the MADT says.
    pub fn set_boot_processor(&mut self, apic_id: u32) {
        self.boot_processor = Some(apic_id);
        let processors = &mut self.tables.madt.processors;
        if processors.iter().any(|processor| processor.apic_id == apic_id && processor.enabled) {
            return;
        }
        if !processors.is_empty() {
            let mut findings = Findings::new(&mut self.findings, "MADT");
            finding!(findings, "the processor that boots, with APIC ID {apic_id}, is not listed");
        }
        processors.retain(|processor| processor.apic_id != apic_id);
        processors.insert(0, Processor { apic_id, acpi_uid: apic_id, enabled: true });
    }

    /// Whether two processors, by their APIC IDs, are threads of one core.
    pub fn share_core(&self, one: u32, other: u32) -> bool {
        let core = |id: u32| id.checked_shr(self.thread_bits.into()).unwrap_or(0);
        core(one) == core(other)
    }

    /// The function at this address.
    pub fn function(&self, bdf: Bdf) -> Option<&Function> {
        self.functions.iter().find(|function| function.bdf == bdf)
    }

    /// The function at this path.
    pub fn function_at(&self, path: &DevicePath) -> Option<&Function> {
        self.functions.iter().find(|function| function.path == *path)
    }

    /// The bridges above a function, nearest first.
    pub fn bridges_above(&self, function: &Function) -> impl Iterator<Item = &Function> {
        let above = |function: &Function| self.function(function.parent?);
        // A board file may be edited by hand: a loop of parents must end.
        core::iter::successors(above(function), move |bridge| above(bridge)).take(self.functions.len())
    }

    /// The remapping unit that serves a function, as an index into the units of
    /// [`Platform::remapping`].
    pub fn remapping_unit(&self, function: &Function) -> Option<usize> {
        self.remapping.unit_of(SEGMENT, function.bdf)
    }

    /// Who serves a function under each of its requester IDs, its own first. It can be held
    /// where that is one unit for all.
    pub fn remapping_services(&self, function: &Function) -> Vec<(Bdf, Service)> {
        let requesters = self.requesters(function).into_iter();
        requesters.map(|id| (id, self.remapping.service(SEGMENT, id))).collect()
    }

    /// Whether a function is a remapping unit itself, which nobody may be given.
    pub fn is_remapping_unit(&self, function: &Function) -> bool {
        self.remapping.is_unit(SEGMENT, function.bdf)
    }

    /// The reserved memory that the firmware uses this function with.
    pub fn reserved_memory<'s>(&'s self, function: &Function) -> impl Iterator<Item = &'s ReservedMemory> {
        let requesters = self.requesters(function);
        self.remapping
            .reserved
            .iter()
            .filter(move |range| requesters.iter().any(|id| range.is_used_by(SEGMENT, *id)))
    }

    /// The I/O APIC with the pin of a global system interrupt, and what remaps it.
    /// `None` where no I/O APIC starts at or below it. How many pins an I/O APIC has
    /// only its registers tell.
    pub fn io_apic_pin(&self, gsi: u32) -> Option<IoApicPin> {
        let below = self.tables.madt.io_apics.iter().filter(|io_apic| io_apic.gsi_base <= gsi);
        let io_apic = *below.max_by_key(|io_apic| io_apic.gsi_base)?;
        let pin = u8::try_from(gsi - io_apic.gsi_base).ok()?;
        Some(IoApicPin { io_apic, pin, source: self.io_apic_source(&io_apic) })
    }

    /// The unit that remaps the interrupts of an I/O APIC, and the source ID that
    /// they carry.
    pub fn io_apic_source(&self, io_apic: &IoApic) -> Option<(usize, Bdf)> {
        self.remapping.io_apic(io_apic.id)
    }

    /// The unit that remaps the interrupts of the timer block, and the source ID
    /// that they carry.
    pub fn hpet_source(&self, hpet: &Hpet) -> Option<(usize, Bdf)> {
        self.remapping.hpet(hpet.number)
    }

    /// The usable RAM, rounded inward to multiples of `alignment` bytes (a power of
    /// two), sorted.
    pub fn usable_ram(&self, alignment: u64) -> Vec<(Hpa, u64)> {
        usable_ram(&self.memory, alignment)
    }

    /// Processors and interrupt controllers.
    pub fn madt(&self) -> &Madt {
        &self.tables.madt
    }
    /// I/O APICs.
    pub fn io_apics(&self) -> &[IoApic] {
        &self.tables.madt.io_apics
    }
    /// ISA interrupts that are wired otherwise than to the pin of their number.
    pub fn overrides(&self) -> &[InterruptOverride] {
        &self.tables.madt.overrides
    }
    /// I/O APIC pins that raise NMIs.
    pub fn nmi_sources(&self) -> &[NmiSource] {
        &self.tables.madt.nmi_sources
    }
    /// Memory-mapped configuration space.
    pub fn ecam(&self) -> &[Ecam] {
        &self.tables.ecam
    }
    /// Fixed hardware.
    pub fn fadt(&self) -> Option<&Fadt> {
        self.tables.fadt.as_ref()
    }
    /// What to write to power the machine off.
    pub fn soft_off(&self) -> Option<SoftOff> {
        self.tables.soft_off
    }
    /// High precision event timer.
    pub fn hpet(&self) -> Option<Hpet> {
        self.tables.hpet
    }
}

/// How many bits a physical address has, by what CPUID gives (Intel SDM vol. 2 and AMD APM
/// vol. 3, leaf 8000_0008h); 36 where it does not say.
pub fn address_bits(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> u8 {
    const ADDRESSES: u32 = 0x8000_0008;
    let [highest_leaf, ..] = cpuid(0x8000_0000, 0);
    if highest_leaf < ADDRESSES { 36 } else { (cpuid(ADDRESSES, 0)[0] & 0xff).clamp(32, 52) as u8 }
}

/// How many of the lowest bits of an APIC ID number the threads of a core, by what CPUID
/// gives for a leaf and a subleaf: EAX, EBX, ECX, EDX (Intel SDM vol. 2, leaf 0Bh; AMD APM
/// vol. 3, section E.3.10). 0 where it does not say.
pub fn thread_bits(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> u8 {
    const TOPOLOGY: u32 = 0x0b;
    const THREADS: u32 = 1;
    let [highest_leaf, ..] = cpuid(0, 0);
    if highest_leaf < TOPOLOGY {
        return 0;
    }
    let [shift, processors, level, _] = cpuid(TOPOLOGY, 0);
    // A processor that does not have the leaf answers with zeros.
    if processors == 0 || level >> 8 & 0xff != THREADS { 0 } else { (shift & 0x1f) as u8 }
}

#[cfg(test)]
mod tests;
