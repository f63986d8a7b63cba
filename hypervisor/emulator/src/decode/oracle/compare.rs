//! The comparison with iced-x86, for the tests here and for the fuzz target. Around it
//! stand the items of [`super`], whichever crate that is.

use super::*;
use access::vcpu::SegmentName;
use alloc::vec::Vec;
use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, OpKind, Register as Iced};
use spec::Width;

fn bits(size: CodeSize) -> u32 {
    match size {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    }
}

fn iced(bytes: &[u8], size: CodeSize) -> iced_x86::Instruction {
    Decoder::new(bits(size), &bytes[..bytes.len().min(15)], DecoderOptions::NONE).decode()
}

/// The register as iced names it.
fn register(register: Register, width: Width) -> Iced {
    let first = match (width, register.high_byte) {
        (Width::Byte, true) => return Iced::AH + u32::from(register.index),
        (Width::Byte, false) if register.index >= 4 => {
            return Iced::SPL + (u32::from(register.index) - 4);
        }
        (Width::Byte, false) => Iced::AL,
        (Width::Word, _) => Iced::AX,
        (Width::Dword, _) => Iced::EAX,
        (Width::Qword, _) => Iced::RAX,
    };
    first + u32::from(register.index)
}

fn segment(name: SegmentName) -> Iced {
    match name {
        SegmentName::Es => Iced::ES,
        SegmentName::Cs => Iced::CS,
        SegmentName::Ss => Iced::SS,
        SegmentName::Fs => Iced::FS,
        SegmentName::Gs => Iced::GS,
        _ => Iced::DS,
    }
}

/// The mnemonic that an operation has.
fn mnemonic(instruction: &Instruction) -> Mnemonic {
    let string = |b, w, d, q| match instruction.width {
        Width::Byte => b,
        Width::Word => w,
        Width::Dword => d,
        Width::Qword => q,
    };
    match instruction.operation {
        Operation::Load { swap: true, .. } | Operation::Store { swap: true, .. } => Mnemonic::Movbe,
        Operation::Load { width, extension: Extension::Sign, .. } if width != instruction.width => {
            if instruction.width == Width::Dword {
                Mnemonic::Movsxd
            } else {
                Mnemonic::Movsx
            }
        }
        Operation::Load { width, extension: Extension::Zero, .. } if width != instruction.width => {
            Mnemonic::Movzx
        }
        Operation::Load { .. } | Operation::Store { .. } => Mnemonic::Mov,
        Operation::ToMemory { alu, .. } | Operation::ToRegister { alu, .. } => match alu {
            Alu::Add => Mnemonic::Add,
            Alu::Or => Mnemonic::Or,
            Alu::Adc => Mnemonic::Adc,
            Alu::Sbb => Mnemonic::Sbb,
            Alu::And => Mnemonic::And,
            Alu::Sub => Mnemonic::Sub,
            Alu::Xor => Mnemonic::Xor,
            Alu::Cmp => Mnemonic::Cmp,
        },
        Operation::Test { .. } => Mnemonic::Test,
        Operation::Not => Mnemonic::Not,
        Operation::Negate => Mnemonic::Neg,
        Operation::Increment => Mnemonic::Inc,
        Operation::Decrement => Mnemonic::Dec,
        Operation::Exchange { .. } => Mnemonic::Xchg,
        Operation::ExchangeAdd { .. } => Mnemonic::Xadd,
        Operation::Shift { shift, .. } => match shift {
            Shift::RotateLeft => Mnemonic::Rol,
            Shift::RotateRight => Mnemonic::Ror,
            Shift::RotateCarryLeft => Mnemonic::Rcl,
            Shift::RotateCarryRight => Mnemonic::Rcr,
            Shift::Left => Mnemonic::Shl,
            Shift::Right => Mnemonic::Shr,
            Shift::ArithmeticRight => Mnemonic::Sar,
        },
        Operation::Multiply { signed: false } => Mnemonic::Mul,
        Operation::Multiply { signed: true } | Operation::MultiplyTo { .. } => Mnemonic::Imul,
        Operation::Push => Mnemonic::Push,
        Operation::Pop => Mnemonic::Pop,
        Operation::CompareExchange { .. } => Mnemonic::Cmpxchg,
        Operation::Bit { operation, .. } => match operation {
            BitOperation::Test => Mnemonic::Bt,
            BitOperation::Set => Mnemonic::Bts,
            BitOperation::Reset => Mnemonic::Btr,
            BitOperation::Complement => Mnemonic::Btc,
        },
        Operation::String { operation, .. } => match operation {
            StringOperation::Move => {
                string(Mnemonic::Movsb, Mnemonic::Movsw, Mnemonic::Movsd, Mnemonic::Movsq)
            }
            StringOperation::Store => {
                string(Mnemonic::Stosb, Mnemonic::Stosw, Mnemonic::Stosd, Mnemonic::Stosq)
            }
            StringOperation::Load => {
                string(Mnemonic::Lodsb, Mnemonic::Lodsw, Mnemonic::Lodsd, Mnemonic::Lodsq)
            }
            StringOperation::Compare => {
                string(Mnemonic::Cmpsb, Mnemonic::Cmpsw, Mnemonic::Cmpsd, Mnemonic::Cmpsq)
            }
            StringOperation::Scan => {
                string(Mnemonic::Scasb, Mnemonic::Scasw, Mnemonic::Scasd, Mnemonic::Scasq)
            }
            StringOperation::Input => {
                string(Mnemonic::Insb, Mnemonic::Insw, Mnemonic::Insd, Mnemonic::INVALID)
            }
            StringOperation::Output => {
                string(Mnemonic::Outsb, Mnemonic::Outsw, Mnemonic::Outsd, Mnemonic::INVALID)
            }
        },
    }
}

