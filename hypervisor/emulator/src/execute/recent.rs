//! The instruction at RIP, and what is remembered of those before.

use super::decoded::{Decoded, Known};
use super::outcome::{Outcome, Stop};
use super::processor::Processor;
use crate::decode::DecodeError;
use crate::walk::{self, Bytes, Paths, Walker};
use access::GuestMemory;
use access::vcpu::ProcessorState;

/// What one virtual processor did lately. It only saves work.
#[derive(Default)]
pub struct Recent {
    pub(super) decoded: Decoded,
    /// Walks of its page tables.
    pub(crate) paths: Paths,
}

impl Recent {
    /// What was fetched for the last access that was [`Outcome::Unsupported`]. It is not in the
    /// outcome, so that an outcome fits into registers.
    pub fn unsupported(&self) -> Bytes {
        self.decoded.unsupported
    }
}

/// Fetches and decodes the instruction at RIP, from the bytes that the processor gave
/// or from memory.
#[inline]
pub(super) fn fetch<'a, V: ProcessorState, M: GuestMemory>(
    vcpu: &V,
    walker: &mut Walker<M>,
    processor: &Processor,
    decoded: &'a mut Decoded,
) -> Result<&'a Known, Stop> {
    let (rip, size) = (vcpu.rip(), processor.code_size);
    let given = vcpu.fetched_bytes();
    let given = if given.is_empty() { None } else { Some(Bytes::new(given).key()) };
    // What was given may be cut short where memory has more.
    let bytes = match given.filter(|given| decoded.decode(rip, *given, size).is_ok()) {
        Some(given) => given,
        None => walk::fetch(walker, &processor.paging, processor.code_size.linear_rip(vcpu))?,
    };
    decoded.decode(rip, bytes, size).map_err(|error| {
        Stop::Outcome(match error {
            // The rest is on a page that cannot be fetched any more: the processor will
            // find that out.
            DecodeError::Truncated if !bytes.bytes().as_slice().is_empty() => Outcome::Retry,
            _ => Outcome::Unsupported,
        })
    })
}
