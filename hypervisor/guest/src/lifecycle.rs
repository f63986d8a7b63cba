//! A guest's life: start, end, what its policy says, start again; and the orders that come
//! from outside, at whatever moment.
//!
//! Each of a guest's processors is in [`run`] for good. The first leads: it starts the guest,
//! waits until all have left it, takes everything back, and decides. What it asks of the
//! machine is a [`Stage`].
//!
//! Orders stick. A guest may be anywhere between its end and its next start when one comes,
//! and [`Partition::request_end`] has no effect there; so an order is written down first and
//! asks for the end then, while the leader first makes the guest startable, which forgets the
//! end, and looks at the orders then. Whichever is first, one sees the other.

use crate::host::Host;
use crate::partition::{End, Partition};
use alloc::string::String;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use devices::Chipset;
use devices::snapshot::{RestoreFault, SaveFault};
use plan::{EndPolicy, Expect, GuestConfig};

mod freeze;

/// What a guest's life asks of the machine around it.
pub trait Stage {
    /// The machine.
    type Host: Host;

    /// What the guest's processors share.
    fn partition(&self) -> &Partition<Self::Host>;
    /// Where it is in its life.
    fn lifecycle(&self) -> &Lifecycle;
    /// Loads the guest into clean memory, gives it its functions, and puts its first vCPU
    /// where it starts.
    ///
    /// # Errors
    /// A sentence.
    fn load(&self) -> Result<(), String>;
    /// Puts a vCPU other than the first into its state after INIT.
    fn reset(&self, vcpu: usize);
    /// Runs a vCPU on this processor, until the guest ends.
    fn run(&self, vcpu: usize) -> End;
    /// Writes vCPU `vcpu` out, on its own processor, after its guest was frozen.
    ///
    /// # Errors
    /// It cannot be saved now; it is as it was.
    fn save(&self, vcpu: usize) -> Result<(), SaveFault>;
    /// Writes out the rest of a frozen guest, whose vCPUs are all saved, and throws its state away: nobody
    /// could read it any more.
    ///
    /// # Errors
    /// It cannot be saved now; it is as it was.
    fn freeze(&self) -> Result<(), SaveFault>;
    /// Reads all of a frozen guest, and only then puts back what its vCPUs share.
    ///
    /// # Errors
    /// What is wrong with what was written.
    fn thaw(&self) -> Result<(), RestoreFault>;
    /// Puts vCPU `vcpu` back, on its own processor, after [`Stage::thaw`].
    fn restore(&self, vcpu: usize);
    /// Takes the guest's functions back and scrubs its memory. False: a function could not be
    /// detached, and may still reach that memory.
    fn take_back(&self) -> bool;
    /// A chipset as it is after a reset.
    fn chipset(&self) -> Chipset;
    /// Every guest ends and none starts again: each is told by [`Lifecycle::request_halt`].
    fn halt_all(&self);
    /// Sleeps until this processor is kicked. A kick since the last sleep ends it at once.
    fn sleep(&self);
    /// Waits a moment for another processor.
    fn pause(&self) {
        core::hint::spin_loop();
    }
}

/// What follows an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// It powered itself off.
    pub on_power_off: EndPolicy,
    /// It reset itself.
    pub on_reboot: EndPolicy,
    /// It crashed.
    pub on_crash: EndPolicy,
    /// How often the policy starts it again; without it there is no limit.
    pub max_restarts: Option<u32>,
    /// There is room to freeze it.
    pub may_freeze: bool,
}

impl Policy {
    /// What the configuration says.
    pub fn of(config: &GuestConfig) -> Self {
        let GuestConfig { on_power_off, on_reboot, on_crash, max_restarts, snapshot, .. } = *config;
        Self { on_power_off, on_reboot, on_crash, max_restarts, may_freeze: snapshot }
    }

    const fn after(&self, end: End) -> EndPolicy {
        match end {
            End::PowerOff => self.on_power_off,
            End::Reboot => self.on_reboot,
            End::TripleFault
            | End::InvalidState
            | End::BadAccess
            | End::DeviceFailed
            | End::EmulatorFailed
            | End::ChipsetFailed => self.on_crash,
            End::Restarted => EndPolicy::Restart,
            End::Stopped | End::Frozen => EndPolicy::Off,
        }
    }
}

