//! Length of an instruction of which the exit has told what it is.
//!
//! Processors that do not tell the next RIP (AMD without NRIPS) leave it to us to
//! step over what was intercepted. The bytes may have been rewritten by another
//! processor since; then they are not that instruction, and the caller lets the guest
//! execute again whatever is there now.

use super::cursor::Cursor;
use super::prefix::{Prefixes, Repeat};
use super::{CodeSize, DecodeError};

/// An intercepted instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// CPUID.
    Cpuid,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// VMMCALL or VMCALL: on either vendor's processor the exit does not say which.
    Hypercall,
    /// HLT.
    Halt,
    /// PAUSE, MONITOR or MWAIT.
    Idle,
    /// RDTSC.
    ReadTsc,
    /// RDTSCP.
    ReadTscAux,
    /// RDPMC.
    ReadCounter,
    /// XSETBV.
    SetXcr,
    /// MOV to or from a control register, CLTS, LMSW.
    Control,
    /// WBINVD or INVD.
    WriteBackCaches,
    /// INVLPG.
    InvalidatePage,
    /// IN, OUT, INS, OUTS.
    Port,
}

/// Length of the instruction at the start of `bytes`, which the exit said to be
/// `known`.
pub fn length_of(bytes: &[u8], size: CodeSize, known: Known) -> Result<u8, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let prefixes = Prefixes::decode(&mut cursor, size)?;
    match (known, cursor.byte()?) {
        (Known::Halt, 0xf4) => {}
        // REX.B would make the bare opcode an XCHG with R8; PAUSE ignores it.
        (Known::Idle, 0x90) if prefixes.repeat == Repeat::Equal => {}
        (Known::Port, 0xe4..=0xe7) => {
            cursor.byte()?;
        }
        (Known::Port, 0xec..=0xef | 0x6c..=0x6f) => {}
        (_, 0x0f) => after_0f(&mut cursor, &prefixes, size, known)?,
        _ => return Err(DecodeError::Unsupported),
    }
    // LOCK on any of these is #UD, but for the moves that have looked at it already.
    if prefixes.lock && known != Known::Control {
        return Err(DecodeError::Unsupported);
    }
    Ok(cursor.position())
}

/// The opcodes that start with 0F.
fn after_0f(
    cursor: &mut Cursor,
    prefixes: &Prefixes,
    size: CodeSize,
    known: Known,
) -> Result<(), DecodeError> {
    match (known, cursor.byte()?) {
        (Known::Cpuid, 0xa2)
        | (Known::ReadMsr, 0x32)
        | (Known::WriteMsr, 0x30)
        | (Known::ReadTsc, 0x31)
        | (Known::ReadCounter, 0x33)
        | (Known::WriteBackCaches, 0x08 | 0x09) => Ok(()),
        (Known::Control, 0x06) if !prefixes.lock => Ok(()),
        // The mod field of MOV CRn is ignored: the operand is always a register.
        (Known::Control, 0x20 | 0x22) => control_register(cursor.byte()?, prefixes).map(|_| ()),
        (_, 0x01) => group_7(cursor, prefixes, size, known),
        _ => Err(DecodeError::Unsupported),
    }
}

/// 0F 01: told apart by the ModRM byte.
fn group_7(
    cursor: &mut Cursor,
    prefixes: &Prefixes,
    size: CodeSize,
    known: Known,
) -> Result<(), DecodeError> {
    let modrm = cursor.peek()?;
    let expected: &[u8] = match known {
        Known::Hypercall => &[0xd9, 0xc1],
        Known::Idle => &[0xc8, 0xc9],
        Known::SetXcr => &[0xd1],
        Known::ReadTscAux => &[0xf9],
        // LMSW takes a register or memory.
        Known::Control if modrm >> 3 & 7 == 6 && !prefixes.lock => {
            if modrm >> 6 == 3 {
                cursor.byte()?;
            } else {
                super::modrm::decode(cursor, prefixes, size)?;
            }
            return Ok(());
        }
        Known::InvalidatePage if modrm >> 3 & 7 == 7 => {
            return super::modrm::decode(cursor, prefixes, size).map(|_| ());
        }
        _ => &[],
    };
    // With 66, F2 or F3 most of these are other instructions, or #UD.
    let repeats = prefixes.repeat != Repeat::None;
    let taken = match modrm {
        0xf9 => false,
        0xd9 => repeats,
        _ => repeats || prefixes.operand_size,
    };
    if !expected.contains(&modrm) || taken {
        return Err(DecodeError::Unsupported);
    }
    cursor.byte().map(|_| ())
}

