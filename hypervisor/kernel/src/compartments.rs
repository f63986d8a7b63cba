//! Compartments: address spaces in ring 3, in each of them the model of one emulated function, the driver of a device,
//! the interpreter of a virtual processor, or the chipset of a guest.

pub mod chipsets;
pub mod drivers;
pub mod interpreters;
mod space;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use compartment::{Build, Compartment, Ended, Range, Remote, Restarts, layout};
use core::fmt;
use devices::ended::Account;
use devices::{Blueprint, Device};
use machine::cpu::registers;
use machine::memory::guest_ram::GuestRam;
use plan::{GuestPlan, Killed, MachinePart, Plan, PlannedKill};

pub use space::{Space, are_in_use, load, most_restarts, set_tsc_hz, ticks, watch};

/// How often the housekeeping CPU has to look for those that take longer.
pub const LOOK_MS: u64 = 50;

/// A guest's number, its Plan and its memory.
pub type Whose<'a> = (usize, &'a GuestPlan, &'a GuestRam);

/// That of a model.
struct Ring3 {
    name: String,
    space: Space,
    /// What the first call says.
    build: Box<[u8]>,
}

impl Compartment for Ring3 {
    fn area(&mut self) -> &mut [u64] {
        self.space.area()
    }

    fn enter(&mut self) -> Result<(), Ended> {
        self.space.enter()
    }

    fn own_bytes(&self) -> u64 {
        self.space.space.own_bytes()
    }

    fn now(&self) -> u64 {
        registers::read_tsc()
    }

    fn restart(&mut self) -> Result<(), Ended> {
        self.space.begin()?;
        let build = core::mem::take(&mut self.build);
        let entered = Build::enter_with(&build, self);
        self.build = build;
        entered
    }

    fn ended(&mut self, why: Ended, is_gone: bool) {
        report_end(&self.name, why, is_gone, self.space.take_fault_address());
    }
}

/// Says that a compartment ended, for good or to be made anew.
pub fn report_end(name: &str, why: Ended, is_gone: bool, address: u64) {
    match is_gone {
        true => log::error!("{name}: its compartment ended, for good: {why} (address {address:#x})"),
        false => log::warn!("{name}: its compartment ended and is made anew: {why} (address {address:#x})"),
    }
}

/// The device of this blueprint in a compartment of its own, which reaches the memory of the guest whose it is.
///
/// # Errors
/// A sentence about why not.
pub fn device(name: &str, blueprint: Blueprint, whose: Whose<'_>) -> Result<Box<dyn Device>, String> {
    let (index, _, memory) = whose;
    let build = Build::new(blueprint, ranges(memory));
    let named = |why: String| format!("{name}: {why}");
    let space = Space::new(index as u32, build.sizes.words(), build.heap_bytes());
    let mut space = space.map_err(named)?;
    let added = space.space.add_guest(layout::GUEST, memory);
    added.map_err(|error| named(format!("its guest's memory cannot be in it: {error:?}")))?;
    let said = build.to_bytes().ok_or_else(|| named("there is no memory to say what it is for".into()))?;
    let mut ring3 = Ring3 { name: name.to_string(), space, build: said };
    let restarts = Restarts { most: most_restarts(), minute: ticks(60_000) };
    let built = build.enter(&mut ring3);
    let remote = built.and_then(|()| Remote::new(ring3, build.sizes));
    let remote = remote.map_err(|ended| named(format!("its compartment ended: {ended}")))?;
    let own_bytes = remote.compartment().map_or(0, |account| account.own_bytes);
    log::info!("{name}: in ring 3, a compartment of {} KiB", own_bytes >> 10);
    Ok(Box::new(remote.with_restarts(restarts)))
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
    /// Whose, and when, in milliseconds from when the guests start.
    list: Vec<(Victim, u64)>,
    /// How many of them are done.
    done: usize,
    /// When the guests started, in ticks of the TSC.
    start: Option<u64>,
}

/// Whose compartment is to be ended.
pub enum Victim {
    /// That of a guest's function: the guest's name, and which it is among its emulated ones.
    Function(String, usize),
    /// Those of a guest's machine: the guest's name, and what of it.
    Machine(String, MachinePart),
    /// That of a driver: its place among the functions of the hypervisor's.
    Driver(usize),
}

impl Kills {
    /// Those of the Plan.
    pub fn of(plan: &Plan) -> Self {
        let kill = |kill: &PlannedKill| {
            let victim = match kill.whose {
                Killed::Function { guest, function } => {
                    Victim::Function(plan.guests.get(guest)?.name.clone(), function)
                }
                Killed::Machine { guest, part } => {
                    Victim::Machine(plan.guests.get(guest)?.name.clone(), part)
                }
                Killed::Driver(place) => Victim::Driver(place),
            };
            Some((victim, kill.at_ms.into()))
        };
        Self { list: plan.kills.iter().filter_map(kill).collect(), done: 0, start: None }
    }

    /// Has `kill` end those whose time has come, and says when that of the next one is.
    pub fn take(&mut self, now: u64, mut kill: impl FnMut(&Victim)) -> u64 {
        let start = *self.start.get_or_insert(now);
        while let Some((victim, at_ms)) = self.list.get(self.done) {
            let due = start.saturating_add(ticks(*at_ms));
            if now < due {
                return due;
            }
            self.done = self.done.saturating_add(1);
            kill(victim);
        }
        u64::MAX
    }
}

/// Says what became of the compartment that is called so.
pub fn report(name: impl fmt::Display, account: Account) {
    let Account { own_bytes, entries, restarts, longest_restart, last, is_gone } = account;
    let size = own_bytes >> 10;
    let gone = if is_gone { ", and is gone" } else { "" };
    let Some(last) = last else { return log::info!("{name}: in ring 3: {size} KiB, {entries} entries") };
    let longest = match longest_restart.saturating_mul(1000).checked_div(ticks(1)) {
        Some(us) if us != 0 => format!(", the longest in {us} us"),
        _ => String::new(),
    };
    log::info!(
        "{name}: in ring 3: {size} KiB, {entries} entries, {restarts} restarts{gone}; the last time: {last}{longest}"
    );
}