/// The guest is to stop, and stays off until somebody asks for a restart.
const STOP: u8 = 1 << 0;
/// It is to start again, whatever its policy says; done when it does.
const RESTART: u8 = 1 << 1;
/// Everything is to stop: nothing takes this back.
const HALT: u8 = 1 << 2;
/// A frozen guest is to go on; done when it does.
const CONTINUE: u8 = 1 << 3;

/// Code of a guest that could not be started.
const NOT_STARTED: u8 = 0xff;

/// Where a guest is in its life.
pub struct Lifecycle {
    vcpus: usize,
    policy: Policy,
    /// vCPUs whose processors can run it.
    fit: AtomicUsize,
    /// vCPUs that have left their loop in this run.
    left: AtomicUsize,
    /// Goes up by one at each start; 0 before the first.
    run: AtomicU32,
    /// Goes up by one each time its vCPUs enter their loops, [`Entrance`] how.
    turn: AtomicU32,
    entrance: AtomicU8,
    /// A vCPU could not be saved.
    unsaved: AtomicBool,
    frozen: AtomicBool,
    /// Restarts by its policy.
    restarts: AtomicU32,
    orders: AtomicU8,
    over: AtomicBool,
    gone: AtomicBool,
    last_end: AtomicU8,
    /// TSC at the guest's first instruction, of its first run.
    first_instruction: AtomicU64,
}

impl Lifecycle {
    /// A guest that has not started.
    pub fn new(vcpus: usize, policy: Policy) -> Self {
        Self {
            vcpus,
            policy,
            fit: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            run: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            entrance: AtomicU8::new(0),
            unsaved: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            restarts: AtomicU32::new(0),
            orders: AtomicU8::new(0),
            over: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            last_end: AtomicU8::new(0),
            first_instruction: AtomicU64::new(0),
        }
    }

