//! From a guest's Plan to everything that it needs at run time, all of it allocated
//! here.

use crate::backings::Backings;
use crate::compartments::{Whose, chipsets, interpreters};
use crate::display::Display;
use crate::emulated;
use crate::freeze::Room;
use crate::host::{Bus, IOMMUS, Iommus, KernelHost};
use crate::lifecycle::BUNDLE;
use crate::lines::{self, Line};
use crate::rom;
use crate::taken::Taken;
use crate::virtualization::{GuestProcessor, Virtualization};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;
use devices::{Chipset, ChipsetConfig, Endpoint};
use guest::assignment::{Assignment, Parts, ResettableBus};
use guest::budget::{MappedBar, bar_frames};
use guest::bus_function::BusFunction;
use guest::cpuid::{CpuidPolicy, GuestCpuidConfig};
use guest::holdings::Account;
use guest::layout::GuestLayout;
use guest::lifecycle::{Lifecycle, Policy};
use guest::partition::Partition;
use guest::partition::terminal::FunctionConsole;
use guest::snapshot::Snapshot;
use guest::waiting::Watched;
use iommu::{Iommu, Requester};
use machine::chipset::config_space::MachineConfigSpace;
use machine::console;
use machine::cpu::tsc::TscClock;
use machine::cpu::{apic, registers};
use machine::memory::frames::{self, Pool};
use machine::memory::guest_ram::GuestRam;
use machine::memory::mmio::Window;
use pci::ResetPath;
use pci::access_control::AccessControls;
use pci::bar::HostBar;
use plan::{Base, FunctionPlan, GuestPlan, Interrupts, ReservedRange, RunsIn, UnmappedAccess};
use platform::Platform;
use platform::pci::AccessControl;
use spec::{Bdf, Gpa, Hpa};
use spin::mutex::TicketMutex;
use tables::{Extent, Geometry, MemoryType, NestedTables, Permissions, frames_needed};
use vpci::{Grant, GuestBus, PassedThrough, Slot, Windows};

const MIB_2: u64 = 2 << 20;

/// A guest: its Plan, what its processors share, and each of those.
pub struct Guest {
    /// What it gets.
    pub plan: GuestPlan,
    /// What its processors share.
    pub partition: Partition<KernelHost>,
    /// Its virtual processors, each for one physical processor.
    pub processors: Box<[Box<dyn GuestProcessor>]>,
    /// The interrupt lines of its functions.
    pub lines: Box<[Line]>,
    /// What its functions had of the machine's after its ends.
    pub account: Account,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// The hypervisor's own memory for it, in bytes.
    pub overhead_bytes: u64,
    /// Room to freeze it.
    pub room: Option<Room>,
    /// It has ended, and waits for drives that read or write its memory.
    pub awaits_drives: AtomicBool,
    /// Its display.
    pub display: Option<Display>,
    /// What it has in common with the others.
    pub common: &'static Common,
}

/// What all guests have in common.
pub struct Common {
    /// What the processors can do.
    pub virtualization: Box<dyn Virtualization>,
    /// TSC ticks a second.
    pub tsc_hz: u64,
    /// Seconds since 1970 when the TSC was 0.
    pub epoch_at_zero: u64,
    /// Configuration space.
    pub config: &'static MachineConfigSpace,
    /// The time.
    pub clock: TscClock,
}

impl Common {
    /// A chipset whose clock starts now.
    pub fn chipset(&self, layout: &GuestLayout) -> Chipset {
        let start = registers::read_tsc();
        let [low, high] = layout.ram();
        Chipset::new(ChipsetConfig {
            tsc_hz: self.tsc_hz,
            epoch_seconds: self.epoch_at_zero + start / self.tsc_hz.max(1),
            start,
            ioapic_id: layout.ioapic_id(),
            low_memory_bytes: low.bytes,
            high_memory_bytes: high.bytes,
        })
    }
}

