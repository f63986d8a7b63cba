//! A virtual processor's loop: exit in, resume out.

use crate::direct::Direct;
use crate::exits::{self, Unemulated};
use crate::host::{FIRST_GUEST_VECTOR, Host, KICK_VECTOR, LINE_VECTOR, TIMER_VECTOR};
use crate::interpreter::Interpreter;
use crate::mailbox::{self, Mailbox, vectors};
use crate::msr::{LoggedOnce, Mtrrs};
use crate::partition::{End, Partition};
use crate::pv_eoi::PvEoi;
use access::vcpu::{EXIT_KINDS, Event, Resume, Segment, SegmentName, Vcpu};
use devices::{Effect, LocalApic};
use serde::{Deserialize, Serialize};
use spec::processor::{RFLAGS_IF, RFLAGS_RF};

mod saved;

/// Exits after which a vCPU looks at its mailbox at the latest.
pub const EXITS_BETWEEN_LOOKS: u32 = 1024;

/// What a virtual processor is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Activity {
    /// Executing.
    Running,
    /// In HLT.
    Halted,
    /// After INIT, until a start-up message.
    WaitForStartUp,
}

/// A virtual processor with its local APIC. It belongs to one physical processor,
/// which alone touches it; others use its [`crate::mailbox::Mailbox`].
pub struct VirtualProcessor<V> {
    /// Number among the guest's vCPUs; also its APIC ID.
    pub index: usize,
    /// The vendor's part.
    pub cpu: V,
    /// Its local APIC.
    pub apic: LocalApic,
    /// What it is doing.
    pub activity: Activity,
    /// Interrupts or timers have to be looked at before the next entry. While it is
    /// false an exit costs no more than its own handling.
    pub needs_service: bool,
    /// Exits until the next look in any case; see [`VirtualProcessor::run`].
    unlooked: u32,
    /// An exception to deliver at the next entry.
    pub exception: Option<Event>,
    /// NMIs that wait: one, and one that is to follow it.
    nmis: u8,
    /// Guest time at which the timers of its models are due.
    pub(crate) deadline: Option<u64>,
    /// No timer is set to that deadline yet.
    timer_dirty: bool,
    /// The guest time that this processor's timer is set to.
    pub(crate) armed: Option<u64>,
    /// Whether it takes its interrupts itself.
    pub direct: Direct,
    /// Whether its processor keeps its local APIC.
    pub accelerated: bool,
    /// Exits by kind.
    pub exits: [u64; EXIT_KINDS],
    /// What they were when the guest said that it is up.
    pub exits_when_ready: Option<[u64; EXIT_KINDS]>,
    /// Memory type registers.
    pub mtrrs: Mtrrs,
    /// MSRs whose refusal was logged.
    pub refused_msrs: LoggedOnce,
    /// Accesses to nothing whose first few were logged.
    pub unmapped_accesses: u32,
    /// Exits in a row for instructions that are not emulated.
    pub unemulated: Unemulated,
    /// Ends of interrupts without exits.
    pub pv_eoi: PvEoi,
    /// Who carries out instructions that reach devices.
    pub interpreter: Interpreter,
    /// Paravirtual clock registers: wall clock and system time.
    pub clock_msrs: [u64; 2],
}

impl<V: Vcpu> VirtualProcessor<V> {
    /// A virtual processor after INIT; the first runs, the others wait for a
    /// start-up message.
    pub fn new(index: usize, cpu: V) -> Self {
        Self {
            index,
            cpu,
            apic: LocalApic::new(index as u32, index == 0),
            activity: if index == 0 { Activity::Running } else { Activity::WaitForStartUp },
            needs_service: true,
            unlooked: EXITS_BETWEEN_LOOKS,
            exception: None,
            nmis: 0,
            deadline: None,
            timer_dirty: true,
            armed: None,
            direct: Direct::default(),
            accelerated: false,
            exits: [0; EXIT_KINDS],
            exits_when_ready: None,
            mtrrs: Mtrrs::default(),
            refused_msrs: LoggedOnce::default(),
            unmapped_accesses: 0,
            unemulated: Unemulated::default(),
            pv_eoi: PvEoi::default(),
            interpreter: Interpreter::default(),
            clock_msrs: [0; 2],
        }
    }

