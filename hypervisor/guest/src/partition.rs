//! A guest at run time: what its processors share.

use crate::chipset::GuestChipset;
use crate::cpuid::CpuidPolicy;
use crate::host::Host;
use crate::layout::GuestLayout;
use crate::log_budget::LogBudget;
use crate::mailbox::{self, Mailbox};
use crate::time::GuestTime;
use crate::waiting::{Watch, Watched};
use alloc::boxed::Box;
use alloc::string::String;
use chipset_compartment::RemoteChipset;
use compartment::Ended;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::*};
use devices::{Chipset, Effect, Effects, Endpoint};
use spin::mutex::TicketMutex;
use terminal::{FunctionConsole, Line, SERIAL_PORT};

mod console;
mod lines;
mod ports;
mod routing;
mod saved;
pub mod terminal;

/// How a guest ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum End {
    /// It powered itself off.
    PowerOff = 1,
    /// It reset itself.
    Reboot = 2,
    /// A triple fault.
    TripleFault = 3,
    /// The processor refused its state.
    InvalidState = 4,
    /// It fetched instructions from outside its memory, or used one on a device
    /// that the hypervisor does not emulate.
    BadAccess = 5,
    /// It was stopped from outside.
    Stopped = 6,
    /// It was stopped from outside, to start again.
    Restarted = 7,
    /// An emulated device of it failed.
    DeviceFailed = 8,
    /// It was frozen from outside: no end, but all vCPUs leave their loops.
    Frozen = 9,
    /// The compartment that its instructions are interpreted in fails again and again.
    EmulatorFailed = 10,
    /// The compartment that its chipset is in fails again and again.
    ChipsetFailed = 11,
}

impl End {
    /// A word for it, as the summary prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerOff => "power-off",
            Self::Reboot => "reboot",
            Self::TripleFault => "triple-fault",
            Self::InvalidState => "invalid-state",
            Self::BadAccess => "bad-access",
            Self::Stopped => "stopped",
            Self::Restarted => "restarted",
            Self::DeviceFailed => "device-failed",
            Self::Frozen => "frozen",
            Self::EmulatorFailed => "emulator-failed",
            Self::ChipsetFailed => "chipset-failed",
        }
    }

    /// The end with this number.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::PowerOff,
            2 => Self::Reboot,
            3 => Self::TripleFault,
            4 => Self::InvalidState,
            5 => Self::BadAccess,
            6 => Self::Stopped,
            7 => Self::Restarted,
            8 => Self::DeviceFailed,
            9 => Self::Frozen,
            10 => Self::EmulatorFailed,
            11 => Self::ChipsetFailed,
            _ => return None,
        })
    }
}

/// The chipset with what belongs under its lock.
pub struct ChipsetState {
    /// The models.
    pub chipset: GuestChipset,
    effects: Effects,
    line: Line,
}

/// A guest: what all its processors share.
pub struct Partition<H: Host> {
    /// Number among the guests of the Plan.
    pub index: usize,
    /// Name in the configuration.
    pub name: String,
    /// The machine.
    pub host: H,
    /// Its memory.
    pub memory: H::Memory,
    /// Its physical address space.
    pub layout: GuestLayout,
    /// Its time.
    pub time: GuestTime,
    /// What CPUID tells it.
    pub cpuid: CpuidPolicy,
    /// TSC ticks a second.
    pub tsc_hz: u64,
    /// Seconds since 1970 when the TSC was 0.
    pub epoch_at_zero: u64,
    /// An access to nothing ends the guest; else it reads ones and writes nothing.
    pub unmapped_crashes: bool,
    /// Its processors take their interrupts themselves where they can
    /// ([`crate::direct`]).
    pub direct_interrupts: bool,
    /// Its processors keep its local APICs where they can ([`crate::accelerated`]).
    pub accelerated_interrupts: bool,
    /// Part of a console line with which the guest says that it is up.
    pub ready: Option<String>,
    is_ready: AtomicBool,
    /// One for each vCPU.
    pub mailboxes: Box<[Mailbox]>,
    /// A call of it may be in a compartment. So may it be with whatever lock is held around this one.
    chipset: Watched<ChipsetState>,
    /// Guest time at which the chipset wants a tick; `u64::MAX` for never. vCPU 0 sees to it.
    chipset_deadline: AtomicU64,
    /// Guest time at which an unfinished console line is written; `u64::MAX` for never.
    console_deadline: AtomicU64,
    /// The housekeeping CPU sees to both deadlines, not vCPU 0.
    left_to_housekeeping: AtomicBool,
    /// The 8259A's output line.
    external: AtomicU8,
    bus: Watched<H::Bus>,
    /// Its emulated devices; [`crate::endpoints`]. None is taken while another is.
    pub endpoints: Box<[Watched<Endpoint>]>,
    /// Which of them are consoles.
    pub consoles: Box<[FunctionConsole]>,
    /// Number of its first console among those of all guests.
    pub first_console: usize,
    /// Their lines. It is taken after an endpoint, and before the chipset.
    pub(crate) lines: Watched<lines::Lines>,
    end: AtomicU8,
    log_budget: TicketMutex<LogBudget>,
}