/// The operand that is not in memory, as iced has it.
fn check_source(source: Source, width: Width, theirs: &iced_x86::Instruction, operand: u32) {
    match source {
        Source::Register(ours) => {
            assert_eq!(theirs.op_kind(operand), OpKind::Register);
            assert_eq!(theirs.op_register(operand), register(ours, width));
        }
        Source::Immediate(ours) => {
            let value = theirs.immediate(operand) & width.mask();
            assert_eq!(ours as u64 & width.mask(), value);
        }
    }
}

fn check_register(ours: Register, width: Width, theirs: &iced_x86::Instruction, operand: u32) {
    assert_eq!(theirs.op_kind(operand), OpKind::Register);
    assert_eq!(theirs.op_register(operand), register(ours, width));
}

fn check_segment(ours: SegmentName, size: CodeSize, theirs: Iced) {
    // In 64-bit mode only FS and GS have a base; iced reports overrides that do nothing.
    let flat = |register| size == CodeSize::Bits64 && register != Iced::FS && register != Iced::GS;
    assert!(segment(ours) == theirs || flat(segment(ours)) && flat(theirs), "{ours:?} {theirs:?}");
}

fn check_address(ours: &Instruction, size: CodeSize, theirs: &iced_x86::Instruction) {
    let address = &ours.address;
    check_segment(address.segment, size, theirs.memory_segment());
    let general = |number: u8| match address.size {
        Width::Word => Iced::AX + u32::from(number),
        Width::Dword => Iced::EAX + u32::from(number),
        _ => Iced::RAX + u32::from(number),
    };
    if address.rip_relative {
        let base = if address.size == Width::Qword { Iced::RIP } else { Iced::EIP };
        assert_eq!(theirs.memory_base(), base);
        let target = (address.displacement as u64).wrapping_add(ours.length.into()) & address.size.mask();
        assert_eq!(target, theirs.memory_displacement64());
        return;
    }
    let pair = (theirs.memory_base(), theirs.memory_index());
    let base = address.base.map_or(Iced::None, general);
    let index = address.index.map_or(Iced::None, |index| general(index.register));
    assert_eq!(pair, (base, index));
    if let Some(index) = address.index {
        assert_eq!(theirs.memory_index_scale(), 1 << index.shift);
    }
    let mask = address.size.mask();
    assert_eq!(address.displacement as u64 & mask, theirs.memory_displacement64() & mask);
}

