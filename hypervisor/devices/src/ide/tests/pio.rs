//! Data through the data port.

use super::*;
use crate::ide::pio::MOST_BLOCK_SECTORS;
use std::vec;

const DATA_PORT: u64 = register::DATA;
const ASKS: u8 = status::READY | status::DATA_REQUEST;

/// Gives a command with a 48-bit address.
fn issue_long(machine: &mut Machine, command: u8, sector: u64, count: u16) {
    put(machine, register::DEVICE, 0xe0);
    for shift in [8, 0] {
        put(machine, register::COUNT, (count >> shift) as u8);
        for byte in 0..3 {
            let half = if shift == 8 { sector >> 24 } else { sector };
            put(machine, register::LBA_LOW + byte, (half >> (8 * byte)) as u8);
        }
    }
    put(machine, register::STATUS, command);
}

/// Makes every sector of the medium another.
fn fill(machine: &mut Machine) {
    for (place, byte) in machine.medium.bytes.iter_mut().enumerate() {
        *byte = (place / 512 * 31 + place) as u8;
    }
}

fn sector(machine: &Machine, number: usize) -> Vec<u8> {
    machine.medium.bytes[512 * number..][..512].to_vec()
}

#[test]
fn a_string_reads_a_sector_in_one_call() {
    let mut machine = machine();
    fill(&mut machine);
    issue(&mut machine, 0, command::READ_SECTORS, 7, 3);
    for number in 7..10 {
        assert!(machine.line, "each block is told");
        assert_eq!(get(&mut machine, register::STATUS), ASKS);
        assert!(!machine.line);
        let mut block = vec![0; 512];
        assert_eq!(machine.read_string(DATA_PORT, Width::Word, &mut block), 1);
        assert_eq!(block, sector(&machine, number));
    }
    assert!(!machine.line, "after the last block there is nothing to tell");
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
}

#[test]
fn sectors_are_written_one_by_one_and_told() {
    let mut machine = machine();
    issue(&mut machine, 0, command::WRITE_SECTORS, 5, 2);
    assert!(!machine.line, "the first block is asked for without an interrupt");
    for number in 5..7 {
        assert_eq!(get(&mut machine, register::STATUS), ASKS);
        assert_eq!(machine.write_string(DATA_PORT, Width::Dword, &[number as u8; 512]), 1);
        assert!(machine.line);
        assert_eq!(sector(&machine, number), [number as u8; 512]);
    }
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
}

#[test]
fn blocks_of_several_sectors_with_long_addresses() {
    let mut machine = machine();
    let data: Vec<u8> = (0..20 * 512_u32).map(|at| ((at * 7) >> 4) as u8).collect();
    issue_long(&mut machine, command::WRITE_MULTIPLE_EXT, SECTORS - 20, 20);
    assert_eq!(machine.write_string(DATA_PORT, Width::Word, &data), 2, "16 sectors, and 4");
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
    let start = 512 * (SECTORS as usize - 20);
    assert_eq!(machine.medium.bytes[start..][..data.len()], data);
    issue_long(&mut machine, command::READ_MULTIPLE_EXT, SECTORS - 20, 20);
    let mut read = vec![0; data.len()];
    assert_eq!(machine.read_string(DATA_PORT, Width::Word, &mut read), 2);
    assert_eq!(read, data);
    issue_long(&mut machine, command::READ_SECTORS_EXT, SECTORS - 20, 1);
    let mut one = vec![0; 512];
    machine.read_string(DATA_PORT, Width::Word, &mut one);
    assert_eq!(one, data[..512]);
}

