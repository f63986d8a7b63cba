//! A virtual processor: exit in, resume out.
//!
//! A [`Vcpu`] is four things, and who needs one of them asks for that one alone: the
//! [`ProcessorState`], which interpreter and loader work on and which needs no hardware
//! behind it; its [`Execution`], entering the guest and leaving it; the part of its local
//! APIC that hardware keeps, [`ApicVirtualization`]; and all of it at once, [`Saving`].
//!
//! VMX, SVM and a scripted fake stand behind them. The backend reports facts; what to do about
//! an exit is decided in `guest`, once for both vendors.

mod apic;
mod event;
mod execution;
mod exit;
mod saved;
mod state;

pub use apic::{ApicVirtualization, DirectAccess, InterruptMode, KeptApic, Posting};
pub use event::Event;
pub use execution::{Execution, Resume};
pub use exit::{EXIT_KINDS, Exit, NestedAccess, PortAccess, TaskSource};
pub use saved::{ExtendedState, OwnRegisters, SAVED_MSRS, SavedProcessor, Saving, Shadow};
pub use state::{
    ControlRegisters, GeneralRegisters, ProcessorState, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, Segment,
    SegmentName,
};

/// One virtual processor on the physical processor that runs it.
pub trait Vcpu: ProcessorState + Execution + ApicVirtualization + Saving {}

impl<T: ProcessorState + Execution + ApicVirtualization + Saving> Vcpu for T {}
