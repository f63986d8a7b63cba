//! The order of boot: from a loader's hand-off to running guests.
//!
//! Deny-all comes before anything that could let a device or a guest do something;
//! what is allocated is allocated here.

use crate::backings::Backings;
use crate::compartments::{self, Kills};
use crate::disks;
use crate::guests::{self, Common, Guest};
use crate::host::{IOMMUS, MACHINE, Machine};
use crate::housekeeping;
use crate::io::{IO, Io};
use crate::iommus;
use crate::lifecycle::{self, BUNDLE, COMMON};
use crate::lines;
use crate::networks;
use crate::serial;
use crate::shared_memory;
use crate::virtualization;
use access::ConfigSpace;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use guest::host::{FAULT_VECTOR, KICK_VECTOR};
use guest::waiting;
use handoff::bundle::{Bundle, ItemKind};
use machine::chipset::config_space::MachineConfigSpace;
use machine::chipset::{pic, power, wall_clock};
use machine::console;
use machine::console::symbols;
use machine::cpu::barriers::{self, Wanted};
use machine::cpu::errata::{self, Remedy};
use machine::cpu::facts::Facts;
use machine::cpu::random::Generator;
use machine::cpu::tsc::{self, TscClock};
use machine::cpu::{apic, machine_check, processor, registers, timer};
use machine::memory::frames;
use machine::memory::mmio::Window;
use machine::memory::{heap, paging};
use plan::{FileKind, FileRef, Plan};
use platform::acpi::Tables;
use platform::{MemoryKind, MemoryRegion, PhysicalMemory, Platform};
use spec::Hpa;
use spec::pci_config::{COMMAND, command};
use spin::mutex::TicketMutex;

/// What the boot itself needs of heap, besides what the machine's size adds.
const HEAP_BYTES: u64 = 4 << 20;
/// Heap for what is kept about each processor and each function.
const HEAP_BYTES_PER_GIB: u64 = 64 << 10;

/// Runs everything. Comes back when the machine could not be turned off.
pub fn run(boot: &'static BootInfo) {
    log::info!("Bulkhead {}, entered by {}", env!("CARGO_PKG_VERSION"), machine::boot::entry_point());
    let heap_bytes = HEAP_BYTES + (frames::ram_bytes() >> 30) * HEAP_BYTES_PER_GIB;
    if !heap::init(heap_bytes) {
        return log::error!("there is no memory for a heap of {heap_bytes} bytes");
    }
    let bundle = match open_bundle(boot) {
        Ok(bundle) => BUNDLE.call_once(|| bundle),
        Err(error) => return log::error!("the bundle cannot be used: {error}"),
    };
    if let Err(error) = compartments::load(bundle) {
        log::error!("the program for ring 3 cannot be used: {error}");
    }
    if bundle.config().hypervisor.console == plan::Console::Named(plan::ConsolePort::None) {
        log::info!("the configuration asks for no console but the screen");
        console::leave_serial();
    }
    let facts = Facts::here();
    barriers::choose(wanted_barriers(bundle.config().hypervisor.barriers), &facts);
    barriers::init();
    machine_check::init();
    errata::treat(&facts);
    errata::report(&facts);
    tsc::note_adjustment();
    let tables = read_tables(boot);
    let tsc_hz = start_clocks(&tables);
    compartments::set_tsc_hz(tsc_hz);
    let config = config_space(&tables);
    let mut platform = Platform::discover(tables, memory_regions(boot), config);
    platform.set_boot_processor(apic::id());
    let cpuid = |leaf, subleaf| {
        let result = registers::cpuid(leaf, subleaf);
        [result.eax, result.ebx, result.ecx, result.edx]
    };
    platform.thread_bits = platform::thread_bits(cpuid);
    platform.address_bits = platform::address_bits(cpuid);
    platform.small_code_pages = errata::need(&facts, Remedy::SmallCodePages);
    platform.random_numbers = Some(Generator::detect().is_some());
    for finding in platform.all_findings() {
        log::warn!("{finding}");
    }
    describe(&platform, tsc_hz);
    let plan = plan::build(bundle.config(), &platform, &|file| has_file(bundle, file));
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    let console_port = serial::choose(&plan, config);
    let clock = TscClock::new(tsc_hz, machine::boot::start_tsc());
    let found = iommus::find(&platform);
    let x2apic = iommus::may_use_x2apic(&platform, &found, config);
    let mut units = iommus::start(found, &plan, clock, config, x2apic);
    // Interrupts to IDs above 254 need remapping, so it comes first.
    if x2apic {
        apic::use_x2apic();
    }
    timer::init();
    units.set_fault_interrupt(config, FAULT_VECTOR, apic::id());
    log::info!("local APICs in {} mode", if apic::is_x2apic() { "x2APIC" } else { "xAPIC" });
    let console_line = console_port.and_then(|port| serial::Line::of(port, &platform)?.beside(&plan));
    lines::grant(&plan, console_line.and_then(|line| line.remapped()), &mut units);
    IOMMUS.call_once(|| TicketMutex::new(units));
    lines::take_over(&platform);
    stop_functions(&platform, config);
    let common = match common(config, clock, tsc_hz) {
        Ok(common) => COMMON.call_once(|| common),
        Err(reason) => return log::error!("no guest can run: {reason}"),
    };
    serial::open(console_line, tsc_hz);
    run_guests(plan, platform, common, bundle);
}

