//! Config x Platform -> Plan.

use crate::check::Report;
use crate::check::{
    console, devices, display, files, guest_memory, lines, machine, networks, owned, pairs, ports, rules,
    runs_in, shared_memory,
};
use crate::config::{Config, GuestConfig, Model, PciConfig, StandsOn};
use crate::plan::{Base, EmulatedPlan, FileRef, FunctionPlan, GuestPlan, Plan, Refusal};
use crate::problem::Problem;
use crate::reserved::merge;
use alloc::string::ToString;
use alloc::vec::Vec;
use platform::{Function, Platform};

/// Decides what each guest gets on this machine, or why it does not start.
///
/// `has_file` tells whether a file is there: in the file system for the host's
/// check, in the bundle at boot. Where two guests want the same thing, the one that
/// is first by name has it.
pub fn build(config: &Config, platform: &Platform, has_file: &dyn Fn(FileRef<'_>) -> bool) -> Plan {
    let mut plan = Plan { problems: rules::check_whole(config), ..Plan::default() };
    console::choose(config, platform, &mut plan);
    owned::choose(config, platform, &mut plan);
    networks::choose(config, platform, &mut plan);
    shared_memory::choose(config, &mut plan);
    let mut memory =
        machine::MemoryBudget::new(config, platform, plan.disks.len().saturating_add(plan.networks.len()));
    memory.take_drivers(&plan.owned);
    memory.take_shared(&plan.shared_memory);
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
        problems.extend(machine::check_random_numbers(name, guest, platform));
        problems.extend(missing_disks(&plan, name, guest));
        problems.extend(networks::missing(&plan, name, guest));
        // Last, so that a guest that is refused anyway takes no memory from others.
        if problems.is_empty() {
            problems.extend(memory.take(name, guest, platform));
        } else {
            problems.extend(memory.would_take(name, guest, platform));
        }
        if problems.is_empty() {
            plan.guests.push(plan_guest(config, name, guest, platform));
        } else {
            plan.refused.push(Refusal { name: name.clone(), problems });
        }
    }
    owned::choose_reach(config, &mut plan);
    runs_in::choose_kills(config, &mut plan);
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

fn plan_guest(config: &Config, name: &str, guest: &GuestConfig, platform: &Platform) -> GuestPlan {
    let processor = |index: &u32| platform.processors().nth(*index as usize).map(|found| found.apic_id);
    let functions = guest.passed_through().filter_map(|(.., wanted)| platform.function_at(&wanted.path));
    let reserved: Vec<_> = functions.flat_map(|function| platform.reserved_memory(function)).collect();
    GuestPlan {
        name: name.to_string(),
        config: guest.clone(),
        runs_in: config.place_of_machine(guest),
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
            .map(|(index, pci, model)| {
                let base = base(config, (name, index), pci, model);
                let (second_backing, ring) = (pci.second_backing.clone(), pci.ring.unwrap_or_default());
                let runs_in = config.place_of(pci, model);
                EmulatedPlan { slot: pci.slot, model, runs_in, base, second_backing, ring }
            })
            .collect(),
        reserved_memory: merge(reserved.into_iter()),
    }
}

/// What an emulated function of guest `name` stands on.
fn base(config: &Config, (name, index): (&str, usize), pci: &PciConfig, model: Model) -> Base {
    let peer = || shared_memory::peer(config, name, index, pci).map(Base::SharedMemory);
    let port = || ports::port(name, pci).map(Base::Port);
    let base = match model.stands_on() {
        StandsOn::RandomNumbers => Some(Base::RandomNumbers),
        StandsOn::Console => Some(Base::Console),
        StandsOn::Network => port(),
        StandsOn::SharedMemory => peer(),
        StandsOn::VideoMemory => Some(Base::Display { video_memory_bytes: display::bytes(pci) }),
        StandsOn::Drive => None,
    };
    base.unwrap_or_else(|| Base::Drive(pci.backing.clone().unwrap_or_default()))
}

/// A drive that the hypervisor cannot have serves nobody.
fn missing_disks(plan: &Plan, name: &str, guest: &GuestConfig) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    for (place, disk, _) in guest.disks() {
        let prefix = alloc::format!("disk.{disk}.");
        if plan.problems.iter().any(|problem| problem.path.starts_with(&prefix)) {
            let message = alloc::format!("disk `{disk}` cannot be used");
            report.add(alloc::format!("{place}.disk"), message, "see what is said about it");
        }
    }
    report.problems
}

fn plan_function(
    index: usize,
    pci: &PciConfig,
    function: &Function,
    platform: &Platform,
) -> Option<FunctionPlan> {
    let rom_bytes = if pci.rom { function.rom_bytes } else { 0 };
    let line = lines::plan(pci, function, platform);
    Some(FunctionPlan { index, slot: pci.slot, rom_bytes, line, ..owned::plan_function(function, platform)? })
}