    /// Back to the state of [`VirtualProcessor::new`]; the exit counters go on.
    pub fn restart(&mut self) {
        self.cpu.reset();
        self.apic = LocalApic::new(self.index as u32, self.index == 0);
        self.activity = if self.index == 0 { Activity::Running } else { Activity::WaitForStartUp };
        self.needs_service = true;
        self.exception = None;
        self.nmis = 0;
        self.unemulated = Unemulated::default();
        self.mtrrs = Mtrrs::default();
        self.pv_eoi = PvEoi::default();
        self.clock_msrs = [0; 2];
        self.exits_when_ready = None;
    }

    /// Runs the guest on this processor until the guest ends.
    ///
    /// Invariant: between two looks at the mailbox lie at most [`EXITS_BETWEEN_LOOKS`] exits,
    /// whatever they are and whatever came of them. Mostly a kick brings the look about: it
    /// ends the guest's turn before the next instruction. But an entry that delivers an event
    /// does that first, and where that exits again, and is tried again, no kick ever gets
    /// through. So nothing here depends on the kick.
    pub fn run<H: Host>(&mut self, partition: &Partition<H>) -> End {
        self.publish_address(partition);
        self.cpu.set_tsc_offset(partition.time.offset());
        // Two loops, so that barriers cost nothing where none are needed.
        match self.cpu.is_guarded() {
            false => self.turns::<false, H>(partition),
            true => self.turns::<true, H>(partition),
        }
    }

    fn turns<const GUARDED: bool, H: Host>(&mut self, partition: &Partition<H>) -> End {
        loop {
            if self.needs_service {
                let Some(resume) = self.service(partition) else { return self.leave(partition) };
                self.cpu.prepare(resume);
            }
            let exit = if GUARDED { self.cpu.enter_guarded() } else { self.cpu.enter() };
            if let Some(count) = self.exits.get_mut(exit.kind()) {
                *count += 1;
            }
            self.unlooked = self.unlooked.wrapping_sub(1);
            if self.unlooked == 0 {
                self.look_anyway(partition);
            }
            if self.pv_eoi.is_offered() {
                self.pv_eoi.settle(&partition.memory, &mut self.apic);
            }
            exits::handle(self, partition, exit);
        }
    }

    /// Leaves the loop. A vCPU that is frozen has all of its local APIC in the model then.
    #[cold]
    fn leave<H: Host>(&mut self, partition: &Partition<H>) -> End {
        let end = partition.ended().unwrap_or(End::Stopped);
        if end == End::Frozen && self.accelerated {
            self.take_back(partition);
        }
        self.leave_hardware(partition);
        self.disarm(partition);
        end
    }

    /// Makes this vCPU look at its mailbox, and at what its processor holds back, though
    /// nobody got through to say so.
    #[cold]
    #[inline(never)]
    fn look_anyway<H: Host>(&mut self, partition: &Partition<H>) {
        self.unlooked = EXITS_BETWEEN_LOOKS;
        self.cpu.let_events_in();
        self.collect_interrupts(partition);
    }

    /// Tells other processors which messages reach this one.
    pub fn publish_address<H: Host>(&self, partition: &Partition<H>) {
        if let Some(mailbox) = partition.mailboxes.get(self.index) {
            mailbox.set_address(self.apic.address().to_bits());
        }
    }

    /// Takes mail and timers, sleeps while there is nothing to run, and says what
    /// the next entry delivers. `None`: the guest ends.
    #[inline(never)]
    fn service<H: Host>(&mut self, partition: &Partition<H>) -> Option<Resume> {
        let mailbox = partition.mailboxes.get(self.index)?;
        self.take_priority();
        loop {
            if !mailbox.is_empty() {
                self.take_mail(mailbox, partition)?;
            }
            if self.change_over(partition) {
                continue;
            }
            if !self.direct.is_on() {
                self.run_timers(partition);
            }
            match self.activity {
                Activity::Running => break,
                Activity::Halted if self.wakes(partition) => self.activity = Activity::Running,
                _ => {
                    self.arm(partition, self.deadline);
                    self.timer_dirty = true;
                    self.cpu.sleep();
                    self.collect_interrupts(partition);
                }
            }
        }
        if self.timer_dirty {
            self.watch_deadline(partition);
        }
        if self.accelerated {
            self.forward_accepted();
        }
        Some(self.resume(partition))
    }

    /// MOV to CR8 does not exit, so the model's task priority is the guest's only after this:
    /// whoever looks at the model, or changes it, comes here first.
    #[inline]
    pub(crate) fn take_priority(&mut self) {
        if self.direct.is_on() || self.accelerated {
            return;
        }
        let priority = self.cpu.cr8();
        if priority != self.apic.task_priority() >> 4 {
            self.apic.set_cr8(priority);
        }
    }

