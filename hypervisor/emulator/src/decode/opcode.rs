//! Opcodes (Intel SDM vol. 2 appendix A).

use super::cursor::Cursor;
use super::modrm::{self, ModRm};
use super::prefix::{Prefixes, Repeat};
use super::{
    Address, Alu, BitOperation, CodeSize, DecodeError, Extension, Instruction, Operation, Register,
    Repetition, Shift, Source, StringOperation,
};
use access::vcpu::{RAX, RCX, SegmentName};
use spec::Width;

const UNSUPPORTED: DecodeError = DecodeError::Unsupported;

/// What is known when the opcode is.
struct Form<'p> {
    prefixes: &'p Prefixes,
    size: CodeSize,
    /// Width of the operand in memory.
    width: Width,
}

/// Decodes the opcode and what follows it.
#[inline]
pub(super) fn decode(
    cursor: &mut Cursor,
    prefixes: &Prefixes,
    size: CodeSize,
) -> Result<Instruction, DecodeError> {
    let opcode = cursor.byte()?;
    // In most opcodes bit 0 tells bytes from operands of the full width.
    let width = if opcode & 1 == 0 { Width::Byte } else { prefixes.operand_width(size) };
    let mut form = Form { prefixes, size, width };
    let (address, operation) = match opcode {
        0x0f => two_bytes(cursor, &mut form)?,
        0xa0..=0xa3 => form.absolute(cursor, opcode)?,
        0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf => form.string(opcode)?,
        0x00..=0x3f if opcode & 7 < 4 => form.arithmetic(cursor, opcode)?,
        0x63 if matches!(size, CodeSize::Bits64) => form.sign_extend_double(cursor)?,
        0x80..=0x8b | 0xc6 | 0xc7 | 0xf6 | 0xf7 | 0xfe | 0xff => one_byte(cursor, &mut form, opcode)?,
        0x69 | 0x6b | 0x8f | 0xc0 | 0xc1 | 0xd0..=0xd3 => one_byte_seldom(cursor, &mut form, opcode)?,
        _ => return Err(UNSUPPORTED),
    };
    if prefixes.lock && !may_lock(&operation) {
        return Err(UNSUPPORTED);
    }
    Ok(Instruction { operation, address, width: form.width, length: cursor.position() })
}

/// Whether LOCK is allowed; elsewhere it is #UD (Intel SDM vol. 2, "LOCK").
#[inline]
fn may_lock(operation: &Operation) -> bool {
    match operation {
        Operation::ToMemory { alu, .. } => *alu != Alu::Cmp,
        Operation::Bit { operation, .. } => *operation != BitOperation::Test,
        Operation::Not
        | Operation::Negate
        | Operation::Increment
        | Operation::Decrement
        | Operation::Exchange { .. }
        | Operation::ExchangeAdd { .. }
        | Operation::CompareExchange { .. } => true,
        _ => false,
    }
}

type Decoded = Result<(Address, Operation), DecodeError>;

/// Opcodes of one byte with a ModRM byte.
#[inline]
fn one_byte(cursor: &mut Cursor, form: &mut Form, opcode: u8) -> Decoded {
    let modrm = form.modrm(cursor)?;
    let register = form.register(&modrm);
    let source = Source::Register(register);
    let operation = match opcode {
        0x88 | 0x89 => Operation::Store { source, swap: false },
        0x8a | 0x8b => form.load(register),
        0xc6 | 0xc7 if modrm.extension == 0 => {
            Operation::Store { source: form.immediate(cursor)?, swap: false }
        }
        // 82 is a copy of 80 that 64-bit mode took away.
        0x82 if matches!(form.size, CodeSize::Bits64) => return Err(UNSUPPORTED),
        0x80..=0x82 => {
            Operation::ToMemory { alu: Alu::from_code(modrm.extension), source: form.immediate(cursor)? }
        }
        0x83 => Operation::ToMemory {
            alu: Alu::from_code(modrm.extension),
            source: Source::Immediate(cursor.signed(1)?),
        },
        0x84 | 0x85 => Operation::Test { source },
        0x86 | 0x87 => Operation::Exchange { register },
        0xf6 | 0xf7 => match modrm.extension {
            // /1 is a copy of /0 (AMD APM vol. 3 table A-6).
            0 | 1 => Operation::Test { source: form.immediate(cursor)? },
            2 => Operation::Not,
            3 => Operation::Negate,
            4 => Operation::Multiply { signed: false },
            5 => Operation::Multiply { signed: true },
            _ => return Err(UNSUPPORTED),
        },
        0xfe | 0xff if modrm.extension == 0 => Operation::Increment,
        0xfe | 0xff if modrm.extension == 1 => Operation::Decrement,
        0xff if modrm.extension == 6 => {
            form.width = form.stack_width();
            Operation::Push
        }
        _ => return Err(UNSUPPORTED),
    };
    Ok((modrm.address, operation))
}

