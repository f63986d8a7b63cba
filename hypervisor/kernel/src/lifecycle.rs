//! A guest's life: start, end, what its policy says, start again.

use crate::guests::{Common, Guest};
use crate::host::{Here, MACHINE};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use guest::acpi;
use guest::host::Host;
use guest::loader::{self, Entry, LoadImage};
use guest::partition::End;
use handoff::bundle::{Bundle, ItemKind};
use machine::{heap, interrupts, registers};
use plan::{EndPolicy, Expect};
use spin::Once;

/// Where a guest is in its life.
pub struct Lifecycle {
    vcpus: usize,
    /// vCPUs that have left their loop in this run.
    left: AtomicUsize,
    /// Goes up by one at each start; 0 before the first.
    run: AtomicU32,
    over: AtomicBool,
    last_end: AtomicU8,
    /// TSC at the guest's first instruction, of its first run.
    first_instruction: AtomicU64,
}

impl Lifecycle {
    /// A guest that has not started.
    pub fn new(vcpus: usize) -> Self {
        Self {
            vcpus,
            left: AtomicUsize::new(0),
            run: AtomicU32::new(0),
            over: AtomicBool::new(false),
            last_end: AtomicU8::new(0),
            first_instruction: AtomicU64::new(0),
        }
    }

    /// Whether the guest will not start again.
    pub fn is_over(&self) -> bool {
        self.over.load(Acquire)
    }

    /// How often it started.
    pub fn runs(&self) -> u32 {
        self.run.load(Acquire)
    }

    /// TSC at the guest's first instruction; 0 if there was none.
    pub fn first_instruction(&self) -> u64 {
        self.first_instruction.load(Acquire)
    }

    /// How its last run ended, in a word.
    pub fn end_name(&self) -> &'static str {
        match self.last_end.load(Acquire) {
            0 => "running",
            NOT_STARTED => "not-started",
            code => ENDS.iter().find(|end| **end as u8 == code).map_or("unknown", |end| end.name()),
        }
    }

    /// Whether that is how its configuration expects it to end.
    pub fn is_as_expected(&self, expect: Expect) -> bool {
        let code = self.last_end.load(Acquire);
        let is = |end: End| code == end as u8;
        match expect {
            Expect::PowerOff => is(End::PowerOff),
            Expect::Reboot => is(End::Reboot),
            Expect::Crash => is(End::TripleFault) || is(End::InvalidState) || is(End::BadAccess),
            Expect::Running => is(End::Stopped) || code == 0,
            Expect::Refused => code == NOT_STARTED,
        }
    }
}

/// Code of a guest that could not be started.
const NOT_STARTED: u8 = 0xff;
const ENDS: [End; 6] =
    [End::PowerOff, End::Reboot, End::TripleFault, End::InvalidState, End::BadAccess, End::Stopped];

/// What guests are started from, once it is verified.
pub static BUNDLE: Once<Bundle<'static>> = Once::new();
/// What all guests have in common.
pub static COMMON: Once<Common> = Once::new();

/// Every guest ends: somebody's policy says so, or the operator.
pub fn halt_all() {
    let Some(machine) = MACHINE.get() else { return };
    for guest in &machine.guests {
        guest.partition.request_end(End::Stopped);
    }
}

/// Runs vCPU `vcpu` of `guest` on this processor, run after run, until the guest is
/// over.
pub fn run(guest: &Guest, vcpu: usize) {
    let lifecycle = &guest.lifecycle;
    let Some(processor) = guest.processors.get(vcpu) else { return };
    let mut run = 0;
    loop {
        if lifecycle.is_over() {
            return;
        }
        if vcpu == 0 {
            match start(guest) {
                Ok(entry) => {
                    processor.start(Some(&entry));
                    note_first_instruction(lifecycle);
                    run = lifecycle.run.fetch_add(1, AcqRel) + 1;
                    wake_siblings(guest);
                }
                Err(reason) => {
                    log::error!("{} does not start: {reason}", guest.partition.name);
                    return give_up(guest);
                }
            }
        } else {
            match wait_for_run(lifecycle, run) {
                Some(next) => {
                    processor.start(None);
                    run = next;
                }
                None => return,
            }
        }
        let end = processor.run(&guest.partition);
        lifecycle.left.fetch_add(1, AcqRel);
        if vcpu == 0 && !finish(guest, end) {
            return;
        }
    }
}

