//! Stepping over an instruction whose exit was handled.

use super::Outcome;
use super::processor::{code_size, page_fault, step_to};
use crate::decode::{CodeSize, DecodeError, Known, length_of, length_of_word};
use crate::walk::{self, Paging};
use access::GuestMemory;
use access::vcpu::{ControlRegisters, SegmentName, Vcpu};

/// How long the instruction was that exited last on a processor.
///
/// An exit loop (a guest that asks for the time, that idles) comes from one place over
/// and over, and on processors that do not tell the next RIP most of an exit's cost is
/// to find out the length again. The cache may be wrong only if the guest put the same
/// instruction with another number of prefixes to the same address of the same address
/// space; then the guest continues in the middle of an instruction of its own choice,
/// with its own privilege: its own affair.
#[derive(Clone, Copy, Debug, Default)]
pub struct LengthCache {
    rip: u64,
    cr3: u64,
    /// What it was, in which mode; `None`: nothing is cached.
    instruction: Option<(Known, CodeSize)>,
    length: u8,
}

/// Steps over the instruction at RIP, which the exit said to be `known`.
///
/// [`Outcome::Retry`]: the bytes are not that instruction any more; whatever was done
/// for it must have had no effect that a second execution would double. (So ask for
/// this *before* effects, or hold that a guest that rewrites its own running
/// instruction gets both.)
#[inline]
pub fn step_over<V: Vcpu, M: GuestMemory>(
    vcpu: &mut V,
    memory: &M,
    cache: &mut LengthCache,
    known: Known,
) -> Outcome {
    if let Some(rip) = vcpu.next_rip() {
        return step_to(vcpu, rip);
    }
    let control = vcpu.control();
    let size = code_size(vcpu, control.efer);
    let rip = vcpu.rip();
    if cache.rip != rip || cache.cr3 != control.cr3 || cache.instruction != Some((known, size)) {
        match length(vcpu, memory, &control, size, known) {
            Ok(length) => {
                *cache = LengthCache { rip, cr3: control.cr3, instruction: Some((known, size)), length };
            }
            Err(outcome) => return outcome,
        }
    }
    let next = rip.wrapping_add(cache.length.into());
    step_to(vcpu, if matches!(size, CodeSize::Bits64) { next } else { next & 0xffff_ffff })
}

/// The length of the instruction at RIP, by the shortest way that leads there.
#[inline]
fn length<V: Vcpu, M: GuestMemory>(
    vcpu: &mut V,
    memory: &M,
    control: &ControlRegisters,
    size: CodeSize,
    known: Known,
) -> Result<u8, Outcome> {
    let given = vcpu.fetched_bytes();
    if !given.is_empty()
        && let Ok(length) = length_of(given, size, known)
    {
        return Ok(length);
    }
    if matches!(size, CodeSize::Bits64)
        && let Some(word) = walk::fetch_fast(memory, control, vcpu.rip())
        && let Ok(length) = length_of_word(word, size, known)
    {
        return Ok(length);
    }
    slow_length(vcpu, memory, size, known)
}

#[cold]
fn slow_length<V: Vcpu, M: GuestMemory>(
    vcpu: &mut V,
    memory: &M,
    size: CodeSize,
    known: Known,
) -> Result<u8, Outcome> {
    let paging = Paging::of(vcpu);
    let linear = if matches!(size, CodeSize::Bits64) {
        vcpu.rip()
    } else {
        vcpu.segment(SegmentName::Cs).base.wrapping_add(vcpu.rip()) & 0xffff_ffff
    };
    let bytes = match walk::fetch(memory, &paging, linear) {
        Ok(bytes) => bytes,
        Err(fault) => return Err(page_fault(vcpu, fault)),
    };
    match length_of(bytes.as_slice(), size, known) {
        Ok(length) => Ok(length),
        // Code outside memory can never be stepped over.
        Err(DecodeError::Truncated) if bytes.as_slice().is_empty() => Err(Outcome::Unsupported { bytes }),
        Err(_) => Err(Outcome::Retry),
    }
}