/// Opcodes of one byte that device drivers hardly have.
fn one_byte_seldom(cursor: &mut Cursor, form: &mut Form, opcode: u8) -> Decoded {
    if matches!(opcode, 0x69 | 0x6b) {
        form.width = form.prefixes.operand_width(form.size);
        let modrm = form.modrm(cursor)?;
        let register = form.register(&modrm);
        let bytes = if opcode == 0x6b { 1 } else { form.width.bytes().min(4) as u8 };
        let factor = Some(cursor.signed(bytes)?);
        return Ok((modrm.address, Operation::MultiplyTo { register, factor }));
    }
    let modrm = form.modrm(cursor)?;
    let operation = match opcode {
        // With another extension it may be a prefix of AMD's XOP.
        0x8f if modrm.extension == 0 => {
            form.width = form.stack_width();
            Operation::Pop
        }
        0x8f => return Err(UNSUPPORTED),
        _ => {
            let count = match opcode {
                0xc0 | 0xc1 => Source::Immediate(cursor.signed(1)?),
                0xd0 | 0xd1 => Source::Immediate(1),
                _ => Source::Register(Register { index: RCX as u8, high_byte: false }),
            };
            Operation::Shift { shift: Shift::from_code(modrm.extension), count }
        }
    };
    Ok((modrm.address, operation))
}

/// Opcodes that start with 0F.
fn two_bytes(cursor: &mut Cursor, form: &mut Form) -> Decoded {
    let opcode = cursor.byte()?;
    form.width = if opcode & 1 == 0 { Width::Byte } else { form.prefixes.operand_width(form.size) };
    match opcode {
        0x38 => return move_swapped(cursor, form),
        0xb0 | 0xb1 | 0xb6 | 0xb7 | 0xbe | 0xbf | 0xc0 | 0xc1 | 0xc3 | 0xa3 | 0xab | 0xb3 | 0xbb | 0xba
        | 0xaf => {}
        _ => return Err(UNSUPPORTED),
    }
    let full = form.prefixes.operand_width(form.size);
    let modrm = form.modrm(cursor)?;
    let register = form.register(&modrm);
    let operation = match opcode {
        0xb0 | 0xb1 => Operation::CompareExchange { register },
        0xaf => Operation::MultiplyTo { register, factor: None },
        0xc0 | 0xc1 => Operation::ExchangeAdd { register },
        0xb6 | 0xb7 | 0xbe | 0xbf => {
            form.width = if opcode & 1 == 0 { Width::Byte } else { Width::Word };
            let extension = if opcode < 0xb8 { Extension::Zero } else { Extension::Sign };
            let register = Register { index: modrm.register, high_byte: false };
            Operation::Load { register, width: full, extension, swap: false }
        }
        0xc3 => {
            // MOVNTI knows no 16-bit form, and its other prefixes are other opcodes.
            if form.prefixes.operand_size || form.prefixes.repeat != Repeat::None {
                return Err(UNSUPPORTED);
            }
            form.width = if form.prefixes.rex_w() { Width::Qword } else { Width::Dword };
            Operation::Store { source: Source::Register(register), swap: false }
        }
        0xba => {
            form.width = full;
            let operation = bit_operation(modrm.extension)?;
            Operation::Bit { operation, offset: Source::Immediate(cursor.signed(1)?) }
        }
        _ => {
            let operation = bit_operation(opcode >> 3 & 7)?;
            Operation::Bit { operation, offset: Source::Register(register) }
        }
    };
    Ok((modrm.address, operation))
}

/// BT, BTS, BTR, BTC as bits 3 to 5 of the opcode, or of the ModRM byte, say.
fn bit_operation(code: u8) -> Result<BitOperation, DecodeError> {
    match code {
        4 => Ok(BitOperation::Test),
        5 => Ok(BitOperation::Set),
        6 => Ok(BitOperation::Reset),
        7 => Ok(BitOperation::Complement),
        _ => Err(UNSUPPORTED),
    }
}

/// 0F 38 F0 and F1: MOVBE; with F2 they are CRC32.
fn move_swapped(cursor: &mut Cursor, form: &mut Form) -> Decoded {
    let opcode = cursor.byte()?;
    if !matches!(opcode, 0xf0 | 0xf1) || form.prefixes.repeat != Repeat::None {
        return Err(UNSUPPORTED);
    }
    form.width = form.prefixes.operand_width(form.size);
    let modrm = form.modrm(cursor)?;
    let register = form.register(&modrm);
    let operation = if opcode == 0xf0 {
        Operation::Load { register, width: form.width, extension: Extension::Zero, swap: true }
    } else {
        Operation::Store { source: Source::Register(register), swap: true }
    };
    Ok((modrm.address, operation))
}