fn check_string(
    ours: &Instruction,
    operation: StringOperation,
    repeat: Repetition,
    size: CodeSize,
    theirs: &iced_x86::Instruction,
) {
    let repeats = theirs.has_rep_prefix() || theirs.has_repne_prefix();
    assert_eq!(repeat != Repetition::Once, repeats);
    if matches!(operation, StringOperation::Compare | StringOperation::Scan) {
        // iced keeps both prefixes; the last one counts.
        assert!(repeat != Repetition::WhileEqual || theirs.has_repe_prefix());
        assert!(repeat != Repetition::WhileDifferent || theirs.has_repne_prefix());
    }
    let kinds: Vec<_> = (0..theirs.op_count()).map(|operand| theirs.op_kind(operand)).collect();
    let (source, destination) = match ours.address.size {
        Width::Word => (OpKind::MemorySegSI, OpKind::MemoryESDI),
        Width::Dword => (OpKind::MemorySegESI, OpKind::MemoryESEDI),
        _ => (OpKind::MemorySegRSI, OpKind::MemoryESRDI),
    };
    let reads = !matches!(operation, StringOperation::Store | StringOperation::Input | StringOperation::Scan);
    let writes = !matches!(operation, StringOperation::Load | StringOperation::Output);
    assert_eq!(kinds.contains(&source), reads);
    assert_eq!(kinds.contains(&destination), writes);
    if reads {
        check_segment(ours.address.segment, size, theirs.memory_segment());
    }
}

/// The operands, in iced's order.
fn check(ours: &Instruction, size: CodeSize, theirs: &iced_x86::Instruction, bytes: &[u8]) {
    let width = ours.width;
    assert_eq!(usize::from(ours.length), theirs.len(), "{bytes:02x?}");
    let expected = mnemonic(ours);
    // Two encodings of one thing: MOVNTI is a store.
    let theirs_is = match theirs.mnemonic() {
        Mnemonic::Movnti => Mnemonic::Mov,
        // Extension 6 of the shifts is another SHL.
        Mnemonic::Sal => Mnemonic::Shl,
        // An extension to the same width is a move.
        Mnemonic::Movzx | Mnemonic::Movsx | Mnemonic::Movsxd if matches!(ours.operation, Operation::Load { width: to, .. } if to == width) => {
            Mnemonic::Mov
        }
        other => other,
    };
    assert_eq!(theirs_is, expected, "{bytes:02x?} is {:?}", theirs.code());
    if let Operation::String { operation, repeat } = ours.operation {
        return check_string(ours, operation, repeat, size, theirs);
    }
    assert_eq!(theirs.memory_size().size() as u64, width.bytes(), "{bytes:02x?} is {:?}", theirs.code());
    check_address(ours, size, theirs);
    let memory_operand = match ours.operation {
        Operation::Load { .. } | Operation::ToRegister { .. } | Operation::MultiplyTo { .. } => 1,
        _ => 0,
    };
    assert_eq!(theirs.op_kind(memory_operand), OpKind::Memory, "{bytes:02x?}");
    match ours.operation {
        Operation::Load { register, width: to, .. } => check_register(register, to, theirs, 0),
        Operation::ToRegister { register, .. } => check_register(register, width, theirs, 0),
        Operation::Store { source, .. } | Operation::ToMemory { source, .. } | Operation::Test { source } => {
            check_source(source, width, theirs, 1);
        }
        Operation::Bit { offset: Source::Immediate(offset), .. } => {
            assert_eq!(offset as u8, theirs.immediate8());
        }
        Operation::Bit { offset, .. } => check_source(offset, width, theirs, 1),
        Operation::Exchange { register }
        | Operation::ExchangeAdd { register }
        | Operation::CompareExchange { register } => check_register(register, width, theirs, 1),
        Operation::Not | Operation::Negate | Operation::Increment | Operation::Decrement => {
            assert_eq!(theirs.op_count(), 1);
        }
        Operation::Shift { count, .. } => check_source(count, Width::Byte, theirs, 1),
        Operation::MultiplyTo { register, factor } => {
            check_register(register, width, theirs, 0);
            assert_eq!(theirs.op_count(), if factor.is_some() { 3 } else { 2 });
            if let Some(factor) = factor {
                check_source(Source::Immediate(factor), width, theirs, 2);
            }
        }
        Operation::Multiply { .. } | Operation::Push | Operation::Pop => assert_eq!(theirs.op_count(), 1),
        Operation::String { .. } => unreachable!("checked above"),
    }
}

