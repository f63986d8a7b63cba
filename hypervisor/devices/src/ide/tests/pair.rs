//! Two devices at one channel.

use super::*;
use std::vec;

const MASTER: u8 = 0xe0;
const SLAVE: u8 = 0xf0;

fn select(machine: &mut Machine, device: u8) {
    put(machine, register::DEVICE, device);
}

/// Gives a command, which reads or writes one sector, to a device of the primary channel.
fn issue_to(machine: &mut Machine, device: u8, command: u8, sector: u8) {
    select(machine, device);
    for (at, value) in [(register::COUNT, 1), (register::LBA_LOW, sector), (4, 0), (5, 0)] {
        put(machine, at, value);
    }
    put(machine, register::STATUS, command);
}

fn serial(machine: &mut Machine, device: u8) -> Vec<u8> {
    issue_to(machine, device, ata::IDENTIFY_DEVICE, 0);
    let mut bytes = [0; 512];
    machine.read_string(register::DATA, Width::Word, &mut bytes);
    bytes[2 * identify::SERIAL..][..20].to_vec()
}

#[test]
fn both_are_found_after_a_reset_and_say_who_they_are() {
    let mut machine = full();
    put(&mut machine, CONTROL, control::RESET);
    for device in [MASTER, SLAVE] {
        select(&mut machine, device);
        assert_eq!(get(&mut machine, CONTROL), status::BUSY);
    }
    put(&mut machine, CONTROL, 0);
    for device in [0xa0, 0xb0] {
        select(&mut machine, device);
        let signature: Vec<u8> = (1..7).map(|at| get(&mut machine, at)).collect();
        assert_eq!(signature, [1, 1, 1, 0, 0, device]);
        assert_eq!(get(&mut machine, register::STATUS), status::READY);
    }
    assert_eq!(serial(&mut machine, MASTER), [b'0'; 20]);
    assert_eq!(serial(&mut machine, SLAVE), [b'1'; 20]);
}

#[test]
fn each_reads_and_writes_its_own_sectors() {
    let mut machine = full();
    for (device, byte) in [(MASTER, 1), (SLAVE, 2)] {
        issue_to(&mut machine, device, command::WRITE_SECTORS, 3);
        machine.write_string(register::DATA, Width::Word, &[byte; 512]);
    }
    assert_eq!(machine.medium.bytes[3 * 512..4 * 512], [1; 512]);
    assert_eq!(machine.medium.bytes[(256 + 3) * 512..][..512], [2; 512]);
    table(&machine, &[(DATA, 512 | master::LAST)]);
    for (device, byte) in [(MASTER, 1), (SLAVE, 2)] {
        put(&mut machine, BUS_MASTER, master::TO_MEMORY);
        machine.write(BUS_MASTER + master::TABLE, Width::Dword, TABLE);
        issue_to(&mut machine, device, command::READ_DMA, 3);
        put(&mut machine, BUS_MASTER, master::TO_MEMORY | master::START);
        let mut read = [0; 512];
        machine.memory.read(Gpa(DATA), &mut read).unwrap();
        assert_eq!(read, [byte; 512]);
    }
    issue_to(&mut machine, SLAVE, command::READ_SECTORS, 255);
    assert_eq!(get(&mut machine, register::STATUS), status::READY | status::DATA_REQUEST);
    machine.read_string(register::DATA, Width::Word, &mut [0; 512]);
    for at in [register::LBA_LOW + 1, register::LBA_LOW] {
        put(&mut machine, at, 1);
    }
    put(&mut machine, register::STATUS, command::READ_SECTORS);
    ends_in_error(&mut machine, error::NOT_FOUND);
    machine.hold = true;
    issue_to(&mut machine, SLAVE, ata::FLUSH_CACHE, 0);
    assert_eq!(machine.waiting.front().unwrap().at, 256 * 512, "the flush is the slave's");
}

