//! A prepared guest, and its image for the bundle.

use crate::entry::Entry;
use crate::error::LoadError;
use crate::files::{Part, Piece};
use crate::place::{Space, Taken};
use alloc::vec::Vec;
use guest::start_image::{HEADER_WORDS, OWN_FILE, PATCH_WORDS, PIECE_WORDS, Patch};
use spec::Gpa;

/// A prepared guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    image: Vec<u8>,
    taken: Vec<Taken>,
}

impl Prepared {
    /// What was put into `space`, to be started at `entry`.
    pub(crate) fn new(space: Space, entry: Entry) -> Self {
        let (own, taken, patches) = (space.own(), space.taken, space.patches);
        let low_end = taken.iter().map(|taken| taken.end).max().unwrap_or(0);
        let mut pieces = space.pieces;
        let count = (pieces.len() + own.len()) as u64;
        let table = HEADER_WORDS + count * PIECE_WORDS + patches.len() as u64 * PATCH_WORDS;
        let mut offset = table * 8;
        let mut contents = Vec::new();
        for (gpa, bytes) in own {
            let part = Part { file: OWN_FILE, offset, bytes: bytes.len() as u64 };
            pieces.push(Piece { gpa, part });
            offset += part.bytes;
            contents.extend(bytes);
        }
        pieces.sort_by_key(|piece| piece.gpa);

        let mut words = Vec::from([count, patches.len() as u64, low_end]);
        words.extend(entry.words());
        for Piece { gpa, part } in pieces {
            words.extend([gpa, part.bytes, part.offset, part.file]);
        }
        for Patch { gpa, bytes, fact, factor, checksum } in patches {
            words.extend([gpa, bytes, fact, factor, checksum]);
        }
        let mut image: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        image.append(&mut contents);
        Self { image, taken }
    }

    /// What [`guest::start_image::StartImage::parse`] takes.
    pub fn into_image(self) -> Vec<u8> {
        self.image
    }

    /// Whether the guest can be started where its memory below 4 GiB ends at `low_end`.
    ///
    /// # Errors
    /// What has no place then.
    pub fn fits(&self, low_end: u64) -> Result<(), LoadError> {
        match self.taken.iter().find(|taken| taken.end > low_end) {
            None => Ok(()),
            Some(&Taken { what, start, end }) => {
                Err(LoadError::NoRoom { what, start: Gpa(start), bytes: end - start })
            }
        }
    }
}