    /// Whether the guest has ended and will not start again by itself.
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst) && (self.gone.load(SeqCst) || self.orders.load(SeqCst) & RESTART == 0)
    }

    /// Whether it cannot start any more: it never could, or a function of it was lost.
    pub fn is_gone(&self) -> bool {
        self.gone.load(SeqCst)
    }

    /// How often it started.
    pub fn runs(&self) -> u32 {
        self.run.load(SeqCst)
    }

    /// TSC at the guest's first instruction; 0 if there was none.
    pub fn first_instruction(&self) -> u64 {
        self.first_instruction.load(SeqCst)
    }

    /// How its last run ended, in a word; "running" before the first end.
    pub fn end_name(&self) -> &'static str {
        match self.last_end.load(SeqCst) {
            0 => "running",
            NOT_STARTED => "not-started",
            code => End::from_code(code).map_or("unknown", End::name),
        }
    }

    /// Where it is, in a word: how it ended if it is over.
    pub fn state_name(&self) -> &'static str {
        match (self.is_over(), self.runs()) {
            (true, _) => self.end_name(),
            (false, 0) => "starting",
            (false, _) if self.is_frozen() => "frozen",
            (false, _) => "running",
        }
    }

    /// Whether that is how its configuration expects it to end.
    pub fn is_as_expected(&self, expect: Expect) -> bool {
        let code = self.last_end.load(SeqCst);
        let is = |end: End| code == end as u8;
        match expect {
            Expect::PowerOff => is(End::PowerOff),
            Expect::Reboot => is(End::Reboot),
            Expect::Crash => is(End::TripleFault) || is(End::InvalidState) || is(End::BadAccess),
            Expect::Running => is(End::Stopped) || is(End::Restarted) || code == 0,
            Expect::Refused => code == NOT_STARTED,
        }
    }

    /// Stops the guest from outside; it stays off until [`Lifecycle::request_restart`]. The log
    /// says so, and `why`. To be called with the guest's own partition.
    pub fn request_stop<H: Host>(&self, partition: &Partition<H>, why: fmt::Arguments<'_>) {
        partition.host.log(partition, format_args!("is stopped: {why}"));
        self.order(|orders| orders & !RESTART | STOP);
        partition.request_end(End::Stopped);
        // Where it is frozen, nothing ends, and its first processor sleeps.
        partition.host.kick(partition, 0);
    }

    /// Starts the guest again from outside, whatever it is doing and whatever its policy says,
    /// also where it is off. False: it cannot start any more, or everything is being stopped;
    /// the log says that too. To be called with the guest's own partition.
    pub fn request_restart<H: Host>(&self, partition: &Partition<H>, why: fmt::Arguments<'_>) -> bool {
        let halting = self.orders.load(SeqCst) & HALT != 0;
        if self.is_gone() || halting {
            let reason = if halting { "everything is being stopped" } else { "it cannot start any more" };
            partition.host.log(partition, format_args!("is not started again ({why}): {reason}"));
            return false;
        }
        partition.host.log(partition, format_args!("is started again: {why}"));
        self.order(|orders| orders & !STOP | RESTART);
        partition.request_end(End::Restarted);
        // Where it is off, nothing ends, and its first processor sleeps.
        partition.host.kick(partition, 0);
        true
    }

    /// Stops the guest for good: everything is to end.
    pub fn request_halt<H: Host>(&self, partition: &Partition<H>) {
        self.order(|orders| orders | HALT);
        partition.request_end(End::Stopped);
        partition.host.kick(partition, 0);
    }

    fn order(&self, change: impl Fn(u8) -> u8) {
        let _ = self.orders.fetch_update(SeqCst, SeqCst, |orders| Some(change(orders)));
    }

    fn is_to_stop(&self) -> bool {
        self.orders.load(SeqCst) & (STOP | HALT) != 0
    }

    fn is_to_restart(&self) -> bool {
        self.orders.load(SeqCst) & RESTART != 0
    }

    /// Whether the policy, or an order, starts the guest again after `end`. Where only an order
    /// to stop keeps it from that, being stopped is how it ended.
    fn starts_again(&self, end: End) -> bool {
        let ordered = self.is_to_restart() || end == End::Restarted;
        let restarts = self.restarts.load(SeqCst);
        let may = self.policy.max_restarts.is_none_or(|limit| restarts < limit);
        let again = ordered || self.policy.after(end) == EndPolicy::Restart && may;
        if again && self.is_to_stop() {
            self.last_end.store(End::Stopped as u8, SeqCst);
            return false;
        }
        if again && !ordered {
            self.restarts.store(restarts.saturating_add(1), SeqCst);
        }
        again
    }
}

/// A processor of the guest can run it. The first vCPU starts when all have said so, since
/// nobody could end what one of them is in while another never comes.
pub fn report_fit<S: Stage>(stage: &S) {
    stage.lifecycle().fit.fetch_add(1, SeqCst);
    stage.partition().host.kick(stage.partition(), 0);
}

/// The guest cannot be run, and has not started: it is over before it began, and no processor
/// waits for another. `why` is for the log.
pub fn refuse<S: Stage>(stage: &S, why: fmt::Arguments<'_>) {
    stage.partition().host.log(stage.partition(), format_args!("does not start: {why}"));
    stage.lifecycle().last_end.store(NOT_STARTED, SeqCst);
    lose(stage);
}

/// Runs vCPU `vcpu` on this processor, run after run, until the guest cannot start any more.
pub fn run<S: Stage>(stage: &S, vcpu: usize) {
    if vcpu == 0 { lead(stage) } else { follow(stage, vcpu) }
}

/// The first vCPU's processor.
fn lead<S: Stage>(stage: &S) {
    let (life, partition) = (stage.lifecycle(), stage.partition());
    while life.fit.load(SeqCst) < life.vcpus {
        if life.is_gone() {
            return;
        }
        stage.sleep();
    }
    while !life.is_gone() {
        if life.runs() > 0 {
            partition.restart(stage.chipset());
        }
        // The start does what was asked for up to here; the end that goes with an order is
        // forgotten already, or comes.
        life.over.store(false, SeqCst);
        life.order(|orders| orders & !RESTART);
        let again = if life.is_to_stop() {
            partition.request_end(End::Stopped);
            life.last_end.store(End::Stopped as u8, SeqCst);
            false
        } else {
            one_run(stage)
        };
        if !again && !life.is_gone() {
            stay_off(stage);
        }
    }
}

