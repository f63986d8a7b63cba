//! Processors and memory of this machine.

use super::{Count, Report, display};
use crate::check::rules::MEMORY_GRANULE;
use crate::config::{Config, GuestConfig, RunsIn, StandsOn};
use crate::plan::{GuestPlan, OwnedPlan, SharedMemoryPlan};
use crate::problem::Problem;
use alloc::string::ToString;
use alloc::vec::Vec;
use platform::Platform;
use platform::names::Memory;

/// Memory that stays with the hypervisor: its image, its heap, its stacks.
pub const HYPERVISOR_MEMORY: Memory = Memory::mib(32);
/// What it has beside that for each of its drives and networks: queues and buffers, and what the drive is looked
/// for with.
pub const DRIVE_MEMORY: Memory = Memory::mib(8);

/// The memory of a compartment: its stack and heap, what it has in common with ring 0, and page tables but those of
/// its guest's memory. What a driver has in common with its device is [`DRIVE_MEMORY`].
pub const COMPARTMENT_MEMORY: Memory = Memory::mib(1);

pub(crate) fn check_processors(name: &str, guest: &GuestConfig, platform: &Platform) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    let count = platform.processors().count();
    for (index, cpu) in guest.cpus.iter().enumerate() {
        if *cpu as usize >= count {
            let help = match count {
                0 | 1 => "it has none for guests".to_string(),
                2 => "use processor 1".to_string(),
                _ => alloc::format!("use processors from 1 to {}", count.saturating_sub(1)),
            };
            report.add(
                format_args!("cpus[{index}]"),
                format_args!(
                    "there is no processor {cpu}: this machine has {}, counted from 0",
                    Count(count, "processor")
                ),
                help,
            );
        }
    }
    report.problems
}

/// An entropy device has nothing to give where the processors have no random numbers.
pub(crate) fn check_random_numbers(name: &str, guest: &GuestConfig, platform: &Platform) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    if platform.random_numbers == Some(false) {
        let entropy = guest.emulated().filter(|(.., model)| model.stands_on() == StandsOn::RandomNumbers);
        for (index, ..) in entropy {
            let message = "the processors have no random numbers to give: neither RDSEED nor RDRAND";
            report.add(alloc::format!("pci[{index}].emulate"), message, "remove the function");
        }
    }
    report.problems
}

/// Processors of the guest that are threads of a core of one of the `earlier` guests'. No
/// permission is violated, but each can tell by the time it takes what the other does there,
/// and neither barrier nor flush keeps the core's buffers from a thread that runs meanwhile.
pub(crate) fn shared_cores(
    name: &str,
    guest: &GuestConfig,
    platform: &Platform,
    earlier: &[GuestPlan],
) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    let others = || earlier.iter().flat_map(|other| owned(other).map(move |cpu| (other, cpu)));
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let Some(processor) = platform.processors().nth(*cpu as usize) else { continue };
        let sibling = others().find(|(_, (_, other))| platform.share_core(processor.apic_id, *other));
        let Some((other, (other_cpu, _))) = sibling else { continue };
        report.add(
            format_args!("cpus[{index}]"),
            format_args!(
                "processor {cpu} and processor {other_cpu} of guest `{}` are threads of one core, so each \
                 guest can measure what the other does",
                other.name
            ),
            "give both to one guest, leave one of them unused, or allow it with `share_cores = true` under \
             `[hypervisor]`",
        );
    }
    report.problems
}

/// Processors of the guest that are threads of the hypervisor's own core. What runs there
/// serves every guest, so this guest can measure when others are served.
pub(crate) fn beside_hypervisor(name: &str, guest: &GuestConfig, platform: &Platform) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    let Some(own) = platform.processors().next() else { return report.problems };
    for (index, cpu) in guest.cpus.iter().enumerate().filter(|(_, cpu)| **cpu != 0) {
        let Some(processor) = platform.processors().nth(*cpu as usize) else { continue };
        if platform.share_core(processor.apic_id, own.apic_id) {
            report.add(
                format_args!("cpus[{index}]"),
                format_args!(
                    "processor {cpu} is a thread of the core on which the hypervisor serves all guests, so the \
                     guest can measure when it serves others"
                ),
                "leave it unused",
            );
        }
    }
    report.problems
}

/// A guest's processors, by their number in the configuration and their APIC ID.
fn owned(guest: &GuestPlan) -> impl Iterator<Item = (u32, u32)> {
    guest.config.cpus.iter().copied().zip(guest.apic_ids.iter().copied())
}

/// What is left of the machine's memory.
pub(crate) struct MemoryBudget<'c> {
    config: &'c Config,
    total: u64,
    left: u64,
    /// The nested tables of guests take one byte in 512.
    small_code_pages: bool,
}

impl<'c> MemoryBudget<'c> {
    pub fn new(config: &'c Config, platform: &Platform, devices: usize) -> Self {
        let total: u64 = platform
            .usable_ram(MEMORY_GRANULE.bytes())
            .into_iter()
            // The granule that holds the low memory is lost to guests.
            .map(|(start, bytes)| (start.0.max(MEMORY_GRANULE.bytes()), start.0.saturating_add(bytes)))
            .map(|(start, end)| end.saturating_sub(start))
            // A lying memory map must not wrap around.
            .fold(0, u64::saturating_add);
        let of_devices = DRIVE_MEMORY.bytes().saturating_mul(devices as u64);
        let left = total.saturating_sub(HYPERVISOR_MEMORY.bytes()).saturating_sub(of_devices);
        Self { config, total, left, small_code_pages: platform.small_code_pages }
    }

