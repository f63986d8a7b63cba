use super::*;
use crate::part;
use crate::part::PartFault;
use gpt_disk_types::{GptPartitionEntryArrayLayout, GptPartitionType, LbaLe, U32Le, guid};
use std::string::ToString;

const BLOCK: usize = 512;
const BLOCKS: u64 = 256;

fn entry(name: &str, first: u64, last: u64) -> GptPartitionEntry {
    let mut entry = GptPartitionEntry {
        partition_type_guid: GptPartitionType::BASIC_DATA,
        unique_partition_guid: guid!("12345678-9abc-def0-1234-56789abcdef0"),
        starting_lba: LbaLe::from_u64(first),
        ending_lba: LbaLe::from_u64(last),
        ..GptPartitionEntry::default()
    };
    let mut label = { entry.name };
    for (place, letter) in name.chars().enumerate() {
        label.set_char(place, letter).unwrap();
    }
    entry.name = label;
    entry
}

/// A drive with these partitions, and the table twice.
fn drive(entries: &[GptPartitionEntry]) -> Vec<u8> {
    let mut medium = vec![0; BLOCKS as usize * BLOCK];
    for (at, other, start) in [(1, BLOCKS - 1, 2), (BLOCKS - 1, 1, BLOCKS - 33)] {
        let mut bytes = vec![0; 128 * ENTRY_BYTES];
        for (place, entry) in bytes.chunks_mut(ENTRY_BYTES).zip(entries) {
            place.copy_from_slice(bytemuck::bytes_of(entry));
        }
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(at),
            alternate_lba: LbaLe::from_u64(other),
            first_usable_lba: LbaLe::from_u64(34),
            last_usable_lba: LbaLe::from_u64(BLOCKS - 34),
            partition_entry_lba: LbaLe::from_u64(start),
            number_of_partition_entries: U32Le::from_u32(128),
            ..GptHeader::default()
        };
        let layout: GptPartitionEntryArrayLayout = header.get_partition_entry_array_layout().unwrap();
        let array = GptPartitionEntryArray::new(layout, BlockSize::BS_512, &mut bytes).unwrap();
        header.partition_entry_array_crc32 = array.calculate_crc32();
        header.update_header_crc32();
        let place = start as usize * BLOCK;
        medium[place..place + bytes.len()].copy_from_slice(&bytes);
        let place = at as usize * BLOCK;
        medium[place..place + size_of::<GptHeader>()].copy_from_slice(bytemuck::bytes_of(&header));
    }
    medium
}

fn table(medium: &[u8]) -> Result<Vec<Partition>, TableFault> {
    read(BLOCKS, BLOCK as u32, &mut |first, into| {
        let start = usize::try_from(first).ok()?.checked_mul(BLOCK)?;
        into.copy_from_slice(medium.get(start..start.checked_add(into.len())?)?);
        Some(())
    })
}

#[test]
fn partitions_have_numbers_names_and_uuids() {
    let table =
        table(&drive(&[entry("root", 34, 100), GptPartitionEntry::default(), entry("data", 101, 200)]));
    let table = table.unwrap();
    assert_eq!(
        table.iter().map(|it| (it.number, it.name.as_str(), it.first_block, it.blocks)).collect::<Vec<_>>(),
        [(1, "root", 34, 67), (3, "data", 101, 100),]
    );
    assert_eq!(part::find(&table, "3").unwrap().name, "data");
    assert_eq!(part::find(&table, "root").unwrap().number, 1);
    let uuid = "12345678-9ABC-DEF0-1234-56789abcdef0";
    assert_eq!(part::find(&table, uuid), Err(PartFault::Ambiguous(uuid.to_string())), "both have it");
    assert_eq!(part::find(&table, "2"), Err(PartFault::Missing("2".to_string())));
}

#[test]
fn a_damaged_table_is_read_at_the_end() {
    let mut medium = drive(&[entry("root", 34, 100)]);
    medium[BLOCK + 20] ^= 1;
    assert_eq!(table(&medium).unwrap().len(), 1);
    medium[2 * BLOCK + 40] ^= 1;
    assert_eq!(table(&medium).unwrap().len(), 1);
    let end = (BLOCKS as usize - 1) * BLOCK;
    medium[end + 20] ^= 1;
    assert_eq!(table(&medium), Err(TableFault::HeaderChecksum));
    assert_eq!(table(&vec![0; BLOCKS as usize * BLOCK]), Err(TableFault::NoTable));
}

#[test]
fn partitions_outside_or_over_another_are_refused() {
    for (entries, number) in [
        (std::vec![entry("a", 33, 40)], 1),
        (std::vec![entry("a", 40, 39)], 1),
        (std::vec![entry("a", 40, BLOCKS - 33)], 1),
        (std::vec![entry("a", 40, u64::MAX)], 1),
        (std::vec![entry("a", 40, 50), entry("b", 50, 60)], 2),
    ] {
        assert_eq!(table(&drive(&entries)), Err(TableFault::Partition(number)));
    }
}

proptest::proptest! {
    /// Whatever stands on a drive, reading its table ends, and what it gives is on the drive.
    #[test]
    fn no_table_is_trusted(changes in proptest::collection::vec((512_usize..1024, proptest::prelude::any::<u8>()), 0..8), fixed: bool) {
        let mut medium = drive(&[entry("root", 34, 100)]);
        let end = (BLOCKS as usize - 1) * BLOCK;
        for (at, byte) in changes {
            medium[at] = byte;
            medium[end + at - BLOCK] = byte;
        }
        if fixed {
            // The checksum is right: what the numbers say is all that is wrong.
            for at in [BLOCK, end] {
                let mut header: GptHeader = pod_read_unaligned(&medium[at..at + size_of::<GptHeader>()]);
                header.update_header_crc32();
                medium[at..at + size_of::<GptHeader>()].copy_from_slice(bytemuck::bytes_of(&header));
            }
        }
        for partition in table(&medium).unwrap_or_default() {
            proptest::prop_assert!(partition.first_block + partition.blocks <= BLOCKS);
        }
    }
}
