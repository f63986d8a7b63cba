use super::*;
use alloc::vec;
use proptest::prelude::*;

const WITHIN: Range<u64> = 0x40_0000..0x80_0000;

fn program<'a>(parts: [&'a [u8]; 3], zero_bytes: u64) -> Program<'a> {
    let [text, rodata, data] = parts;
    Program { address: 0x40_0000, entry: 0x40_0000, text, rodata, data, zero_bytes }
}

/// A field of a good program, changed.
fn with(index: usize, value: u64) -> Result<Vec<u8>, ProgramError> {
    let mut bytes = program([&[0x90; 5000], &[1; 10], &[2; 4096]], 100).to_bytes();
    bytes[8 * index..8 * index + 8].copy_from_slice(&value.to_le_bytes());
    Program::parse(&bytes, WITHIN).map(|program| program.to_bytes())
}

#[test]
fn parts_come_back_as_pages() {
    let bytes = program([&[0x90; 5000], &[], &[2; 10]], 1).to_bytes();
    assert_eq!(bytes.len(), 4 * PAGE);
    let read = Program::parse(&bytes, WITHIN).unwrap();
    assert_eq!((read.address, read.entry, read.zero_bytes), (0x40_0000, 0x40_0000, PAGE_BYTES));
    assert_eq!((read.text.len(), read.rodata.len(), read.data.len()), (2 * PAGE, 0, PAGE));
    assert_eq!(read.text[..5000], [0x90; 5000]);
    assert!(read.text[5000..].iter().chain(&read.data[10..]).all(|byte| *byte == 0));
    assert_eq!(read.data[..10], [2; 10]);
    assert_eq!(read.memory_bytes(), Some(4 * PAGE_BYTES));
}

#[test]
fn each_fault_has_its_name() {
    use ProgramError::*;
    assert!(with(3, 0x40_0000 + 4999).is_ok(), "the last instruction");
    assert!(with(7, 0x40_0000 - 4 * PAGE_BYTES).is_ok(), "up to the end");
    for (index, value, error) in [
        (0, 0, NotAProgram),
        (1, 2, Version(2)),
        (2, 0x3f_f000, Place),
        (2, 0x40_0001, Place),
        (2, u64::MAX - 0xfff, Place),
        (3, 0x3f_ffff, Entry),
        (3, 0x40_0000 + 5000, Entry),
        (4, 0x10_0000, Length),
        (4, u64::MAX, Length),
        (4, 4999, Padding),
        (4, 4096, Padding),
        (5, 9, Padding),
        (5, 0, Length),
        (6, 4097, Length),
        (6, 0, Length),
        (7, 0x40_0001 - 4 * PAGE_BYTES, Place),
        (7, u64::MAX, Place),
        (7, u64::MAX - 0xfff, Place),
        (8, 1, Padding),
    ] {
        assert_eq!(with(index, value).err(), Some(error), "field {index}: {value:#x}");
    }
    assert_eq!(Program::parse(&MAGIC, WITHIN), Err(Length));
    assert_eq!(Program::parse(b"\x7fELF", WITHIN), Err(NotAProgram));
}

#[test]
fn nothing_shorter_or_longer_is_it() {
    let bytes = program([&[0x90; 5000], &[1; 10], &[2; 4096]], 100).to_bytes();
    for length in (0..bytes.len()).step_by(509) {
        assert!(Program::parse(&bytes[..length], WITHIN).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0; PAGE]].concat();
    assert_eq!(Program::parse(&longer, WITHIN), Err(ProgramError::Length));
}

proptest! {
    /// Whatever the fields say, what is accepted is in its place, and is written as it was read.
    #[test]
    fn what_is_accepted_is_sound(
        changes in prop::collection::vec((1_usize..9, prop_oneof![0_u64..0x3000, 0x3f_0000_u64..0x41_0000, any::<u64>()]), 0..4),
        pages in 1_usize..8,
    ) {
        let mut bytes = vec![0; pages * PAGE];
        let good = program([&[0; 4096], &[0; 1], &[0; 1]], 0).to_bytes();
        bytes[..64].copy_from_slice(&good[..64]);
        for (field, value) in changes {
            bytes[8 * field..8 * field + 8].copy_from_slice(&value.to_le_bytes());
        }
        if let Ok(program) = Program::parse(&bytes, WITHIN) {
            let memory = program.memory_bytes().unwrap();
            prop_assert!(program.address >= WITHIN.start && program.address + memory <= WITHIN.end);
            prop_assert!((program.entry - program.address) < program.text.len() as u64);
            prop_assert_eq!(bytes.len(), PAGE + program.text.len() + program.rodata.len() + program.data.len());
            let written = program.to_bytes();
            prop_assert_eq!(Program::parse(&written, WITHIN), Ok(program));
        }
    }
}
