//! An NVMe controller with one namespace (NVM Express Base Specification 1.4).
//!
//! Its register window is BAR 0: registers, and doorbells from 0x1000 on. The tables of MSI-X are
//! the business of the PCI function around it, as is whether a message is masked. Registers of
//! 32 bits take accesses of 4 bytes, those of 64 bits also of 8; any other access is one that the
//! specification leaves undefined, and reads ones or changes nothing.
//!
//! An admin queue and up to four pairs of I/O queues carry commands. A command is taken only once its
//! completion queue has an entry left for its answer and the effects have room for all of its
//! requests, so an answer never waits and no request is lost. What could not be taken goes on
//! when the guest takes answers, or when a request completes. One call takes at most
//! [`COMMANDS_A_CALL`] commands; an admin queue can hold more, and they go on likewise.
//!
//! A doorbell value that makes no sense (out of its queue, more commands than fit, answers that
//! are not there), or the doorbell of a queue that is not there, is ignored. The specification
//! has an asynchronous event for them (section 5.2), which this controller does not send, and no
//! other consequence; QEMU's controller also goes on. What has no answer at all (a queue whose
//! memory is not there) is the fatal status, CSTS.CFS, and everything stands still until the
//! guest resets the controller.
//!
//! A reset by CC.EN waits for the medium: CSTS.RDY falls when nothing is on its way to the guest's
//! memory any more.

use crate::device::{Completion, Context, Device, DeviceEffect};
use access::GuestMemory;
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};
use spec::nvme::register::{self, aqa, cap, cc, csts};
use spec::nvme::{PAGE_BYTES, Status};
use spec::{Gpa, Width};

mod admin;
mod committed;
mod config;
mod features;
mod identify;
mod io;
mod queues;
mod shadow;
mod state;
mod transfer;
mod words;
mod work;

#[cfg(test)]
mod tests;

pub(crate) use committed::STATE_WORDS;
pub use config::{BlockSize, Config, MOST_MESSAGES};
pub use state::STATE_BYTES;

use crate::journal::Journal;
use crate::rest::Rest;
use crate::slots::{SLOTS, Slots};
use crate::snapshot::RestoreFault;
use committed::Touched;
use config::{IO_ENTRIES, IO_QUEUES};
use features::Features;
use queues::{CompletionQueue, LEAST_ENTRIES, SubmissionQueue};
use transfer::MOST_PIECES;
use work::Work;

/// Bytes of the register window.
pub const WINDOW_BYTES: u64 = 0x2000;
/// The most commands that one call takes from the queues: as many as an I/O queue holds.
pub const COMMANDS_A_CALL: usize = IO_ENTRIES as usize;
/// The admin queue and the I/O queues.
const QUEUES: usize = 1 + IO_QUEUES as usize;
/// Requests to the medium that one call makes: one for each slot, and then there is still room for
/// all of one more command.
const REQUESTS_A_CALL: usize = SLOTS + MOST_PIECES;
/// What else one call causes: a message for each completion queue, and a look at the line. It is
/// kept free twice, because the requests may be done one by one while the others are still
/// in the queue: each then leaves the room that its message takes, but not that of a line that
/// rises or of a deletion that ends with it.
const NOTICES: usize = 2 * (QUEUES + 1);
/// The most effects of a call.
pub(crate) const MOST_EFFECTS: usize = REQUESTS_A_CALL + NOTICES;
/// The most requests at the medium.
pub(crate) const MOST_REQUESTS: usize = SLOTS * MOST_PIECES;

/// CAP: the guest waits up to 10 s for CSTS.RDY.
const CAPABILITIES: u64 = cap::of(IO_ENTRIES, 20);

/// What is left of a shutdown that the guest announced (CC.SHN).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Shutdown {
    /// None is announced.
    None,
    /// Commands are at the medium.
    Draining,
    /// The medium is to be flushed, or is being flushed.
    Flushing,
    /// Nothing.
    Done,
}

/// The controller.
#[derive(Clone, Debug)]
pub struct Nvme {
    config: Config,
    /// CC.
    configuration: u32,
    /// CSTS but for SHST, which [`Shutdown`] says.
    status: u32,
    shutdown: Shutdown,
    /// The controller is disabled, but the medium is not done.
    resetting: bool,
    /// AQA.
    admin_attributes: u32,
    /// ASQ.
    admin_submission: u64,
    /// ACQ.
    admin_completion: u64,
    /// The vectors that INTMS masks.
    masked: u32,
    submission: [Option<SubmissionQueue>; QUEUES],
    completion: [Option<CompletionQueue>; QUEUES],
    slots: Slots<Work>,
    shadow: Option<shadow::Shadow>,
    features: Features,
    event_requests: u8,
    /// The queue whose turn it is.
    turn: usize,
    /// Messages that have to be sent.
    unsent: u32,
    /// The level of the line that the last effect was about.
    told: bool,
    /// Where a structure is put together before it is copied.
    page: Box<[u8]>,
    touched: Touched,
}