fn run_guests(plan: Plan, platform: Platform, common: &'static Common, bundle: &Bundle<'_>) {
    let mut refused_as_expected = 0;
    for refusal in &plan.refused {
        let expected = bundle.config().guest.get(&refusal.name).map(|guest| guest.expect);
        refused_as_expected += usize::from(expected == Some(plan::Expect::Refused));
        for problem in &refusal.problems {
            log::error!("{} is refused: {problem}", refusal.name);
        }
    }
    for problem in &plan.problems {
        log::error!("{problem}");
    }
    let (disks, reaches) = disks::bring_up(&plan, &platform, common);
    let frame_bytes = networks::frame_bytes(&plan);
    if frame_bytes != 0 && !heap::init(frame_bytes) {
        return log::error!("there is no memory for {frame_bytes} bytes of frames");
    }
    let networks = networks::bring_up(&plan, &platform, common);
    let memories = shared_memory::bring_up(&plan);
    let mut backings = Backings { disks, reaches, networks, memories };
    let mut kills = Kills::of(&plan);
    let mut refused = plan.refused.len();
    let mut built: Vec<Guest> = Vec::with_capacity(plan.guests.len());
    for guest_plan in plan.guests {
        let name = guest_plan.name.clone();
        match guests::build(built.len(), guest_plan, &platform, common, &mut backings) {
            Ok(guest) => built.push(guest),
            Err(reason) => {
                refused += 1;
                log::error!("{name} is refused: {reason}");
            }
        }
    }
    let apic_ids: Vec<u32> = platform.processors().map(|processor| processor.apic_id).collect();
    let off = soft_off(&platform);
    let running = processor::start_others(&apic_ids, processor_main);
    report_missing(&built);
    log::info!("{running} processors, {} guests, {refused} refused", built.len());
    name_consoles(&mut built);
    console::leave_to_housekeeping(KICK_VECTOR, common.tsc_hz);
    let by = bundle.config().hypervisor.io;
    let endpoints = built.iter().map(|guest| guest.plan.emulated.len());
    let io = IO.call_once(|| Io::new(backings, by, endpoints));
    waiting::look_while_waiting(housekeeping::look_for_late);
    // The other processors wait for this.
    let machine =
        MACHINE.call_once(|| Machine { guests: built.into_boxed_slice(), refused_as_expected, refused });
    housekeeping::watch(machine, common, io, &mut kills);
    housekeeping::finish(machine, io);
    match off {
        Some(off) => power::power_off(&off),
        None => log::warn!("the firmware does not say how to turn the machine off"),
    }
}

/// Numbers the guests' consoles, each guest's behind one another, and makes room for what they print.
fn name_consoles(guests: &mut [Guest]) {
    let mut names = Vec::new();
    for guest in guests {
        guest.partition.first_console = names.len();
        names.extend(
            (0..=guest.partition.consoles.len()).map(|console| guest.plan.console_name(console).to_string()),
        );
    }
    console::add_guests(names.iter().map(String::as_str));
}