/// From the start to the end. True: the guest starts again.
fn one_run<S: Stage>(stage: &S) -> bool {
    let (life, partition) = (stage.lifecycle(), stage.partition());
    if let Err(why) = stage.load() {
        refuse(stage, format_args!("{why}"));
        return false;
    }
    let _ = life.first_instruction.compare_exchange(0, partition.host.now(), SeqCst, SeqCst);
    life.run.fetch_add(1, SeqCst);
    let mut end = one_turn(stage, Entrance::Reset);
    while end == End::Frozen {
        end = stage.lifecycle().stay_frozen(stage).unwrap_or_else(|entrance| one_turn(stage, entrance));
    }
    let clean = stage.take_back();
    life.last_end.store(end as u8, SeqCst);
    if partition.may_log() {
        partition.host.log(partition, format_args!("ended: {}", end.name()));
    }
    if !clean {
        let text = "a function could not be detached; its memory stays locked away";
        partition.host.log(partition, format_args!("{text}"));
        lose(stage);
        return false;
    }
    if life.policy.after(end) == EndPolicy::HaltAll {
        stage.halt_all();
    }
    life.starts_again(end)
}

/// How vCPUs enter their loops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Entrance {
    /// As after INIT; the first as it was loaded.
    Reset = 0,
    /// As they were saved.
    Restored = 1,
    /// As they left them.
    Kept = 2,
}

/// From the moment when all vCPUs enter their loops to that when all have left them.
fn one_turn<S: Stage>(stage: &S, entrance: Entrance) -> End {
    let life = stage.lifecycle();
    life.left.store(0, SeqCst);
    life.entrance.store(entrance as u8, SeqCst);
    life.turn.fetch_add(1, SeqCst);
    kick_siblings(stage);
    let end = run_vcpu(stage, 0, entrance);
    // Each sibling was kicked, and looks at its mailbox after a bounded number of exits
    // whatever its guest does; all of them can run it, so each of them came.
    while life.left.load(SeqCst) < life.vcpus {
        stage.pause();
    }
    end
}

/// A vCPU's part of a turn, on its own processor.
fn run_vcpu<S: Stage>(stage: &S, vcpu: usize, entrance: Entrance) -> End {
    match entrance {
        Entrance::Reset if vcpu != 0 => stage.reset(vcpu),
        Entrance::Restored => stage.restore(vcpu),
        Entrance::Reset | Entrance::Kept => {}
    }
    let end = stage.run(vcpu);
    if end == End::Frozen && stage.save(vcpu).is_err() {
        stage.lifecycle().unsaved.store(true, SeqCst);
    }
    stage.lifecycle().left.fetch_add(1, SeqCst);
    end
}

/// The guest is off until somebody wants it again.
fn stay_off<S: Stage>(stage: &S) {
    let (life, partition) = (stage.lifecycle(), stage.partition());
    partition.end_log();
    life.over.store(true, SeqCst);
    partition.host.wake_housekeeping();
    while !life.is_to_restart() && !life.is_gone() {
        stage.sleep();
    }
}

/// The guest cannot start any more, and its processors need not wait for it.
fn lose<S: Stage>(stage: &S) {
    let (life, partition) = (stage.lifecycle(), stage.partition());
    partition.end_log();
    life.gone.store(true, SeqCst);
    life.over.store(true, SeqCst);
    partition.host.kick(partition, 0);
    kick_siblings(stage);
    partition.host.wake_housekeeping();
}

/// A processor of another vCPU.
fn follow<S: Stage>(stage: &S, vcpu: usize) {
    let life = stage.lifecycle();
    let mut last = 0;
    while !life.is_gone() {
        let turn = life.turn.load(SeqCst);
        if turn == last {
            stage.sleep();
            continue;
        }
        last = turn;
        let entrance = match life.entrance.load(SeqCst) {
            1 => Entrance::Restored,
            2 => Entrance::Kept,
            _ => Entrance::Reset,
        };
        run_vcpu(stage, vcpu, entrance);
    }
}

fn kick_siblings<S: Stage>(stage: &S) {
    for vcpu in 1..stage.lifecycle().vcpus {
        stage.partition().host.kick(stage.partition(), vcpu);
    }
}

#[cfg(test)]
mod tests;
