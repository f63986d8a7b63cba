//! Packing a bundle.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the host packs its own bytes, whose lengths it has just chosen"
)]

use super::{
    ALIGNMENT, BundleError, ENTRY_ALIGNMENT, ENTRY_BYTES, HASH_OFFSET, HEADER_BYTES, Hash, ItemKind, MAGIC,
    VERSION, hash,
};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use plan::Config;

struct Entry {
    kind: ItemKind,
    guest: String,
    name: String,
    /// Index into `Builder::contents`.
    content: usize,
}

/// Packs a bundle.
#[derive(Default)]
pub struct Builder {
    entries: Vec<Entry>,
    /// Contents, each once.
    contents: Vec<(Hash, Vec<u8>)>,
    by_hash: BTreeMap<Hash, usize>,
}

impl Builder {
    /// A bundle with the configuration `config` and nothing else yet.
    pub fn new(config: &Config) -> Result<Self, BundleError> {
        let mut builder = Self::default();
        let config = postcard::to_allocvec(config)
            .map_err(|_| BundleError::Build("the configuration cannot be serialised"))?;
        builder.add(ItemKind::Config, "", "config", config)?;
        Ok(builder)
    }

    /// Adds an item. `guest` is the guest's name, empty for the kinds that belong to
    /// none; modules keep the order in which they are added.
    pub fn add(
        &mut self,
        kind: ItemKind,
        guest: &str,
        name: &str,
        contents: Vec<u8>,
    ) -> Result<(), BundleError> {
        if kind.is_of_guest() == guest.is_empty() {
            return Err(BundleError::Build(
                "a guest's item needs the guest's name, and no other item has one",
            ));
        }
        if guest.len() > u16::MAX.into() || name.len() > u16::MAX.into() {
            return Err(BundleError::Build("a name in a bundle has at most 65535 bytes"));
        }
        let digest = hash(&[&contents]);
        let content = *self.by_hash.entry(digest).or_insert_with(|| {
            self.contents.push((digest, contents));
            self.contents.len() - 1
        });
        self.entries.push(Entry { kind, guest: guest.to_string(), name: name.to_string(), content });
        Ok(())
    }

    /// The bundle's bytes.
    pub fn build(self) -> Result<Vec<u8>, BundleError> {
        let table_bytes: usize = self.entries.iter().map(Entry::bytes).sum();
        let header_bytes = HEADER_BYTES + table_bytes;
        let mut offsets = Vec::with_capacity(self.contents.len());
        let mut end = header_bytes;
        for (_, contents) in &self.contents {
            let offset = end.next_multiple_of(ALIGNMENT);
            offsets.push(offset);
            end = offset + contents.len();
        }

        let count = u32::try_from(self.entries.len()).map_err(|_| BundleError::Build("too many items"))?;
        let mut bytes = Vec::with_capacity(end);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend((header_bytes as u64).to_le_bytes());
        bytes.extend((end as u64).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for entry in &self.entries {
            let (digest, contents) = &self.contents[entry.content];
            entry.write(&mut bytes, offsets[entry.content], contents.len(), digest);
        }
        let digest = hash(&[&bytes]);
        bytes[HASH_OFFSET..HASH_OFFSET + digest.len()].copy_from_slice(&digest);
        for ((_, contents), offset) in self.contents.iter().zip(offsets) {
            bytes.resize(offset, 0);
            bytes.extend(contents);
        }
        Ok(bytes)
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        (ENTRY_BYTES + self.guest.len() + self.name.len()).next_multiple_of(ENTRY_ALIGNMENT)
    }

    fn write(&self, bytes: &mut Vec<u8>, offset: usize, length: usize, digest: &Hash) {
        let end = bytes.len() + self.bytes();
        bytes.extend((self.kind as u32).to_le_bytes());
        bytes.extend((self.guest.len() as u16).to_le_bytes());
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        bytes.extend((length as u64).to_le_bytes());
        bytes.extend(digest);
        bytes.extend(self.guest.as_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.resize(end, 0);
    }
}
