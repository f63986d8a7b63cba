//! What an entry asks of the processor beyond running on, and what an exit leaves for the
//! next one: events to deliver, windows to wait for, translations to forget.
//!
//! Most entries ask nothing, and for those nothing is looked at but one state.

use super::Features;
use super::control;
use access::vcpu::{Event, Resume, SavedProcessor};
use spec::processor::RFLAGS_TF;
use spec::svm::{Clean, Control, Save, Vmcb, exit_code, virtual_interrupt};

/// DR6: a single step.
const DR6_BS: u64 = 1 << 14;
/// DR6: the breakpoints that were met, and the access to a debug register.
const DR6_OTHERS: u64 = 0xf | 1 << 13;
const DEBUG_VECTOR: u8 = 1;
const DEBUG: u64 = DEBUG_VECTOR as u64;

/// Whether the guest's handler of NMIs runs, where the processor does not keep account of
/// it (virtual NMIs do, AMD APM vol. 2 section 15.21.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Nmi {
    /// An NMI can be taken.
    Open,
    /// One was delivered; the guest's next IRET exits.
    Masked,
    /// The IRET at `rip` exited and is about to run.
    Returning { rip: u64 },
    /// It runs under RFLAGS.TF, since an NMI waits for its end.
    Stepping { rip: u64, own_trap: bool, dr6: u64 },
    /// One can be taken after the instruction in the shadow of STI or MOV SS, which runs under
    /// RFLAGS.TF. It may be HLT, which then exits too; `halts`: as it does anyhow.
    LeavingShadow { own_trap: bool, dr6: u64, halts: bool },
}

/// How much the next entry has to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing: the control block says what an entry does of which nothing is asked.
    Settled,
    /// Something: to do, or to take back of what the last one did.
    Unsettled,
    /// Nothing more: [`Entry::prepare`] has done it.
    Prepared,
}

/// What the next entry has to see to.
#[derive(Debug)]
pub struct Entry {
    features: Features,
    flush: bool,
    /// The event whose delivery the last exit interrupted, in EVENTINJ's layout.
    interrupted: u64,
    /// An interrupt went to the guest as a virtual one ([`Features::injects_twice`]).
    pending: bool,
    nmi: Nmi,
    /// The control block asks for what the entry after the next does not want.
    to_take_back: bool,
    state: State,
}

impl Entry {
    /// Of a vCPU after INIT, on a processor with `features`.
    pub const fn new(features: Features) -> Self {
        Self {
            features,
            flush: true,
            interrupted: 0,
            pending: false,
            nmi: Nmi::Open,
            to_take_back: false,
            state: State::Unsettled,
        }
    }

    /// Whether the next entry needs [`Entry::prepare`] though nothing new is asked of it.
    #[inline(always)]
    pub fn needs_preparation(&self) -> bool {
        self.state == State::Unsettled
    }

    /// Makes the next entry need [`Entry::prepare`].
    pub fn unsettle(&mut self) {
        self.state = State::Unsettled;
    }

    /// Makes the next entry forget the guest's cached translations.
    pub fn flush_translations(&mut self) {
        self.flush = true;
        self.unsettle();
    }

    /// Whether no event waits to be delivered again.
    pub fn is_free(&self) -> bool {
        self.interrupted == 0
    }

    /// Forgets the event that waits to be delivered again; gives its error code, if it has one.
    pub fn take_interrupted(&mut self) -> Option<u32> {
        control::error_code(core::mem::take(&mut self.interrupted))
    }

    /// The event that waits to be delivered again.
    pub fn interrupted(&self) -> Option<Event> {
        control::decode_event(self.interrupted)
    }

    /// Whether the guest's handler of NMIs runs.
    pub fn masks_nmis(&self, control: &Control) -> bool {
        match self.features.virtual_nmi {
            true => control.virtual_interrupt & virtual_interrupt::NMI_MASK != 0,
            // A step or a shadow is over at its exit.
            false => matches!(self.nmi, Nmi::Masked | Nmi::Returning { .. } | Nmi::Stepping { .. }),
        }
    }