impl Nvme {
    /// A controller at power-up.
    pub fn new(mut config: Config) -> Self {
        config.messages = config.messages.clamp(1, MOST_MESSAGES);
        Self {
            config,
            configuration: 0,
            status: 0,
            shutdown: Shutdown::None,
            resetting: false,
            admin_attributes: 0,
            admin_submission: 0,
            admin_completion: 0,
            masked: 0,
            submission: [None; QUEUES],
            completion: [None; QUEUES],
            slots: Slots::new(),
            shadow: None,
            features: Features::DEFAULT,
            event_requests: 0,
            turn: 0,
            unsent: 0,
            told: false,
            page: core::iter::repeat_n(0, PAGE_BYTES as usize).collect(),
            touched: Touched::ALL,
        }
    }

    /// The registers of 8 bytes, or pairs of registers, at `offset`, a multiple of 8.
    const fn registers(&self, offset: u64) -> u64 {
        let shutdown = match self.shutdown {
            Shutdown::None => 0,
            Shutdown::Draining | Shutdown::Flushing => csts::SHUTDOWN_BUSY,
            Shutdown::Done => csts::SHUTDOWN_DONE,
        };
        match offset {
            register::CAPABILITIES => CAPABILITIES,
            // VS, INTMS.
            register::VERSION => register::VERSION_1_4 as u64 | (self.masked as u64) << 32,
            // INTMC, CC.
            register::INTERRUPT_MASK_CLEAR => self.masked as u64 | (self.configuration as u64) << 32,
            // Reserved, CSTS.
            0x18 => ((self.status | shutdown) as u64) << 32,
            // NSSR, AQA.
            register::SUBSYSTEM_RESET => (self.admin_attributes as u64) << 32,
            register::ADMIN_SUBMISSION_QUEUE => self.admin_submission,
            register::ADMIN_COMPLETION_QUEUE => self.admin_completion,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        self.touched.registers = true;
        let low = u64::from(value & !0xfff);
        let high = u64::from(value) << 32;
        match offset {
            register::INTERRUPT_MASK_SET => self.masked |= value,
            register::INTERRUPT_MASK_CLEAR => self.masked &= !value,
            register::CONFIGURATION => self.configure(value & cc::FIELDS),
            register::ADMIN_QUEUE_ATTRIBUTES => self.admin_attributes = value & aqa::FIELDS,
            register::ADMIN_SUBMISSION_QUEUE => {
                self.admin_submission = self.admin_submission & !0xffff_ffff | low;
            }
            0x2c => self.admin_submission = self.admin_submission & 0xffff_ffff | high,
            register::ADMIN_COMPLETION_QUEUE => {
                self.admin_completion = self.admin_completion & !0xffff_ffff | low;
            }
            0x34 => self.admin_completion = self.admin_completion & 0xffff_ffff | high,
            _ => {}
        }
    }

    /// Takes in CC. What follows a shutdown is a reset (section 3.1.6, SHST).
    fn configure(&mut self, value: u32) {
        let before = core::mem::replace(&mut self.configuration, value);
        let is_announced = cc::shutdown(value) != cc::SHUTDOWN_NONE;
        if (before ^ value) & cc::ENABLE != 0 || value & cc::ENABLE == 0 && !is_announced {
            self.shutdown = Shutdown::None;
        }
        if is_announced && self.shutdown == Shutdown::None {
            self.shutdown = Shutdown::Draining;
        }
        if before & !value & cc::ENABLE != 0 {
            self.resetting = true;
            self.slots.orphan();
            self.forget_queues();
        } else if value & !before & cc::ENABLE != 0 && !self.resetting {
            self.start();
        }
    }

    /// What is gone with any reset (section 7.3.2): everything but CC, AQA, ASQ, ACQ.
    fn forget_queues(&mut self) {
        self.touched = Touched::ALL;
        self.submission = [None; QUEUES];
        self.completion = [None; QUEUES];
        self.shadow = None;
        self.features = Features::DEFAULT;
        self.event_requests = 0;
        self.turn = 0;
        self.masked = 0;
        self.unsent = 0;
    }

    /// CC.EN rose: takes the admin queues and is ready, unless that is not possible as the
    /// registers stand.
    fn start(&mut self) {
        self.touched = Touched::ALL;
        let (cc, aqa) = (self.configuration, self.admin_attributes);
        let entries = (aqa::submission_entries(aqa), aqa::completion_entries(aqa));
        let is_possible = cc::command_set(cc) == 0
            && cc::page_shift(cc) == 0
            && cc::arbitration(cc) == 0
            && entries.0 >= LEAST_ENTRIES
            && entries.1 >= LEAST_ENTRIES;
        if !is_possible {
            return self.fail();
        }
        let submission = SubmissionQueue::new(Gpa(self.admin_submission), entries.0, 0);
        let completion = CompletionQueue::new(Gpa(self.admin_completion), entries.1, Some(0));
        (self.submission[0], self.completion[0]) = (Some(submission), Some(completion));
        self.status = csts::READY;
    }

    /// Nothing that the guest reads in its queues could say what happened.
    const fn fail(&mut self) {
        self.status |= csts::FATAL;
    }

    /// Whether commands are taken.
    const fn is_running(&self) -> bool {
        self.status == csts::READY && !self.resetting && matches!(self.shutdown, Shutdown::None)
    }

    /// Takes in the value of a doorbell, of which `place` others lie below.
    fn ring(&mut self, place: u64, value: u32) {
        // Bits 16 to 31 are reserved.
        let value = value & 0xffff;
        let queue = (place >> 1) as usize;
        if place & 1 == 0 {
            if let Some(Some(queue)) = self.submission.get_mut(queue) {
                queue.ring(value);
            }
        } else if let Some(Some(queue)) = self.completion.get_mut(queue) {
            queue.consume(value);
        }
    }

    /// Does what can be done now, and tells of it. Every call ends with this. Whether commands were
    /// taken.
    fn go_on(&mut self, context: &mut Context<'_>) -> bool {
        let mut took = false;
        for _ in 0..COMMANDS_A_CALL {
            if context.effects.room() < MOST_PIECES + NOTICES {
                break;
            }
            let Some(queue) = self.next_queue() else { break };
            self.turn = queue + 1;
            self.take_command(queue as u16, context);
            took = true;
        }
        self.settle(context);
        self.notify(context);
        took
    }

    /// The queue of which a command can be taken: each has its turn (round robin, section 4.13.1).
    fn next_queue(&self) -> Option<usize> {
        if !self.is_running() {
            return None;
        }
        let turns = (0..QUEUES).map(|step| (self.turn + step) % QUEUES);
        turns.into_iter().find(|queue| self.has_work(*queue).unwrap_or(false))
    }

    /// Whether a command of this queue can be taken.
    fn has_work(&self, queue: usize) -> Option<bool> {
        let submission = self.submission.get(queue)?.as_ref()?;
        let completion = self.completion.get(usize::from(submission.completions))?.as_ref()?;
        let has_slot = queue == 0 || !self.slots.is_full();
        Some(submission.has_command() && completion.has_room() && has_slot)
    }

    fn take_command(&mut self, queue: u16, context: &mut Context<'_>) {
        let Some(submission) = self.submission_mut(queue) else { return };
        let completions = submission.completions;
        let Ok(command) = submission.fetch(context.memory) else { return self.fail() };
        if let Some(completion) = self.completion_mut(completions) {
            completion.reserve();
        }
        if queue == 0 {
            self.touched.registers = true;
            self.start_admin(&command, context);
        } else {
            self.start_io(queue, &command, context);
        }
    }

    fn submission_mut(&mut self, queue: u16) -> Option<&mut SubmissionQueue> {
        self.submission.get_mut(usize::from(queue))?.as_mut()
    }

    fn completion_mut(&mut self, queue: u16) -> Option<&mut CompletionQueue> {
        self.completion.get_mut(usize::from(queue))?.as_mut()
    }

    /// Answers the command `identifier` of submission queue `queue`.
    fn answer(
        &mut self,
        queue: u16,
        identifier: u16,
        outcome: Result<u32, Status>,
        context: &mut Context<'_>,
    ) {
        let Some(submission) = self.submission_mut(queue) else { return };
        submission.in_flight = submission.in_flight.saturating_sub(1);
        let (submission_head, completions) = (submission.head(), submission.completions);
        let deletion = submission.deletion.filter(|_| submission.in_flight == 0);
        let status = outcome.err().unwrap_or(Status::SUCCESS);
        let result = outcome.unwrap_or(0);
        let entry = spec::nvme::Completion {
            result,
            submission_head,
            submission_queue: queue,
            identifier,
            phase: false,
            status,
        };
        if self.status & csts::FATAL == 0
            && let Some(completion) = self.completion_mut(completions)
        {
            let vector = completion.vector;
            match completion.post(entry, context.memory) {
                Ok(()) => {
                    self.unsent |= vector.and_then(|vector| 1_u32.checked_shl(vector.into())).unwrap_or(0);
                }
                Err(_) => self.fail(),
            }
        }
        if let Some(identifier) = deletion {
            self.finish_deletion(queue, identifier, context);
        }
    }

    /// Goes on with what waits until the medium has nothing more to do: a reset, a shutdown.
    fn settle(&mut self, context: &mut Context<'_>) {
        if !self.slots.is_idle() {
            return;
        }
        if core::mem::replace(&mut self.resetting, false) {
            self.status = 0;
            if self.configuration & cc::ENABLE != 0 {
                self.start();
            }
        }
        self.shutdown = match self.shutdown {
            Shutdown::Draining if self.config.writable => self.submit_flush(context),
            Shutdown::Draining | Shutdown::Flushing => Shutdown::Done,
            other => other,
        };
    }

    /// The level of INTx as it should be.
    fn level(&self) -> bool {
        self.completion.iter().flatten().any(|queue| {
            let is_masked = |vector| self.masked.checked_shr(u32::from(vector)).unwrap_or(0) & 1 != 0;
            queue.waiting() != 0 && queue.vector.is_some_and(|vector| !is_masked(vector))
        })
    }

    /// Sends messages, and says whether the line has to be looked at. What there is no room for comes
    /// with the next call.
    fn notify(&mut self, context: &mut Context<'_>) {
        let effects = &mut context.effects;
        while self.unsent != 0 && effects.room() > 0 {
            effects.push(DeviceEffect::Msi(self.unsent.trailing_zeros() as u16));
            self.unsent &= self.unsent - 1;
        }
        if self.level() != self.told && effects.room() > 0 {
            self.told = self.level();
            effects.push(DeviceEffect::Line);
        }
    }
}

impl Device for Nvme {
    fn most_effects(&self) -> usize {
        MOST_EFFECTS
    }

