//! Legacy and REX prefixes (Intel SDM vol. 2 sections 2.1.1 and 2.2.1).
//!
//! Real processors take prefixes in any number and order. Of several segment
//! overrides, or of F2 and F3, the last counts; a REX prefix counts only right
//! before the opcode. In 64-bit mode the overrides of ES, CS, SS and DS do nothing,
//! not even to an FS or GS before them.

use super::cursor::Cursor;
use super::{CodeSize, DecodeError};
use access::vcpu::SegmentName;
use spec::Width;

/// Repeat prefixes, which also select opcodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// Neither.
    None,
    /// F2.
    NotEqual,
    /// F3.
    Equal,
}

/// All prefixes of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefixes {
    /// Segment override.
    pub segment: Option<SegmentName>,
    /// 66.
    pub operand_size: bool,
    /// 67.
    pub address_size: bool,
    /// F0.
    pub lock: bool,
    /// F2 or F3.
    pub repeat: Repeat,
    /// The REX prefix, or 0 (a REX prefix is never 0).
    pub rex: u8,
}

impl Prefixes {
    /// Takes all prefixes; the opcode is next.
    #[inline]
    pub(super) fn decode(cursor: &mut Cursor, size: CodeSize) -> Result<Self, DecodeError> {
        let mut prefixes = Self {
            segment: None,
            operand_size: false,
            address_size: false,
            lock: false,
            repeat: Repeat::None,
            rex: 0,
        };
        let wide = matches!(size, CodeSize::Bits64);
        loop {
            let byte = cursor.peek()?;
            if wide && byte & 0xf0 == 0x40 {
                prefixes.rex = byte;
                cursor.byte()?;
                continue;
            }
            if !prefixes.take_legacy(byte, wide) {
                return Ok(prefixes);
            }
            prefixes.rex = 0;
            cursor.byte()?;
        }
    }

    /// Notes `byte` if it is a legacy prefix.
    #[inline]
    fn take_legacy(&mut self, byte: u8, wide: bool) -> bool {
        let segment = match byte {
            0x66 => {
                self.operand_size = true;
                return true;
            }
            0x67 => {
                self.address_size = true;
                return true;
            }
            0xf0 => {
                self.lock = true;
                return true;
            }
            0xf2 => {
                self.repeat = Repeat::NotEqual;
                return true;
            }
            0xf3 => {
                self.repeat = Repeat::Equal;
                return true;
            }
            0x26 => SegmentName::Es,
            0x2e => SegmentName::Cs,
            0x36 => SegmentName::Ss,
            0x3e => SegmentName::Ds,
            0x64 => SegmentName::Fs,
            0x65 => SegmentName::Gs,
            _ => return false,
        };
        if !wide || matches!(segment, SegmentName::Fs | SegmentName::Gs) {
            self.segment = Some(segment);
        }
        true
    }

    /// REX.W.
    #[inline]
    pub(super) fn rex_w(&self) -> bool {
        self.rex & 8 != 0
    }
    /// REX.R, as bit 3 of a register number.
    #[inline]
    pub(super) fn rex_r(&self) -> u8 {
        (self.rex & 4) << 1
    }
    /// REX.X, as bit 3 of a register number.
    #[inline]
    pub(super) fn rex_x(&self) -> u8 {
        (self.rex & 2) << 2
    }
    /// REX.B, as bit 3 of a register number.
    #[inline]
    pub(super) fn rex_b(&self) -> u8 {
        (self.rex & 1) << 3
    }

    /// Width of operands that are not bytes.
    #[inline]
    pub(super) fn operand_width(&self, size: CodeSize) -> Width {
        if self.rex_w() {
            Width::Qword
        } else if self.operand_size != matches!(size, CodeSize::Bits16) {
            Width::Word
        } else {
            Width::Dword
        }
    }

    /// Width of addresses.
    #[inline]
    pub(super) fn address_width(&self, size: CodeSize) -> Width {
        match (size, self.address_size) {
            (CodeSize::Bits64, false) => Width::Qword,
            (CodeSize::Bits64, true) | (CodeSize::Bits32, false) | (CodeSize::Bits16, true) => Width::Dword,
            (CodeSize::Bits32, true) | (CodeSize::Bits16, false) => Width::Word,
        }
    }
}