#[test]
fn the_size_of_blocks_is_set_and_said() {
    let mut machine = machine();
    let said = |machine: &mut Machine| {
        issue(machine, 0, ata::IDENTIFY_DEVICE, 0, 0);
        let mut words = [0; 512];
        assert_eq!(machine.read_string(DATA_PORT, Width::Word, &mut words), 1);
        [47, 59].map(|word| u16::from_le_bytes([words[2 * word], words[2 * word + 1]]))
    };
    assert_eq!(said(&mut machine), [0x8010, 0x110]);
    for wrong in [3, 32, 255] {
        issue(&mut machine, 0, command::SET_MULTIPLE, 0, wrong);
        ends_in_error(&mut machine, error::ABORTED);
    }
    issue(&mut machine, 0, command::SET_MULTIPLE, 0, 4);
    assert_eq!(said(&mut machine)[1], 0x104);
    issue(&mut machine, 0, command::READ_MULTIPLE, 0, 6);
    assert_eq!(machine.read_string(DATA_PORT, Width::Word, &mut [0; 6 * 512]), 2);
    issue(&mut machine, 0, command::SET_MULTIPLE, 0, 0);
    assert_eq!(said(&mut machine)[1], 0);
    for command in [command::READ_MULTIPLE, command::WRITE_MULTIPLE, command::READ_MULTIPLE_EXT] {
        issue(&mut machine, 0, command, 0, 1);
        ends_in_error(&mut machine, error::ABORTED);
    }
}

#[test]
fn a_whole_command_of_256_sectors() {
    let mut machine = machine();
    fill(&mut machine);
    issue(&mut machine, 0, command::READ_MULTIPLE, 0, 0);
    let mut read = vec![0; 256 * 512];
    let calls = machine.read_string(DATA_PORT, Width::Dword, &mut read);
    assert_eq!(calls, 256 / MOST_BLOCK_SECTORS as usize);
    assert_eq!(read, machine.medium.bytes[..read.len()]);
}

#[test]
fn single_accesses_of_each_width_move_what_they_are_wide() {
    for width in [Width::Byte, Width::Word, Width::Dword] {
        let mut machine = machine();
        fill(&mut machine);
        issue(&mut machine, 0, command::READ_SECTORS, 1, 1);
        let mut read = Vec::new();
        for _ in 0..512 / width.bytes() {
            let value = machine.read(DATA_PORT, width).to_le_bytes();
            read.extend_from_slice(&value[..width.bytes() as usize]);
        }
        assert_eq!(read, sector(&machine, 1));
        assert_eq!(get(&mut machine, register::STATUS), status::READY);
    }
}

#[test]
fn without_interrupts_the_disk_is_polled() {
    let mut machine = machine();
    put(&mut machine, CONTROL, control::NO_INTERRUPT);
    issue(&mut machine, 0, command::READ_SECTORS, 0, 1);
    assert_eq!(get(&mut machine, CONTROL), ASKS);
    assert!(!machine.line);
    assert_eq!(get(&mut machine, BUS_MASTER + master::STATUS) & master::INTERRUPT, 0);
    put(&mut machine, CONTROL, 0);
    assert!(machine.line, "the interrupt is still there");
    assert_ne!(get(&mut machine, BUS_MASTER + master::STATUS) & master::INTERRUPT, 0);
    get(&mut machine, register::STATUS);
    assert!(!machine.line);
}

#[test]
fn both_channels_move_data_at_once() {
    let mut machine = machine();
    fill(&mut machine);
    machine.hold = true;
    issue(&mut machine, 0, command::READ_SECTORS, 3, 1);
    issue(&mut machine, 1, command::READ_SECTORS, 4, 1);
    assert!(machine.serve() && machine.serve());
    assert_eq!(machine.device.lines(), [true, true]);
    let (mut first, mut second) = ([0; 512], [0; 512]);
    machine.read_string(DATA_PORT, Width::Word, &mut first);
    machine.read_string(CHANNEL_STRIDE + DATA_PORT, Width::Word, &mut second);
    assert_eq!(first[..], sector(&machine, 3));
    assert_eq!(second[..], sector(&machine, SECTORS as usize + 4));
}

#[test]
fn a_medium_that_fails_is_an_error_of_the_command() {
    let mut machine = machine();
    machine.medium.fault = Some(RequestFault::Medium);
    issue(&mut machine, 0, command::READ_SECTORS, 0, 1);
    ends_in_error(&mut machine, error::UNCORRECTABLE);
    machine.medium.fault = Some(RequestFault::ReadOnly);
    issue(&mut machine, 0, command::WRITE_SECTORS, 0, 2);
    machine.write_string(DATA_PORT, Width::Word, &[1; 512]);
    ends_in_error(&mut machine, error::ABORTED);
}
