//! What requests may look like, and what is answered to those that make no sense.

use super::*;

/// `count` segments of `bytes` bytes, with a gap behind each.
fn segments(count: u64, bytes: u32) -> Vec<(u64, u32)> {
    (0..count).map(|place| (DATA + place * (u64::from(bytes) + 8), bytes)).collect()
}

#[test]
fn the_configuration_says_what_it_is() {
    let mut drive = Drive::at_power_up(Config { block_bytes: 4096, ..config() }, false);
    let read =
        |drive: &mut Drive, offset: usize, width| drive.guest.bench.read(0x2000 + offset as u64, width);
    assert_eq!(read(&mut drive, config::CAPACITY, Width::Qword), SECTORS);
    assert_eq!(read(&mut drive, config::CAPACITY + 4, Width::Dword), 0);
    assert_eq!(read(&mut drive, config::BLOCK_SIZE, Width::Dword), 4096);
    assert_eq!(read(&mut drive, config::SEG_MAX, Width::Dword), 64);
    assert_eq!(read(&mut drive, config::SIZE_MAX, Width::Dword), 128 << 10);
    assert_eq!(read(&mut drive, config::QUEUES, Width::Word), 2);
    assert_eq!(read(&mut drive, config::DISCARD_ALIGNMENT, Width::Dword), 8);
    assert_eq!(read(&mut drive, config::BYTES, Width::Qword), 0);
    assert_eq!(read(&mut drive, 0xfff, Width::Qword), 0);
    let all = drive.guest.offered();
    for offered in [feature::FLUSH, feature::DISCARD, feature::WRITE_ZEROES, feature::MULTI_QUEUE] {
        assert_ne!(all & offered, 0);
    }
    assert_eq!(all & feature::READ_ONLY, 0);
    let one = Config { writable: false, queues: 1, ..config() };
    let all = Drive::at_power_up(one, false).guest.offered();
    assert_ne!(all & feature::READ_ONLY, 0);
    for none in [feature::FLUSH, feature::DISCARD, feature::WRITE_ZEROES, feature::MULTI_QUEUE] {
        assert_eq!(all & none, 0);
    }
}

#[test]
fn data_goes_both_ways_and_its_length_is_told() {
    let mut drive = Drive::new(config());
    let into = segments(3, 1024);
    assert_eq!(drive.outcome(request::IN, 5, &[], &into), (status::OK, 3 * 1024 + 1));
    for (place, (gpa, bytes)) in into.iter().enumerate() {
        assert_eq!(drive.bytes(*gpa, *bytes as usize), expected((5 + 2 * place) * 512, 1024));
        assert_eq!(drive.bytes(gpa + 1024, 8), [0; 8], "nothing is written beside it");
    }
    drive.fill(DATA, &[0x5a; 1024]);
    assert_eq!(drive.outcome(request::OUT, 9, &[(DATA, 512), (DATA + 512, 512)], &[]), (status::OK, 1));
    assert_eq!(drive.medium(9 * 512, 1024), [0x5a; 1024]);
    assert_eq!(drive.medium(11 * 512, 512), expected(11 * 512, 512));
    assert_eq!(drive.outcome(request::FLUSH, 0, &[], &[]), (status::OK, 1));
    assert_eq!(drive.guest.bench.medium.flushes, 1);
    // Segments that are no multiple of a sector are as good as others.
    let odd = [(DATA, 1), (DATA + 8, 510), (DATA + 0x1000, 513)];
    assert_eq!(drive.outcome(request::IN, 20, &[], &odd), (status::OK, 1025));
    assert_eq!(drive.bytes(DATA + 8, 510), expected(20 * 512 + 1, 510));
    assert_eq!(drive.bytes(DATA + 0x1000, 513), expected(20 * 512 + 511, 513));
}