/// What is set of one is not set of the other.
#[test]
fn settings_are_of_one_device() {
    let mut machine = full();
    select(&mut machine, SLAVE);
    put(&mut machine, register::COUNT, 0);
    put(&mut machine, register::STATUS, command::SET_MULTIPLE);
    issue_to(&mut machine, SLAVE, command::READ_MULTIPLE, 0);
    ends_in_error(&mut machine, error::ABORTED);
    select(&mut machine, MASTER);
    assert_eq!(get(&mut machine, register::STATUS), status::READY, "nor is the error");
    assert_eq!(get(&mut machine, register::ERROR), 1);
    issue_to(&mut machine, MASTER, command::READ_MULTIPLE, 0);
    assert_eq!(get(&mut machine, register::STATUS), status::READY | status::DATA_REQUEST);
}

#[test]
fn only_the_device_that_is_selected_interrupts() {
    let mut machine = full();
    issue_to(&mut machine, SLAVE, ata::FLUSH_CACHE, 0);
    assert_eq!(machine.device.lines(), [true, false]);
    put(&mut machine, BUS_MASTER + master::STATUS, master::INTERRUPT);
    select(&mut machine, MASTER);
    assert!(!machine.line);
    get(&mut machine, register::STATUS);
    assert_eq!(get(&mut machine, BUS_MASTER + master::STATUS), 0);
    select(&mut machine, SLAVE);
    assert!(machine.line, "nobody has seen it yet");
    assert_eq!(get(&mut machine, BUS_MASTER + master::STATUS), master::INTERRUPT);
    get(&mut machine, register::STATUS);
    assert!(!machine.line);
}

#[test]
fn no_other_is_selected_while_one_is_at_work() {
    let mut machine = full();
    machine.hold = true;
    issue_to(&mut machine, MASTER, command::READ_SECTORS, 3);
    select(&mut machine, SLAVE);
    put(&mut machine, register::STATUS, ata::FLUSH_CACHE);
    assert_eq!(machine.waiting.len(), 1);
    machine.serve();
    select(&mut machine, SLAVE);
    assert_eq!(get(&mut machine, register::DEVICE), MASTER, "there is data to be taken first");
    machine.read_string(register::DATA, Width::Word, &mut [0; 512]);
    select(&mut machine, SLAVE);
    assert_eq!(get(&mut machine, register::DEVICE), SLAVE);
}

#[test]
fn a_diagnosis_is_of_both_and_the_master_tells() {
    let mut machine = full();
    for device in [MASTER, SLAVE] {
        issue_to(&mut machine, device, 0xff, 0);
        select(&mut machine, device);
        put(&mut machine, register::STATUS, command::DIAGNOSTIC);
        assert!(machine.line);
        assert_eq!(get(&mut machine, register::DEVICE), 0, "the master is selected");
        for device in [MASTER, SLAVE] {
            select(&mut machine, device);
            assert_eq!((1..6).map(|at| get(&mut machine, at)).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
            assert_eq!(get(&mut machine, register::STATUS), status::READY);
            assert!(!machine.line);
        }
    }
}

/// A slave without a master, which no cable forbids, is found where it is.
#[test]
fn one_answers_for_the_other_that_is_not_there() {
    let disk = Disk { start: 0, sectors: 100, serial: [b's'; 20] };
    for (disks, here, gone) in [([Some(disk), None], MASTER, SLAVE), ([None, Some(disk)], SLAVE, MASTER)] {
        let memory = VecMemory::new(0x8_0000);
        let mut machine = Bench::new(Ide::new([disks, [None; 2]]), memory, VecMedium::new(100 * 512));
        issue_to(&mut machine, gone, ata::IDENTIFY_DEVICE, 7);
        assert_eq!(get(&mut machine, register::STATUS), 0);
        assert_eq!(get(&mut machine, register::LBA_LOW), 7, "what was written both have");
        assert_eq!(machine.read(register::DATA, Width::Word), 0);
        assert!(!machine.line);
        put(&mut machine, register::STATUS, command::DIAGNOSTIC);
        put(&mut machine, CONTROL, control::RESET);
        put(&mut machine, CONTROL, 0);
        assert_eq!(serial(&mut machine, here), [b's'; 20]);
        let mut one = vec![0; 512];
        issue_to(&mut machine, here, command::READ_SECTORS, 99);
        assert_eq!(machine.read_string(register::DATA, Width::Word, &mut one), 1);
    }
}