/// Whether [`decode`] has to know the instruction: it is one of those listed in the
/// module, with an operand in memory.
fn is_ours(theirs: &iced_x86::Instruction) -> bool {
    use Mnemonic::*;
    let strings = [
        Movsb, Movsw, Movsq, Stosb, Stosw, Stosd, Stosq, Lodsb, Lodsw, Lodsd, Lodsq, Insb, Insw, Insd, Outsb,
        Outsw, Outsd, Cmpsb, Cmpsw, Cmpsq, Scasb, Scasw, Scasd, Scasq,
    ];
    let plain = [
        Mov, Movzx, Movsx, Movsxd, Movbe, Movnti, Add, Or, Adc, Sbb, And, Sub, Xor, Cmp, Test, Not, Neg, Inc,
        Dec, Xchg, Xadd, Cmpxchg, Bt, Bts, Btr, Btc, Rol, Ror, Rcl, Rcr, Shl, Sal, Shr, Sar, Mul, Imul, Push,
        Pop,
    ];
    if strings.contains(&theirs.mnemonic()) {
        return true;
    }
    // MOVSD and CMPSD are also of SSE; segment registers are not moved here, and a MOVSXD with an
    // operand-size prefix is refused.
    let memory = (0..theirs.op_count()).any(|operand| theirs.op_kind(operand) == OpKind::Memory);
    let segment = (0..theirs.op_count()).any(|operand| theirs.op_register(operand).is_segment_register());
    matches!(theirs.code(), Code::Movsd_m32_m32 | Code::Cmpsd_m32_m32)
        || plain.contains(&theirs.mnemonic()) && memory && !segment && theirs.code() != Code::Movsxd_r16_rm16
}

/// [`decode`]: the same instruction, or neither has one.
pub fn compare(bytes: &[u8], size: CodeSize) {
    let theirs = iced(bytes, size);
    match decode(bytes, size) {
        Ok(ours) => {
            assert!(!theirs.is_invalid(), "{bytes:02x?} is invalid, not {ours:?}");
            check(&ours, size, &theirs, bytes);
        }
        Err(_) => assert!(
            theirs.is_invalid() || !is_ours(&theirs),
            "{bytes:02x?} is {:?}, and was refused",
            theirs.code()
        ),
    }
}

/// No byte after an instruction matters, and every byte of it does.
pub fn compare_ends(bytes: &[u8], size: CodeSize) {
    let Ok(instruction) = decode(bytes, size) else { return };
    let length = usize::from(instruction.length);
    assert!(length <= 15);
    assert_eq!(decode(&bytes[..length], size), Ok(instruction));
    for cut in 0..length {
        assert_eq!(decode(&bytes[..cut], size), Err(DecodeError::Truncated));
    }
}

/// [`length_of`]: the same length for what it knows, and nothing that iced calls
/// something else.
pub fn compare_length(bytes: &[u8], size: CodeSize, known: Known) {
    let theirs = iced(bytes, size);
    match length_of(bytes, size, known) {
        Ok(length) => {
            assert!(!theirs.is_invalid(), "{bytes:02x?} is invalid");
            assert_eq!(usize::from(length), theirs.len(), "{bytes:02x?}");
            assert!(is_known(known, &theirs), "{bytes:02x?} is {:?}", theirs.code());
        }
        Err(_) => {
            assert!(theirs.is_invalid() || !is_known(known, &theirs), "{bytes:02x?} is {:?}", theirs.code())
        }
    }
}

fn is_known(known: Known, instruction: &iced_x86::Instruction) -> bool {
    use Mnemonic::*;
    let mnemonic = instruction.mnemonic();
    let control = (0..instruction.op_count()).any(|operand| instruction.op_register(operand).is_cr());
    match known {
        Known::Cpuid => mnemonic == Cpuid,
        Known::ReadMsr => mnemonic == Rdmsr,
        Known::WriteMsr => mnemonic == Wrmsr,
        Known::Hypercall => matches!(mnemonic, Vmcall | Vmmcall),
        Known::Halt => mnemonic == Hlt,
        Known::Idle => matches!(mnemonic, Pause | Monitor | Mwait),
        Known::ReadTsc => mnemonic == Rdtsc,
        Known::ReadTscAux => mnemonic == Rdtscp,
        Known::ReadCounter => mnemonic == Rdpmc,
        Known::SetXcr => mnemonic == Xsetbv,
        Known::Control => mnemonic == Mov && control || matches!(mnemonic, Clts | Lmsw),
        Known::WriteBackCaches => matches!(mnemonic, Wbinvd | Wbnoinvd | Invd),
        Known::InvalidatePage => mnemonic == Invlpg,
        Known::Port => matches!(mnemonic, In | Out | Insb | Insw | Insd | Outsb | Outsw | Outsd),
    }
}