impl<H: Host> Partition<H> {
    /// A partition that has not started.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        index: usize,
        name: String,
        host: H,
        memory: H::Memory,
        layout: GuestLayout,
        cpuid: CpuidPolicy,
        tsc_hz: u64,
        epoch_at_zero: u64,
        vcpus: usize,
        chipset: Chipset,
        bus: H::Bus,
    ) -> Self {
        let log_budget = TicketMutex::new(LogBudget::new(host.now()));
        Self {
            index,
            name,
            host,
            memory,
            layout,
            time: GuestTime::default(),
            cpuid,
            tsc_hz,
            epoch_at_zero,
            unmapped_crashes: false,
            direct_interrupts: false,
            accelerated_interrupts: false,
            ready: None,
            is_ready: AtomicBool::new(false),
            mailboxes: (0..vcpus).map(|_| Mailbox::default()).collect(),
            chipset: Watched::new(ChipsetState {
                chipset: GuestChipset::new(chipset),
                effects: Effects::new(),
                line: Line::new(),
            }),
            chipset_deadline: AtomicU64::new(u64::MAX),
            console_deadline: AtomicU64::new(u64::MAX),
            left_to_housekeeping: AtomicBool::new(false),
            external: AtomicU8::new(0),
            bus: Watched::new(bus),
            endpoints: Box::default(),
            consoles: Box::default(),
            first_console: 0,
            lines: Watched::default(),
            end: AtomicU8::new(0),
            log_budget,
        }
    }

    /// Guest time, in ticks of the TSC.
    #[inline]
    pub fn now(&self) -> u64 {
        self.time.at(self.host.now())
    }

    /// Writes a line about the guest to the hypervisor's log, unless it has caused too
    /// many of late.
    pub fn log(&self, text: fmt::Arguments<'_>) {
        if self.may_log() {
            self.host.log(self, text);
        }
    }

    /// Whether a line about the guest may go to the hypervisor's log. Where lines were left
    /// out before it, this says how many.
    pub fn may_log(&self) -> bool {
        let left_out = self.log_budget.lock().admit(self.host.now(), self.tsc_hz);
        if let Some(left_out) = left_out {
            self.tell_left_out(left_out);
        }
        left_out.is_some()
    }

    /// Says how many lines about the guest were left out, if any: it causes no more.
    pub fn end_log(&self) {
        let left_out = self.log_budget.lock().take_left_out();
        self.tell_left_out(left_out);
    }

    fn tell_left_out(&self, left_out: u64) {
        if left_out > 0 {
            self.host.log(self, format_args!("{left_out} lines about it were left out"));
        }
    }

    /// How it ended, once it did.
    pub fn ended(&self) -> Option<End> {
        End::from_code(self.end.load(Acquire))
    }

    /// Ends the guest: the first call counts, and says so. Every vCPU leaves its loop at its
    /// next exit, which this brings about.
    pub fn request_end(&self, end: End) -> bool {
        let is_first = self.end.compare_exchange(0, end as u8, SeqCst, SeqCst).is_ok();
        if is_first {
            for (vcpu, mailbox) in self.mailboxes.iter().enumerate() {
                mailbox.post(mailbox::STOP);
                self.host.kick(self, vcpu);
            }
        }
        is_first
    }

    /// Makes the partition startable again with a fresh chipset, after all its
    /// vCPUs have left. An end that is asked for before is forgotten; what must not be
    /// looks at its own notes afterwards ([`crate::lifecycle`]).
    pub fn restart(&self, chipset: Chipset) {
        *self.lines.lock() = lines::Lines::default();
        let mut state = self.chipset.lock();
        state.chipset.replace(chipset);
        state.effects.clear();
        self.chipset_deadline.store(u64::MAX, Release);
        self.external.store(0, Release);
        self.is_ready.store(false, Release);
        self.forget_line(&mut state);
        self.time.reset();
        for mailbox in &self.mailboxes {
            mailbox.take();
        }
        self.end.store(0, SeqCst);
    }

    /// Whether CPUID offers TSC-deadline mode: the model of the timer has it, a timer of
    /// the guest's own where the processor has.
    pub fn offers_tsc_deadline(&self) -> bool {
        !self.direct_interrupts || self.host.has_tsc_deadline()
    }

    /// The PCI bus. Taken before the chipset, and before an endpoint, where both are needed.
    pub fn bus(&self) -> spin::mutex::TicketMutexGuard<'_, H::Bus, Watch> {
        self.bus.lock()
    }

    /// The chipset is in a compartment from now on, where one begins that is as this partition's was when it was made.
    pub fn leave_chipset_to(&mut self, apart: Box<RemoteChipset>) {
        self.chipset.get_mut().chipset.leave_to(apart);
    }

    /// Lets `access` use the chipset from vCPU `from`, then does what it caused.
    /// Returns what `access` returned and whether the caller has to look at its
    /// own interrupts and timers again.
    pub fn with_chipset<R>(
        &self,
        from: usize,
        access: impl FnOnce(&mut GuestChipset, &mut Effects, u64) -> R,
    ) -> (R, bool) {
        let now = self.now();
        let mut guard = self.chipset.lock();
        let state = &mut *guard;
        state.chipset.set_time(now);
        let result = access(&mut state.chipset, &mut state.effects, now);
        let mut needs_service = false;
        while let Some(effect) = state.effects.pop() {
            needs_service |= self.chipset_effect(from, effect, &mut state.line);
        }
        if state.effects.take_overflow() {
            self.fail_device("chipset");
        }
        if let Some(ended) = state.chipset.take_end() {
            self.lose_chipset(ended);
        }
        let deadline = state.chipset.deadline().unwrap_or(u64::MAX);
        if deadline != self.chipset_deadline.swap(deadline, AcqRel) {
            needs_service |= self.deadline_changed(from);
        }
        (result, needs_service)
    }

    /// A model caused more effects than its queue holds, so the guest has lost an interrupt or
    /// a transfer: it ends, before it goes on without.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail_device(&self, device: &str) {
        self.log(format_args!("its {device} failed: it caused more at once than it has room for"));
        self.request_end(End::DeviceFailed);
    }

    /// The chipset's compartment is gone: the guest ends, before it goes on without.
    #[cold]
    #[inline(never)]
    fn lose_chipset(&self, ended: Ended) {
        self.log(format_args!("its chipset is gone: {ended}"));
        self.request_end(End::ChipsetFailed);
    }

    /// A deadline changed: whoever sees to it has to know.
    fn deadline_changed(&self, from: usize) -> bool {
        if !self.left_to_housekeeping.load(SeqCst) {
            return self.notify(from, 0, mailbox::CHIPSET);
        }
        if from != HOUSEKEEPING {
            self.host.wake_housekeeping();
        }
        false
    }

    /// Whose the chipset's timers and unfinished console lines are: the housekeeping CPU's, or
    /// vCPU 0's, which has to look at them then.
    pub fn leave_chipset_to_housekeeping(&self, left: bool) {
        self.left_to_housekeeping.store(left, SeqCst);
        if left {
            self.host.wake_housekeeping();
        }
    }

    /// What the housekeeping CPU does for a guest whose vCPU 0 takes its interrupts itself: runs
    /// what is due, and says at which TSC of the machine's something will be.
    pub fn look_after_chipset(&self) -> Option<u64> {
        if !self.left_to_housekeeping.load(SeqCst) {
            return None;
        }
        let now = self.now();
        if self.chipset_deadline() <= now {
            self.with_chipset(HOUSEKEEPING, |chipset, effects, now| chipset.tick(now, effects));
        }
        if self.console_deadline() <= now {
            self.flush_console();
        }
        Some(self.time.machine_tick(self.chipset_deadline().min(self.console_deadline())))
    }

    fn chipset_effect(&self, from: usize, effect: Effect, line: &mut Line) -> bool {
        match effect {
            Effect::Message(message) => self.route(from, message),
            Effect::Resample(gsi) => {
                self.host.end_line(self, gsi);
                false
            }
            Effect::External(level) => {
                self.external.store(level.into(), Release);
                level && self.notify(from, 0, mailbox::CHIPSET)
            }
            Effect::Transmit(byte) => {
                let ready = self.transmit(from, SERIAL_PORT, byte, line);
                ready | self.watch_console(from, line.is_unfinished())
            }
            Effect::PowerOff { sleep_type } => {
                if sleep_type == crate::layout::SLEEP_TYPE_OFF {
                    self.request_end(End::PowerOff);
                }
                true
            }
            Effect::Reset => {
                self.request_end(End::Reboot);
                true
            }
        }
    }

    /// Raises the guest's lines whose interrupts wait at the machine's pins. The look at
    /// the pins is under the chipset's lock, as each end is: no vCPU ends one between
    /// this look and the raise.
    pub fn take_lines(&self, from: usize) {
        self.with_chipset(from, |chipset, effects, _| {
            let mut lines = self.host.lines_in_service(self);
            while lines != 0 {
                chipset.assert_line(lines.trailing_zeros() as u8, effects);
                lines &= lines - 1;
            }
        });
    }

    /// The housekeeping CPU took an interrupt of somebody's line, perhaps this guest's.
    pub fn take_lines_as_housekeeping(&self) {
        if self.direct_interrupts {
            self.take_lines(HOUSEKEEPING);
        }
    }

    /// Guest time at which the chipset wants a tick.
    pub fn chipset_deadline(&self) -> u64 {
        self.chipset_deadline.load(Acquire)
    }

    /// Whether the 8259A asks for an interrupt.
    pub fn external_pending(&self) -> bool {
        self.external.load(Acquire) != 0
    }

    /// Leaves notes for vCPU `to`. Returns true where that is the caller itself,
    /// which then has to look; else kicks it.
    pub fn notify(&self, from: usize, to: usize, notes: u32) -> bool {
        let Some(mailbox) = self.mailboxes.get(to) else { return false };
        mailbox.post(notes);
        if to != from {
            self.host.kick(self, to);
        }
        to == from
    }
}

/// Who a caller of the partition is that is none of its vCPUs.
pub const HOUSEKEEPING: usize = usize::MAX;
