//! The width of one access to a port, a register or a configuration field.

/// How many bytes one access moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Width {
    /// 1 byte.
    Byte = 1,
    /// 2 bytes.
    Word = 2,
    /// 4 bytes.
    Dword = 4,
    /// 8 bytes (memory only: ports and configuration space stop at 4).
    Qword = 8,
}

impl Width {
    /// The width of `bytes`; `None` unless it is 1, 2, 4 or 8.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Dword),
            8 => Some(Self::Qword),
            _ => None,
        }
    }

    /// Number of bytes.
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// Ones in every bit that the access moves.
    pub const fn mask(self) -> u64 {
        u64::MAX >> 64_u32.wrapping_sub((self as u32) << 3)
    }

    /// Whether `offset` is a multiple of the width.
    pub const fn is_aligned(self, offset: u64) -> bool {
        offset & self.bytes().wrapping_sub(1) == 0
    }
}
