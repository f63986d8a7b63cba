//! How the emulation of an instruction ends.

use access::vcpu::Event;

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
}

/// The debug exception that follows an instruction under RFLAGS.TF.
pub(super) const SINGLE_STEP: Event = Event::Exception { vector: 1, error: None };
