//! The account: the time-stamp counter is read where one part begins and where it ends. In an emulator
//! in which the counter advances by one an instruction, that counts instructions.
//!
//! Only the housekeeping CPU keeps it, inside of a turn. What keeping it costs is found out once and taken
//! off. A turn that finds nothing to do is counted apart, for how many of these there are depends on how
//! long the device takes.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use machine::cpu::registers::read_tsc;

/// What instructions are counted for.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Part {
    /// The block layer or the switch, and whatever no other part is.
    Layer,
    /// Rings or registers: the model of a device.
    Model,
    /// The driver of a drive or a network interface.
    Driver,
    /// Copies of data.
    Copy,
    /// Messages to a guest.
    Interrupt,
}

const PARTS: usize = 5;
/// Who never rests is told of after so many turns that did something.
const MOST_TURNS: u64 = 256;
/// Entries by which the cost of an entry is found out.
const TRIALS: u64 = 256;

type Counts = [AtomicU64; PARTS];

const fn counts() -> Counts {
    [const { AtomicU64::new(0) }; PARTS]
}

/// Ticks of each part in this turn, how often each was entered, and how often another from it.
static TICKS: Counts = counts();
static ENTERED: Counts = counts();
static LEFT: Counts = counts();
/// The same of all turns that did something, since the last report.
static ALL: Counts = counts();
static TURNS: AtomicU64 = AtomicU64::new(0);
static IDLE_TURNS: AtomicU64 = AtomicU64::new(0);
static IDLE_TICKS: AtomicU64 = AtomicU64::new(0);
/// The longest turn and the copies in it, and the longest time from the start of one to that of the next where that was due
/// at once.
static LONGEST: AtomicU64 = AtomicU64::new(0);
static LONGEST_COPIES: AtomicU64 = AtomicU64::new(0);
static LONGEST_WAIT: AtomicU64 = AtomicU64::new(0);

static IS_RUNNING: AtomicBool = AtomicBool::new(false);
static HAS_WORKED: AtomicBool = AtomicBool::new(false);
static CURRENT: AtomicUsize = AtomicUsize::new(0);
static SINCE: AtomicU64 = AtomicU64::new(0);
/// Since when the next turn is due; 0 where none was.
static DUE: AtomicU64 = AtomicU64::new(0);
/// What counting cost in the last turn.
static COSTS: AtomicU64 = AtomicU64::new(0);
/// What an entry costs the part itself, and the one around it; 0 before that is known.
static COST_INSIDE: AtomicU64 = AtomicU64::new(0);
static COST_AROUND: AtomicU64 = AtomicU64::new(0);

fn add(to: &AtomicU64, more: u64) {
    // Nobody else writes, so it is no atomic addition, which an emulator makes expensive.
    to.store(to.load(Relaxed).wrapping_add(more), Relaxed);
}

fn count(counts: &Counts, part: usize, more: u64) {
    if let Some(count) = counts.get(part) {
        add(count, more);
    }
}

/// Runs `run` as a part of the turn that is going on, if one is.
#[inline(always)]
pub fn within<R>(part: Part, run: impl FnOnce() -> R) -> R {
    if !IS_RUNNING.load(Relaxed) {
        return run();
    }
    let outer = CURRENT.load(Relaxed);
    count(&ENTERED, part as usize, 1);
    count(&LEFT, outer, 1);
    switch(part as usize);
    let result = run();
    switch(outer);
    result
}

#[inline(never)]
fn switch(to: usize) {
    let now = read_tsc();
    count(&TICKS, CURRENT.load(Relaxed), now.wrapping_sub(SINCE.load(Relaxed)));
    CURRENT.store(to, Relaxed);
    SINCE.store(now, Relaxed);
}

/// Whether the part that runs is the layer between models and drivers.
pub fn is_layer() -> bool {
    CURRENT.load(Relaxed) == Part::Layer as usize
}