/// A guest whose processors are not all there never runs: say so.
fn report_missing(guests: &[Guest]) {
    let started: Vec<u32> = (1..processor::count()).filter_map(processor::apic_id).collect();
    for guest in guests {
        if let Some(missing) = guest.plan.apic_ids.iter().find(|id| !started.contains(id)) {
            let why = if *missing == apic::id() { "runs the hypervisor itself" } else { "did not start" };
            guest::lifecycle::refuse(guest, format_args!("the processor with APIC ID {missing} {why}"));
        }
    }
}

/// A processor other than the first: it runs its vCPU, then sleeps.
extern "C" fn processor_main(index: usize) -> ! {
    barriers::init();
    machine_check::init();
    errata::treat(&Facts::here());
    timer::init();
    let id = processor::apic_id(index);
    let machine = MACHINE.wait();
    let place = machine.guests.iter().find_map(|guest| {
        let vcpu = guest.plan.apic_ids.iter().position(|&owned| Some(owned) == id)?;
        Some((guest, vcpu))
    });
    if let Some((guest, vcpu)) = place {
        processor::give_to(guest.partition.index as u32);
        let enabled = COMMON.get().map_or(Ok(()), |common| common.virtualization.enable());
        match enabled {
            Ok(()) => {
                guest::lifecycle::report_fit(guest);
                guest::lifecycle::run(guest, vcpu);
            }
            Err(reason) => guest::lifecycle::refuse(guest, format_args!("{reason}")),
        }
    }
    lifecycle::park()
}

fn common(
    config: &'static MachineConfigSpace,
    clock: TscClock,
    tsc_hz: u64,
) -> Result<Common, alloc::string::String> {
    let virtualization = virtualization::detect()?;
    let epoch_at_zero = wall_clock::read().unwrap_or(0).saturating_sub(registers::read_tsc() / tsc_hz.max(1));
    Ok(Common { virtualization, tsc_hz, epoch_at_zero, config, clock })
}

const fn wanted_barriers(configured: plan::Barriers) -> Wanted {
    match configured {
        plan::Barriers::Auto => Wanted::Needed,
        plan::Barriers::None => Wanted::None,
        plan::Barriers::All => Wanted::All,
    }
}

/// Finds the bundle and verifies its header and configuration; each guest's
/// processor verifies what that guest is started from.
fn open_bundle(boot: &'static BootInfo) -> Result<Bundle<'static>, alloc::string::String> {
    let address = boot.ramdisk_addr.into_option().ok_or("the loader passed no ramdisk with it")?;
    // SAFETY: the entry point mapped this many bytes there, read-only, for good; nobody
    // writes them.
    let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, boot.ramdisk_len as usize) };
    let bundle = Bundle::open(bytes).map_err(|error| error.to_string())?;
    if let Some(item) = bundle.find(ItemKind::Symbols, "") {
        match item.verify() {
            Ok(()) if symbols::set_symbols(item.contents) => {}
            _ => log::warn!("the symbols in the bundle cannot be used"),
        }
    }
    log::info!("bundle of {} KiB with {} items", bytes.len() >> 10, bundle.items().len());
    Ok(bundle)
}

fn has_file(bundle: &Bundle<'_>, file: FileRef<'_>) -> bool {
    let kind = match file.kind {
        FileKind::Kernel => ItemKind::Kernel,
        FileKind::Initrd => ItemKind::Initrd,
        FileKind::Module => ItemKind::Module,
        FileKind::Image => ItemKind::Image,
    };
    bundle.items().iter().any(|item| item.kind == kind && item.guest == file.guest && item.name == file.name)
}

/// Physical memory for the parsers of the firmware's tables.
struct Memory;

impl PhysicalMemory for Memory {
    fn read(&self, hpa: Hpa, out: &mut [u8]) -> bool {
        paging::read_physical(hpa, out).is_ok()
    }
}

fn read_tables(boot: &BootInfo) -> Tables {
    let rsdp = boot.rsdp_addr.into_option().unwrap_or(0);
    Tables::read(&Memory, Hpa(rsdp))
}

