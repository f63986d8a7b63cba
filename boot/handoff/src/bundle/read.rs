//! Reading and verifying a bundle.

use super::{
    ALIGNMENT, BundleError, ENTRY_ALIGNMENT, ENTRY_BYTES, HASH_BYTES, HASH_OFFSET, HEADER_BYTES, Hash,
    ItemKind, Location, MAGIC, VERSION, hash,
};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;
use plan::Config;

/// An item of a bundle.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// What it is.
    pub kind: ItemKind,
    /// Whose it is; empty for nobody's.
    pub guest: &'a str,
    /// Its name: of a file, as the configuration says it.
    pub name: &'a str,
    /// Offset of its contents in the bundle, a multiple of 4096.
    pub offset: usize,
    /// Its contents.
    pub contents: &'a [u8],
    /// What the item table says is the SHA-256 of the contents.
    pub sha256: Hash,
    index: u32,
}

impl Item<'_> {
    /// Compares the contents with their hash.
    pub fn verify(&self) -> Result<(), BundleError> {
        if hash(&[self.contents]) == self.sha256 {
            Ok(())
        } else {
            Err(BundleError::ItemHash(self.location()))
        }
    }

    fn location(&self) -> Location {
        Location {
            index: self.index,
            kind: Some(self.kind),
            guest: self.guest.to_string(),
            name: self.name.to_string(),
        }
    }

    fn range(&self) -> Range<usize> {
        self.offset..self.offset.saturating_add(self.contents.len())
    }

    /// Whether there may be only one of the two.
    fn rivals(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.guest == other.guest
            && (!self.kind.may_repeat() || self.name == other.name)
    }
}

/// A bundle in memory.
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    config: Config,
    items: Vec<Item<'a>>,
    bytes: &'a [u8],
}

impl<'a> Bundle<'a> {
    /// Reads a bundle and verifies every byte of it. Bytes after its end are
    /// ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let bundle = Self::open(bytes)?;
        let mut verified: Option<(usize, Hash)> = None;
        let mut by_offset: Vec<&Item> = bundle.items.iter().collect();
        by_offset.sort_by_key(|item| item.offset);
        for item in by_offset {
            // Contents that several items share are hashed once.
            if verified != Some((item.offset, item.sha256)) {
                item.verify()?;
                verified = Some((item.offset, item.sha256));
            }
        }
        Ok(bundle)
    }

    /// Reads a bundle and verifies its header, its item table, its padding and the
    /// configuration, but not yet the contents of the other items: whoever uses one
    /// calls [`Item::verify`] first. So each guest's processor can hash its own
    /// kernel, at the same time as the others.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let (bytes, table, count) = header(bytes)?;
        let items = item_table(bytes, table, count)?;
        check_layout(bytes, table.len().saturating_add(HEADER_BYTES), &items)?;
        let config = items.iter().find(|item| item.kind == ItemKind::Config).ok_or(BundleError::NoConfig)?;
        config.verify()?;
        let config = match postcard::take_from_bytes(config.contents) {
            Ok((config, [])) => config,
            _ => return Err(BundleError::Config),
        };
        Ok(Self { config, items, bytes })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every item, in the order of the item table.
    pub fn items(&self) -> &[Item<'a>] {
        &self.items
    }

    /// The first item of this kind of `guest` (empty: of no guest).
    pub fn find(&self, kind: ItemKind, guest: &str) -> Option<&Item<'a>> {
        self.items.iter().find(|item| item.kind == kind && item.guest == guest)
    }

    /// The contents of the first item of this kind of `guest` (empty: of no guest).
    pub fn item(&self, kind: ItemKind, guest: &str) -> Option<&'a [u8]> {
        self.find(kind, guest).map(|item| item.contents)
    }

    /// The files of which the start image of `guest` names parts, in the order of their numbers, from 1 on.
    pub fn start_files<'s>(&'s self, guest: &'s str) -> impl Iterator<Item = &'s Item<'a>> {
        self.items.iter().filter(move |item| item.kind.is_started_with() && item.guest == guest)
    }

    /// The bundle's own bytes, without what a loader may have put after them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Verifies the header; gives the bundle's bytes, its item table and the number of
/// items.
fn header(bytes: &[u8]) -> Result<(&[u8], &[u8], u32), BundleError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(BundleError::NotABundle);
    }
    let found = bytes.len() as u64;
    let short = BundleError::Truncated { expected: HEADER_BYTES as u64, found };
    let version = u32_at(bytes, 8).ok_or(short.clone())?;
    if version != VERSION {
        return Err(BundleError::Version(version));
    }
    let count = u32_at(bytes, 12).ok_or(short.clone())?;
    let header_bytes = u64_at(bytes, 16).ok_or(short.clone())?;
    let total_bytes = u64_at(bytes, 24).ok_or(short.clone())?;
    let stored = bytes.get(HASH_OFFSET..HEADER_BYTES).ok_or(short)?;

    if header_bytes < HEADER_BYTES as u64 || header_bytes > total_bytes {
        return Err(BundleError::Header("its own size makes no sense"));
    }
    let bytes = usize::try_from(total_bytes)
        .ok()
        .and_then(|total| bytes.get(..total))
        .ok_or(BundleError::Truncated { expected: total_bytes, found })?;
    let table = bytes.get(HEADER_BYTES..header_bytes as usize).unwrap_or_default();
    let before_hash = bytes.get(..HASH_OFFSET).unwrap_or_default();
    if hash(&[before_hash, &[0; HASH_BYTES], table]) != *stored {
        return Err(BundleError::HeaderHash);
    }
    Ok((bytes, table, count))
}

