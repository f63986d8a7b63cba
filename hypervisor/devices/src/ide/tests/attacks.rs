//! What a hostile driver does: sequences of registers that no standard has.

use super::*;
use std::vec;

const DATA_PORT: u64 = register::DATA;

#[test]
fn what_is_written_while_the_disk_works_is_lost() {
    let mut machine = machine();
    machine.hold = true;
    issue(&mut machine, 0, command::READ_SECTORS, 9, 1);
    assert_eq!(get(&mut machine, CONTROL), status::BUSY);
    for at in register::DATA..=register::STATUS {
        put(&mut machine, at, 0x35);
        machine.write(at, Width::Dword, u64::MAX);
    }
    issue(&mut machine, 0, command::WRITE_SECTORS, 20, 1);
    dma(&mut machine, 0, command::WRITE_DMA, 20, 1);
    assert_eq!(machine.read(DATA_PORT, Width::Word), 0, "there is no data yet");
    assert_eq!(machine.waiting.len(), 1);
    assert_eq!(machine.waiting.front().unwrap().operation, Operation::Read);
    machine.serve();
    assert_eq!(get(&mut machine, register::LBA_LOW), 9);
    // Nor is it while data is to be moved.
    issue(&mut machine, 0, command::WRITE_SECTORS, 20, 1);
    assert_eq!(get(&mut machine, CONTROL), status::READY | status::DATA_REQUEST);
    let mut block = [0xff; 512];
    machine.read_string(DATA_PORT, Width::Word, &mut block);
    assert_eq!(block, [0; 512], "what is read is still the first command's");
}

#[test]
fn a_string_ends_at_the_end_of_the_data() {
    let mut machine = machine();
    machine.medium.bytes.fill(7);
    issue(&mut machine, 0, command::READ_SECTORS, 0, 1);
    let mut read = vec![0xff; 4096];
    machine.read_string(DATA_PORT, Width::Dword, &mut read);
    assert!(read[..512].iter().all(|&byte| byte == 7) && read[512..].iter().all(|&byte| byte == 0));
    issue(&mut machine, 0, command::WRITE_SECTORS, 4, 1);
    machine.write_string(DATA_PORT, Width::Dword, &[9; 4096]);
    assert!(machine.medium.bytes[4 * 512..5 * 512].iter().all(|&byte| byte == 9));
    assert_eq!(machine.medium.bytes[5 * 512], 7);
    // An access that is cut off by it moves what there is.
    issue(&mut machine, 0, command::READ_SECTORS, 0, 1);
    machine.read_string(DATA_PORT, Width::Byte, &mut [0; 510]);
    assert_eq!(machine.read(DATA_PORT, Width::Dword), 0x0707);
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
}

#[test]
fn data_that_moves_the_other_way_is_none() {
    let mut machine = machine();
    machine.medium.bytes.fill(7);
    issue(&mut machine, 0, command::WRITE_SECTORS, 0, 1);
    assert_eq!(machine.read(DATA_PORT, Width::Word), 0);
    machine.write_string(DATA_PORT, Width::Word, &[9; 512]);
    assert_eq!(machine.medium.bytes[..512], [9; 512], "the read took no place");
    issue(&mut machine, 0, command::READ_SECTORS, 0, 1);
    machine.write_string(DATA_PORT, Width::Word, &[3; 512]);
    let mut read = [0; 512];
    machine.read_string(DATA_PORT, Width::Word, &mut read);
    assert_eq!(read, [9; 512]);
}

#[test]
fn a_reset_in_the_middle_of_data_forgets_it() {
    let mut machine = machine();
    issue(&mut machine, 0, command::WRITE_SECTORS, 1, 2);
    machine.write_string(DATA_PORT, Width::Word, &[9; 100]);
    put(&mut machine, CONTROL, control::RESET);
    machine.write_string(DATA_PORT, Width::Word, &[9; 1000]);
    put(&mut machine, CONTROL, 0);
    assert!(machine.medium.bytes.iter().all(|&byte| byte == 0));
    issue(&mut machine, 0, ata::IDENTIFY_DEVICE, 0, 0);
    assert_eq!(machine.read(DATA_PORT, Width::Word), 0, "word 0, not one in the middle");
    assert_eq!(machine.read(DATA_PORT, Width::Word), SECTORS / (16 * 63), "word 1");
}

#[test]
fn the_data_of_a_write_is_its_own_until_it_is_done() {
    let mut machine = machine();
    machine.hold = true;
    issue(&mut machine, 0, command::WRITE_SECTORS, 1, 1);
    machine.write_string(DATA_PORT, Width::Word, &[1; 512]);
    put(&mut machine, CONTROL, control::RESET);
    put(&mut machine, CONTROL, 0);
    assert_eq!(get(&mut machine, CONTROL), status::BUSY, "the buffer is not free");
    machine.write_string(DATA_PORT, Width::Word, &[2; 512]);
    machine.serve();
    assert_eq!(machine.medium.bytes[512..1024], [1; 512]);
    issue(&mut machine, 0, command::WRITE_SECTORS, 2, 1);
    assert_eq!(get(&mut machine, CONTROL), status::READY | status::DATA_REQUEST);
    machine.write_string(DATA_PORT, Width::Word, &[2; 512]);
    machine.serve();
    assert_eq!(machine.medium.bytes[1024..1536], [2; 512]);
}

