//! NVM Express controllers: registers, queue entries and data structures (NVM Express Base
//! Specification, revision 1.4; sections are cited at each item).
//!
//! Everything that is in memory is little-endian, and is encoded to and decoded from plain
//! bytes here: a queue belongs to two sides that do not trust each other.

pub mod command;
pub mod completion;
pub mod feature;
pub mod identify;
pub mod log;
pub mod register;

pub use command::Command;
pub use completion::{Completion, Status};

/// The namespace identifier that stands for all namespaces (section 6.1.2).
pub const ALL_NAMESPACES: u32 = 0xffff_ffff;

/// Bytes of the pages that the data pointers count in where CC.MPS is 0 (section 3.1.5).
pub const PAGE_BYTES: u64 = 4096;

/// Bytes of one entry of a PRP list (section 4.3).
pub const PRP_BYTES: u64 = 8;

/// `N` bytes from offset `at`; zeros where they are not all there.
const fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => match rest.first_chunk() {
            Some(field) => *field,
            None => [0; N],
        },
        None => [0; N],
    }
}

/// Puts `field` at offset `at`, where it fits wholly.
pub fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = field;
    }
}

#[cfg(test)]
mod tests;
