//! Instructions with one operand in memory.

use super::alu::{self, CARRY};
use super::bus::Bus;
use super::decoded::Known;
use super::load::{Load, sign_extend, swap_bytes};
use super::outcome::{Outcome, Stop};
use super::place::{self, Place};
use super::processor::{Processor, read_register, write_register};
use crate::decode::{Alu, BitOperation, Instruction, Operation, Register, Source};
use crate::walk::Walker;
use access::GuestMemory;
use access::vcpu::{ProcessorState, RAX, RDX};
use spec::{Gpa, Width};

/// Carries out an instruction that is no string instruction.
#[inline]
pub(super) fn single<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    mut walker: Walker<M>,
    bus: &mut B,
    processor: &Processor,
    known: &Known,
    fault: Gpa,
) -> Result<Outcome, Stop> {
    let instruction = &known.instruction;
    let width = instruction.width;
    let address = &instruction.address;
    let mut offset = processor.offset(vcpu, address, instruction.length);
    if known.displaced {
        offset = offset.wrapping_add(displacement(vcpu, instruction)) & address.size.mask();
    }
    let place = place::resolve(vcpu, &mut walker, processor, (address.segment, offset), width, known.access)?;
    if !place.touches(fault) {
        return Err(Outcome::Retry.into());
    }
    let mut operand = Operand { place, memory: walker.memory, bus, fault };
    let flags = match instruction.operation {
        // The two that device drivers are made of.
        Operation::Store { source, swap } => {
            let value = value_of(vcpu, source, width);
            operand.write(if swap { swap_bytes(value, width) } else { value });
            processor.flags
        }
        Operation::Load { register, width: to, extension, swap } => {
            let load = Load { from: width, register, to, extension, swap };
            if !operand.is_left(load) {
                load.finish(vcpu, operand.read()?);
            }
            processor.flags
        }
        operation => modify(vcpu, &mut operand, operation, width, processor.flags)?,
    };
    Ok(processor.finish(vcpu, instruction.length, flags))
}

/// The operand in memory, ready to be read and written.
struct Operand<'a, M, B> {
    place: Place,
    memory: &'a M,
    bus: &'a mut B,
    fault: Gpa,
}

impl<M: GuestMemory, B: Bus> Operand<'_, M, B> {
    /// Whether the bus carries out this load. The operand is on the page that faulted, where it is in one.
    #[inline]
    fn is_left(&mut self, load: Load) -> bool {
        self.place.in_one_page().is_some_and(|gpa| self.bus.takes_over(gpa, load))
    }
    #[inline]
    fn read(&mut self) -> Result<u64, Stop> {
        self.place.read(self.memory, self.bus, self.fault)
    }
    #[inline]
    fn write(&mut self, value: u64) {
        self.place.write(self.memory, self.bus, self.fault, value);
    }
}

