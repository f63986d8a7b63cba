//! The partition table of a drive, a GPT (UEFI Specification, section 5.3).
//!
//! The crate knows the layouts and checksums; what the numbers in them say is checked here, for a
//! drive says anything.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytemuck::pod_read_unaligned;
use core::fmt;
use gpt_disk_types::{BlockSize, Crc32, GptHeader, GptPartitionEntry, GptPartitionEntryArray};

/// The most entries that are looked at. Tables have 128.
const MOST_ENTRIES: u32 = 1024;
/// Bytes of an entry as far as they are known.
const ENTRY_BYTES: usize = size_of::<GptPartitionEntry>();

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its place in the table, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its own UUID, in lower case with hyphens.
    pub uuid: String,
    /// Its first block.
    pub first_block: u64,
    /// How many it has, at least one.
    pub blocks: u64,
}

/// Why a drive's partitions are not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableFault {
    /// A block of the table cannot be read.
    Unreadable(u64),
    /// There is no header of a GPT.
    NoTable,
    /// The header's checksum is wrong.
    HeaderChecksum,
    /// The checksum of the entries is wrong.
    EntriesChecksum,
    /// The header says what cannot be.
    Header(&'static str),
    /// This partition is not where partitions may be, or lies over another.
    Partition(u32),
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(block) => write!(f, "block {block} of the partition table cannot be read"),
            Self::NoTable => f.write_str("there is no GPT"),
            Self::HeaderChecksum => f.write_str("the checksum of the GPT's header is wrong"),
            Self::EntriesChecksum => f.write_str("the checksum of the GPT's entries is wrong"),
            Self::Header(what) => write!(f, "the GPT's header makes no sense: {what}"),
            Self::Partition(number) => {
                write!(
                    f,
                    "partition {number} is outside of the drive's blocks for partitions, or over another"
                )
            }
        }
    }
}

/// A way to read whole blocks from a first one on. `None` where they cannot be read.
pub(crate) type ReadBlocks<'a> = dyn FnMut(u64, &mut [u8]) -> Option<()> + 'a;

/// The partitions of a drive of `blocks` blocks of `block_bytes` bytes, by its first table, or by the
/// one at its end where that one is damaged.
pub(crate) fn read(
    blocks: u64,
    block_bytes: u32,
    read: &mut ReadBlocks<'_>,
) -> Result<Vec<Partition>, TableFault> {
    let first = read_at(1, blocks, block_bytes, read);
    match first {
        Ok(_) => first,
        Err(fault) => read_at(blocks.saturating_sub(1), blocks, block_bytes, read).map_err(|_| fault),
    }
}

fn read_at(
    at: u64,
    blocks: u64,
    block_bytes: u32,
    read: &mut ReadBlocks<'_>,
) -> Result<Vec<Partition>, TableFault> {
    if at >= blocks {
        return Err(TableFault::NoTable);
    }
    let mut block = vec![0; block_bytes as usize];
    read(at, &mut block).ok_or(TableFault::Unreadable(at))?;
    let header = header(&block, at, blocks)?;
    let bytes = header.number_of_partition_entries.to_u32() as usize * ENTRY_BYTES;
    let start = header.partition_entry_lba.to_u64();
    let mut entries = vec![0; bytes.next_multiple_of(block_bytes as usize)];
    let end = start.checked_add((entries.len() / block_bytes as usize) as u64);
    if start < 2 || end.is_none_or(|end| end > blocks) {
        return Err(TableFault::Header("its entries are not on the drive"));
    }
    read(start, &mut entries).ok_or(TableFault::Unreadable(start))?;
    if checksum(&header, block_bytes, &mut entries)? != header.partition_entry_array_crc32 {
        return Err(TableFault::EntriesChecksum);
    }
    partitions(&header, &entries)
}

/// The header in a block, if it is one and can be true.
fn header(block: &[u8], at: u64, blocks: u64) -> Result<GptHeader, TableFault> {
    let bytes = block.get(..size_of::<GptHeader>()).ok_or(TableFault::NoTable)?;
    let header: GptHeader = pod_read_unaligned(bytes);
    if !header.is_signature_valid() {
        return Err(TableFault::NoTable);
    }
    if header.header_size.to_u32() as usize != size_of::<GptHeader>() {
        return Err(TableFault::Header("its size is not 92 bytes"));
    }
    if header.calculate_header_crc32() != header.header_crc32 {
        return Err(TableFault::HeaderChecksum);
    }
    if header.my_lba.to_u64() != at {
        return Err(TableFault::Header("it is a copy of one from elsewhere"));
    }
    if header.size_of_partition_entry.to_u32() as usize != ENTRY_BYTES {
        return Err(TableFault::Header("its entries do not have 128 bytes"));
    }
    if header.number_of_partition_entries.to_u32() > MOST_ENTRIES {
        return Err(TableFault::Header("it has more than 1024 entries"));
    }
    if header.first_usable_lba.to_u64() < 2 || header.last_usable_lba.to_u64() >= blocks {
        return Err(TableFault::Header("its blocks for partitions are not on the drive"));
    }
    Ok(header)
}

fn checksum(header: &GptHeader, block_bytes: u32, entries: &mut [u8]) -> Result<Crc32, TableFault> {
    let wrong = TableFault::Header("its entries cannot be");
    if entries.is_empty() {
        return Ok(Crc32::default());
    }
    let layout = header.get_partition_entry_array_layout().map_err(|_| wrong.clone())?;
    let block_size = BlockSize::new(block_bytes).ok_or(wrong.clone())?;
    let array = GptPartitionEntryArray::new(layout, block_size, entries).map_err(|_| wrong)?;
    Ok(array.calculate_crc32())
}

fn partitions(header: &GptHeader, entries: &[u8]) -> Result<Vec<Partition>, TableFault> {
    let usable = header.first_usable_lba.to_u64()..=header.last_usable_lba.to_u64();
    let mut found: Vec<Partition> = Vec::new();
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    let count = header.number_of_partition_entries.to_u32();
    for (number, bytes) in (1..=count).zip(entries) {
        let entry: GptPartitionEntry = pod_read_unaligned(bytes);
        if !entry.is_used() {
            continue;
        }
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        let is_over =
            |other: &Partition| first < other.first_block + other.blocks && other.first_block <= last;
        if first > last || !usable.contains(&first) || !usable.contains(&last) || found.iter().any(is_over) {
            return Err(TableFault::Partition(number));
        }
        found.push(Partition {
            number,
            name: { entry.name }.chars().take_while(|&letter| letter != '\0').collect(),
            uuid: { entry.unique_partition_guid }.to_ascii_hex_lower().map(char::from).into_iter().collect(),
            first_block: first,
            blocks: last - first + 1,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
