//! Compartments: address spaces in ring 3, in each of them the model of one emulated function.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use compartment::{Build, Compartment, Ended, Range, Remote, Restarts, layout};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use devices::ended::Account;
use devices::{Blueprint, Device};
use handoff::Program;
use handoff::bundle::{Bundle, ItemKind};
use machine::cpu::barriers;
use machine::cpu::facts::Facts;
use machine::cpu::registers;
use machine::cpu::ring3::{Left, Start};
use machine::cpu::timer;
use machine::memory::guest_ram::GuestRam;
use machine::memory::page_table::MapError;
use machine::memory::user_space::{AddressSpace, Place, Published};
use plan::{GuestPlan, Plan, PlannedKill};
use spin::Once;

/// Calls take some microseconds. The time also passes while an emulator, or another hypervisor below this
/// one, runs something else.
const MOST_MS: u64 = 250;
/// How often the housekeeping CPU has to look for those that take longer.
pub const LOOK_MS: u64 = 50;

/// What runs in all of them.
struct Loaded {
    program: Program<'static>,
    /// Its instructions and its constants, for all of them.
    text: Published,
    rodata: Option<Published>,
}

static LOADED: Once<Loaded> = Once::new();
/// Ticks of the TSC in a millisecond.
static TICKS_PER_MS: AtomicU64 = AtomicU64::new(1_000_000);
/// How often one is made anew in a minute.
static MOST_RESTARTS: AtomicU32 = AtomicU32::new(0);
/// There is a compartment.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// A guest's number, its Plan and its memory.
pub type Whose<'a> = (usize, &'a GuestPlan, &'a GuestRam);

/// Tells how fast the TSC is, before there are any.
pub fn set_tsc_hz(tsc_hz: u64) {
    TICKS_PER_MS.store(tsc_hz / 1000, Ordering::Relaxed);
}

/// Whether there is a compartment.
pub fn are_in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// Takes the program from the bundle.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn load(bundle: &Bundle<'static>) -> Result<(), String> {
    MOST_RESTARTS.store(bundle.config().hypervisor.restarts, Ordering::Relaxed);
    let Some(item) = bundle.find(ItemKind::Program, "") else { return Ok(()) };
    item.verify().map_err(|error| error.to_string())?;
    let program = Program::parse(item.contents, layout::IMAGE..layout::STACK_TOP - layout::STACK_BYTES);
    let program = program.map_err(|error| error.to_string())?;
    let publish = |part| Published::new(part).map_err(|error| format!("{error:?}"));
    let rodata = if program.rodata.is_empty() { None } else { Some(publish(program.rodata)?) };
    let text = publish(program.text)?;
    if barriers::reads_what_is_ring_0s(&Facts::here()) {
        log::warn!(
            "on this processor what runs in ring 3 can read all memory (CVE-2017-5754): a model there is kept from \
             writing, not from reading"
        );
    }
    LOADED.call_once(|| Loaded { program, text, rodata });
    Ok(())
}

/// One of them.
struct Ring3 {
    name: String,
    space: AddressSpace,
    area: Place,
    variables: Place,
    most_ticks: u64,
    /// What the first call says.
    build: Box<[u8]>,
    /// CR2 of its last fault.
    fault_address: u64,
}

impl Compartment for Ring3 {
    fn area(&mut self) -> &mut [u64] {
        bytemuck::try_cast_slice_mut(self.space.memory(self.area)).unwrap_or_default()
    }

    fn enter(&mut self) -> Result<(), Ended> {
        match self.space.enter(self.most_ticks) {
            Left::Done { rax: layout::DONE, .. } => Ok(()),
            Left::Done { rdi, .. } => Err(Ended::GaveUp { line: rdi }),
            Left::Fault { vector, rip, address } => {
                self.fault_address = address;
                Err(Ended::Fault { vector, rip })
            }
            Left::Late => Err(Ended::Late),
        }
    }

    fn restart(&mut self) -> Result<(), Ended> {
        let loaded = LOADED.get().ok_or(Ended::Answer("there is no program for it"))?;
        self.begin(loaded.program.data);
        let build = core::mem::take(&mut self.build);
        let entered = Build::enter_with(&build, self);
        self.build = build;
        entered
    }

    fn ended(&mut self, why: Ended, is_gone: bool) {
        let (name, address) = (&self.name, core::mem::take(&mut self.fault_address));
        match is_gone {
            true => log::error!("{name}: its compartment ended, for good: {why} (address {address:#x})"),
            false => {
                log::warn!("{name}: its compartment ended and is made anew: {why} (address {address:#x})")
            }
        }
    }
}

