//! Bundles whose hashes are right, whatever else is wrong with them.

use handoff::bundle::{MAGIC, VERSION};
use sha2::{Digest, Sha256};

/// Bytes of a bundle's header, and of an entry without its names.
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 56;
const HASH_OFFSET: usize = 32;

fn number(bytes: &[u8], at: usize, count: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(count)?)?;
    usize::try_from(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))).ok()
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// Makes the first bytes those of a bundle, and every hash that can be found right.
/// A fuzzer finds no hash by itself.
pub fn seal(bytes: &mut [u8]) {
    put(bytes, 0, &MAGIC);
    put(bytes, MAGIC.len(), &VERSION.to_le_bytes());
    let Some(header_bytes) = number(bytes, 16, 8) else { return };
    let count = number(bytes, 12, 4).unwrap_or(0);
    let mut at = HEADER_BYTES;
    for _ in 0..count {
        let Some(hash) = item_hash(bytes, at) else { break };
        put(bytes, at + 24, &hash);
        let names = number(bytes, at + 4, 2).unwrap_or(0) + number(bytes, at + 6, 2).unwrap_or(0);
        at += (ENTRY_BYTES + names).next_multiple_of(8);
    }
    let Some(table) = bytes.get(HEADER_BYTES..header_bytes) else { return };
    let header = &bytes[..HASH_OFFSET];
    let hash = Sha256::new().chain_update(header).chain_update([0; 32]).chain_update(table).finalize();
    put(bytes, HASH_OFFSET, &hash);
}

fn item_hash(bytes: &[u8], entry: usize) -> Option<[u8; 32]> {
    let start = number(bytes, entry + 8, 8)?;
    let length = number(bytes, entry + 16, 8)?;
    let contents = bytes.get(start..start.checked_add(length)?)?;
    Some(Sha256::digest(contents).into())
}
