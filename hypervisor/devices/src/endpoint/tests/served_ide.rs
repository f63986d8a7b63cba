//! An IDE disk whose requests somebody serves later: its data of PIO is in the device, and its lines
//! change where the answer comes.

use super::*;
use crate::ide::{Disk, Ide};
use spec::ide::{command, register};

const STRING: u64 = register::DATA;

struct Served {
    endpoint: Endpoint,
    memory: VecMemory,
}

impl Served {
    fn new() -> Self {
        let disk = Disk { start: 0, sectors: 64, serial: [b' '; 20] };
        let device = Box::new(Ide::new([[Some(disk), None], [None; 2]]));
        let endpoint = Endpoint::with_lines(device, Backend::Served, [Some(14), Some(15)]);
        Self { endpoint, memory: VecMemory::new(0x1000) }
    }

    fn with<R>(&mut self, call: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R) -> R {
        let mut send = |_| panic!("it has no messages");
        call(
            &mut self.endpoint,
            &mut Surroundings { memory: &self.memory, now: 0, send: &mut send, print: &mut |_| () },
        )
    }

    fn command(&mut self, command: u8) {
        self.with(|endpoint, around| {
            for (at, value) in [
                (register::COUNT, 1),
                (register::LBA_LOW, 5),
                (register::DEVICE, 0xe0),
                (register::STATUS, command.into()),
            ] {
                endpoint.write(at, Width::Byte, value, around);
            }
        });
    }

    /// The request that waits.
    fn take(&mut self) -> (Group, Request) {
        let mut group = Group::with_capacity(4);
        self.endpoint.take_requests(Which::First, 1 << 20, &mut group);
        let request = *group.requests().first().unwrap();
        assert_eq!((request.at, request.bytes), (5 * 512, 512));
        assert!(request.gpa >= DEVICE_BUFFER);
        (group, request)
    }
}

#[test]
fn what_is_read_goes_through_the_devices_buffer_and_asserts_its_line() {
    let mut served = Served::new();
    served.command(command::READ_SECTORS);
    assert!(served.endpoint.take_wants_service());
    assert_eq!(served.endpoint.take_line_change(), None, "the disk works");
    let (group, request) = served.take();
    served.with(|endpoint, around| {
        assert_eq!(
            endpoint.copy_to_guest(&group, request.gpa, &[7; 512], around),
            Ok(()),
            "no bus mastering"
        );
        let beyond = request.gpa + 3 * 8192;
        assert_eq!(endpoint.copy_to_guest(&group, beyond, &[7; 512], around), Err(OutOfBounds));
        endpoint.finish(&group, Ok(()), around);
    });
    assert_eq!(served.endpoint.take_line_change(), Some((0, 1 << 14)));
    assert_eq!(served.endpoint.take_line_change(), None);
    let mut sector = [0; 512];
    served.with(|endpoint, around| endpoint.read_string(STRING, Width::Word, &mut sector, around));
    assert_eq!(sector, [7; 512]);
    served.with(|endpoint, around| endpoint.read(register::STATUS, Width::Byte, around));
    assert_eq!(served.endpoint.take_line_change(), Some((1 << 14, 0)));
}

#[test]
fn what_is_written_is_nobodys_after_a_reset() {
    let mut served = Served::new();
    served.command(command::WRITE_SECTORS);
    served.with(|endpoint, around| endpoint.write_string(STRING, Width::Dword, &[9; 512], around));
    let (group, request) = served.take();
    let mut bytes = [0; 512];
    served.with(|endpoint, around| {
        assert_eq!(endpoint.copy_from_guest(&group, request.gpa, &mut bytes, around), Ok(()));
        assert_eq!(bytes, [9; 512]);
        endpoint.reset();
        assert_eq!(endpoint.copy_from_guest(&group, request.gpa, &mut bytes, around), Err(OutOfBounds));
    });
}

#[test]
fn a_guests_own_address_up_there_is_not_the_buffer_of_a_device_without_one() {
    let mut bench = Bench::new();
    let group = Group::with_capacity(1);
    let mut ignore = |_| ();
    let around = Surroundings { memory: &bench.memory, now: 0, send: &mut ignore, print: &mut |_| () };
    let copied = bench.endpoint.copy_to_guest(&group, DEVICE_BUFFER, &[1], &around);
    assert_eq!(copied, Err(OutOfBounds));
}

/// A master that others serve, and a slave over an image, or the other way round, or both served.
#[test]
fn a_second_drive_has_a_backend_of_its_own() {
    use crate::testing::VecMedium;
    let disk = |start| Some(Disk { start, sectors: 64, serial: [b' '; 20] });
    let image = || {
        let mut medium = VecMedium::new(64 * 512);
        medium.bytes.fill(3);
        Backend::Medium(Box::new(medium))
    };
    let of_slave = |served: &mut Served, command: u8| {
        served.with(|endpoint, around| endpoint.write(register::DEVICE, Width::Byte, 0xf0, around));
        served.with(|endpoint, around| {
            for (at, value) in [(register::COUNT, 1), (register::LBA_LOW, 5), (register::STATUS, command)] {
                endpoint.write(at, Width::Byte, value.into(), around);
            }
        });
    };
    for (first, second) in
        [(Backend::Served, image()), (image(), Backend::Served), (Backend::Served, Backend::Served)]
    {
        let are_served = [&first, &second].map(|backend| matches!(backend, Backend::Served));
        let device = Box::new(Ide::new([[disk(0), disk(64 * 512)], [None; 2]]));
        let endpoint = Endpoint::with_lines(device, first, [Some(14), Some(15)]);
        let mut served =
            Served { endpoint: endpoint.with_second(64 * 512, second), memory: VecMemory::new(0x1000) };
        for (which, is_served) in [Which::First, Which::Second].into_iter().zip(are_served) {
            let other = if which == Which::First { Which::Second } else { Which::First };
            if which == Which::First {
                served.command(command::READ_SECTORS);
            } else {
                of_slave(&mut served, command::READ_SECTORS);
            }
            assert_eq!(served.endpoint.has_requests(which), is_served);
            assert!(!served.endpoint.has_requests(other));
            let mut expected = 3;
            if is_served {
                let mut group = Group::with_capacity(4);
                served.endpoint.take_requests(other, 1 << 20, &mut group);
                assert!(group.requests().is_empty());
                served.endpoint.take_requests(which, 1 << 20, &mut group);
                let request = *group.requests().first().unwrap();
                assert_eq!((request.at, request.bytes), (5 * 512, 512), "each counts from its own start");
                expected = 7;
                served.with(|endpoint, around| {
                    endpoint.copy_to_guest(&group, request.gpa, &[7; 512], around).unwrap();
                    endpoint.finish(&group, Ok(()), around);
                });
            }
            let mut sector = [0; 512];
            served.with(|endpoint, around| endpoint.read_string(STRING, Width::Word, &mut sector, around));
            assert_eq!(sector, [expected; 512]);
        }
        // A reset forgets what waits at either.
        of_slave(&mut served, command::READ_SECTORS);
        served.endpoint.reset();
        assert!(!served.endpoint.has_requests(Which::First) && !served.endpoint.has_requests(Which::Second));
        assert!(!served.endpoint.has_failed());
        let at_once = are_served.iter().filter(|is_served| !**is_served).count();
        assert!(served.endpoint.work().requests as usize >= at_once);
    }
}