/// Builds a guest. The error is a sentence for the log; what the guest had taken is given
/// back then, so that its neighbours find it.
pub fn build(
    index: usize,
    plan: GuestPlan,
    platform: &Platform,
    common: &'static Common,
    backings: &mut Backings,
) -> Result<Guest, String> {
    let mut taken = Taken::default();
    let built = try_build(index, plan, platform, common, backings, &mut taken);
    match &built {
        Ok(guest) => release_screen(guest),
        Err(_) => {
            backings.remove(index);
            taken.give_back(IOMMUS.get());
        }
    }
    built
}

/// A display that is a guest's is not the hypervisor's screen any more.
fn release_screen(guest: &Guest) {
    for function in &guest.plan.functions {
        let mut bars = function.bars.iter().filter(|bar| bar.is_memory());
        if bars.any(|bar| console::release_screen(bar.address, bar.bytes)) {
            log::info!("{} has the screen: the log is not shown there any more", guest.plan.name);
        }
    }
}

fn try_build(
    index: usize,
    plan: GuestPlan,
    platform: &Platform,
    common: &'static Common,
    backings: &mut Backings,
    taken: &mut Taken,
) -> Result<Guest, String> {
    let before = frames::free_bytes();
    let direct = takes_interrupts(&plan, common)?;
    let vcpus = plan.apic_ids.len();
    let layout = GuestLayout::new(plan.memory_bytes, vcpus as u32)
        .and_then(|layout| layout.with_low_memory_end(plan.low_memory_end))
        .and_then(|layout| layout.on_processors(platform.address_bits))
        .map_err(|error| error.to_string())?;
    let lines = lines::of(&plan.functions)?;
    prepare_bridges(&plan.functions, platform, common.config)?;
    enable_access_controls(&plan.functions, common.config)?;
    let functions = discover_functions(&plan, platform, common)?;
    taken.take_memory(&layout).ok_or("there is not enough memory in pieces of 2 MiB")?;
    let nested = map_memory(&plan, &functions, common, backings, taken)?;
    if !plan.functions.is_empty() {
        create_domain(&plan, taken)?;
    }
    let processors = common
        .virtualization
        .processors(vcpus, nested.root())
        .ok_or("there is no memory for its processors")?;
    let blocks = taken.blocks.clone().into_boxed_slice();
    // SAFETY: `take_memory` took the blocks for this guest alone.
    let memory = unsafe { GuestRam::new(blocks) }.map_err(|_| "its memory overlaps itself")?;
    let whose = (index, &plan, &memory);
    if plan.runs_in == RunsIn::Ring3 {
        for (number, processor) in processors.iter().enumerate() {
            processor.set_interpreter(interpreters::of(whose, number)?);
        }
    }
    let (bus, endpoints) =
        build_bus(whose, platform, functions, nested, taken, layout.windows(), common, backings)?;
    backings.reach_memory((index, &plan.name), taken, IOMMUS.get());
    let cpuid = CpuidPolicy::new(
        &|leaf, subleaf| {
            let result = registers::cpuid(leaf, subleaf);
            [result.eax, result.ebx, result.ecx, result.edx]
        },
        GuestCpuidConfig {
            vcpus: vcpus as u32,
            tsc_khz: (common.tsc_hz / 1000) as u32,
            modelled_timer: !direct,
        },
    );
    let chipset = common.chipset(&layout);
    let apart = match plan.runs_in {
        RunsIn::Ring3 => Some(chipsets::of(index, &plan.name, &chipset)?),
        RunsIn::Hypervisor => None,
    };
    let mut partition = Partition::new(
        index,
        plan.name.clone(),
        KernelHost,
        memory,
        layout,
        cpuid,
        common.tsc_hz,
        common.epoch_at_zero,
        vcpus,
        chipset,
        bus,
    );
    if let Some(apart) = apart {
        partition.leave_chipset_to(apart);
    }
    partition.endpoints = endpoints;
    partition.consoles = plan.consoles().map(|(endpoint, _)| FunctionConsole::new(endpoint)).collect();
    partition.direct_interrupts = direct;
    partition.accelerated_interrupts = !direct && keeps_apics(&plan, common);
    for (mailbox, processor) in partition.mailboxes.iter_mut().zip(&processors) {
        mailbox.set_posting(processor.posting());
    }
    partition.ready = plan.config.ready.clone();
    partition.unmapped_crashes = plan.config.unmapped_access == UnmappedAccess::Crash;
    let room = if plan.config.snapshot { Some(room(&partition.layout, taken)?) } else { None };
    let overhead_bytes = (before - frames::free_bytes()).saturating_sub(plan.memory_bytes);
    let lifecycle = Lifecycle::new(vcpus, Policy::of(&plan.config));
    Ok(Guest {
        plan,
        partition,
        processors,
        lines,
        account: Account::default(),
        lifecycle,
        overhead_bytes,
        room,
        awaits_drives: AtomicBool::new(false),
        display: taken.display.take(),
        common,
    })
}