fn item_table<'a>(bytes: &'a [u8], mut table: &'a [u8], count: u32) -> Result<Vec<Item<'a>>, BundleError> {
    // No capacity from `count`: it is an untrusted value until the table bears it out.
    let mut items: Vec<Item> = Vec::new();
    for index in 0..count {
        let (item, rest) = entry(bytes, table, index)?;
        if items.iter().any(|other| item.rivals(other)) {
            return Err(BundleError::Duplicate(item.location()));
        }
        items.push(item);
        table = rest;
    }
    if table.is_empty() { Ok(items) } else { Err(BundleError::Header("bytes after the last item's entry")) }
}

/// Reads the first entry of `table`; gives the rest of the table too.
fn entry<'a>(bytes: &'a [u8], table: &'a [u8], index: u32) -> Result<(Item<'a>, &'a [u8]), BundleError> {
    let nowhere =
        |what| BundleError::Entry(Location { index, kind: None, guest: "".into(), name: "".into() }, what);
    let cut = || nowhere("the item table ends inside its entry");
    let number = u32_at(table, 0).ok_or_else(cut)?;
    let guest_bytes = usize::from(u16_at(table, 4).ok_or_else(cut)?);
    let name_bytes = usize::from(u16_at(table, 6).ok_or_else(cut)?);
    let offset = u64_at(table, 8).ok_or_else(cut)?;
    let length = u64_at(table, 16).ok_or_else(cut)?;
    let sha256 = *table.get(24..).and_then(|rest| rest.first_chunk()).ok_or_else(cut)?;
    let names_end = ENTRY_BYTES.saturating_add(guest_bytes).saturating_add(name_bytes);
    let bytes_used = names_end.checked_next_multiple_of(ENTRY_ALIGNMENT).ok_or_else(cut)?;
    let (used, rest) = table.split_at_checked(bytes_used).ok_or_else(cut)?;
    let names = used.get(ENTRY_BYTES..names_end).ok_or_else(cut)?;
    let names = core::str::from_utf8(names).map_err(|_| nowhere("its name is not UTF-8"))?;
    let (guest, name) =
        names.split_at_checked(guest_bytes).ok_or_else(|| nowhere("its name is not UTF-8"))?;

    let kind = ItemKind::from_number(number).ok_or_else(|| nowhere("its kind is unknown"))?;
    let wrong = |what| {
        let location = Location { index, kind: Some(kind), guest: guest.into(), name: name.into() };
        BundleError::Entry(location, what)
    };
    if kind.is_of_guest() == guest.is_empty() {
        return Err(wrong("its kind and its guest do not fit together"));
    }
    let outside = || wrong("its contents are outside the bundle");
    let start = usize::try_from(offset).map_err(|_| outside())?;
    let length = usize::try_from(length).map_err(|_| outside())?;
    if start % ALIGNMENT != 0 {
        return Err(wrong("its contents are not aligned to 4096 bytes"));
    }
    let end = start.checked_add(length).ok_or_else(outside)?;
    let contents = bytes.get(start..end).ok_or_else(outside)?;
    Ok((Item { kind, guest, name, offset: start, contents, sha256, index }, rest))
}

/// Checks that contents do not overlap, unless they are the same, and that what
/// lies between them is zero.
fn check_layout(bytes: &[u8], header_bytes: usize, items: &[Item]) -> Result<(), BundleError> {
    let mut by_offset: Vec<&Item> = items.iter().collect();
    by_offset.sort_by_key(|item| (item.offset, item.contents.len()));
    let mut end = header_bytes;
    let mut last: Option<&Item> = None;
    for item in by_offset {
        match last {
            Some(other) if other.range() == item.range() && other.sha256 == item.sha256 => continue,
            // An empty item shares no byte with anybody.
            Some(other) if item.offset < end && !item.contents.is_empty() => {
                return Err(BundleError::Overlap(item.location(), other.location()));
            }
            None if item.offset < end => {
                return Err(BundleError::Entry(item.location(), "its contents lie in the header"));
            }
            _ => {}
        }
        check_zero(bytes, end..item.offset)?;
        end = end.max(item.range().end);
        last = Some(item);
    }
    check_zero(bytes, end..bytes.len())
}

fn check_zero(bytes: &[u8], range: Range<usize>) -> Result<(), BundleError> {
    let start = range.start;
    let padding = bytes.get(range).unwrap_or_default();
    match padding.iter().position(|byte| *byte != 0) {
        Some(position) => Err(BundleError::Padding { offset: start.saturating_add(position) as u64 }),
        None => Ok(()),
    }
}