/// Where the segments begin and end says nothing (section 2.7.4.1).
#[test]
fn header_and_status_may_lie_anywhere_in_their_part() {
    let mut drive = Drive::new(config());
    let header = u128::from(request::OUT) | 7 << 64;
    drive.fill(DATA, &header.to_le_bytes());
    drive.fill(DATA + 16, &[0xa5; 512]);
    // The header in pieces, the last of them with data behind it.
    let out = [(DATA, 3), (DATA + 3, 12), (DATA + 15, 1 + 100), (DATA + 116, 412)];
    let status_at = DATA + 0x1_0000;
    drive.fill(status_at, &[0xee]);
    let chain = [&out[..], &[(status_at, 1)]].concat();
    drive.chain(&chain, 1);
    assert_eq!(drive.take(0).unwrap().length, 1);
    assert_eq!(drive.bytes(status_at, 1), [status::OK]);
    assert_eq!(drive.medium(7 * 512, 512), [0xa5; 512]);
    // The status as the last byte of the data's segment.
    let header = u128::from(request::IN) | 8 << 64;
    drive.fill(DATA, &header.to_le_bytes());
    drive.fill(status_at, &[0xee; 600]);
    drive.chain(&[(DATA, 16), (status_at, 513)], 1);
    assert_eq!(drive.take(0).unwrap().length, 513);
    assert_eq!(drive.bytes(status_at, 512), expected(8 * 512, 512));
    assert_eq!(drive.bytes(status_at + 512, 2), [status::OK, 0xee]);
    // With a segment of no bytes in between and at the end.
    drive.fill(status_at, &[0xee; 600]);
    drive.chain(&[(DATA, 16), (DATA, 0), (status_at, 512), (1, 0), (status_at + 512, 1), (2, 0)], 4);
    assert_eq!(drive.take(0).unwrap().length, 513);
    assert_eq!(drive.bytes(status_at + 512, 2), [status::OK, 0xee]);
}

/// Without a byte for the status there is no answer (section 5.2.6).
#[test]
fn a_chain_without_a_status_byte_needs_a_reset() {
    let mut drive = Drive::new(config());
    drive.chain(&[(DATA, 16)], 0);
    assert_eq!(drive.take(0), None);
    assert!(drive.needs_reset());
    assert_eq!(drive.guest.bench.messages, [0], "the configuration's");
    // It stands still.
    drive.send(0, request::IN, 0, &[], &[(DATA, 512)]);
    drive.guest.kick(0);
    assert_eq!(drive.take(0), None);
    assert!(drive.guest.reset());
    drive.guest.start(USUAL, 128, true);
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, 512)]), (status::OK, 513));
}

#[test]
fn a_status_or_a_used_ring_outside_of_memory_needs_a_reset() {
    let mut drive = Drive::new(config());
    let header = u128::from(request::IN);
    drive.fill(DATA, &header.to_le_bytes());
    drive.chain(&[(DATA, 16), (DATA, 512), (1 << 40, 1)], 2);
    assert!(drive.needs_reset());
    assert_eq!(drive.take(0), None);
}

#[test]
fn short_headers_are_errors() {
    let mut drive = Drive::new(config());
    for bytes in [1, 15] {
        drive.fill(DATA + 64, &[0xee]);
        drive.chain(&[(DATA, bytes), (DATA + 64, 1)], 1);
        assert_eq!(drive.take(0).unwrap().length, 1);
        assert_eq!(drive.bytes(DATA + 64, 1), [status::IO_ERROR]);
    }
    drive.fill(DATA + 64, &[0xee]);
    drive.chain(&[(DATA + 64, 1)], 1);
    assert_eq!(drive.take(0).unwrap().length, 1);
    assert_eq!(drive.bytes(DATA + 64, 1), [status::IO_ERROR]);
    // A header that is no memory.
    drive.chain(&[(1 << 40, 16), (DATA + 64, 1)], 1);
    assert!(drive.take(0).is_some());
    assert!(!drive.needs_reset());
}

