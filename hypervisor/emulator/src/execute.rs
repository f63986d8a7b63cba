//! Carrying out one instruction for a guest: an access to an emulated register, or a
//! string of port accesses.
//!
//! The instruction is fetched once. Another processor of the guest may rewrite it, or
//! the page tables, at any time; so everything is checked as the processor would check
//! it for the instruction that *was* fetched, and one that does not touch the page that
//! faulted is not carried out at all: the guest executes again whatever is there now.
//!
//! What the processor would do, in this order: addresses, segment checks, page checks,
//! and only then the access, the flags, the instruction pointer. So a fault leaves no
//! trace, and a string instruction is restartable at the element that faulted.

mod alu;
mod decoded;
mod place;
mod port;
mod processor;
mod single;
mod stack;
mod string;
#[cfg(test)]
mod tests;

pub use port::{Ports, string_port};

use crate::decode::{DecodeError, Operation};
use crate::walk::{self, Bytes, Paths, Walker};
use access::GuestMemory;
use access::vcpu::{Event, NestedAccess, ProcessorState};
use decoded::{Decoded, Known};
use processor::Processor;
use spec::{Gpa, Width};
use string::Strings;

/// What answers where there is no memory.
///
/// An access is within one page, and is not aligned unless the guest aligned it.
pub trait Bus {
    /// Reads; bits above the width are ignored.
    fn read(&mut self, gpa: Gpa, width: Width) -> u64;
    /// Writes; bits above the width are 0.
    fn write(&mut self, gpa: Gpa, width: Width, value: u64);
}

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
    /// An instruction that is not carried out here. Nothing was done. [`Recent::unsupported`]
    /// is what was fetched.
    Unsupported,
}

/// The debug exception that follows an instruction under RFLAGS.TF.
const SINGLE_STEP: Event = Event::Exception { vector: 1, error: None };

/// What one virtual processor did lately. It only saves work.
#[derive(Default)]
pub struct Recent {
    decoded: Decoded,
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

/// Carries out the instruction whose access to `fault` exited.
///
/// The page of `fault` is answered by `bus`; the rest of the instruction's operands by
/// `memory`, and by `bus` where `memory` has nothing.
pub fn memory_access<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    memory: &M,
    bus: &mut B,
    recent: &mut Recent,
    fault: Gpa,
    access: NestedAccess,
) -> Outcome {
    // Code on a device, or page tables there: nothing to decode.
    if matches!(access, NestedAccess::Fetch | NestedAccess::Walk) {
        recent.decoded.unsupported = Bytes::default();
        return Outcome::Unsupported;
    }
    let processor = Processor::of(vcpu);
    let mut walker = Walker { memory, paths: &mut recent.paths };
    let known = match fetch(vcpu, &mut walker, &processor, &mut recent.decoded) {
        Ok(known) => known,
        Err(outcome) => return outcome,
    };
    let operation = known.instruction.operation;
    let result = if matches!(operation, Operation::String { .. } | Operation::Push | Operation::Pop) {
        let bytes = known.bytes();
        let result = with_two_places(vcpu, walker, bus, &processor, known, fault);
        if result == Err(Outcome::Unsupported) {
            recent.decoded.unsupported = bytes;
        }
        result
    } else {
        single::single(vcpu, walker, bus, &processor, known, fault)
    };
    result.unwrap_or_else(|outcome| outcome)
}

/// Instructions that reach two places in memory.
#[cold]
#[inline(never)]
fn with_two_places<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    walker: Walker<M>,
    bus: &mut B,
    processor: &Processor,
    known: &Known,
    fault: Gpa,
) -> Result<Outcome, Outcome> {
    match known.instruction.operation {
        Operation::String { operation, repeat } => {
            let strings = Strings { operation, repeat, instruction: known.instruction };
            string::memory(vcpu, walker, bus, processor, &strings, fault)
        }
        _ => stack::access(vcpu, walker, bus, processor, &known.instruction, fault),
    }
}

/// Fetches and decodes the instruction at RIP, from the bytes that the processor gave
/// or from memory.
#[inline]
fn fetch<'a, V: ProcessorState, M: GuestMemory>(
    vcpu: &mut V,
    walker: &mut Walker<M>,
    processor: &Processor,
    decoded: &'a mut Decoded,
) -> Result<&'a Known, Outcome> {
    let (rip, size) = (vcpu.rip(), processor.code_size);
    let given = vcpu.fetched_bytes();
    let given = if given.is_empty() { None } else { Some(Bytes::new(given).key()) };
    // What was given may be cut short where memory has more.
    let bytes = match given.filter(|given| decoded.decode(rip, *given, size).is_ok()) {
        Some(given) => given,
        None => match walk::fetch(walker, &processor.paging, processor.code_size.linear_rip(vcpu)) {
            Ok(bytes) => bytes,
            Err(fault) => return Err(processor::page_fault(vcpu, fault)),
        },
    };
    decoded.decode(rip, bytes, size).map_err(|error| match error {
        // The rest is on a page that cannot be fetched any more: the processor will
        // find that out.
        DecodeError::Truncated if !bytes.bytes().as_slice().is_empty() => Outcome::Retry,
        _ => Outcome::Unsupported,
    })
}