fn start_clocks(tables: &Tables) -> u64 {
    let pm_timer = tables.fadt.as_ref().and_then(|fadt| {
        let port = fadt.pm_timer?.port()?;
        Some(tsc::PmTimer { port, wide: fadt.pm_timer_32_bits })
    });
    let hpet = tables.hpet.as_ref().and_then(|hpet| Window::map(hpet.base, 1024).ok());
    let hpet = hpet.as_ref().map(|window| window as &dyn access::RegisterWindow);
    let rate = tsc::calibrate(&tsc::Platform { pm_timer, hpet });
    if let Some((source, declared)) = rate.contradicted {
        log::warn!("{source:?} declares a TSC of {declared} Hz, which is measured otherwise");
    }
    pic::mask_all();
    if let Err(error) = apic::init() {
        log::error!("the local APIC: {error:?}");
    }
    timer::calibrate(rate.hz);
    rate.hz
}

fn config_space(tables: &Tables) -> &'static MachineConfigSpace {
    let mut config = MachineConfigSpace::new();
    for ecam in tables.ecam.iter().filter(|ecam| ecam.segment == 0) {
        if let Err(error) = config.add_ecam(ecam.base, ecam.first_bus, ecam.last_bus) {
            log::warn!("the configuration space at {} cannot be mapped: {error:?}", ecam.base);
        }
    }
    Box::leak(Box::new(config))
}

fn memory_regions(boot: &BootInfo) -> Vec<MemoryRegion> {
    let kind = |kind| match kind {
        MemoryRegionKind::Usable => MemoryKind::Usable,
        _ => MemoryKind::Reserved,
    };
    boot.memory_regions
        .iter()
        .map(|region| MemoryRegion {
            start: Hpa(region.start),
            bytes: region.end.saturating_sub(region.start),
            kind: kind(region.kind),
        })
        .collect()
}

fn describe(platform: &Platform, tsc_hz: u64) {
    log::info!(
        "{} processors, {} MiB of memory, TSC at {}.{:03} MHz, {} PCI functions",
        platform.processors().count(),
        frames::ram_bytes() >> 20,
        tsc_hz / 1_000_000,
        tsc_hz / 1000 % 1000,
        platform.functions.len(),
    );
}

/// Functions that firmware or a loader left working stop: nobody's memory may be the
/// target of what they were told before, and nobody's interrupt line may be held down, not
/// by a bridge either. Spared are screens, what firmware says that it goes on using, and
/// IOMMUs that are functions: their own interrupts need bus mastering. A guest turns its own
/// on again.
///
/// Most were stopped before the hypervisor used any memory ([`machine::boot::bus_masters`]); what
/// firmware goes on using, which only its tables tell, goes on here.
fn stop_functions(platform: &Platform, config: &MachineConfigSpace) {
    const DISPLAY: u8 = 0x03;
    let stopped = machine::boot::stopped_functions();
    for function in &platform.functions {
        let reserved = platform.reserved_memory(function).next().is_some();
        let is_display = (function.class >> 16) as u8 == DISPLAY;
        let before = config.read16(function.bdf, COMMAND);
        let was_stopped = stopped.contains(&function.bdf);
        if is_display || reserved || platform.is_remapping_unit(function) {
            if was_stopped {
                config.write16(function.bdf, COMMAND, before | command::BUS_MASTER);
            }
            continue;
        }
        let is_master = function.bridge.is_none() && before & command::BUS_MASTER != 0;
        let masked = if is_master { before & !command::BUS_MASTER } else { before };
        config.write16(function.bdf, COMMAND, masked | command::INTERRUPT_DISABLE);
        if is_master || was_stopped {
            log::info!("{} was left working by the firmware and is stopped", function.bdf);
        }
    }
}

fn soft_off(platform: &Platform) -> Option<power::SoftOff> {
    let fadt = platform.tables.fadt.as_ref()?;
    let types = platform.tables.soft_off?;
    Some(power::SoftOff {
        pm1a_control: fadt.pm1a_control?.port()?,
        pm1b_control: fadt.pm1b_control.and_then(|register| register.port()),
        sleep_type_a: types.pm1a,
        sleep_type_b: types.pm1b,
    })
}

/// The log goes to the console whatever happened; nothing is left to do.
pub fn halt() -> ! {
    log::info!("the machine stays on, halted");
    registers::halt_forever()
}