/// Whether the guest takes its interrupts itself.
fn takes_interrupts(plan: &GuestPlan, common: &Common) -> Result<bool, String> {
    let possible = apic::is_x2apic() && common.virtualization.offers_direct_interrupts();
    match plan.config.interrupts {
        Interrupts::Virtual | Interrupts::Emulated => Ok(false),
        // What a processor has of a guest's own interrupts cannot be taken out.
        Interrupts::Auto if plan.config.snapshot => Ok(false),
        Interrupts::Auto => Ok(possible),
        Interrupts::Direct if possible => Ok(true),
        Interrupts::Direct => {
            Err("it is to take its interrupts itself (interrupts = \"direct\"), but the machine is \
             not in x2APIC mode: use \"auto\" or \"virtual\""
                .into())
        }
    }
}

/// Whether the guest's processors keep its local APICs.
fn keeps_apics(plan: &GuestPlan, common: &Common) -> bool {
    plan.config.interrupts != Interrupts::Emulated && common.virtualization.keeps_apics()
}

/// Room for the guest's state and its memory.
fn room(layout: &GuestLayout, taken: &mut Taken) -> Result<Room, String> {
    let memory = taken.take_room(layout).ok_or("there is not enough memory for a snapshot of it")?;
    let snapshot = TicketMutex::new(Snapshot::new(layout.vcpus() as usize));
    Ok(Room { snapshot, memory })
}

/// The devices behind a guest's emulated functions.
type Endpoints = Box<[Watched<Endpoint>]>;
type Function = PassedThrough<&'static MachineConfigSpace, Window>;

fn discover_functions(
    plan: &GuestPlan,
    platform: &Platform,
    common: &Common,
) -> Result<Vec<(Function, ResetPath)>, String> {
    let discover = |function: &FunctionPlan| {
        let open = |hpa: Hpa, bytes| Window::map(hpa, bytes).ok();
        let reset = ResetPath::discover(common.config, function.bdf)
            .ok_or_else(|| format!("{} does not answer", function.bdf))?;
        // What a reset puts back must be what was checked, as must what the guest reaches.
        let bars = checked_bars(function);
        if reset.bars() != Some(&bars) {
            return Err(format!(
                "the BARs of {} are not what they were when the machine was scanned",
                function.bdf
            ));
        }
        let rom = match function.rom_bytes {
            0 => None,
            bytes => rom::copy(common.config, platform, function.bdf, bytes),
        };
        if function.rom_bytes != 0 && rom.is_none() {
            log::warn!("{}: {}: its expansion ROM cannot be read", plan.name, function.bdf);
        }
        let grant =
            Grant { interrupt_line: lines::gsi(function), rom, bars: Some(&bars), ..Grant::default() };
        let passed = PassedThrough::discover(common.config, function.bdf, &grant, open)
            .map_err(|error| format!("{}: {error}", function.bdf))?;
        Ok((passed, reset))
    };
    plan.functions.iter().map(discover).collect()
}

/// The BARs of a function as the Plan checked them.
pub fn checked_bars(function: &FunctionPlan) -> [Option<HostBar>; 6] {
    let mut bars = [None; 6];
    for bar in &function.bars {
        if let Some(place) = bars.get_mut(usize::from(bar.index)) {
            *place = Some(bar.sized());
        }
    }
    bars
}