/// Instructions that read the operand, and mostly write it too; returns the flags.
///
/// The accesses of one instruction are not atomic towards other processors: it is for
/// the owner of the bus to hold its devices meanwhile.
///
/// A call, which keeps reads and writes short.
#[inline(never)]
fn modify<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    operand: &mut Operand<M, B>,
    operation: Operation,
    width: Width,
    flags: u64,
) -> Result<u64, Stop> {
    let old = operand.read()?;
    Ok(match operation {
        Operation::ToMemory { alu, source } => {
            let computed = alu::compute(alu, old, value_of(vcpu, source, width), width, flags);
            if alu != Alu::Cmp {
                operand.write(computed.value);
            }
            computed.flags
        }
        Operation::ToRegister { alu, register } => {
            let computed = alu::compute(alu, read_register(vcpu, register, width), old, width, flags);
            if alu != Alu::Cmp {
                write_register(vcpu, register, width, computed.value);
            }
            computed.flags
        }
        Operation::Test { source } => {
            alu::compute(Alu::And, old, value_of(vcpu, source, width), width, flags).flags
        }
        Operation::Not => {
            operand.write(!old);
            flags
        }
        Operation::Negate => {
            let computed = alu::negate(old, width, flags);
            operand.write(computed.value);
            computed.flags
        }
        Operation::Increment | Operation::Decrement => {
            let computed = alu::step(operation == Operation::Increment, old, width, flags);
            operand.write(computed.value);
            computed.flags
        }
        Operation::Exchange { register } => {
            operand.write(read_register(vcpu, register, width));
            write_register(vcpu, register, width, old);
            flags
        }
        Operation::ExchangeAdd { register } => {
            let computed = alu::compute(Alu::Add, old, read_register(vcpu, register, width), width, flags);
            write_register(vcpu, register, width, old);
            operand.write(computed.value);
            computed.flags
        }
        Operation::CompareExchange { register } => {
            compare_exchange(vcpu, operand, register, old, width, flags)
        }
        Operation::Bit { operation, offset } => {
            let bits = 8 * width.bytes();
            let bit = 1 << (value_of(vcpu, offset, width) & (bits - 1));
            match operation {
                BitOperation::Test => {}
                BitOperation::Set => operand.write(old | bit),
                BitOperation::Reset => operand.write(old & !bit),
                BitOperation::Complement => operand.write(old ^ bit),
            }
            if old & bit != 0 { flags | CARRY } else { flags & !CARRY }
        }
        Operation::Shift { shift, count } => {
            let computed = alu::shift(shift, old, value_of(vcpu, count, Width::Byte), width, flags);
            operand.write(computed.value);
            computed.flags
        }
        Operation::Multiply { signed } => multiply(vcpu, signed, old, width, flags),
        Operation::MultiplyTo { register, factor } => {
            let factor = match factor {
                Some(value) => value as u64,
                None => read_register(vcpu, register, width),
            };
            let product = alu::multiply(true, old, factor, width, flags);
            write_register(vcpu, register, width, product.low);
            product.flags
        }
        // Carried out by `single`, by `stack` and by `string`.
        Operation::Load { .. }
        | Operation::Store { .. }
        | Operation::Push
        | Operation::Pop
        | Operation::String { .. } => flags,
    })
}

/// CMPXCHG. The operand is written in any case (Intel SDM vol. 2, "CMPXCHG").
fn compare_exchange<V: ProcessorState, M: GuestMemory, B: Bus>(
    vcpu: &mut V,
    operand: &mut Operand<M, B>,
    register: Register,
    old: u64,
    width: Width,
    flags: u64,
) -> u64 {
    let accumulator = Register { index: RAX as u8, high_byte: false };
    let expected = read_register(vcpu, accumulator, width);
    if expected == old {
        operand.write(read_register(vcpu, register, width));
    } else {
        operand.write(old);
        write_register(vcpu, accumulator, width, old);
    }
    alu::compute(Alu::Cmp, expected, old, width, flags).flags
}

/// MUL and IMUL with the accumulator. The product of bytes is in AX, of more in RDX and RAX.
fn multiply(vcpu: &mut impl ProcessorState, signed: bool, factor: u64, width: Width, flags: u64) -> u64 {
    let accumulator = Register { index: RAX as u8, high_byte: false };
    let upper = match width {
        Width::Byte => Register { index: RAX as u8, high_byte: true },
        _ => Register { index: RDX as u8, high_byte: false },
    };
    let product = alu::multiply(signed, read_register(vcpu, accumulator, width), factor, width, flags);
    write_register(vcpu, accumulator, width, product.low);
    write_register(vcpu, upper, width, product.high);
    product.flags
}

/// The value of an operand that is not in memory, cut to `width`.
#[inline]
fn value_of(vcpu: &impl ProcessorState, source: Source, width: Width) -> u64 {
    match source {
        Source::Register(register) => read_register(vcpu, register, width),
        Source::Immediate(value) => value as u64 & width.mask(),
    }
}

/// How far a bit number in a register moves the operand, in bytes: whole operands, up
/// or down.
#[cold]
fn displacement(vcpu: &impl ProcessorState, instruction: &Instruction) -> u64 {
    let width = instruction.width;
    let Operation::Bit { offset: Source::Register(register), .. } = instruction.operation else { return 0 };
    let number = sign_extend(read_register(vcpu, register, width), width) as i64;
    let bytes = width.bytes() as i64;
    (number.div_euclid(8 * bytes) * bytes) as u64
}
