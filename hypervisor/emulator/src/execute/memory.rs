//! The instruction that reached for an address where there is no memory.

use super::bus::Bus;
use super::decoded::Known;
use super::outcome::{Outcome, Stop};
use super::processor::Processor;
use super::recent::{Recent, fetch};
use super::string::{self, Strings};
use super::{single, stack};
use crate::decode::Operation;
use crate::walk::{Bytes, Walker};
use access::GuestMemory;
use access::vcpu::{NestedAccess, ProcessorState};
use spec::Gpa;

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
        Err(stop) => return stop.outcome(vcpu),
    };
    let operation = known.instruction.operation;
    let result = if matches!(operation, Operation::String { .. } | Operation::Push | Operation::Pop) {
        let bytes = known.bytes();
        let result = with_two_places(vcpu, walker, bus, &processor, known, fault);
        if matches!(result, Err(Stop::Outcome(Outcome::Unsupported))) {
            recent.decoded.unsupported = bytes;
        }
        result
    } else {
        single::single(vcpu, walker, bus, &processor, known, fault)
    };
    result.unwrap_or_else(|stop| stop.outcome(vcpu))
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
) -> Result<Outcome, Stop> {
    match known.instruction.operation {
        Operation::String { operation, repeat } => {
            let strings = Strings { operation, repeat, instruction: known.instruction };
            string::memory(vcpu, walker, bus, processor, &strings, fault)
        }
        _ => stack::access(vcpu, walker, bus, processor, &known.instruction, fault),
    }
}