/// Nested tables that map the guest's memory, with frames enough for its BARs
/// wherever it moves them.
fn map_memory(
    plan: &GuestPlan,
    functions: &[(Function, ResetPath)],
    common: &Common,
    backings: &Backings,
    taken: &mut Taken,
) -> Result<Box<dyn NestedTables>, String> {
    use vpci::PciFunction;
    let geometry = common.virtualization.geometry();
    let memory = taken.blocks.iter().map(|block| Extent {
        input: block.gpa.0,
        output: block.hpa.0,
        bytes: block.bytes,
    });
    let bars = functions.iter().flat_map(|(function, _)| {
        let trapped = function.trapped_regions();
        let memory = (0_u8..).zip(function.bars()).filter_map(|(number, bar)| Some((number, bar?)));
        memory.filter(|(_, bar)| bar.kind.is_memory()).map(|(number, bar)| MappedBar {
            bytes: bar.size,
            trapped: trapped.iter().filter(|region| region.bar == number).count(),
            aligned: bar.host.is_some_and(|host| host.is_aligned(bar.size)),
        })
    });
    let emulated = plan.emulated.iter().filter_map(|emulated| {
        let bytes = match &emulated.base {
            Base::SharedMemory(peer) => {
                backings.memories.iter().find(|memory| memory.peers.name == peer.memory)?.at.bytes
            }
            Base::Display { video_memory_bytes } => *video_memory_bytes,
            _ => return None,
        };
        Some(MappedBar { bytes, trapped: 0, aligned: true })
    });
    let frames =
        frames_needed(geometry.of(Permissions::ALL), memory) + bar_frames(geometry, bars.chain(emulated));
    let pool = Pool::new(frames).ok_or_else(|| format!("there is no memory for {frames} table frames"))?;
    taken.tables = Some(pool.range());
    let mut nested = common.virtualization.nested_tables(pool)?;
    for block in &taken.blocks {
        nested
            .map(block.gpa, block.hpa, block.bytes, Permissions::ALL, MemoryType::WriteBack)
            .map_err(|error| format!("its memory cannot be mapped: {error}"))?;
    }
    Ok(nested)
}

/// A function's own requester ID.
pub fn requester(function: &FunctionPlan) -> Requester {
    Requester::new(0, function.bdf)
}

fn create_domain(plan: &GuestPlan, taken: &mut Taken) -> Result<(), String> {
    let mut iommus = IOMMUS.get().ok_or("there is no IOMMU")?.lock();
    let requesters: Vec<Requester> = plan.functions.iter().map(requester).collect();
    let domain = iommus.create_domain(&requesters).map_err(|error| format!("{error}"))?;
    taken.domain = Some(domain);
    let mut map = |gpa, hpa, bytes, permissions| {
        iommus
            .map(domain, gpa, hpa, bytes, permissions)
            .map_err(|error| format!("its memory cannot be mapped for DMA: {error}"))
    };
    for block in &taken.blocks {
        map(block.gpa, block.hpa, block.bytes, Permissions::READ_WRITE)?;
    }
    for &ReservedRange { start, bytes, readable, writable } in &plan.reserved_memory {
        map(Gpa(start.0), start, bytes, Permissions { read: readable, write: writable, execute: false })?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "what a guest is made of")]
