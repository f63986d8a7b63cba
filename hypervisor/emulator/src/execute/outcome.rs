//! How the emulation of an instruction ends.

use crate::walk::PageFault;
use access::vcpu::{Event, ProcessorState};

/// How the emulation of an instruction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Carried out; or, of a repeated instruction, as much as one exit may take: the
    /// guest executes it again for the rest.
    Done,
    /// Nothing was done and nothing has to be: the guest executes again.
    Retry,
    /// This has to be injected. A fault (then nothing was carried out and CR2 is set
    /// where it matters), or the single-step trap after an instruction that was.
    Inject(Event),
    /// An instruction that is not carried out here. Nothing was done. [`Recent::unsupported`](super::Recent::unsupported)
    /// is what was fetched.
    Unsupported,
    /// The bus does not know yet what was read ([`Bus::read`](super::Bus::read)). Nothing was done; the instruction is
    /// to be carried out again once it does. Never from a bus that always knows.
    Waiting,
}

/// The debug exception that follows an instruction under RFLAGS.TF.
pub(super) const SINGLE_STEP: Event = Event::Exception { vector: 1, error: None };

/// Why an instruction, or an element of a string, is not carried out.
#[derive(Debug)]
pub(super) enum Stop {
    /// A page fault of which nobody has been told.
    PageFault(PageFault),
    /// Anything else.
    Outcome(Outcome),
}

impl From<PageFault> for Stop {
    fn from(fault: PageFault) -> Self {
        Self::PageFault(fault)
    }
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<Event> for Stop {
    fn from(event: Event) -> Self {
        Self::Outcome(Outcome::Inject(event))
    }
}

impl Stop {
    /// What comes of it for the guest. Of a page fault CR2 tells the address from here on.
    #[cold]
    pub(super) fn outcome(self, vcpu: &mut impl ProcessorState) -> Outcome {
        match self {
            Self::Outcome(outcome) => outcome,
            Self::PageFault(fault) => {
                let mut control = vcpu.control();
                control.cr2 = fault.address;
                vcpu.set_control(control);
                Outcome::Inject(fault.event())
            }
        }
    }
}