/// The bytes of the instruction that is `known` without prefixes, little-endian, and how
/// many they are; `None` where it has several forms: then [`length_of`] tells. An
/// instruction that starts with these bytes is this one, and no longer than that.
#[inline(always)]
pub const fn bare_form(known: Known) -> Option<(u64, u64)> {
    match known {
        Known::Cpuid => Some((0xa20f, 2)),
        Known::WriteMsr => Some((0x300f, 2)),
        Known::ReadMsr => Some((0x320f, 2)),
        Known::ReadTsc => Some((0x310f, 2)),
        Known::Halt => Some((0xf4, 1)),
        // AMD's; Intel's processors all tell the next RIP.
        Known::Hypercall => Some((0xd9_010f, 3)),
        _ => None,
    }
}

/// The control register that the reg field of `modrm` names; #UD for those that do not
/// exist.
fn control_register(modrm: u8, prefixes: &Prefixes) -> Result<u8, DecodeError> {
    match (modrm >> 3 & 7 | prefixes.rex_r(), prefixes.lock) {
        (number @ (0 | 2 | 3 | 4 | 8), false) => Ok(number),
        // AMD reaches CR8 with LOCK MOV CR0 (APM vol. 3, "MOV CRn").
        (0, true) => Ok(8),
        _ => Err(DecodeError::Unsupported),
    }
}

/// A write of a control register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// MOV of general register `source` to control register `register`.
    Move {
        /// Number of the control register.
        register: u8,
        /// Number of the general register.
        source: u8,
    },
    /// CLTS: clears CR0.TS.
    ClearTaskSwitched,
    /// LMSW with general register `source`: bits 0 to 3 of CR0, of which bit 0 can
    /// only be set.
    LoadStatusWord {
        /// Number of the general register.
        source: u8,
    },
}