    /// Goes on with what another vCPU had to deliver, and with its NMIs: the guest's next IRET ends
    /// its handler.
    pub fn restore(&mut self, control: &mut Control, saved: &SavedProcessor) {
        self.interrupted = saved.delivery.map_or(0, control::encode_event);
        let mut bits = 0;
        match self.features.virtual_nmi {
            true => {
                bits |= if saved.nmi_masked { virtual_interrupt::NMI_MASK } else { 0 };
                bits |= if saved.nmi_pending { virtual_interrupt::NMI_PENDING } else { 0 };
            }
            false if saved.nmi_masked => {
                self.nmi = Nmi::Masked;
                control::watch_iret(control, true);
            }
            false => {}
        }
        control.virtual_interrupt |= bits;
        control.clean.remove(Clean::VIRTUAL_INTERRUPT);
        self.flush_translations();
    }

    /// Whether an NMI can be given to the next entry. A processor with virtual NMIs holds one
    /// back by itself, and merges it with one that it holds already, as it does outside of
    /// guests.
    pub fn takes_nmi(&self, control: &Control) -> bool {
        let open = self.nmi == Nmi::Open && control.interrupt_shadow & control::SHADOW == 0;
        self.is_free() && (self.features.virtual_nmi || open)
    }

    /// Writes what the next entry is to do into the control block.
    #[inline(never)]
    pub fn prepare(&mut self, vmcb: &mut Vmcb, resume: Resume) {
        if let Some(Event::Exception { vector: DEBUG_VECTOR, .. }) = resume.inject {
            note_trap(vmcb);
        }
        let control = &mut vmcb.control;
        control.event_injection = match (self.interrupted, resume.inject) {
            (waiting, Some(Event::Nmi)) if self.features.virtual_nmi => {
                control.virtual_interrupt |= virtual_interrupt::NMI_PENDING;
                control.clean.remove(Clean::VIRTUAL_INTERRUPT);
                self.interrupted = 0;
                waiting
            }
            // An exception that the hypervisor raises while it steps over what
            // interrupted a delivery comes first; the delivery waits one entry.
            (_, Some(event @ Event::Exception { .. })) | (0, Some(event)) => control::encode_event(event),
            (waiting, _) => {
                self.interrupted = 0;
                waiting
            }
        };
        if control::is_nmi(control.event_injection) && !self.features.virtual_nmi {
            self.nmi = Nmi::Masked;
            control::watch_iret(control, true);
        }
        control::request_interrupt_window(control, resume.interrupt_window);
        control::watch_priority(control, resume.priority_window);
        let event = control.event_injection;
        self.to_take_back = event != 0;
        if self.features.injects_twice && control::is_interrupt(event) && !resume.interrupt_window {
            control::pend(control, event);
            control.event_injection = 0;
            self.pending = true;
        }
        control.tlb_control = control::flush_command(self.flush, self.features.flush_by_asid);
        self.flush = false;
        self.to_take_back |= control.tlb_control != 0 || resume.interrupt_window || resume.priority_window;
        self.state = State::Prepared;
        match self.nmi {
            // Its handler runs first, and ends in an IRET of its own.
            Nmi::Returning { .. } if event != 0 => {
                self.nmi = Nmi::Masked;
                control::watch_iret(control, true);
            }
            Nmi::Returning { rip } if resume.nmi_window => self.step_over_return(vmcb, rip),
            Nmi::Open if resume.nmi_window && event == 0 => self.step_out_of_shadow(vmcb),
            _ => {}
        }
    }

    /// Lets the instruction in an interrupt shadow run alone. Nothing else tells of the end of
    /// a shadow: the window for interrupts stays closed where the instruction is CLI.
    #[cold]
    fn step_out_of_shadow(&mut self, vmcb: &mut Vmcb) {
        if vmcb.control.interrupt_shadow & control::SHADOW == 0 {
            return;
        }
        let own_trap = vmcb.save.rflags & RFLAGS_TF != 0;
        let halts = control::watch_halt(&mut vmcb.control, true);
        self.nmi = Nmi::LeavingShadow { own_trap, dr6: vmcb.save.dr6, halts };
        vmcb.save.rflags |= RFLAGS_TF;
    }

    /// Lets the IRET run alone: RFLAGS.TF brings the processor back right after it.
    fn step_over_return(&mut self, vmcb: &mut Vmcb, rip: u64) {
        let own_trap = vmcb.save.rflags & RFLAGS_TF != 0;
        self.nmi = Nmi::Stepping { rip, own_trap, dr6: vmcb.save.dr6 };
        vmcb.save.rflags |= RFLAGS_TF;
    }