    fn most_requests(&self) -> usize {
        MOST_REQUESTS
    }

    fn read(&mut self, offset: u64, width: Width, _: &mut Context<'_>) -> u64 {
        if offset >= WINDOW_BYTES || !width.is_aligned(offset) {
            return width.mask();
        }
        let registers = if offset < register::DOORBELLS { self.registers(offset & !7) } else { 0 };
        match width {
            Width::Dword => registers >> ((offset & 4) * 8) & width.mask(),
            Width::Qword if is_wide(offset) => registers,
            _ => width.mask(),
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        if offset >= WINDOW_BYTES || !width.is_aligned(offset) {
            return;
        }
        let doorbell = offset.checked_sub(register::DOORBELLS);
        if width == Width::Dword && self.shadow.is_some() && doorbell.is_some_and(|doorbell| doorbell >= 8) {
            // Whoever polls finds it in the guest's memory.
            return context.effects.push(DeviceEffect::Wake);
        }
        self.touched.queues = true;
        match width {
            Width::Dword => match doorbell {
                Some(doorbell) => self.ring(doorbell >> 2, value as u32),
                None => self.write_register(offset, value as u32),
            },
            Width::Qword if is_wide(offset) => {
                self.write_register(offset, value as u32);
                self.write_register(offset + 4, (value >> 32) as u32);
            }
            _ => return,
        }
        self.go_on(context);
    }

    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.touched.queues = true;
        if let Some((Some(work), fault)) = self.slots.finish(completion) {
            self.finish_work(work, fault, context);
        }
        // What is polled goes on, and tells, with the next poll.
        if self.config.is_polled {
            self.settle(context);
        } else {
            self.go_on(context);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.touched.queues = true;
        self.take_doorbells(context.memory);
        self.go_on(context)
    }

    fn rests(&self, rest: &mut Rest, _: &dyn GuestMemory) -> bool {
        let has_told = self.unsent == 0 && self.level() == self.told;
        has_told && self.next_queue().is_none() && self.watch_doorbells(rest)
    }

    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        self.touched.queues = true;
        self.want_doorbells(wanted, context)
    }

    /// What is polled tells of a change with the next poll.
    fn line(&self) -> bool {
        if self.config.is_polled { self.told } else { self.level() }
    }

    fn resets_behind_requests(&self) -> bool {
        true
    }

    fn reset(&mut self) {
        self.slots.forget();
        self.forget_queues();
        self.configuration = 0;
        self.status = 0;
        self.shutdown = Shutdown::None;
        self.resetting = false;
        self.admin_attributes = 0;
        self.admin_submission = 0;
        self.admin_completion = 0;
        self.told = false;
    }

    fn state_words(&self) -> usize {
        STATE_WORDS
    }

    fn is_committed(&self) -> bool {
        !(self.touched.queues || self.touched.registers)
    }

    fn journal(&mut self, journal: &mut Journal<'_>) {
        self.say(journal);
    }

    fn restore_words(&mut self, said: &[u64]) -> Result<(), RestoreFault> {
        self.take_over(said)
    }
}

/// Whether the register at `offset` has 64 bits.
const fn is_wide(offset: u64) -> bool {
    matches!(
        offset,
        register::CAPABILITIES | register::ADMIN_SUBMISSION_QUEUE | register::ADMIN_COMPLETION_QUEUE
    )
}
