//! Cylinders, heads and sectors.

use super::*;

/// Gives a command with such an address, to the master of the primary channel.
fn issue_at(machine: &mut Machine, command: u8, (cylinder, head, sector): (u16, u8, u8), count: u8) {
    put(machine, register::DEVICE, 0xa0 | head);
    let fields = [count, sector, cylinder as u8, (cylinder >> 8) as u8];
    for (at, field) in (register::COUNT..).zip(fields) {
        put(machine, at, field);
    }
    put(machine, register::STATUS, command);
}

/// Each sector holds its number.
fn numbered() -> Machine {
    let mut machine = machine();
    for (number, sector) in (0_u32..).zip(machine.medium.bytes.chunks_mut(512)) {
        sector[..4].copy_from_slice(&number.to_le_bytes());
    }
    machine
}

fn read_number(machine: &mut Machine) -> u32 {
    let mut sector = [0; 512];
    machine.read_string(register::DATA, Width::Word, &mut sector);
    u32::from_le_bytes([sector[0], sector[1], sector[2], sector[3]])
}

fn words(machine: &mut Machine) -> Vec<u16> {
    issue(machine, 0, ata::IDENTIFY_DEVICE, 0, 0);
    (0..256).map(|_| machine.read(register::DATA, Width::Word) as u16).collect()
}

#[test]
fn a_disk_says_how_it_is_addressed_and_takes_another_way() {
    let mut machine = machine();
    let said = words(&mut machine);
    assert_eq!([said[1], said[3], said[6]], [1, 16, 63]);
    assert_eq!(said[53] & 1, 1, "the next five are valid");
    assert_eq!(said[54..59], [1, 16, 63, 1008, 0]);
    issue_at(&mut machine, command::INITIALIZE, (0, 3, 0), 32);
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
    let said = words(&mut machine);
    assert_eq!([said[1], said[3], said[6]], [1, 16, 63], "what it was at first it stays");
    assert_eq!(said[54..59], [8, 4, 32, 1024, 0]);
    issue_at(&mut machine, command::INITIALIZE, (0, 3, 0), 0);
    ends_in_error(&mut machine, error::ABORTED);
    assert_eq!(words(&mut machine)[54..59], [8, 4, 32, 1024, 0]);
}

#[test]
fn each_command_takes_either_address() {
    let mut machine = numbered();
    issue_at(&mut machine, command::READ_SECTORS, (0, 2, 5), 2);
    assert_eq!([read_number(&mut machine), read_number(&mut machine)], [2 * 63 + 4, 2 * 63 + 5]);
    issue_at(&mut machine, command::INITIALIZE, (0, 3, 0), 32);
    issue_at(&mut machine, command::READ_MULTIPLE, (7, 3, 32), 1);
    assert_eq!(read_number(&mut machine), 1023);
    issue_at(&mut machine, command::WRITE_SECTORS, (1, 0, 1), 1);
    machine.write_string(register::DATA, Width::Word, &[9; 512]);
    assert_eq!(machine.medium.bytes[128 * 512..129 * 512], [9; 512]);
    table(&machine, &[(DATA, 512 | master::LAST)]);
    machine.write(BUS_MASTER + master::TABLE, Width::Dword, TABLE);
    put(&mut machine, BUS_MASTER, master::TO_MEMORY | master::START);
    issue_at(&mut machine, command::READ_DMA, (2, 1, 3), 1);
    let mut read = [0; 4];
    machine.memory.read(Gpa(DATA), &mut read).unwrap();
    assert_eq!(u32::from_le_bytes(read), 2 * 128 + 32 + 2);
    put(&mut machine, BUS_MASTER, 0);
    put(&mut machine, BUS_MASTER, master::START);
    machine.memory.write(Gpa(DATA), &[3; 512]).unwrap();
    issue_at(&mut machine, command::WRITE_DMA, (2, 1, 4), 1);
    assert_eq!(machine.medium.bytes[(2 * 128 + 35) * 512..][..512], [3; 512]);
    for command in [command::VERIFY, command::VERIFY_ONCE, command::SEEK] {
        issue_at(&mut machine, command, (7, 3, 32), 1);
        assert_eq!(get(&mut machine, register::STATUS), status::READY);
    }
    issue_at(&mut machine, command::RECALIBRATE, (0, 0, 0), 0);
    assert_eq!(get(&mut machine, register::STATUS), status::READY);
}

#[test]
fn places_that_the_disk_has_not_are_not_found() {
    // The last sectors of it are in no whole cylinder, so they have no place.
    for (place, count) in
        [((0, 0, 0), 1), ((0, 0, 64), 1), ((1, 0, 1), 1), ((0xffff, 15, 63), 1), ((0, 15, 63), 2)]
    {
        for command in [command::READ_SECTORS, command::WRITE_SECTORS, command::VERIFY, command::WRITE_DMA] {
            let mut machine = machine();
            machine.hold = true;
            issue_at(&mut machine, command, place, count);
            ends_in_error(&mut machine, error::NOT_FOUND);
            assert!(machine.waiting.is_empty());
        }
    }
    let mut machine = machine();
    issue_at(&mut machine, command::SEEK, (1, 0, 1), 0);
    ends_in_error(&mut machine, error::NOT_FOUND);
    issue(&mut machine, 0, command::SEEK, SECTORS, 0);
    ends_in_error(&mut machine, error::NOT_FOUND);
    issue(&mut machine, 0, command::SEEK, SECTORS - 1, 200);
    assert_eq!(get(&mut machine, register::STATUS), status::READY, "a seek counts nothing");
    // A head that the translation has not.
    issue_at(&mut machine, command::INITIALIZE, (0, 3, 0), 32);
    issue_at(&mut machine, command::READ_SECTORS, (0, 4, 1), 1);
    ends_in_error(&mut machine, error::NOT_FOUND);
}

#[test]
fn a_disk_without_a_whole_cylinder_has_no_such_place() {
    let disk = Disk { start: 0, sectors: 100, serial: [b' '; 20] };
    let disks = [[Some(disk), None], [None; 2]];
    let mut machine = Bench::new(Ide::new(disks), VecMemory::new(0x8_0000), VecMedium::new(100 * 512));
    assert_eq!(words(&mut machine)[54..59], [0, 16, 63, 0, 0]);
    issue_at(&mut machine, command::READ_SECTORS, (0, 0, 1), 1);
    ends_in_error(&mut machine, error::NOT_FOUND);
}
