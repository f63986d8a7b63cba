//! What an instruction that is not carried out is called, for the log.

use super::CodeSize;
use super::cursor::Cursor;
use super::prefix::Prefixes;

/// The name of the instruction at the start of `bytes`, or of its kind. Only for those that
/// [`decode`](super::decode) refuses.
pub fn name_of(bytes: &[u8], size: CodeSize) -> &'static str {
    name(&mut Cursor::new(bytes), size).unwrap_or("an unknown instruction")
}

fn name(cursor: &mut Cursor, size: CodeSize) -> Option<&'static str> {
    Prefixes::decode(cursor, size).ok()?;
    let opcode = cursor.byte().ok()?;
    let next = cursor.peek().unwrap_or_default();
    // Outside 64-bit mode these are LES, LDS and BOUND where a register operand would be.
    let is_vector = matches!(size, CodeSize::Bits64) || next >> 6 == 3;
    Some(match (opcode, next >> 3 & 7) {
        (0x0f, _) => two_bytes(cursor)?,
        (0xc4 | 0xc5 | 0x62, _) if is_vector => "an AVX instruction",
        (0x8f, extension) if extension != 0 => "an XOP instruction",
        (0xff, 2 | 3) => "CALL through memory",
        (0xff, 4 | 5) => "JMP through memory",
        (0xf6 | 0xf7, 6) => "DIV",
        (0xf6 | 0xf7, 7) => "IDIV",
        (0x8c | 0x8e, _) => "MOV of a segment register",
        (0xd8..=0xdf, _) => "an x87 instruction",
        (0x06 | 0x0e | 0x16 | 0x1e | 0x50..=0x57 | 0x60 | 0x68 | 0x6a | 0x9c, _) => {
            "PUSH to a stack that is no memory"
        }
        (0x07 | 0x17 | 0x1f | 0x58..=0x5f | 0x61 | 0x9d, _) => "POP from a stack that is no memory",
        (0xe8 | 0x9a, _) => "CALL with a stack that is no memory",
        (0xc2 | 0xc3 | 0xca | 0xcb, _) => "RET from a stack that is no memory",
        (0xcf, _) => "IRET from a stack that is no memory",
        (0xc8 | 0xc9, _) => "ENTER or LEAVE with a stack that is no memory",
        (0x62, _) => "BOUND",
        (0xc4 | 0xc5, _) => "LES or LDS",
        (0xd7, _) => "XLAT",
        (0x6c..=0x6f, _) => "INS or OUTS with a string that is no memory",
        _ => return None,
    })
}

/// Opcodes that start with 0F.
fn two_bytes(cursor: &mut Cursor) -> Option<&'static str> {
    let opcode = cursor.byte().ok()?;
    let extension = cursor.peek().unwrap_or_default() >> 3 & 7;
    Some(match (opcode, extension) {
        (0x00, 0 | 1) => "SLDT or STR",
        (0x00, _) => "LLDT, LTR, VERR or VERW",
        (0x01, 0 | 1) => "SGDT or SIDT",
        (0x01, 2 | 3) => "LGDT or LIDT",
        (0x01, _) => "SMSW, LMSW or INVLPG",
        (
            0x10..=0x17 | 0x28 | 0x29 | 0x2b | 0x6e | 0x6f | 0x7e | 0x7f | 0xc4 | 0xc5 | 0xd6 | 0xe7 | 0xf0,
            _,
        ) => "a move of an SSE or MMX register",
        (0x0d | 0x18, _) => "PREFETCH",
        (0x40..=0x4f, _) => "CMOV",
        (0x90..=0x9f, _) => "SET",
        (0xa0 | 0xa8, _) => "PUSH to a stack that is no memory",
        (0xa1 | 0xa9, _) => "POP from a stack that is no memory",
        (0xa4 | 0xa5 | 0xac | 0xad, _) => "SHLD or SHRD",
        (0xae, 0 | 1) => "FXSAVE or FXRSTOR",
        (0xae, 2 | 3) => "LDMXCSR or STMXCSR",
        (0xae, 4..=6) => "XSAVE or XRSTOR",
        (0xae, _) => "CLFLUSH",
        (0xb2 | 0xb4 | 0xb5, _) => "LSS, LFS or LGS",
        (0xb8, _) => "POPCNT",
        (0xbc | 0xbd, _) => "BSF or BSR",
        (0xc7, 1) => "CMPXCHG8B or CMPXCHG16B",
        (0xc7, _) => "XSAVE or XRSTOR",
        (0x38, _) if matches!(cursor.peek(), Ok(0xf0 | 0xf1)) => "CRC32",
        (0x38, _) if matches!(cursor.peek(), Ok(0xf8 | 0xf9)) => "MOVDIR64B, ENQCMD or MOVDIRI",
        (0x50..=0x6d | 0x70..=0x7d | 0x2a | 0x2c..=0x2f | 0x38 | 0x3a | 0xc2 | 0xc6 | 0xd0..=0xff, _) => {
            "an SSE or MMX instruction"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use CodeSize::{Bits32, Bits64};

    #[test]
    fn what_systems_may_use_has_a_name() {
        for (bytes, size, expected) in [
            (&[0x0f, 0x11, 0x03][..], Bits64, "a move of an SSE or MMX register"),
            (&[0xf3, 0x0f, 0x6f, 0x07], Bits64, "a move of an SSE or MMX register"),
            (&[0xc5, 0xfe, 0x6f, 0x07], Bits64, "an AVX instruction"),
            (&[0xc5, 0x07], Bits32, "LES or LDS"),
            (&[0x62, 0xf1, 0x7c, 0x48], Bits64, "an AVX instruction"),
            (&[0x0f, 0xae, 0x07], Bits64, "FXSAVE or FXRSTOR"),
            (&[0xff, 0x17], Bits64, "CALL through memory"),
            (&[0xff, 0x27], Bits64, "JMP through memory"),
            (&[0x66, 0x48, 0xf7, 0x37], Bits64, "DIV"),
            (&[0x0f, 0x01, 0x07], Bits64, "SGDT or SIDT"),
            (&[0x50], Bits64, "PUSH to a stack that is no memory"),
            (&[0xdd, 0x07], Bits64, "an x87 instruction"),
            (&[0x0f, 0x38, 0xf8, 0x07], Bits64, "MOVDIR64B, ENQCMD or MOVDIRI"),
            (&[0x90], Bits64, "an unknown instruction"),
            (&[], Bits64, "an unknown instruction"),
        ] {
            assert_eq!(name_of(bytes, size), expected, "{bytes:02x?}");
        }
    }
}