#[test]
fn ranges_that_are_not_there_are_errors() {
    let mut drive = Drive::new(config());
    let one = [(DATA, 512)];
    for sector in [SECTORS, SECTORS + 1, u64::MAX, u64::MAX >> 9, (u64::MAX >> 9) + 1, 1 << 55] {
        assert_eq!(drive.outcome(request::IN, sector, &[], &one), (status::IO_ERROR, 0));
        assert_eq!(drive.outcome(request::OUT, sector, &one, &[]), (status::IO_ERROR, 1));
    }
    assert_eq!(drive.outcome(request::IN, SECTORS - 1, &[], &one), (status::OK, 513));
    assert_eq!(drive.outcome(request::IN, SECTORS - 1, &[], &[(DATA, 1024)]), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, 511)]), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::IN, 0, &[], &[]), (status::IO_ERROR, 1));
    assert_eq!(drive.outcome(request::OUT, 0, &[], &[]), (status::IO_ERROR, 1));
    assert_eq!(drive.guest.bench.medium.bytes, expected(0, SECTORS as usize * 512));
}

#[test]
fn blocks_of_4096_are_not_divided() {
    let mut drive = Drive::new(Config { block_bytes: 4096, ..config() });
    assert_eq!(drive.outcome(request::IN, 8, &[], &[(DATA, 4096)]), (status::OK, 4097));
    assert_eq!(drive.bytes(DATA, 4096), expected(4096, 4096));
    assert_eq!(drive.outcome(request::IN, 1, &[], &[(DATA, 4096)]), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::IN, 8, &[], &[(DATA, 512)]), (status::IO_ERROR, 0));
    drive.fill(DATA, &ranges(&[(8, 7, 0)]));
    assert_eq!(drive.outcome(request::DISCARD, 0, &[(DATA, 16)], &[]), (status::IO_ERROR, 1));
}

#[test]
fn as_many_segments_as_were_said_and_no_more() {
    let mut drive = Drive::new(config());
    assert_eq!(drive.outcome(request::IN, 0, &[], &segments(64, 512)), (status::OK, 64 * 512 + 1));
    assert_eq!(drive.outcome(request::IN, 0, &[], &segments(65, 512)), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::OUT, 0, &segments(65, 512), &[]), (status::IO_ERROR, 1));
    // A segment that is too long counts as several.
    let bytes = 5 * MOST_REQUEST_BYTES / 2;
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, bytes)]), (status::OK, bytes + 1));
    assert_eq!(drive.bytes(DATA, bytes as usize), expected(0, bytes as usize));
}

/// What one access can have done where nobody polls is bounded by what a request can.
#[test]
fn a_request_is_as_long_as_its_segments_may_be() {
    let mut drive = Drive::new(Config { segment_bytes: 4096, ..config() });
    assert_eq!(drive.guest.bench.read(0x2000 + config::SIZE_MAX as u64, Width::Dword), 4096);
    let most = 64 * 4096;
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, most)]), (status::OK, most + 1));
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, most + 512)]), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::OUT, 0, &[(DATA, most + 512)], &[]), (status::IO_ERROR, 1));
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let mut drive = Drive::new(config());
    let hole = [(DATA, 512), (1 << 40, 512)];
    assert_eq!(drive.outcome(request::IN, 0, &[], &hole), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::OUT, 0, &hole, &[]), (status::IO_ERROR, 1));
    assert_eq!(drive.outcome(request::DISCARD, 0, &[(1 << 40, 16)], &[]), (status::IO_ERROR, 1));
    drive.guest.bench.medium.fault = Some(RequestFault::Medium);
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, 512)]), (status::IO_ERROR, 0));
    assert_eq!(drive.outcome(request::FLUSH, 0, &[], &[]), (status::IO_ERROR, 1));
}