impl Ring3 {
    /// One that nobody entered yet.
    fn new(name: &str, loaded: &Loaded, build: &Build, whose: Whose<'_>) -> Result<Self, MapError> {
        let (index, _, memory) = whose;
        let area_words = build.sizes.words() as u64;
        let heap_bytes = build.heap_bytes() as u64;
        let start = Start {
            rip: loaded.program.entry,
            rsp: layout::STACK_TOP,
            arguments: [layout::AREA, area_words, heap_bytes],
        };
        let bytes = build.to_bytes().ok_or(MapError::NoMemory)?;
        let mut space = AddressSpace::new(index as u32, start)?;
        let Program { address, text, rodata, data, zero_bytes, .. } = loaded.program;
        space.add_published(address, loaded.text, true)?;
        let rodata_at = address + text.len() as u64;
        if let Some(rodata) = loaded.rodata {
            space.add_published(rodata_at, rodata, false)?;
        }
        let variables_at = rodata_at + rodata.len() as u64;
        let variables = space.add_memory(variables_at, data.len() as u64 + zero_bytes)?;
        space.add_memory(layout::STACK_TOP - layout::STACK_BYTES, layout::STACK_BYTES)?;
        let area = space.add_memory(layout::AREA, area_words * 8)?;
        space.add_memory(layout::HEAP, heap_bytes)?;
        space.add_guest(layout::GUEST, memory)?;
        let most_ticks = TICKS_PER_MS.load(Ordering::Relaxed).saturating_mul(MOST_MS);
        let mut ring3 = Self {
            name: name.to_string(),
            space,
            area,
            variables,
            most_ticks,
            build: bytes,
            fault_address: 0,
        };
        ring3.begin(data);
        Ok(ring3)
    }

    /// Its variables are what they are at first.
    fn begin(&mut self, data: &[u8]) {
        let variables = self.space.memory(self.variables);
        variables.fill(0);
        if let Some(variables) = variables.get_mut(..data.len()) {
            variables.copy_from_slice(data);
        }
    }
}

/// The device of this blueprint in a compartment of its own, which reaches the memory of the guest whose it is.
///
/// # Errors
/// A sentence about why not.
pub fn device(name: &str, blueprint: Blueprint, whose: Whose<'_>) -> Result<Box<dyn Device>, String> {
    let (_, _, memory) = whose;
    let loaded = LOADED.get().ok_or("the bundle has no program for ring 3")?;
    let build = Build::new(blueprint, ranges(memory));
    let no_space = |error| format!("{name}: there is no compartment for it: {error:?}");
    let mut ring3 = Ring3::new(name, loaded, &build, whose).map_err(no_space)?;
    let bytes = ring3.space.own_bytes();
    let ended = |ended| format!("{name}: its compartment ended: {ended}");
    let restarts =
        Restarts { most: MOST_RESTARTS.load(Ordering::Relaxed), minute: ring3.most_ticks / MOST_MS * 60_000 };
    // Nobody else watches over it at this time.
    timer::arm_timer(registers::read_tsc().saturating_add(ring3.most_ticks));
    let built = build.enter(&mut ring3);
    let remote = built.and_then(|()| Remote::new(ring3, build.sizes));
    let remote = remote.map(|remote| remote.with_restarts(restarts));
    timer::disarm_timer();
    IN_USE.store(true, Ordering::Relaxed);
    log::info!("{name}: in ring 3, a compartment of {} KiB", bytes >> 10);
    Ok(Box::new(remote.map_err(ended)?))
}

/// The guest's memory, in as few pieces as it has.
fn ranges(memory: &GuestRam) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for block in memory.blocks() {
        match ranges.last_mut() {
            Some(last) if last.start.0 + last.bytes == block.gpa.0 => last.bytes += block.bytes,
            _ => ranges.push(Range { start: block.gpa, bytes: block.bytes }),
        }
    }
    ranges
}

/// Compartments that are to be ended on purpose, in the order of time.
pub struct Kills {
    /// The guest, the function among its emulated ones, and when, in milliseconds from when the guests start.
    list: Vec<(String, usize, u64)>,
    /// How many of them are done.
    done: usize,
    /// When the guests started, in ticks of the TSC.
    start: Option<u64>,
}

impl Kills {
    /// Those of the Plan.
    pub fn of(plan: &Plan) -> Self {
        let kill = |kill: &PlannedKill| {
            let guest = plan.guests.get(kill.guest)?;
            Some((guest.name.clone(), kill.function, kill.at_ms.into()))
        };
        Self { list: plan.kills.iter().filter_map(kill).collect(), done: 0, start: None }
    }

    /// Has `kill` end those whose time has come, by guest and function, and says when that of the next one is.
    pub fn take(&mut self, now: u64, mut kill: impl FnMut(&str, usize)) -> u64 {
        let start = *self.start.get_or_insert(now);
        while let Some((name, function, at_ms)) = self.list.get(self.done) {
            let after = TICKS_PER_MS.load(Ordering::Relaxed).saturating_mul(*at_ms);
            let due = start.saturating_add(after);
            if now < due {
                return due;
            }
            self.done = self.done.saturating_add(1);
            kill(name, *function);
        }
        u64::MAX
    }
}

/// Says what became of the compartment of the function that is called so.
pub fn report(name: impl fmt::Display, account: Account) {
    let Account { entries, restarts, last, is_gone } = account;
    let gone = if is_gone { ", and is gone" } else { "" };
    match last {
        None => log::info!("{name}: in ring 3: {entries} entries"),
        Some(last) => {
            log::info!(
                "{name}: in ring 3: {entries} entries, {restarts} restarts{gone}; the last time: {last}"
            );
        }
    }
}
