//! Drivers that do what they should not (virtio 1.2, sections 5.1.6.2.1 and 5.1.6.3.1).

use super::*;

#[test]
fn headers_that_do_not_fit_their_frame_send_nothing() {
    let mut card = Card::new();
    let sum = Header { cut: Header::CUT_NONE, ..CUT4 };
    for (name, header, bytes) in [
        ("no segment", Header { segment_bytes: 0, ..CUT4 }, tcp4(4000)),
        ("segments of a byte", Header { segment_bytes: 1, ..CUT4 }, tcp4(4000)),
        ("segments below the least", Header { segment_bytes: 63, ..CUT4 }, tcp4(4000)),
        ("headers longer than the frame", Header { header_bytes: 0xffff, ..CUT4 }, tcp4(4000)),
        ("cut without a checksum", Header { flags: 0, ..CUT4 }, tcp4(4000)),
        ("cut as what it is not", Header { cut: Header::CUT_TCP6, ..CUT4 }, tcp4(4000)),
        ("cut as UDP", Header { cut: 3, ..CUT4 }, tcp4(4000)),
        ("cut with ECN, which was not agreed on", Header { cut: 0x81, ..CUT4 }, tcp4(4000)),
        ("nothing to cut", CUT4, tcp4(0)),
        ("checksum behind the frame", Header { checksum_start: 154, ..sum }, tcp4(100)),
        ("checksum at the end", Header { checksum_start: 153, checksum_offset: 0, ..sum }, tcp4(100)),
        ("checksum far behind", Header { checksum_start: 0xffff, checksum_offset: 0xffff, ..sum }, tcp4(100)),
        ("checksum of the addresses", Header { checksum_start: 13, checksum_offset: 0, ..sum }, tcp4(100)),
        ("larger than the MTU", Header::default(), tcp4(1461)),
        ("larger than the MTU and a tag", Header::default(), tcp4(1465)),
        ("no header", Header::default(), tcp4(0)[..13].to_vec()),
        ("nothing", Header::default(), Vec::new()),
        ("larger than any frame", CUT4, tcp4(65_553 - 54 + 1)),
    ] {
        assert!(card.send(header, &bytes).is_none(), "{name}");
        assert!(!card.needs_reset(), "{name}");
    }
    assert!(card.send(Header { checksum_start: 152, checksum_offset: 0, ..sum }, &tcp4(100)).is_some());
    assert!(card.send(CUT4, &tcp4(65_000)).is_some());
}

#[test]
fn what_was_not_agreed_on_is_not_done() {
    let mut card = Card::with(COMMON);
    let sum = Header { cut: Header::CUT_NONE, ..CUT4 };
    assert!(card.send(sum, &tcp4(100)).is_none());
    assert!(card.send(CUT4, &tcp4(4000)).is_none());
    let mut card = Card::with(COMMON | feature::HOST_TCP4);
    assert!(card.send(CUT4, &tcp4(4000)).is_none(), "segments need checksums");
    let mut card = Card::with(COMMON | feature::CHECKSUM);
    assert!(card.send(sum, &tcp4(100)).is_some());
    assert!(card.send(CUT4, &tcp4(4000)).is_none());
    assert_eq!(card.command(&[0, 0, 0]), control::ERROR, "commands neither");
}

#[test]
fn chains_that_are_no_frames_send_nothing() {
    let mut card = Card::new();
    for length in [1, 11, 12, 25] {
        assert!(card.send_bytes(&vec![0; length], &[]).is_none(), "{length}");
    }
    // Nothing to read at all, and memory that is none.
    for segments in [&[(DATA, 64)][..], &[(0xffff_0000, 64)]] {
        let ring = &mut card.guest.rings[queue::TRANSMIT];
        let writable = usize::from(segments[0].0 == DATA);
        ring.add(&card.guest.bench.memory, segments, writable, false).unwrap();
        assert!(card.transmit().unwrap().is_empty());
    }
    // As many bytes as a chain can have.
    let ring = &mut card.guest.rings[queue::TRANSMIT];
    ring.add(&card.guest.bench.memory, &[(0, 0x8000_0000), (0, 0x7fff_ffff)], 0, true).unwrap();
    assert!(card.transmit().unwrap().is_empty());
    assert!(!card.needs_reset());
}

#[test]
fn buffers_that_are_none_need_a_reset() {
    for (buffers, writable) in
        [(&[(0xffff_0000, 2048)][..], 1), (&[(DATA, 2048)], 0), (&[(DATA, 11), (DATA, 2048)], 1)]
    {
        let mut card = Card::new();
        for buffer in buffers {
            let ring = &mut card.guest.rings[queue::RECEIVE];
            ring.add(&card.guest.bench.memory, &[*buffer], writable, false).unwrap();
        }
        assert_eq!(card.receive(&frame(&tcp4(100), PLAIN)), Reception::Down, "{buffers:x?}");
        assert!(card.needs_reset());
        assert_eq!(card.guest.bench.messages, [0], "the driver is told");
        assert_eq!(card.receive(&frame(&tcp4(100), PLAIN)), Reception::Down);
        assert!(card.transmit().is_none());
        assert!(card.guest.reset());
        card.guest.start(USUAL, 128, true);
        card.offer(&[2048]);
        assert_eq!(card.receive(&frame(&tcp4(100), PLAIN)), Reception::Taken);
    }
}

#[test]
fn rings_that_break_a_rule_need_a_reset_whoever_looks() {
    for queue in [queue::TRANSMIT, queue::CONTROL] {
        let mut card = Card::new();
        let ring = &mut card.guest.rings[queue];
        for _ in 0..=128 {
            ring.offer(&card.guest.bench.memory, 0);
        }
        assert!(card.transmit().is_none());
        assert!(card.needs_reset(), "{queue}");
    }
    let mut card = Card::new();
    card.guest.rings[queue::RECEIVE].offer(&card.guest.bench.memory, 500);
    assert_eq!(card.receive(&frame(&tcp4(100), PLAIN)), Reception::Down);
    assert!(card.needs_reset());
}

#[test]
fn a_command_without_place_for_its_answer_needs_a_reset() {
    let mut card = Card::new();
    card.add(queue::CONTROL, &[0, 0, 0], &[], &[]);
    assert!(card.transmit().is_none());
    assert!(card.needs_reset());
}

/// Buffers of a byte, as many as there are: the frame does not fit, and they are all there afterwards.
#[test]
fn a_driver_with_tiny_buffers_waits_for_ever_and_holds_nobody_up() {
    let mut card = Card::new();
    card.offer(&[12]);
    card.offer(&[1; 127]);
    assert_eq!(card.receive(&frame(&tcp4(1000), PLAIN)), Reception::NoRoom);
    assert_eq!(card.received(), None);
    assert_eq!(card.receive(&frame(&tcp4(60), PLAIN)), Reception::Taken);
}

/// The frame is a copy: what the driver writes into its buffer afterwards changes nothing.
#[test]
fn a_frame_that_changes_afterwards_is_sent_as_it_was() {
    let mut card = Card::new();
    let bytes = tcp4(100);
    let sent = card.send(Header::default(), &bytes).unwrap();
    card.guest.bench.memory.write(Gpa(DATA), &[0xff; 200]).unwrap();
    assert_eq!(sent.bytes(), bytes);
}