#[test]
fn a_read_only_drive_takes_no_changes() {
    let mut drive = Drive::new(Config { writable: false, ..config() });
    assert_eq!(drive.outcome(request::OUT, 0, &[(DATA, 512)], &[]), (status::IO_ERROR, 1));
    drive.fill(DATA, &ranges(&[(0, 1, 0)]));
    assert_eq!(drive.outcome(request::DISCARD, 0, &[(DATA, 16)], &[]), (status::IO_ERROR, 1));
    assert_eq!(drive.outcome(request::WRITE_ZEROES, 0, &[(DATA, 16)], &[]), (status::IO_ERROR, 1));
    assert_eq!(drive.outcome(request::FLUSH, 0, &[], &[]), (status::OK, 1));
    assert_eq!(drive.outcome(request::IN, 3, &[], &[(DATA, 512)]), (status::OK, 513));
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let mut drive = Drive::new(config());
    drive.fill(DATA, &ranges(&[(4, 2, 0), (100, 1, 0)]));
    // The list need not be in one segment.
    let list = [(DATA, 5), (DATA + 5, 27)];
    assert_eq!(drive.outcome(request::DISCARD, 0, &list, &[]), (status::OK, 1));
    assert_eq!(drive.medium(4 * 512, 1024), [0xdd; 1024]);
    assert_eq!(drive.medium(100 * 512, 512), [0xdd; 512]);
    drive.fill(DATA, &ranges(&[(5, 1, 0), (200, 3, RANGE_UNMAP)]));
    assert_eq!(drive.outcome(request::WRITE_ZEROES, 0, &list, &[]), (status::OK, 1));
    assert_eq!(drive.medium(5 * 512, 512), [0; 512]);
    assert_eq!(drive.medium(200 * 512, 3 * 512), [0; 3 * 512]);
    assert_eq!(drive.medium(203 * 512, 512), expected(203 * 512, 512));
}

/// One that is wrong, and none of the others is done.
#[test]
fn ranges_that_make_no_sense() {
    let mut drive = Drive::new(Config { sectors: 1 << 16, ..config() });
    let bad: [(u32, u64, u32, u32, u8); 9] = [
        (request::DISCARD, 0, 1, RANGE_UNMAP, status::UNSUPPORTED),
        (request::DISCARD, 0, 1, 2, status::UNSUPPORTED),
        (request::WRITE_ZEROES, 0, 1, 2, status::UNSUPPORTED),
        (request::WRITE_ZEROES, 0, 1, 1 << 31, status::UNSUPPORTED),
        (request::DISCARD, 0, 0, 0, status::IO_ERROR),
        (request::DISCARD, 1 << 16, 1, 0, status::IO_ERROR),
        (request::DISCARD, u64::MAX, u32::MAX, 0, status::IO_ERROR),
        (request::WRITE_ZEROES, u64::MAX >> 9, 1, 0, status::IO_ERROR),
        (request::WRITE_ZEROES, 0, MOST_ZEROED + 1, 0, status::IO_ERROR),
    ];
    for (kind, sector, sectors, flags, said) in bad {
        drive.fill(DATA, &ranges(&[(7, 1, 0), (sector, sectors, flags)]));
        assert_eq!(drive.outcome(kind, 0, &[(DATA, 32)], &[]), (said, 1), "{sector} {sectors} {flags}");
    }
    for bytes in [0, 1, 15, 17, 31, 65 * 16] {
        drive.fill(DATA, &ranges(&[(7, 1, 0); 65]));
        let list = [(DATA, bytes)];
        assert_eq!(drive.outcome(request::DISCARD, 0, &list, &[]), (status::IO_ERROR, 1), "{bytes}");
    }
    assert_eq!(drive.medium(7 * 512, 512), expected(7 * 512, 512));
    let many: Vec<_> = (0..64).map(|place| (1000 + place, 1, 0)).collect();
    drive.fill(DATA, &ranges(&many));
    assert_eq!(drive.outcome(request::DISCARD, 0, &[(DATA, 64 * 16)], &[]), (status::OK, 1));
}

#[test]
fn requests_that_are_not_known_or_not_offered() {
    let mut drive = Drive::new(Config { can_discard: false, can_write_zeroes: false, ..config() });
    for kind in [2, 3, 5, 7, 9, 12, 14, 0x8000_0000, u32::MAX, request::DISCARD, request::WRITE_ZEROES] {
        drive.fill(DATA, &ranges(&[(7, 1, 0)]));
        assert_eq!(drive.outcome(kind, 0, &[(DATA, 16)], &[]), (status::UNSUPPORTED, 1), "{kind}");
    }
    assert_eq!(drive.medium(7 * 512, 512), expected(7 * 512, 512));
}

