//! PUSH and POP of an operand in memory.

use super::bus::Bus;
use super::outcome::{Outcome, Stop};
use super::place;
use super::processor::{Processor, write_register};
use crate::decode::{Instruction, Operation, Register};
use crate::walk::{Access, Walker};
use access::GuestMemory;
use access::vcpu::{ProcessorState, RSP, SegmentName};
use spec::{Gpa, Width};

/// Carries out a PUSH or POP, one of whose two places is on the page of `fault`.
pub(super) fn access<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    mut walker: Walker<M>,
    bus: &mut B,
    processor: &Processor,
    instruction: &Instruction,
    fault: Gpa,
) -> Result<Outcome, Stop> {
    let (width, address) = (instruction.width, &instruction.address);
    let pops = instruction.operation == Operation::Pop;
    let stack_width = processor.stack_width(vcpu);
    let old = vcpu.register(RSP);
    let moved = if pops { old.wrapping_add(width.bytes()) } else { old.wrapping_sub(width.bytes()) };
    // What is above a stack pointer of 16 bits stays.
    let kept = if stack_width == Width::Word { old & !stack_width.mask() } else { 0 };
    let new = kept | moved & stack_width.mask();
    let mut offset = processor.offset(vcpu, address, instruction.length);
    // POP computes its address with the new stack pointer (SDM vol. 2, "POP").
    if pops && address.base == Some(RSP as u8) {
        offset = offset.wrapping_add(new.wrapping_sub(old)) & address.size.mask();
    }
    let stack = (SegmentName::Ss, (if pops { old } else { new }) & stack_width.mask());
    let operand = (address.segment, offset);
    let (from, to) = if pops { (stack, operand) } else { (operand, stack) };
    let from = place::resolve(vcpu, &mut walker, processor, from, width, Access::Read)?;
    let to = place::resolve(vcpu, &mut walker, processor, to, width, Access::Write)?;
    if !from.touches(fault) && !to.touches(fault) {
        return Err(Outcome::Retry.into());
    }
    let value = from.read(walker.memory, bus, fault)?;
    to.write(walker.memory, bus, fault, value);
    let pointer = Register { index: RSP as u8, high_byte: false };
    write_register(vcpu, pointer, stack_width, new);
    Ok(processor.finish(vcpu, instruction.length, processor.flags))
}