/// Which write of a control register is at the start of `bytes`, and its length, for
/// hardware that does not say. LMSW from memory is unsupported.
pub fn control_write(bytes: &[u8], size: CodeSize) -> Result<(Control, u8), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let prefixes = Prefixes::decode(&mut cursor, size)?;
    if cursor.byte()? != 0x0f {
        return Err(DecodeError::Unsupported);
    }
    let control = match cursor.byte()? {
        0x06 if !prefixes.lock => Control::ClearTaskSwitched,
        0x22 => {
            let modrm = cursor.byte()?;
            Control::Move {
                register: control_register(modrm, &prefixes)?,
                source: modrm & 7 | prefixes.rex_b(),
            }
        }
        0x01 if !prefixes.lock => {
            let modrm = cursor.byte()?;
            if modrm & 0xf8 != 0xf0 {
                return Err(DecodeError::Unsupported);
            }
            Control::LoadStatusWord { source: modrm & 7 | prefixes.rex_b() }
        }
        _ => return Err(DecodeError::Unsupported),
    };
    Ok((control, cursor.position()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CodeSize::{Bits16, Bits32, Bits64};

    #[test]
    fn bare_instructions() {
        for (bytes, known, length) in [
            (&[0x0f, 0xa2][..], Known::Cpuid, 2),
            (&[0x0f, 0x32], Known::ReadMsr, 2),
            (&[0x0f, 0x30], Known::WriteMsr, 2),
            (&[0x0f, 0x01, 0xd9], Known::Hypercall, 3),
            (&[0x0f, 0x01, 0xc1], Known::Hypercall, 3),
            (&[0xf4], Known::Halt, 1),
            (&[0xf3, 0x90], Known::Idle, 2),
            (&[0x0f, 0x01, 0xc8], Known::Idle, 3),
            (&[0x0f, 0x01, 0xc9], Known::Idle, 3),
            (&[0x0f, 0x31], Known::ReadTsc, 2),
            (&[0x0f, 0x01, 0xf9], Known::ReadTscAux, 3),
            (&[0x0f, 0x33], Known::ReadCounter, 2),
            (&[0x0f, 0x01, 0xd1], Known::SetXcr, 3),
            (&[0x0f, 0x22, 0xd8], Known::Control, 3),
            (&[0x0f, 0x20, 0xd8], Known::Control, 3),
            (&[0x0f, 0x06], Known::Control, 2),
            (&[0x0f, 0x01, 0xf0], Known::Control, 3),
            (&[0x0f, 0x09], Known::WriteBackCaches, 2),
            (&[0x0f, 0x08], Known::WriteBackCaches, 2),
            (&[0xe4, 0x70], Known::Port, 2),
            (&[0xef], Known::Port, 1),
            (&[0x6e], Known::Port, 1),
            (&[0x0f, 0x01, 0x38], Known::InvalidatePage, 3),
        ] {
            for size in [Bits16, Bits32, Bits64] {
                let mut padded = bytes.to_vec();
                padded.resize(8, 0xcc);
                assert_eq!(length_of(&padded, size, known), Ok(length), "{known:?}");
                if let Some((form, bare)) = bare_form(known)
                    && bytes[..] == form.to_le_bytes()[..bare as usize]
                {
                    assert_eq!(bare, u64::from(length), "{known:?}");
                }
                let short = &bytes[..bytes.len() - 1];
                assert_eq!(length_of(short, size, known), Err(DecodeError::Truncated));
            }
        }
    }

    #[test]
    fn prefixes_count() {
        assert_eq!(length_of(&[0x66, 0x48, 0x0f, 0xa2], Bits64, Known::Cpuid), Ok(4));
        assert_eq!(length_of(&[0x2e, 0x2e, 0xf2, 0xee], Bits32, Known::Port), Ok(4));
        let long = [[0x66; 13].as_slice(), &[0x0f, 0xa2]].concat();
        assert_eq!(length_of(&long, Bits32, Known::Cpuid), Ok(15));
        let longer = [[0x66; 14].as_slice(), &[0x0f, 0xa2]].concat();
        assert_eq!(length_of(&longer, Bits32, Known::Cpuid), Err(DecodeError::TooLong));
    }

    #[test]
    fn another_instruction_is_refused() {
        for bytes in [&[0x0f, 0x0b, 0][..], &[0x90, 0x90, 0x90], &[0xf0, 0x0f, 0xa2], &[0x0f, 0x30, 0]] {
            assert_eq!(length_of(bytes, Bits64, Known::Cpuid), Err(DecodeError::Unsupported));
        }
        // NOP is no PAUSE.
        assert_eq!(length_of(&[0x90], Bits64, Known::Idle), Err(DecodeError::Unsupported));
        // In 32-bit code 48 is DEC EAX, no prefix.
        assert!(length_of(&[0x48, 0x0f, 0xa2], Bits32, Known::Cpuid).is_err());
    }

    #[test]
    fn control_writes_name_their_registers() {
        let mv = |register, source| Control::Move { register, source };
        assert_eq!(control_write(&[0x0f, 0x22, 0xd8], Bits64), Ok((mv(3, 0), 3)));
        assert_eq!(control_write(&[0x41, 0x0f, 0x22, 0xc7], Bits64), Ok((mv(0, 15), 4)));
        assert_eq!(control_write(&[0x44, 0x0f, 0x22, 0xc1], Bits64), Ok((mv(8, 1), 4)));
        assert_eq!(control_write(&[0xf0, 0x0f, 0x22, 0xc1], Bits32), Ok((mv(8, 1), 4)));
        // The mod field says memory and is ignored.
        assert_eq!(control_write(&[0x0f, 0x22, 0x18], Bits32), Ok((mv(3, 0), 3)));
        assert_eq!(control_write(&[0x0f, 0x06], Bits16), Ok((Control::ClearTaskSwitched, 2)));
        assert_eq!(
            control_write(&[0x0f, 0x01, 0xf2], Bits16),
            Ok((Control::LoadStatusWord { source: 2 }, 3))
        );
        assert_eq!(control_write(&[0x0f, 0x01, 0x30], Bits16), Err(DecodeError::Unsupported));
        assert_eq!(control_write(&[0x0f, 0x20, 0xd8], Bits64), Err(DecodeError::Unsupported));
    }
}