/// A turn of the housekeeping CPU for the emulated devices: whether another is due at once.
pub fn turn(run: impl FnOnce() -> bool) -> bool {
    if COST_INSIDE.load(Relaxed) == 0 {
        find_out_costs();
    }
    let start = read_tsc();
    let due = DUE.load(Relaxed);
    if due != 0 {
        LONGEST_WAIT.fetch_max(start.wrapping_sub(due).saturating_sub(COSTS.load(Relaxed)), Relaxed);
    }
    begin(start);
    let polls = run();
    let end = read_tsc();
    finish(start, end);
    let has_worked = HAS_WORKED.load(Relaxed);
    if polls && !has_worked {
        // In an emulator that runs one processor at a time the others have their turn.
        spin_loop();
    }
    let says = !polls || TURNS.load(Relaxed) >= MOST_TURNS;
    if says {
        report();
    }
    let due = match (says, has_worked) {
        (true, _) => 0,
        (false, true) => start,
        (false, false) => {
            COSTS.store(0, Relaxed);
            read_tsc()
        }
    };
    DUE.store(due, Relaxed);
    polls
}

/// Whether this turn found something to do.
pub fn worked(has: bool) {
    HAS_WORKED.store(has, Relaxed);
}

fn begin(now: u64) {
    for counts in [&TICKS, &ENTERED, &LEFT] {
        counts.iter().for_each(|count| count.store(0, Relaxed));
    }
    HAS_WORKED.store(false, Relaxed);
    CURRENT.store(Part::Layer as usize, Relaxed);
    SINCE.store(now, Relaxed);
    IS_RUNNING.store(true, Relaxed);
}

/// Takes what was counted since [`begin`] to the account, without what counting it cost.
fn finish(start: u64, end: u64) {
    switch(Part::Layer as usize);
    IS_RUNNING.store(false, Relaxed);
    let (inside, around) = (COST_INSIDE.load(Relaxed), COST_AROUND.load(Relaxed));
    let (mut all, mut costs, mut copies) = (0, 0, 0);
    for part in 0..PARTS {
        let of = |counts: &Counts| counts.get(part).map_or(0, |count| count.load(Relaxed));
        let cost = of(&ENTERED).wrapping_mul(inside).wrapping_add(of(&LEFT).wrapping_mul(around));
        costs += cost;
        let net = of(&TICKS).saturating_sub(cost);
        all += net;
        if part == Part::Copy as usize {
            copies = net;
        }
        if HAS_WORKED.load(Relaxed) {
            count(&ALL, part, net);
        }
    }
    COSTS.store(costs, Relaxed);
    let length = end.wrapping_sub(start).saturating_sub(costs);
    if HAS_WORKED.load(Relaxed) {
        add(&TURNS, 1);
        if LONGEST.fetch_max(length, Relaxed) < length {
            LONGEST_COPIES.store(copies, Relaxed);
        }
    } else {
        add(&IDLE_TURNS, 1);
        add(&IDLE_TICKS, all);
    }
}

/// Counts parts in which nothing happens.
fn find_out_costs() {
    begin(read_tsc());
    for _ in 0..TRIALS {
        within(Part::Model, || ());
    }
    switch(Part::Layer as usize);
    IS_RUNNING.store(false, Relaxed);
    let each = |part: Part| TICKS.get(part as usize).map_or(0, |count| count.load(Relaxed) / TRIALS);
    COST_INSIDE.store(each(Part::Model).max(1), Relaxed);
    COST_AROUND.store(each(Part::Layer), Relaxed);
}

/// Says what the turns since the last report cost, once there is no more to do.
fn report() {
    let take = |count: &AtomicU64| count.swap(0, Relaxed);
    let turns = take(&TURNS);
    let [layer, model, driver, copy, interrupt] = ALL.each_ref().map(take);
    let (idle, idle_ticks) = (take(&IDLE_TURNS), take(&IDLE_TICKS));
    let [longest, copies, longest_wait] = [&LONGEST, &LONGEST_COPIES, &LONGEST_WAIT].map(take);
    if turns != 0 {
        log::info!(
            "metered: turns={turns} model={model} layer={layer} driver={driver} copy={copy} interrupt={interrupt} \
             idle_turns={idle} idle={idle_ticks} longest={longest} longest_copies={copies} longest_wait={longest_wait}"
        );
    }
}