    fn take_mail<H: Host>(&mut self, mailbox: &Mailbox, partition: &Partition<H>) -> Option<()> {
        let Some(mail) = mailbox.take() else { return Some(()) };
        // One call for each vector, and none for the others: `for_each` keeps the loop tight.
        let mut accept = |vector, level| match self.direct.is_on() {
            true => self.accept_directly(partition, vector, level),
            false => self.apic.accept(vector, level),
        };
        vectors(mail.edge).for_each(|vector| accept(vector, false));
        if let Some(level) = mail.level {
            vectors(level).for_each(|vector| accept(vector, true));
        }
        if mail.notes == 0 {
            return Some(());
        }
        if mail.notes & mailbox::STOP != 0 {
            // A guest that is only frozen finds the rest again.
            mailbox.post(mail.notes & !mailbox::STOP);
            return None;
        }
        if mail.notes & mailbox::FLUSH != 0 {
            self.cpu.flush_translations();
        }
        if mail.notes & mailbox::INIT != 0 {
            self.initialize(partition);
        }
        if mail.notes & mailbox::START_UP != 0 && self.activity == Activity::WaitForStartUp {
            self.start_up(mail.notes as u8);
        }
        if mail.notes & mailbox::READY != 0 {
            self.exits_when_ready = Some(self.exits);
        }
        if mail.notes & mailbox::NMI != 0 {
            self.accept_nmi(mail.notes & mailbox::SECOND_NMI != 0);
        }
        Some(())
    }

    /// One NMI, or two. A processor whose NMIs are held back keeps one.
    #[cold]
    fn accept_nmi(&mut self, two: bool) {
        let most = if self.cpu.can_take_nmi() { 2 } else { 1 };
        self.nmis = (self.nmis + 1 + u8::from(two)).min(most);
    }

    /// INIT: back to reset, but for the APIC's base and ID; the first processor
    /// starts at the reset vector at once, which is memory of the guest's.
    fn initialize<H: Host>(&mut self, partition: &Partition<H>) {
        self.leave_hardware(partition);
        self.cpu.reset();
        self.timer_dirty = true;
        self.apic.reset();
        self.pv_eoi = PvEoi::default();
        self.exception = None;
        self.nmis = 0;
        self.activity = if self.index == 0 { Activity::Running } else { Activity::WaitForStartUp };
        self.publish_address(partition);
    }

    /// A start-up message: real mode at page `page` (Intel SDM vol. 3 section 9.4.4).
    fn start_up(&mut self, page: u8) {
        let base = u64::from(page) << 12;
        let segment = Segment { selector: u16::from(page) << 8, attributes: 0x9b, limit: 0xffff, base };
        self.cpu.set_segment(SegmentName::Cs, segment);
        self.cpu.set_rip(0);
        self.activity = Activity::Running;
    }

    /// What the hardware delivered to this physical processor.
    #[inline(never)]
    pub fn collect_interrupts<H: Host>(&mut self, partition: &Partition<H>) {
        self.needs_service = true;
        vectors(self.cpu.take_interrupts()).for_each(|vector| {
            match vector {
                TIMER_VECTOR => {
                    self.armed = None;
                    self.timer_dirty = true;
                }
                KICK_VECTOR => {}
                LINE_VECTOR => partition.take_lines(self.index),
                // A passed-through device's entry holds the guest's own vector.
                vector if vector >= FIRST_GUEST_VECTOR => self.apic.accept(vector, false),
                _ => {}
            }
        });
    }

    /// Runs what is due, and takes note of when something will be.
    fn run_timers<H: Host>(&mut self, partition: &Partition<H>) {
        let mut next = self.next_deadline(partition);
        if let Some(deadline) = next {
            let now = partition.now();
            if deadline <= now {
                self.expire(partition, now);
                next = self.next_deadline(partition);
            }
        }
        self.timer_dirty |= next != self.deadline;
        self.deadline = next;
    }

    fn next_deadline<H: Host>(&self, partition: &Partition<H>) -> Option<u64> {
        let own = self.apic.deadline();
        if self.index != 0 {
            return own;
        }
        let next = partition.chipset_deadline().min(partition.console_deadline());
        let next = next.min(own.unwrap_or(u64::MAX));
        (next != u64::MAX).then_some(next)
    }

