//! The ModRM byte, SIB byte and displacement (Intel SDM vol. 2 section 2.1.5,
//! tables 2-1 to 2-3 and 2-7).

use super::cursor::Cursor;
use super::prefix::Prefixes;
use super::{Address, CodeSize, DecodeError, IndexRegister};
use access::vcpu::{RBP, RBX, RDI, RSI, RSP, SegmentName};
use spec::Width;

/// A ModRM byte whose r/m operand is in memory, with all that follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModRm {
    /// The reg field, extended by REX.R.
    pub register: u8,
    /// The reg field alone, where it extends the opcode.
    pub extension: u8,
    /// The operand in memory.
    pub address: Address,
}

/// Decodes a ModRM byte; a register as r/m operand is refused: no register faults.
#[inline]
pub(super) fn decode(cursor: &mut Cursor, prefixes: &Prefixes, size: CodeSize) -> Result<ModRm, DecodeError> {
    let byte = cursor.byte()?;
    let mode = byte >> 6;
    if mode == 3 {
        return Err(DecodeError::Unsupported);
    }
    let extension = byte >> 3 & 7;
    let address = if prefixes.address_width(size) == Width::Word {
        narrow(cursor, prefixes, mode, byte & 7)?
    } else {
        wide(cursor, prefixes, size, mode, byte & 7)?
    };
    Ok(ModRm { register: extension | prefixes.rex_r(), extension, address })
}

/// Segment of an address with this base unless overridden.
#[inline]
pub(super) fn segment(prefixes: &Prefixes, stack: bool) -> SegmentName {
    prefixes.segment.unwrap_or(if stack { SegmentName::Ss } else { SegmentName::Ds })
}

/// 32- and 64-bit addresses.
#[inline]
fn wide(
    cursor: &mut Cursor,
    prefixes: &Prefixes,
    size: CodeSize,
    mode: u8,
    rm: u8,
) -> Result<Address, DecodeError> {
    let mut address = Address {
        segment: SegmentName::Ds,
        base: Some(rm | prefixes.rex_b()),
        index: None,
        rip_relative: false,
        displacement: 0,
        size: prefixes.address_width(size),
    };
    // The low three bits decide whether there is a base: R13 behaves as RBP does.
    let mut no_base = mode == 0 && rm == 5;
    if rm == 4 {
        let sib = cursor.byte()?;
        let index = sib >> 3 & 7 | prefixes.rex_x();
        if index != RSP as u8 {
            address.index = Some(IndexRegister { register: index, shift: sib >> 6 });
        }
        address.base = Some(sib & 7 | prefixes.rex_b());
        no_base = mode == 0 && sib & 7 == 5;
    }
    if no_base {
        address.base = None;
        address.rip_relative = rm == 5 && matches!(size, CodeSize::Bits64);
        address.displacement = cursor.signed(4)?;
    } else if mode == 1 {
        address.displacement = cursor.signed(1)?;
    } else if mode == 2 {
        address.displacement = cursor.signed(4)?;
    }
    let stack = matches!(address.base, Some(base) if usize::from(base) == RSP || usize::from(base) == RBP);
    address.segment = segment(prefixes, stack);
    Ok(address)
}

/// 16-bit addresses.
fn narrow(cursor: &mut Cursor, prefixes: &Prefixes, mode: u8, rm: u8) -> Result<Address, DecodeError> {
    let (mut base, index) = match rm {
        0 => (Some(RBX), Some(RSI)),
        1 => (Some(RBX), Some(RDI)),
        2 => (Some(RBP), Some(RSI)),
        3 => (Some(RBP), Some(RDI)),
        4 => (Some(RSI), None),
        5 => (Some(RDI), None),
        6 => (Some(RBP), None),
        _ => (Some(RBX), None),
    };
    let displacement = match mode {
        0 if rm == 6 => {
            base = None;
            cursor.signed(2)?
        }
        0 => 0,
        1 => cursor.signed(1)?,
        _ => cursor.signed(2)?,
    };
    Ok(Address {
        segment: segment(prefixes, base == Some(RBP)),
        base: base.map(|register| register as u8),
        index: index.map(|register| IndexRegister { register: register as u8, shift: 0 }),
        rip_relative: false,
        displacement,
        size: Width::Word,
    })
}
