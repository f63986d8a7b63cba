//! The bundle: a versioned container, every part of it hashed.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `BULKHEAD` |
//! | 8 | 4 | version of the format |
//! | 12 | 4 | number of items |
//! | 16 | 8 | bytes of header and item table together |
//! | 24 | 8 | bytes of the whole bundle |
//! | 32 | 32 | SHA-256 of header and item table, these 32 bytes taken as zeros |
//! | 64 | | item table |
//!
//! An entry of the item table:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | kind |
//! | 4 | 2 | bytes of the guest's name, 0 where the item is of no guest |
//! | 6 | 2 | bytes of the item's name |
//! | 8 | 8 | offset of the contents, a multiple of 4096 |
//! | 16 | 8 | bytes of the contents |
//! | 24 | 32 | SHA-256 of the contents |
//! | 56 | | guest's name, item's name, zeros up to a multiple of 8 |
//!
//! Equal contents are stored once: two items may name exactly the same range, and
//! must not overlap otherwise. Bytes of no item are zero, so that no bit of a
//! bundle can change without notice. Bytes after the whole bundle are not its
//! business (loaders round up to sectors).

mod build;
mod error;
mod read;
#[cfg(test)]
mod tests;

pub use build::Builder;
pub use error::{BundleError, Location};
pub use read::{Bundle, Item};

/// First bytes of every bundle.
pub const MAGIC: [u8; 8] = *b"BULKHEAD";
/// Version of the format, and of the serialised configuration in it.
pub const VERSION: u32 = 15;
/// Contents of items start at a multiple of this many bytes.
pub const ALIGNMENT: usize = 4096;

const HEADER_BYTES: usize = 64;
const HASH_OFFSET: usize = 32;
const HASH_BYTES: usize = 32;
const ENTRY_BYTES: usize = 56;
/// An entry's length is a multiple of this.
const ENTRY_ALIGNMENT: usize = 8;

/// What an item is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u32)]
pub enum ItemKind {
    /// The configuration: a [`plan::Config`] in postcard.
    Config = 1,
    /// A guest's kernel.
    Kernel = 2,
    /// A guest's initial RAM disk.
    Initrd = 3,
    /// A module of a guest's multiboot kernel; a guest may have several.
    Module = 4,
    /// The hypervisor's symbols, for its backtraces.
    Symbols = 5,
    /// The contents of an emulated drive of a guest; a guest may have several.
    Image = 6,
    /// What a guest starts from: where parts of its kernel, its initial RAM disk and its modules go, and
    /// what else does.
    Start = 7,
    /// The program of compartments ([`Program`](crate::Program)).
    Program = 8,
}

impl ItemKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Config),
            2 => Some(Self::Kernel),
            3 => Some(Self::Initrd),
            4 => Some(Self::Module),
            5 => Some(Self::Symbols),
            6 => Some(Self::Image),
            7 => Some(Self::Start),
            8 => Some(Self::Program),
            _ => None,
        }
    }

    /// Whether items of this kind belong to a guest.
    pub const fn is_of_guest(self) -> bool {
        self.is_started_with() || matches!(self, Self::Image | Self::Start)
    }

    /// Whether a guest's start image may name parts of it.
    pub const fn is_started_with(self) -> bool {
        matches!(self, Self::Kernel | Self::Initrd | Self::Module)
    }

    /// Whether a guest may have several items of this kind, under different names.
    pub const fn may_repeat(self) -> bool {
        matches!(self, Self::Module | Self::Image)
    }

    /// A word for messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Config => "configuration",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Module => "module",
            Self::Symbols => "symbols",
            Self::Image => "image",
            Self::Start => "start image",
            Self::Program => "program of compartments",
        }
    }
}

/// SHA-256.
type Hash = [u8; HASH_BYTES];

/// SHA-256 of `parts`, one after another.
fn hash(parts: &[&[u8]]) -> Hash {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