    /// Takes note of what the exit in the control block leaves to be done.
    #[inline(always)]
    pub fn finish(&mut self, vmcb: &mut Vmcb) {
        vmcb.control.clean = Clean::all();
        if vmcb.control.exit_interrupt_info & control::EVENT_VALID != 0 {
            self.interrupted_delivery(vmcb.control.exit_interrupt_info);
        }
        if self.state != State::Settled {
            self.finish_unsettled(vmcb);
        }
    }

    #[cold]
    fn interrupted_delivery(&mut self, exit_interrupt_info: u64) {
        let again = control::reinjection(exit_interrupt_info);
        if again != 0 {
            self.interrupted = again;
            self.state = State::Unsettled;
        }
    }

    #[inline(never)]
    fn finish_unsettled(&mut self, vmcb: &mut Vmcb) {
        if core::mem::take(&mut self.pending) {
            // What interrupted its delivery, if anything, the emulator tells wrongly.
            let left = control::withdraw(&mut vmcb.control);
            if left != 0 {
                self.interrupted = left;
            }
        }
        let settled = self.interrupted == 0 && self.nmi == Nmi::Open && !self.to_take_back;
        self.state = if settled { State::Settled } else { State::Unsettled };
        match (vmcb.control.exit_code, self.nmi) {
            // Nothing ran, so nothing was flushed.
            (exit_code::INVALID | exit_code::INVALID_32, _) => self.flush_translations(),
            (exit_code::IRET, _) => {
                self.nmi = Nmi::Returning { rip: vmcb.save.rip };
                control::watch_iret(&mut vmcb.control, false);
            }
            (_, Nmi::Returning { rip }) if vmcb.save.rip != rip => self.nmi = Nmi::Open,
            (_, Nmi::Stepping { rip, own_trap, dr6 }) => self.finish_step(vmcb, rip, own_trap, dr6),
            (_, Nmi::LeavingShadow { own_trap, dr6, halts }) => {
                control::watch_halt(&mut vmcb.control, halts);
                self.nmi = Nmi::Open;
                if !own_trap {
                    vmcb.save.rflags &= !RFLAGS_TF;
                    become_window(vmcb, dr6);
                }
            }
            _ => {}
        }
    }

    /// After an entry that was to run one IRET. What came in between (an interrupt, a
    /// nested fault) leaves RIP where it was, and the step is taken again. The trap that
    /// ends the step becomes the window that it was taken for.
    fn finish_step(&mut self, vmcb: &mut Vmcb, rip: u64, own_trap: bool, dr6: u64) {
        let Vmcb { control, save } = vmcb;
        self.nmi = Nmi::Open;
        if !is_step(control, save) {
            if save.rip == rip {
                self.nmi = Nmi::Returning { rip };
                if !own_trap {
                    save.rflags &= !RFLAGS_TF;
                }
            }
            return;
        }
        if !own_trap {
            become_window(vmcb, dr6);
        }
    }
}

/// Whether the exit is the trap of a single step.
fn is_step(control: &Control, save: &Save) -> bool {
    control.exit_code == exit_code::EXCEPTION + DEBUG && save.dr6 & DR6_BS != 0
}

/// The trap of a step that the guest did not take becomes the window that it was taken for;
/// `dr6` is what there was before. Any other exit stays what it is.
fn become_window(vmcb: &mut Vmcb, dr6: u64) {
    let Vmcb { control, save } = vmcb;
    if !is_step(control, save) {
        return;
    }
    save.dr6 = save.dr6 & !DR6_BS | dr6 & DR6_BS;
    control.clean.remove(Clean::DEBUG_REGISTERS);
    // A breakpoint that the instruction met is the guest's.
    if save.dr6 & DR6_OTHERS & !dr6 == 0 {
        control.exit_code = exit_code::IRET;
    }
}

/// The guest single-steps over what exited: a debug exception that an entry delivers leaves it
/// to the hypervisor to say so in DR6. One that exited has said it already.
#[cold]
fn note_trap(vmcb: &mut Vmcb) {
    if vmcb.control.exit_code != exit_code::EXCEPTION + DEBUG {
        vmcb.save.dr6 |= DR6_BS;
        vmcb.control.clean.remove(Clean::DEBUG_REGISTERS);
    }
}

#[cfg(test)]
mod tests;