fn note_first_instruction(lifecycle: &Lifecycle) {
    let now = registers::read_tsc();
    let _ = lifecycle.first_instruction.compare_exchange(0, now, AcqRel, Acquire);
}

fn wake_siblings(guest: &Guest) {
    for vcpu in 1..guest.processors.len() {
        Here.kick(&guest.partition, vcpu);
    }
}

/// Waits for a run after `last`; `None` when there will be none.
fn wait_for_run(lifecycle: &Lifecycle, last: u32) -> Option<u32> {
    loop {
        if lifecycle.is_over() {
            return None;
        }
        let run = lifecycle.run.load(Acquire);
        if run > last {
            return Some(run);
        }
        // A kick between the look and the HLT stays pending until STI.
        interrupts::halt_until_interrupt();
        interrupts::take_vectors();
        interrupts::was_kicked();
    }
}

/// Scrubs the guest's memory, loads it and gives it its functions.
fn start(guest: &Guest) -> Result<Entry, String> {
    let _loading = heap::loading();
    let partition = &guest.partition;
    partition.memory.zero_all();
    let bundle = BUNDLE.get().ok_or("there is no bundle")?;
    let name = &partition.name;
    let item = |kind| match bundle.find(kind, name) {
        None => Ok(None),
        Some(item) => item.verify().map(|()| Some(item.contents)).map_err(|error| format!("{error}")),
    };
    let kernel = item(ItemKind::Kernel)?.ok_or("its kernel is not in the bundle")?;
    let initrd = item(ItemKind::Initrd)?;
    let mut modules: Vec<(&str, &[u8])> = Vec::with_capacity(guest.plan.config.modules.len());
    for module in bundle.modules(name) {
        module.verify().map_err(|error| format!("{error}"))?;
        modules.push((module.name, module.contents));
    }
    let image =
        LoadImage { kernel, initrd, modules: &modules, command_line: &guest.plan.config.command_line };
    acpi::build(&partition.memory, &partition.layout).map_err(|error| format!("{error}"))?;
    let entry =
        loader::load(&partition.memory, &partition.layout, image).map_err(|error| format!("{error}"))?;
    partition
        .bus()
        .assign(partition, |assignment, report| {
            partition.log(format_args!("{} at {}: {report}", assignment.requester, assignment.slot));
        })
        .map_err(|error| format!("{error}"))?;
    Ok(entry)
}

/// Ends a run: everything is taken back, then the policy decides. True: the guest
/// starts again.
fn finish(guest: &Guest, end: End) -> bool {
    let (partition, lifecycle) = (&guest.partition, &guest.lifecycle);
    // Each sibling was kicked, and leaves at its next exit whatever its guest does.
    while lifecycle.left.load(Acquire) < lifecycle.vcpus {
        core::hint::spin_loop();
    }
    let clean = partition.bus().revoke(partition);
    lifecycle.last_end.store(end as u8, Release);
    if partition.may_log() {
        log::info!("{} ended: {}", partition.name, end.name());
    }
    if !clean {
        log::error!("{}: a function could not be detached; its memory stays locked away", partition.name);
        return over(guest);
    }
    partition.memory.zero_all();
    let config = &guest.plan.config;
    let policy = match end {
        End::PowerOff => config.on_power_off,
        End::Reboot => config.on_reboot,
        End::Stopped => EndPolicy::Off,
        End::TripleFault | End::InvalidState | End::BadAccess => config.on_crash,
    };
    let may_restart = config.max_restarts.is_none_or(|limit| lifecycle.runs() <= limit);
    match policy {
        EndPolicy::Restart if may_restart => {
            let Some(common) = COMMON.get() else { return over(guest) };
            lifecycle.left.store(0, Release);
            partition.restart(common.chipset(&partition.layout));
            true
        }
        EndPolicy::HaltAll => {
            halt_all();
            over(guest)
        }
        _ => over(guest),
    }
}

fn over(guest: &Guest) -> bool {
    guest.partition.end_log();
    guest.lifecycle.over.store(true, Release);
    wake_siblings(guest);
    crate::steward::wake();
    false
}

/// A guest that cannot be started is over.
pub fn give_up(guest: &Guest) {
    guest.lifecycle.last_end.store(NOT_STARTED, Release);
    over(guest);
}

/// A processor that runs no guest any more: it sleeps for good.
pub fn park() -> ! {
    machine::timer::disarm_timer();
    loop {
        interrupts::halt_until_interrupt();
        interrupts::take_vectors();
        interrupts::was_kicked();
    }
}
