//! Config x Platform -> Plan.

use crate::check::console::{self, ConsolePlan};
use crate::check::lines::{self, LinePlan};
use crate::check::{devices, files, guest_memory, machine, pairs, rules};
use crate::config::{Config, GuestConfig, Model, PciConfig};
use crate::problem::Problem;
use crate::reserved::{ReservedRange, merge};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::names::{DevFn, DeviceId, DevicePath};
use platform::pci::Bar;
use platform::{AccessControl, Function, MessageSource, Platform};
use spec::Bdf;

/// What each guest gets on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The guests that can have all they ask for, by name.
    pub guests: Vec<GuestPlan>,
    /// The guests that cannot, and every reason why.
    pub refused: Vec<Refusal>,
    /// What is wrong with the configuration as a whole.
    pub problems: Vec<Problem>,
    /// What is better otherwise, though the guests start.
    pub warnings: Vec<Problem>,
    /// The serial ports that the console may be at, the best first. Empty where the
    /// configuration wants none or its card is not there.
    pub console: Vec<ConsolePlan>,
}

impl Plan {
    /// Every problem; none means that every guest starts.
    pub fn all_problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.refused.iter().flat_map(|refusal| &refusal.problems))
    }
}

/// A guest that does not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Its name.
    pub name: String,
    /// Every reason, at least one.
    pub problems: Vec<Problem>,
}

/// What a guest gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestPlan {
    /// Its name.
    pub name: String,
    /// What it asked for: files, command line, policies.
    pub config: GuestConfig,
    /// APIC IDs of its processors; virtual processor 0 runs on the first.
    pub apic_ids: Vec<u32>,
    /// Bytes of memory, a multiple of 2 MiB.
    pub memory_bytes: u64,
    /// Where its memory below 4 GiB ends, if it has that much; the rest is above 4 GiB.
    pub low_memory_end: u64,
    /// Its physical functions, in the order of the configuration.
    pub functions: Vec<FunctionPlan>,
    /// Its emulated functions, in the order of the configuration.
    pub emulated: Vec<EmulatedPlan>,
    /// Memory that the firmware keeps using with its physical functions, to be mapped one to one for DMA:
    /// sorted and apart. Empty unless the configuration allows it.
    pub reserved_memory: Vec<ReservedRange>,
}

/// An emulated function that a guest gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmulatedPlan {
    /// Where the guest sees it on its bus 0.
    pub slot: DevFn,
    /// What it is.
    pub model: Model,
    /// The file that its drive's contents are.
    pub image: String,
}

/// A physical function that a guest gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionPlan {
    /// Its place among the functions that the configuration asks for.
    pub index: usize,
    /// Where the guest sees it on its bus 0.
    pub slot: DevFn,
    /// Its physical address.
    pub bdf: Bdf,
    /// Its physical path.
    pub path: DevicePath,
    /// Its identity.
    pub id: DeviceId,
    /// Every requester ID under which the IOMMU may see it, its own first.
    pub requesters: Vec<Bdf>,
    /// Whose number its interrupt messages carry when the IOMMU sees them.
    pub message_source: MessageSource,
    /// Index of the remapping unit that serves it, in the platform's units.
    pub remapping_unit: usize,
    /// Whose access control services must be enabled, and which, before it may master
    /// the bus: without them it could reach its neighbours past the IOMMU.
    pub access_controls: Vec<(Bdf, AccessControl)>,
    /// MSI messages it can send; 0 without MSI.
    pub msi_messages: u16,
    /// Entries of its MSI-X table; 0 without MSI-X.
    pub msix_messages: u16,
    /// What its BARs decode and where the firmware placed them.
    pub bars: Vec<Bar>,
    /// Bytes of the expansion ROM that the guest sees; 0 for none.
    pub rom_bytes: u32,
    /// Its interrupt line, where the guest gets it.
    pub line: Option<LinePlan>,
}

/// What a file of the configuration is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A guest's kernel.
    Kernel,
    /// Its initial RAM disk.
    Initrd,
    /// A module of its multiboot kernel.
    Module,
    /// The contents of an emulated drive.
    Image,
}

/// A file that a configuration names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRef<'a> {
    /// The guest that wants it.
    pub guest: &'a str,
    /// What for.
    pub kind: FileKind,
    /// Its name, as the configuration says it.
    pub name: &'a str,
}

