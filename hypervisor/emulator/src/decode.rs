//! Decoding of the instructions that the hypervisor carries out for a guest
//! (Intel SDM vol. 2 chapter 2 and appendix A, AMD APM vol. 3 chapter 1 and
//! appendix A).
//!
//! Two questions are answered. [`decode`]: which access to memory is this? For the
//! integer instructions that programs use on device registers, with typed operands;
//! everything else is [`DecodeError::Unsupported`], never a guess. And
//! [`length_of`]: how long is this instruction, of which an exit has told what it is?
//!
//! Bytes come from the guest and may be anything, also rewritten since the exit.

mod cursor;
mod length;
mod modrm;
mod name;
mod opcode;
mod operation;
#[cfg(test)]
mod oracle;
mod prefix;

pub use crate::code::CodeSize;
pub use length::{Control, Known, bare_form, control_write, length_of};
pub use operation::{
    Address, Alu, BitOperation, DecodeError, Extension, IndexRegister, Instruction, Operation, Register,
    Repetition, Shift, Source, StringOperation,
};

pub use name::name_of;

use cursor::Cursor;
use prefix::Prefixes;

/// Decodes the instruction at the start of `bytes` (at most 15 of them count).
#[inline]
pub fn decode(bytes: &[u8], size: CodeSize) -> Result<Instruction, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let prefixes = Prefixes::decode(&mut cursor, size)?;
    opcode::decode(&mut cursor, &prefixes, size)
}
