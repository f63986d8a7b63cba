//! Past the instruction that exited, where the exit has told what it is.

use crate::code::CodeSize;
use crate::decode::{self, Control, Known, bare_form, length_of};
use crate::execute::Recent;
use crate::walk::{self, Bytes, BytesKey, Paging, Walker};
use access::GuestMemory;
use access::vcpu::ProcessorState;

/// RIP of the instruction after the one that exited, which the exit said to be `known`, where
/// that is plain to see: 64-bit code, whose page is known, without prefixes. `None`: ask
/// [`next_rip_by_decoding`].
///
/// Inlined with a constant `known`: this is the walk to the bytes and one comparison.
#[inline(always)]
pub fn next_rip_at_once<V: ProcessorState, M: GuestMemory>(
    cpu: &V,
    memory: &M,
    recent: &mut Recent,
    known: Known,
) -> Option<u64> {
    let rip = cpu.rip();
    if CodeSize::is_64_bit(cpu)
        && let Some((bytes, length)) = bare_form(known)
        && let Some(word) = recent.paths.peek(memory, &cpu.control(), rip, length)
        && word & ((1 << (8 * length)) - 1) == bytes
    {
        Some(rip.wrapping_add(length))
    } else {
        None
    }
}

/// RIP of the instruction after the one that exited, which the exit said to be `known`. `None`
/// where the bytes are no longer that instruction, or cannot be fetched: then the guest
/// executes again what is there now.
#[cold]
#[inline(never)]
pub fn next_rip_by_decoding<V: ProcessorState, M: GuestMemory>(
    cpu: &V,
    memory: &M,
    recent: &mut Recent,
    known: Known,
) -> Option<u64> {
    let size = CodeSize::of(cpu);
    let bytes = fetch(cpu, memory, recent, size)?;
    let length = length_of(bytes.as_slice(), size, known).ok()?;
    Some(size.rip_after(cpu.rip(), length))
}

/// Which write of a control register is at RIP, for hardware that does not say. `None` where
/// none is there, and for LMSW from memory.
#[cold]
pub fn control_write<V: ProcessorState, M: GuestMemory>(
    cpu: &V,
    memory: &M,
    recent: &mut Recent,
) -> Option<Control> {
    let size = CodeSize::of(cpu);
    let bytes = fetch(cpu, memory, recent, size)?;
    decode::control_write(bytes.as_slice(), size).ok().map(|(control, _)| control)
}

/// The bytes at RIP.
#[cold]
fn fetch<V: ProcessorState, M: GuestMemory>(
    cpu: &V,
    memory: &M,
    recent: &mut Recent,
    size: CodeSize,
) -> Option<Bytes> {
    let mut walker = Walker { memory, paths: &mut recent.paths };
    walk::fetch(&mut walker, &Paging::of(cpu), size.linear_rip(cpu)).ok().map(BytesKey::bytes)
}

#[cfg(test)]
mod tests;