/// Whoever waits until the disk is at rest may use the memory of a transfer that was cut off.
#[test]
fn a_transfer_that_is_cut_off_is_over_when_the_disk_is_at_rest() {
    let reset = |machine: &mut Machine| {
        put(machine, CONTROL, control::RESET);
        put(machine, CONTROL, 0);
    };
    let stop = |machine: &mut Machine| put(machine, BUS_MASTER, 0);
    let ways: [(&dyn Fn(&mut Machine), u8); 2] =
        [(&reset, status::READY), (&stop, status::READY | status::ERROR)];
    for (cut, at_rest) in ways {
        let mut machine = machine();
        machine.hold = true;
        table(&machine, &[(DATA, 512 | master::LAST)]);
        dma(&mut machine, 0, command::READ_DMA, 0, 1);
        cut(&mut machine);
        assert_eq!(get(&mut machine, CONTROL), status::BUSY, "it still moves data");
        assert!(!machine.line);
        issue(&mut machine, 0, ata::FLUSH_CACHE, 0, 0);
        assert_eq!(machine.waiting.len(), 1, "a busy disk takes no command");
        machine.serve();
        assert_eq!(get(&mut machine, CONTROL), at_rest);
        assert_eq!(machine.line, at_rest & status::ERROR != 0, "a reset interrupts nobody");
    }
    // It is over while the reset goes on, which is no end of the reset.
    let mut machine = machine();
    machine.hold = true;
    table(&machine, &[(DATA, 512 | master::LAST)]);
    dma(&mut machine, 0, command::READ_DMA, 0, 1);
    put(&mut machine, BUS_MASTER, 0);
    put(&mut machine, CONTROL, control::RESET);
    machine.serve();
    assert_eq!(get(&mut machine, CONTROL), status::BUSY);
    put(&mut machine, CONTROL, 0);
    assert_eq!(get(&mut machine, CONTROL), status::READY);
}

#[test]
fn sectors_past_the_end_are_not_there() {
    for (command, count) in [
        (command::READ_SECTORS, 2),
        (command::WRITE_SECTORS, 2),
        (command::READ_MULTIPLE, 0),
        (command::WRITE_MULTIPLE, 255),
        (command::VERIFY, 2),
        (command::WRITE_DMA, 2),
    ] {
        let mut machine = machine();
        machine.hold = true;
        issue(&mut machine, 0, command, SECTORS - 1, count);
        ends_in_error(&mut machine, error::NOT_FOUND);
        assert!(machine.waiting.is_empty());
    }
    // A long address that is none of a logical block, and one with all bits.
    let mut machine = machine();
    put(&mut machine, register::DEVICE, 0xa0);
    put(&mut machine, register::STATUS, command::READ_SECTORS_EXT);
    ends_in_error(&mut machine, error::ABORTED);
    put(&mut machine, register::DEVICE, 0xe0);
    for at in register::COUNT..=register::LBA_HIGH {
        put(&mut machine, at, 0xff);
        put(&mut machine, at, 0xff);
    }
    put(&mut machine, register::STATUS, command::READ_SECTORS_EXT);
    ends_in_error(&mut machine, error::NOT_FOUND);
}

#[test]
fn tables_that_never_hold_a_sector_end() {
    // Entries of two bytes that adjoin, around all of memory, and none says that it is the last.
    let mut machine = machine();
    let entries: Vec<(u64, u32)> = (0..0x2000).map(|place| (DATA + 0x1000 * place, 2)).collect();
    table(&machine, &entries);
    dma(&mut machine, 0, command::READ_DMA, 0, 1);
    assert_ne!(get(&mut machine, BUS_MASTER + master::STATUS) & master::ERROR, 0);
    ends_in_error(&mut machine, error::ABORTED);
    let entries: Vec<(u64, u32)> = (0..0x2000).map(|place| (DATA + 2 * (place & 0x3fff), 2)).collect();
    table(&machine, &entries);
    dma(&mut machine, 0, command::READ_DMA, 0, 0);
    assert_eq!(get(&mut machine, register::STATUS) & status::BUSY, 0);
}

#[test]
fn no_disk_is_absent_whatever_is_done() {
    let mut empty = Bench::new(Ide::new([[None; 2]; 2]), VecMemory::new(16), VecMedium::new(0));
    for at in 0..0x20 {
        empty.write(at, Width::Byte, 0);
        empty.write(at, Width::Byte, u64::from(ata::IDENTIFY_DEVICE));
        assert_eq!(empty.read(at, Width::Byte), 0xff);
        assert_eq!(empty.read(at, Width::Dword), 0xffff_ffff);
    }
    let mut bytes = [0; 64];
    empty.read_string(DATA_PORT, Width::Word, &mut bytes);
    assert_eq!(bytes, [0xff; 64]);
    empty.write_string(DATA_PORT, Width::Word, &bytes);
    assert!(!empty.line && empty.waiting.is_empty());
}

#[test]
fn wide_accesses_are_those_of_neighbours() {
    let mut machine = machine();
    machine.write(register::COUNT, Width::Dword, 0x0403_0201);
    let fields: Vec<u8> = (2..6).map(|at| get(&mut machine, at)).collect();
    assert_eq!(fields, [1, 2, 3, 4]);
    assert_eq!(machine.read(register::COUNT, Width::Word), 0x0201);
    // The last register has none behind it: the control block is elsewhere.
    machine.write(register::DEVICE, Width::Dword, u64::from(control::RESET) << 16 | 0x90_e0);
    assert_eq!(machine.read(register::DEVICE, Width::Dword) >> 16, 0xffff);
    assert_eq!(get(&mut machine, CONTROL), status::READY);
}