fn build_bus(
    whose @ (_, plan, _): Whose<'_>,
    platform: &Platform,
    functions: Vec<(Function, ResetPath)>,
    nested: Box<dyn NestedTables>,
    taken: &mut Taken,
    windows: Windows,
    common: &Common,
    backings: &mut Backings,
) -> Result<(Bus, Endpoints), String> {
    let iommu: &'static TicketMutex<Iommus> = IOMMUS.get().ok_or("there is no IOMMU")?;
    let mut bus = GuestBus::new(windows, functions.len() + plan.emulated.len());
    let mut assignments = Vec::with_capacity(functions.len());
    for (function_plan, (function, reset)) in plan.functions.iter().zip(functions) {
        let slot = Slot::new(function_plan.slot.device(), function_plan.slot.function());
        let requester = requester(function_plan);
        let messages = function.message_count();
        if messages > 0 {
            let function = iommu::Function::new(requester, &function_plan.requesters)
                .with_messages(function_plan.message_source);
            iommu
                .lock()
                .grant_interrupts(function, messages)
                .map_err(|error| format!("{}: {error}", function_plan.bdf))?;
            taken.interrupts.push(requester);
        }
        if let Some(fault) = function.capability_fault() {
            log::warn!("{}: {}: its capability list is broken: {fault:?}", plan.name, function_plan.bdf);
        }
        bus.insert(slot, BusFunction::PassedThrough(function)).map_err(|error| format!("{error}"))?;
        let aliases =
            function_plan.requesters.iter().copied().filter(|&id| id != function_plan.bdf).collect();
        let owned_bus = owned_bus(plan, platform, function_plan.bdf, common);
        let line = lines::assignment(function_plan);
        assignments.push(Assignment::new(slot, requester, aliases, reset, owned_bus, line));
    }
    let items = BUNDLE.get().map_or(&[][..], |bundle| bundle.items());
    let endpoints = emulated::build(whose, &mut bus, items, backings, taken)?;
    bus.place_bars().map_err(|error| format!("{error}"))?;
    let bus = Bus::new(Parts {
        bus,
        assignments,
        config: common.config,
        clock: common.clock,
        iommu,
        domain: taken.domain,
        nested,
        apic_ids: plan.apic_ids.clone().into_boxed_slice(),
    });
    Ok((bus, endpoints))
}

/// Has the bridges above these functions forward, and report no errors.
pub fn prepare_bridges(
    functions: &[FunctionPlan],
    platform: &Platform,
    config: &MachineConfigSpace,
) -> Result<(), String> {
    let functions = functions.iter().filter_map(|function| platform.function(function.bdf));
    for bridge in functions.flat_map(|function| platform.bridges_above(function)) {
        pci::bridge::prepare(config, bridge.bdf).map_err(|fault| format!("{fault}"))?;
    }
    Ok(())
}

/// Keeps functions apart on their way to the IOMMU: the Plan counts on these services,
/// so a port that does not take them is an error.
pub fn enable_access_controls(functions: &[FunctionPlan], config: &MachineConfigSpace) -> Result<(), String> {
    for (function, found) in functions.iter().flat_map(|function| &function.access_controls) {
        let AccessControl { offset, doublewords, .. } = *found;
        let controls = AccessControls { function: *function, offset, services: found.wanted(), doublewords };
        controls.enable(config).map_err(|error| format!("{error}"))?;
    }
    Ok(())
}

/// The bus of a function, where all of it belongs to this guest: it may be reset as a
/// whole.
fn owned_bus(plan: &GuestPlan, platform: &Platform, function: Bdf, common: &Common) -> Option<ResettableBus> {
    let bridge = platform.function(function)?.parent?;
    let mut others = Vec::new();
    for other in &platform.functions {
        if other.bdf == function || other.bdf.bus() != function.bus() {
            continue;
        }
        if !plan.functions.iter().any(|owned| owned.bdf == other.bdf) {
            return None;
        }
        others.push(ResetPath::discover(common.config, other.bdf)?);
    }
    Some(ResettableBus { bridge, others: others.into_boxed_slice() })
}

/// Frames that the domains' tables take at most, for the IOMMUs' pool.
pub fn domain_frames(plan: &GuestPlan, geometry: Geometry) -> usize {
    if plan.functions.is_empty() {
        return 0;
    }
    let reserved = plan.reserved_memory.iter().map(|range| Extent {
        input: range.start.0,
        output: range.start.0,
        bytes: range.bytes,
    });
    memory_frames(plan, geometry) + frames_needed(geometry, reserved)
}

/// Frames of tables that map all memory of a guest at most.
pub fn memory_frames(plan: &GuestPlan, geometry: Geometry) -> usize {
    // The guest's memory is in few blocks, but where is not known yet: every 2 MiB
    // that starts and ends a block may be cut.
    let extent = Extent { input: 0, output: MIB_2, bytes: plan.memory_bytes };
    let high = Extent { input: 1 << 32, output: MIB_2, bytes: plan.memory_bytes };
    frames_needed(geometry, [extent, high]) * 2 + 64
}