/// Decides what each guest gets on this machine, or why it does not start.
///
/// `has_file` tells whether a file is there: in the file system for the host's
/// check, in the bundle at boot. Where two guests want the same thing, the one that
/// is first by name has it.
pub fn build(config: &Config, platform: &Platform, has_file: &dyn Fn(FileRef<'_>) -> bool) -> Plan {
    let mut plan = Plan { problems: rules::check_whole(config), ..Plan::default() };
    console::choose(config, platform, &mut plan);
    let mut memory = machine::MemoryBudget::new(platform);
    for (name, guest) in &config.guest {
        let mut problems = rules::check_guest(config, name, guest);
        problems.extend(files::check(name, guest, has_file));
        problems.extend(machine::check_processors(name, guest, platform));
        let shared = machine::shared_cores(name, guest, platform, &plan.guests);
        if !config.hypervisor.share_cores {
            problems.extend(shared);
        } else {
            plan.warnings.extend(shared);
        }
        plan.warnings.extend(machine::beside_hypervisor(name, guest, platform));
        problems.extend(devices::check(config, name, guest, platform));
        problems.extend(console::check(&plan.console, name, guest, platform));
        problems.extend(guest_memory::check(name, guest, platform));
        // Last, so that a guest that is refused anyway takes no memory from others.
        if problems.is_empty() {
            problems.extend(memory.take(name, guest, platform));
        } else {
            problems.extend(memory.would_take(name, guest, platform));
        }
        if problems.is_empty() {
            plan.guests.push(plan_guest(name, guest, platform));
        } else {
            plan.refused.push(Refusal { name: name.clone(), problems });
        }
    }
    plan.warnings.extend(pairs::warnings(&plan.guests, platform));
    plan
}

/// What is wrong with a configuration on any machine.
pub fn check_without_machine(config: &Config, has_file: &dyn Fn(FileRef<'_>) -> bool) -> Vec<Problem> {
    let mut problems = rules::check_whole(config);
    for (name, guest) in &config.guest {
        problems.extend(rules::check_guest(config, name, guest));
        problems.extend(files::check(name, guest, has_file));
    }
    problems
}

fn plan_guest(name: &str, guest: &GuestConfig, platform: &Platform) -> GuestPlan {
    let processor = |index: &u32| platform.processors().nth(*index as usize).map(|found| found.apic_id);
    let functions = guest.passed_through().filter_map(|(.., wanted)| platform.function_at(&wanted.path));
    let reserved: Vec<_> = functions.flat_map(|function| platform.reserved_memory(function)).collect();
    GuestPlan {
        name: name.to_string(),
        config: guest.clone(),
        apic_ids: guest.cpus.iter().filter_map(processor).collect(),
        memory_bytes: guest.memory.bytes(),
        low_memory_end: guest_memory::low_end(guest, platform),
        functions: guest
            .passed_through()
            .filter_map(|(index, pci, wanted)| {
                plan_function(index, pci, platform.function_at(&wanted.path)?, platform)
            })
            .collect(),
        emulated: guest
            .emulated()
            .map(|(_, pci, wanted)| EmulatedPlan {
                slot: pci.slot,
                model: wanted.model,
                image: wanted.image.clone(),
            })
            .collect(),
        reserved_memory: merge(reserved.into_iter()),
    }
}

fn plan_function(
    index: usize,
    pci: &PciConfig,
    function: &Function,
    platform: &Platform,
) -> Option<FunctionPlan> {
    Some(FunctionPlan {
        index,
        slot: pci.slot,
        bdf: function.bdf,
        path: function.path.clone(),
        id: function.id,
        requesters: platform.requesters(function),
        message_source: platform.message_source(function),
        remapping_unit: platform.remapping_unit(function)?,
        access_controls: platform.access_controls(function),
        msi_messages: function.capabilities.msi.map_or(0, |msi| msi.messages),
        msix_messages: function.capabilities.msix.map_or(0, |msix| msix.messages),
        bars: function.bars.clone(),
        rom_bytes: if pci.rom { function.rom_bytes } else { 0 },
        line: lines::plan(pci, function, platform),
    })
}