impl Form<'_> {
    #[inline]
    fn modrm(&self, cursor: &mut Cursor) -> Result<ModRm, DecodeError> {
        modrm::decode(cursor, self.prefixes, self.size)
    }

    /// The register of the reg field, as wide as the operand in memory.
    #[inline]
    fn register(&self, modrm: &ModRm) -> Register {
        // Without a REX prefix byte registers 4 to 7 are AH, CH, DH, BH.
        let high_byte =
            self.width == Width::Byte && self.prefixes.rex == 0 && (4..8).contains(&modrm.register);
        Register { index: if high_byte { modrm.register - 4 } else { modrm.register }, high_byte }
    }

    #[inline]
    fn load(&self, register: Register) -> Operation {
        Operation::Load { register, width: self.width, extension: Extension::Zero, swap: false }
    }

    /// Width of what PUSH and POP move: in 64-bit mode 8 bytes, or 2 by prefix.
    fn stack_width(&self) -> Width {
        match (self.size, self.prefixes.operand_width(self.size)) {
            (CodeSize::Bits64, Width::Dword) => Width::Qword,
            (_, width) => width,
        }
    }

    /// A constant of the operand's width, but at most 4 bytes.
    #[inline]
    fn immediate(&self, cursor: &mut Cursor) -> Result<Source, DecodeError> {
        Ok(Source::Immediate(cursor.signed(self.width.bytes().min(4) as u8)?))
    }

    /// 00 to 3B: two operands.
    fn arithmetic(&self, cursor: &mut Cursor, opcode: u8) -> Decoded {
        let modrm = self.modrm(cursor)?;
        let register = self.register(&modrm);
        let alu = Alu::from_code(opcode >> 3);
        let operation = if opcode & 2 == 0 {
            Operation::ToMemory { alu, source: Source::Register(register) }
        } else {
            Operation::ToRegister { alu, register }
        };
        Ok((modrm.address, operation))
    }

    /// 63 in 64-bit mode. With 66 the vendors differ in how much they read.
    fn sign_extend_double(&mut self, cursor: &mut Cursor) -> Decoded {
        if self.prefixes.operand_size && !self.prefixes.rex_w() {
            return Err(UNSUPPORTED);
        }
        let width = self.prefixes.operand_width(self.size);
        self.width = Width::Dword;
        let modrm = self.modrm(cursor)?;
        let register = Register { index: modrm.register, high_byte: false };
        Ok((modrm.address, Operation::Load { register, width, extension: Extension::Sign, swap: false }))
    }

    /// A0 to A3: the accumulator and a constant address as wide as addresses are.
    fn absolute(&self, cursor: &mut Cursor, opcode: u8) -> Decoded {
        let size = self.prefixes.address_width(self.size);
        let address = Address {
            segment: modrm::segment(self.prefixes, false),
            base: None,
            index: None,
            rip_relative: false,
            displacement: cursor.signed(size.bytes() as u8)?,
            size,
        };
        let accumulator = Register { index: RAX as u8, high_byte: false };
        let operation = if opcode & 2 == 0 {
            self.load(accumulator)
        } else {
            Operation::Store { source: Source::Register(accumulator), swap: false }
        };
        Ok((address, operation))
    }

    /// MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS.
    fn string(&mut self, opcode: u8) -> Decoded {
        let operation = match opcode {
            0xa4 | 0xa5 => StringOperation::Move,
            0xaa | 0xab => StringOperation::Store,
            0xac | 0xad => StringOperation::Load,
            0xa6 | 0xa7 => StringOperation::Compare,
            0xae | 0xaf => StringOperation::Scan,
            0x6c | 0x6d => StringOperation::Input,
            _ => StringOperation::Output,
        };
        // Ports are at most 4 bytes wide, with REX.W too.
        if self.width == Width::Qword && matches!(operation, StringOperation::Input | StringOperation::Output)
        {
            self.width = Width::Dword;
        }
        let source = match operation {
            StringOperation::Store | StringOperation::Input | StringOperation::Scan => SegmentName::Es,
            _ => modrm::segment(self.prefixes, false),
        };
        let address = Address {
            segment: source,
            base: None,
            index: None,
            rip_relative: false,
            displacement: 0,
            size: self.prefixes.address_width(self.size),
        };
        let repeat = match self.prefixes.repeat {
            Repeat::None => Repetition::Once,
            Repeat::Equal => Repetition::WhileEqual,
            Repeat::NotEqual => Repetition::WhileDifferent,
        };
        Ok((address, Operation::String { operation, repeat }))
    }
}
