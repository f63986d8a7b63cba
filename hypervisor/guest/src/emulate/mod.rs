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
mod execute;
mod place;
mod port;
mod processor;
mod string;
#[cfg(test)]
mod tests;

pub use port::{Ports, string_port};

use crate::decode::{DecodeError, Instruction, Operation};
use crate::walk::{self, Bytes, Paths, Walker};
use access::GuestMemory;
use access::vcpu::{Event, NestedAccess, Vcpu};
use decoded::Decoded;
use processor::Processor;
use spec::{Gpa, Width};

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
    /// An instruction that is not carried out here. Nothing was done.
    Unsupported {
        /// What was fetched.
        bytes: Bytes,
    },
}

/// The debug exception that follows an instruction under RFLAGS.TF.
const SINGLE_STEP: Event = Event::Exception { vector: 1, error: None };

/// What one virtual processor did lately. It only saves work.
#[derive(Default)]
pub struct Recent {
    decoded: Decoded,
    /// Walks of its page tables.
    pub paths: Paths,
}

/// Carries out the instruction whose access to `fault` exited.
///
/// The page of `fault` is answered by `bus`; the rest of the instruction's operands by
/// `memory`, and by `bus` where `memory` has nothing.
pub fn access<V: Vcpu, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    memory: &M,
    bus: &mut B,
    recent: &mut Recent,
    fault: Gpa,
    access: NestedAccess,
) -> Outcome {
    // Code on a device, or page tables there: nothing to decode.
    if matches!(access, NestedAccess::Fetch | NestedAccess::Walk) {
        return Outcome::Unsupported { bytes: Bytes::default() };
    }
    let processor = Processor::of(vcpu);
    let (instruction, bytes) = match fetch(vcpu, memory, &processor, recent) {
        Ok(fetched) => fetched,
        Err(outcome) => return outcome,
    };
    let walker = Walker { memory, paths: &mut recent.paths };
    let result = match instruction.operation {
        Operation::String { operation, repeat } => {
            let strings = string::Strings { operation, repeat, instruction, bytes };
            string::memory(vcpu, walker, bus, &processor, &strings, fault)
        }
        _ => execute::single(vcpu, walker, bus, &processor, &instruction, fault),
    };
    result.unwrap_or_else(|outcome| outcome)
}

/// Fetches and decodes the instruction at RIP, from the bytes that the processor gave
/// or from memory.
#[inline]
fn fetch<V: Vcpu, M: GuestMemory>(
    vcpu: &mut V,
    memory: &M,
    processor: &Processor,
    recent: &mut Recent,
) -> Result<(Instruction, Bytes), Outcome> {
    let given = Bytes::new(vcpu.fetched_bytes());
    if !given.as_slice().is_empty()
        && let Ok(instruction) = recent.decoded.decode(vcpu.rip(), &given, processor.code_size)
    {
        return Ok((instruction, given));
    }
    let linear = processor.linear_rip(vcpu);
    let mut walker = Walker { memory, paths: &mut recent.paths };
    let bytes = match walk::fetch(&mut walker, &processor.paging, linear) {
        Ok(bytes) => bytes,
        Err(fault) => return Err(processor::page_fault(vcpu, fault)),
    };
    match recent.decoded.decode(vcpu.rip(), &bytes, processor.code_size) {
        Ok(instruction) => Ok((instruction, bytes)),
        // The rest is on a page that cannot be fetched any more: the processor will
        // find that out.
        Err(DecodeError::Truncated) if !bytes.as_slice().is_empty() => Err(Outcome::Retry),
        Err(_) => Err(Outcome::Unsupported { bytes }),
    }
}