    fn expire<H: Host>(&mut self, partition: &Partition<H>, now: u64) {
        self.apic.expire(now);
        if self.index != 0 {
            return;
        }
        if partition.chipset_deadline() <= now {
            partition.with_chipset(0, |chipset, effects, now| chipset.tick(now, effects));
            if let Some(mailbox) = partition.mailboxes.first() {
                // An end is noticed again through `ended`; nothing is lost.
                if self.take_mail(mailbox, partition).is_none() {
                    mailbox.post(mailbox::STOP);
                }
            }
        }
        if partition.console_deadline() <= now {
            partition.flush_console();
        }
    }

    /// Sees to it that the guest's run ends at the deadline: by the guest's exit where the
    /// processor can, unless this processor's timer is set to it already, for a sleep that
    /// something else ended.
    fn watch_deadline<H: Host>(&mut self, partition: &Partition<H>) {
        self.timer_dirty = false;
        let unarmed = self.deadline.filter(|_| self.armed != self.deadline);
        let by_exit = self.cpu.exit_at(unarmed.map(|tick| partition.time.machine_tick(tick)));
        self.arm(partition, if by_exit && unarmed.is_some() { None } else { self.deadline });
    }

    fn arm<H: Host>(&mut self, partition: &Partition<H>, deadline: Option<u64>) {
        if deadline != self.armed {
            partition.host.arm_timer(deadline.map(|tick| partition.time.machine_tick(tick)));
            self.armed = deadline;
        }
    }

    /// Nothing of the models' is waited for any more.
    pub(crate) fn disarm<H: Host>(&mut self, partition: &Partition<H>) {
        self.deadline = None;
        self.cpu.exit_at(None);
        self.arm(partition, None);
    }

    fn external<H: Host>(&self, partition: &Partition<H>) -> bool {
        self.index == 0 && partition.external_pending() && self.apic.accepts_external()
    }

    /// Whether something ends a HLT. With interrupts off only an NMI does (and
    /// INIT, which changes the activity itself).
    fn wakes<H: Host>(&self, partition: &Partition<H>) -> bool {
        if self.nmis != 0 || self.exception.is_some() {
            return true;
        }
        self.cpu.rflags() & RFLAGS_IF != 0 && (self.apic.deliverable().is_some() || self.external(partition))
    }

    fn resume<H: Host>(&mut self, partition: &Partition<H>) -> Resume {
        let mut resume = Resume::default();
        let external = self.external(partition);
        let deliverable = self.apic.deliverable();
        let waiting = external || deliverable.is_some();
        if let Some(exception) = self.exception.take() {
            // Whatever else waits is looked at again after the next exit.
            resume.inject = Some(exception);
            self.needs_service = waiting || self.nmis != 0;
            resume.interrupt_window = waiting;
            if exception.is_fault() {
                self.cpu.set_rflags(self.cpu.rflags() | RFLAGS_RF);
            }
            // No window opens for an NMI before the handler has begun.
            if self.nmis != 0 {
                partition.host.kick(partition, self.index);
            }
            return resume;
        }
        self.needs_service = false;
        if self.nmis != 0 {
            if self.cpu.can_take_nmi() {
                self.nmis -= 1;
                resume.inject = Some(Event::Nmi);
                self.needs_service = waiting || self.nmis != 0;
                resume.interrupt_window = waiting;
                resume.nmi_window = self.nmis != 0;
                return resume;
            }
            resume.nmi_window = true;
            self.needs_service = true;
        }
        if !waiting {
            // What an interrupt in service holds back shows at its end; what the task
            // priority holds back, at a MOV to CR8, which exits only if asked for.
            let held = self.apic.pending_below_priority();
            if held.is_some_and(|vector| vector >> 4 <= self.apic.task_priority() >> 4) {
                resume.priority_window = true;
                self.needs_service = true;
            }
            return resume;
        }
        if !self.cpu.can_take_interrupt() {
            resume.interrupt_window = true;
            self.needs_service = true;
            return resume;
        }
        let vector = if external { Some(self.external_vector(partition)) } else { deliverable };
        resume.inject = vector.map(Event::Interrupt);
        if let Some(vector) = deliverable.filter(|_| !external) {
            self.apic.acknowledge(vector);
            self.pv_eoi.offer(&partition.memory, &self.apic, vector);
        }
        resume
    }

    /// The vector that the 8259A gives.
    #[cold]
    fn external_vector<H: Host>(&mut self, partition: &Partition<H>) -> u8 {
        self.needs_service = true;
        let (vector, _) = partition.with_chipset(self.index, |chipset, effects, _| {
            let vector = chipset.acknowledge_external(effects);
            effects.push(Effect::External(chipset.external_pending()));
            vector
        });
        vector
    }
}

#[cfg(test)]
mod tests;