/// The name fills what there is of 20 bytes, and the length says no more than was written.
#[test]
fn the_name_goes_into_buffers_of_any_size() {
    let mut drive = Drive::new(config());
    let name = config().name;
    assert_eq!(drive.outcome(request::GET_ID, 0, &[], &[(DATA, 20)]), (status::OK, 21));
    assert_eq!(drive.bytes(DATA, 21), [&name[..], &[0]].concat());
    assert_eq!(drive.outcome(request::GET_ID, 0, &[], &[(DATA + 64, 7)]), (status::OK, 8));
    assert_eq!(drive.bytes(DATA + 64, 8), [&name[..7], &[0]].concat());
    let parts = [(DATA + 128, 3), (DATA + 192, 30)];
    assert_eq!(drive.outcome(request::GET_ID, 0, &[], &parts), (status::OK, 20));
    assert_eq!(drive.bytes(DATA + 128, 4), [&name[..3], &[0]].concat());
    assert_eq!(drive.bytes(DATA + 192, 18), [&name[3..], &[0]].concat());
    assert_eq!(drive.outcome(request::GET_ID, 0, &[], &[(1 << 40, 20)]), (status::IO_ERROR, 0));
}

/// The length counts what was written from the start of the writable part, without a gap
/// (section 2.7.8.2): no byte that the driver believes to be the device's is its own.
#[test]
fn room_that_nothing_is_written_to_does_not_count() {
    let mut drive = Drive::new(config());
    drive.fill(DATA, &[0x11; 512]);
    for (kind, out) in [(request::OUT, &[(DATA, 512)][..]), (request::FLUSH, &[])] {
        assert_eq!(drive.outcome(kind, 0, out, &[(DATA + 0x1000, 512)]), (status::OK, 0));
        assert_eq!(drive.bytes(DATA + 0x1000, 512), [0; 512]);
    }
}

/// Of a driver that does not flush a write is as good as flushed when it is done (section 5.2.6.2).
#[test]
fn a_driver_that_cannot_flush_need_not() {
    let mut drive = Drive::with(config(), INDIRECT, false);
    assert_eq!(drive.outcome(request::OUT, 0, &segments(3, 512), &[]), (status::OK, 1));
    assert_eq!(drive.guest.bench.medium.flushes, 1);
    assert_eq!(drive.outcome(request::IN, 0, &[], &[(DATA, 512)]), (status::OK, 513));
    assert_eq!(drive.guest.bench.medium.flushes, 1);
    drive.fill(DATA, &ranges(&[(7, 1, 0)]));
    assert_eq!(drive.outcome(request::WRITE_ZEROES, 0, &[(DATA, 16)], &[]), (status::OK, 1));
    assert_eq!(drive.guest.bench.medium.flushes, 2);
    let mut usual = Drive::new(config());
    assert_eq!(usual.outcome(request::OUT, 0, &[(DATA, 512)], &[]), (status::OK, 1));
    assert_eq!(usual.guest.bench.medium.flushes, 0);
}

#[test]
fn queues_have_their_turns_and_their_messages() {
    let mut drive = Drive::new(config());
    drive.send(1, request::IN, 1, &[], &[(DATA, 512)]);
    assert!(drive.take(1).is_some());
    assert_eq!(drive.guest.bench.messages, [2]);
    drive.send(0, request::IN, 1, &[], &[(DATA, 512)]);
    assert!(drive.take(0).is_some());
    assert_eq!(drive.guest.bench.messages, [2, 1]);
    assert!(!drive.guest.bench.line);
}

/// Without messages the line tells, until the driver reads why.
#[test]
fn the_line_rises_and_falls() {
    let mut drive = Drive::at_power_up(config(), false);
    drive.guest.start(USUAL, 128, false);
    drive.send(0, request::IN, 1, &[], &[(DATA, 512)]);
    assert!(drive.guest.bench.line);
    assert_eq!(drive.guest.bench.read(0x1000, Width::Byte), u64::from(isr::QUEUE));
    assert!(!drive.guest.bench.line);
    assert_eq!(drive.guest.bench.read(0x1000, Width::Byte), 0);
    assert!(drive.take(0).is_some());
    drive.chain(&[(DATA, 16)], 0);
    assert!(drive.guest.bench.line);
    assert_eq!(drive.guest.bench.read(0x1000, Width::Byte), u64::from(isr::CONFIGURATION));
    assert!(!drive.guest.bench.line);
    assert!(drive.guest.bench.messages.is_empty());
}
