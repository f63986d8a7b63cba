//! Entering a guest and leaving it.

use super::{Event, Exit};

/// What the hypervisor wants of the next entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resume {
    /// Deliver this event. An event whose delivery was interrupted by the last
    /// exit is delivered again by the backend itself before anything new.
    pub inject: Option<Event>,
    /// Exit with [`Exit::InterruptWindow`] once a maskable interrupt can be taken.
    pub interrupt_window: bool,
    /// Exit with [`Exit::NmiWindow`] once an NMI can be taken.
    pub nmi_window: bool,
    /// An interrupt waits for a lower task priority: exit with [`Exit::WriteControl`] when
    /// the guest writes CR8, or with [`Exit::InterruptWindow`] when it has written a lower
    /// value.
    pub priority_window: bool,
}

/// Runs a guest on the physical processor, and lets that sleep, wake and be told things
/// meanwhile.
pub trait Execution {
    /// Back to the state after INIT (Intel SDM vol. 3 table 10-1, AMD APM vol. 2
    /// table 14-1), general registers included.
    fn reset(&mut self);
    /// Says what the next entry is to do. Without it nothing is asked of an entry.
    fn prepare(&mut self, resume: Resume);
    /// What is added to the machine's TSC, modulo 2^64, where the guest reads it.
    fn set_tsc_offset(&mut self, offset: u64);
    /// Runs the guest until it exits.
    fn enter(&mut self) -> Exit;
    /// Whether barriers against speculation stand between this processor's guest and the
    /// hypervisor: then it is entered by [`Execution::enter_guarded`].
    fn is_guarded(&self) -> bool {
        false
    }
    /// As [`Execution::enter`], with the barriers before and after.
    fn enter_guarded(&mut self) -> Exit {
        self.enter()
    }
    /// The guest has left this processor for now: it takes events again as outside of a
    /// guest's loop.
    fn release(&mut self);

    /// Whether the guest could take a maskable interrupt right now (IF set, no
    /// shadow, nothing being delivered).
    fn can_take_interrupt(&self) -> bool;
    /// Whether the guest could take an NMI right now.
    fn can_take_nmi(&self) -> bool;

    /// Lets in what is held back while the guest's loop runs, kicks among it; what came is told
    /// by [`Execution::take_interrupts`]. For loops in which no entry gets as far as to take it.
    fn let_events_in(&mut self) {}
    /// The vectors of the interrupts that the hardware delivered to this processor
    /// since the last call, as a bitmap; called after [`Exit::Interrupt`] and
    /// [`Exit::Kick`].
    fn take_interrupts(&mut self) -> [u64; 4];
    /// Makes the guest exit with [`Exit::Timer`] when the TSC, as the hypervisor reads it, has
    /// come to `deadline`, from its HLT too; `None` is never. False where the processor cannot
    /// do that: then some interrupt has to come.
    fn exit_at(&mut self, deadline: Option<u64>) -> bool {
        let _ = deadline;
        false
    }
    /// Lets the physical processor sleep until an interrupt or a kick reaches it.
    /// One that came since the guest's last exit ends the sleep at once; what came
    /// is told by [`Execution::take_interrupts`].
    fn sleep(&mut self);
    /// Forgets cached translations of this guest before the next entry. Called on
    /// its own processor after its nested tables lost or changed an entry.
    fn flush_translations(&mut self);
    /// What the hardware says of the last exit, where it was refused or unasked for: in words,
    /// and as a number.
    fn explanation(&self) -> Option<(&'static str, u64)> {
        None
    }
}