    /// Takes what the compartments of drivers have.
    pub fn take_drivers(&mut self, owned: &[OwnedPlan]) {
        let apart = owned.iter().filter(|owned| owned.runs_in == RunsIn::Ring3);
        self.left = self.left.saturating_sub(COMPARTMENT_MEMORY.bytes().saturating_mul(apart.count() as u64));
    }

    /// Takes what guests share.
    pub fn take_shared(&mut self, memories: &[SharedMemoryPlan]) {
        for memory in memories {
            self.left = self.left.saturating_sub(memory.bytes);
        }
    }

    /// What a guest takes, its nested tables included where they count. With large pages they
    /// are part of what the hypervisor has for itself.
    fn whole(&self, guest: &GuestConfig, platform: &Platform) -> u64 {
        let bytes = guest.memory.bytes();
        let snapshot = if guest.snapshot { bytes } else { 0 };
        let of_memory = if self.small_code_pages { bytes.div_ceil(512) } else { 0 };
        let tables = of_memory.saturating_add(self.beside(guest, platform));
        let granule = MEMORY_GRANULE.bytes();
        tables
            .checked_next_multiple_of(granule)
            .and_then(|tables| tables.checked_add(bytes)?.checked_add(snapshot))
            .unwrap_or(u64::MAX)
    }

    /// What a guest takes beside its memory and the nested tables of that.
    fn beside(&self, guest: &GuestConfig, platform: &Platform) -> u64 {
        let [of_bars, of_functions] = [bar_tables(guest, platform), of_functions(guest)];
        of_bars.saturating_add(of_functions).saturating_add(of_compartments(self.config, guest))
    }

    /// The most memory that can still be given to a guest.
    fn largest(&self, guest: &GuestConfig, platform: &Platform) -> u64 {
        let tables = if self.small_code_pages { self.left.div_ceil(512) } else { 0 };
        let granule = MEMORY_GRANULE.bytes();
        let tables = tables.saturating_add(self.beside(guest, platform));
        let tables = tables.checked_next_multiple_of(granule).unwrap_or(u64::MAX);
        let left = self.left.saturating_sub(tables);
        let most = if guest.snapshot { left / 2 } else { left };
        most.saturating_sub(most.checked_rem(granule).unwrap_or(0))
    }

    /// Takes a guest's memory; a problem where there is not enough.
    pub fn take(&mut self, name: &str, guest: &GuestConfig, platform: &Platform) -> Option<Problem> {
        let problem = self.would_take(name, guest, platform);
        if problem.is_none() {
            self.left = self.left.saturating_sub(self.whole(guest, platform));
        }
        problem
    }

    /// As [`Self::take`], but takes nothing.
    pub fn would_take(&self, name: &str, guest: &GuestConfig, platform: &Platform) -> Option<Problem> {
        if self.whole(guest, platform) <= self.left {
            return None;
        }
        let mut report = Report::of_guest(name);
        let mib = |bytes: u64| Memory::mib(bytes >> 20);
        report.add(
            "memory",
            format_args!(
                "{} do not fit: of the machine's {} there are {} left for it",
                guest.memory,
                mib(self.total),
                mib(self.largest(guest, platform))
            ),
            if self.largest(guest, platform) >= crate::check::rules::LEAST_MEMORY.bytes() {
                alloc::format!(
                    "give it \"{}\" or less, or less to the guests before it",
                    mib(self.largest(guest, platform))
                )
            } else {
                "give less to the guests before it".to_string()
            },
        );
        report.problems.pop()
    }
}

/// Bytes of what its guest changes of images, and of its display's video memory.
fn of_functions(guest: &GuestConfig) -> u64 {
    let overlays = guest.overlays().map(|(_, overlay)| overlay.bytes());
    overlays.chain(display::of(guest).map(|(_, bytes)| bytes)).fold(0, u64::saturating_add)
}

/// Bytes of the compartments that a guest's functions and its machine run in. Each has the guest's memory in its page tables, which
/// take 8 bytes for each large page of 2 MiB.
fn of_compartments(config: &Config, guest: &GuestConfig) -> u64 {
    let functions = guest.emulated().filter(|(_, pci, model)| config.place_of(pci, *model) == RunsIn::Ring3);
    // A processor has an interpreter, and all of them have a chipset.
    let is_apart = config.place_of_machine(guest) == RunsIn::Ring3;
    let machine = if is_apart { guest.cpus.len().saturating_add(1) } else { 0 };
    let apart = functions.count().saturating_add(machine);
    let each =
        COMPARTMENT_MEMORY.bytes().saturating_add(guest.memory.bytes().div_ceil(MEMORY_GRANULE.bytes() / 8));
    each.saturating_mul(apart as u64)
}

/// Bytes of nested tables for a guest's large BARs. A guest may put a BAR where no large page
/// fits, and move it twice before what it left is back. Tables for small ones are part of what
/// the hypervisor has for itself.
fn bar_tables(guest: &GuestConfig, platform: &Platform) -> u64 {
    let functions = guest.passed_through().filter_map(|(.., wanted)| platform.function_at(&wanted.path));
    let bars = functions.flat_map(|function| &function.bars).filter(|bar| bar.is_memory());
    let bytes = bars.fold(0, |sum: u64, bar| sum.saturating_add(bar.bytes));
    let tables = bytes.div_ceil(512).saturating_mul(3);
    if tables < MEMORY_GRANULE.bytes() { 0 } else { tables }
}
