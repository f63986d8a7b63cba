//! Frames and commands of a driver that does as it should.

use super::*;
use spec::Width;

#[test]
fn the_configuration_is_as_it_was_made() {
    let mut card = Card::new();
    let mac: Vec<u8> = (0..6).map(|at| card.config(at, Width::Byte) as u8).collect();
    assert_eq!(mac, MAC.0);
    assert_eq!((card.config(config::STATUS, Width::Word), card.config(config::MTU, Width::Word)), (1, 1500));
    assert_eq!((card.config(config::PAIRS, Width::Word), card.config(config::BYTES, Width::Dword)), (1, 0));
    assert_eq!(card.guest.offered(), USUAL | OTHERS);
}

#[test]
fn the_link_changes_with_a_message_of_the_configuration() {
    let device = Transport::new(Net::new(CONFIG), MESSAGES, true);
    let mut card = Card { guest: Guest::new(device, VecMedium::new(0)) };
    card.set_link(true);
    assert!(card.guest.bench.messages.is_empty(), "nobody to tell yet");
    card.guest.start(USUAL, 128, true);
    assert_eq!(card.config(config::STATUS, Width::Word), 1);
    card.set_link(true);
    assert!(card.guest.bench.messages.is_empty(), "nothing changed");
    card.set_link(false);
    assert_eq!(card.config(config::STATUS, Width::Word), 0);
    assert_eq!(card.guest.bench.messages, [0]);
    card.offer(&[2048]);
    assert_eq!(card.receive(&frame(&tcp4(10), PLAIN)), Reception::Down);
    card.set_link(true);
    assert_eq!(card.receive(&frame(&tcp4(10), PLAIN)), Reception::Taken);
    assert!(card.guest.reset());
    assert_eq!(card.config(config::STATUS, Width::Word), 1, "the cable stays");
}

#[test]
fn a_frame_is_sent_as_it_is_in_one_piece_or_many() {
    let mut card = Card::new();
    let bytes = [&Header::default().encode()[..], &tcp4(1400)].concat();
    for sizes in [&[][..], &[12], &[1, 1, 1, 9, 1, 13], &[5, 700]] {
        let sent = card.send_bytes(&bytes, sizes).unwrap();
        assert_eq!((sent.bytes(), sent.offload), (&bytes[12..], PLAIN));
    }
    assert!(card.transmit().is_none());
}

#[test]
fn what_is_left_to_do_travels_with_the_frame() {
    let mut card = Card::new();
    let sum = Header { cut: Header::CUT_NONE, segment_bytes: 0, ..CUT4 };
    assert_eq!(
        card.send(sum, &tcp4(100)).unwrap().offload,
        Offload { checksum: MISSING4, segmentation: None }
    );
    assert_eq!(card.send(CUT4, &tcp4(60_000)).unwrap().offload, OFFLOAD4);
    let cut6 = Header { cut: Header::CUT_TCP6, header_bytes: 74, checksum_start: 54, ..CUT4 };
    let sent = card.send(cut6, &tcp6(60_000)).unwrap();
    assert_eq!(sent.offload.segmentation.unwrap().kind, SegmentKind::Tcp6);
    assert_eq!(sent.len(), 60_074);
}

#[test]
fn one_frame_is_received_into_one_buffer_or_several() {
    let bytes = tcp4(1400);
    for sizes in [&[2048][..], &[1466], &[1465, 1], &[12, 500, 500, 454, 7], &[1000, 1000]] {
        let mut card = Card::new();
        card.offer(sizes);
        assert_eq!(card.receive(&frame(&bytes, PLAIN)), Reception::Taken);
        let (header, received) = card.received().unwrap();
        assert_eq!((header.flags, header.cut), (0, 0));
        assert_eq!(received, bytes);
        assert_eq!(card.guest.bench.messages, [], "who carries frames may carry more");
        card.tell();
        card.tell();
        assert_eq!(card.guest.bench.messages, [1]);
    }
}

#[test]
fn a_large_frame_goes_through_uncut() {
    let mut card = Card::new();
    let bytes = tcp4(65_000);
    card.offer(&[1536; 43]);
    assert_eq!(card.receive(&frame(&bytes, OFFLOAD4)), Reception::Taken);
    let (header, received) = card.received().unwrap();
    assert_eq!(header, Header { buffers: 43, ..CUT4 });
    assert!(received == bytes);
    let mut card = Card::with(USUAL & !feature::MERGEABLE);
    card.offer(&[65_600]);
    assert_eq!(card.receive(&frame(&bytes, OFFLOAD4)), Reception::Taken);
    assert_eq!(card.received().unwrap().0, Header { buffers: 1, ..CUT4 });
}

#[test]
fn a_frame_without_room_leaves_the_buffers_as_they_are() {
    let mut card = Card::new();
    let large = frame(&tcp4(3000), OFFLOAD4);
    assert_eq!(card.receive(&large), Reception::NoRoom);
    card.offer(&[1536, 1000]);
    assert_eq!(card.receive(&large), Reception::NoRoom);
    assert_eq!(card.received(), None);
    let small = tcp4(100);
    assert_eq!(card.receive(&frame(&small, PLAIN)), Reception::Taken);
    assert_eq!(card.received().unwrap().1, small);
    // The second one is there still.
    assert_eq!(card.receive(&frame(&small, PLAIN)), Reception::Taken);
    assert_eq!(card.receive(&frame(&small, PLAIN)), Reception::NoRoom);
}

#[test]
fn without_merging_a_buffer_that_is_too_small_stays() {
    let mut card = Card::with(USUAL & !feature::MERGEABLE);
    card.offer(&[1000, 1000]);
    assert_eq!(card.receive(&frame(&tcp4(1400), PLAIN)), Reception::Unfit);
    assert_eq!(card.receive(&frame(&tcp4(900), PLAIN)), Reception::Taken);
    assert_eq!(card.received().unwrap().1, tcp4(900));
}

#[test]
fn a_driver_is_given_only_what_it_agreed_on() {
    let none = Card::with(COMMON).guest.bench.device.accepts();
    assert_eq!((none.checksum, none.tcp4, none.tcp6, none.largest_bytes), (false, false, false, 1518));
    let all = Card::new().guest.bench.device.accepts();
    assert_eq!((all.checksum, all.tcp4, all.tcp6), (true, true, true));
    // Segments without checksums are not agreed on.
    let some = Card::with(COMMON | feature::GUEST_TCP4 | feature::GUEST_TCP6).guest.bench.device.accepts();
    assert_eq!((some.tcp4, some.tcp6), (false, false));
    let mut card = Card::with(COMMON | feature::GUEST_CHECKSUM);
    card.offer(&[2048, 2048]);
    assert_eq!(card.receive(&frame(&tcp4(100), OFFLOAD4)), Reception::Unfit);
    assert_eq!(card.receive(&frame(&tcp4(1465), PLAIN)), Reception::Unfit, "it is larger than the MTU");
    let good = Offload { checksum: Checksum::Good, segmentation: None };
    assert_eq!(card.receive(&frame(&tcp4(100), good)), Reception::Taken);
    assert_eq!(card.received().unwrap().0.flags, Header::FLAG_VALID);
    let mut card = Card::with(COMMON);
    card.offer(&[2048]);
    let missing = Offload { checksum: MISSING4, segmentation: None };
    assert_eq!(card.receive(&frame(&tcp4(100), missing)), Reception::Unfit);
    assert_eq!(card.receive(&frame(&tcp4(100), good)), Reception::Taken);
    assert_eq!(card.received().unwrap().0.flags, 0);
}

#[test]
fn commands_set_the_filter() {
    let mut card = Card::new();
    card.offer(&[256]);
    let mut other = tcp4(10);
    other[5] = 7;
    assert_eq!(card.command(&[0, 0, 0]), control::OK);
    assert_eq!(card.guest.bench.messages, [3], "no frame comes that would tell of the answer");
    assert_eq!(card.receive(&frame(&other, PLAIN)), Reception::Taken);
    assert_eq!(card.received(), None, "it was for somebody else");
    assert_eq!(card.command(&[0, 0, 1]), control::OK);
    assert_eq!(card.receive(&frame(&other, PLAIN)), Reception::Taken);
    assert_eq!(card.received().unwrap().1, other);
    card.offer(&[256]);
    assert_eq!(card.command(&[2, 0, 1, 0]), control::ERROR, "there are no filters of VLANs");
    assert_eq!(card.command(&[1, 1, 2, 0, 0, 0, 0, 1]), control::ERROR, "the address is the network's");
    // More addresses than anybody looks at: everything passes.
    assert_eq!(card.command(&[0, 0, 0]), control::OK);
    let table = [&[1, 0, 200, 0, 0, 0][..], &[2; 1200], &[0; 4]].concat();
    assert_eq!(card.command(&table), control::OK);
    assert_eq!(card.receive(&frame(&other, PLAIN)), Reception::Taken);
    assert!(card.received().is_some());
}

#[test]
fn the_address_changes_where_the_network_takes_any() {
    let config = Config { any_source: true, ..CONFIG };
    let device = Transport::new(Net::new(config), MESSAGES, true);
    let mut card = Card { guest: Guest::new(device, VecMedium::new(0)) };
    card.guest.start(USUAL | feature::CONTROL_MAC, 128, true);
    assert_eq!(card.command(&[1, 1, 2, 0, 0, 0, 0, 1]), control::OK);
    assert_eq!(card.config(5, Width::Byte), 1);
    assert!(card.guest.reset());
    assert_eq!(card.config(5, Width::Byte), 9);
}

#[test]
fn kicks_wake_and_who_polls_needs_none() {
    let mut card = Card::new();
    card.add(queue::TRANSMIT, &[&Header::default().encode()[..], &tcp4(10)].concat(), &[], &[]);
    let before = card.guest.bench.wakes;
    assert!(card.guest.notify(queue::TRANSMIT as u16));
    assert_eq!(card.guest.bench.wakes, before + 1);
    assert!(card.transmit().is_some());
    assert!(!card.guest.bench.rests(), "it has to tell of what it took");
    assert!(!card.guest.bench.poll() && card.guest.bench.rests());
    card.guest.bench.want_notifications(false);
    card.add(queue::TRANSMIT, &[&Header::default().encode()[..], &tcp4(10)].concat(), &[], &[]);
    assert!(!card.guest.bench.rests());
    assert!(!card.guest.notify(queue::TRANSMIT as u16));
    assert!(card.guest.bench.want_notifications(true), "one waits");
    assert!(card.transmit().is_some());
    card.guest.bench.want_notifications(true);
    // Buffers for frames wake nobody, but for the first ones: their event index is 0.
    card.offer(&[64]);
    card.guest.notify(queue::RECEIVE as u16);
    card.offer(&[64; 60]);
    assert!(!card.guest.notify(queue::RECEIVE as u16));
}

#[test]
fn commands_have_their_turn_in_a_flood() {
    let mut card = Card::new();
    let answer = DATA + 0x8_0000;
    card.guest.bench.memory.write(Gpa(answer), &[0xee]).unwrap();
    card.add(queue::CONTROL, &[0, 0, 0], &[], &[(answer, 1)]);
    let bytes = [&Header::default().encode()[..], &tcp4(10)].concat();
    for _ in 0..=FRAMES_A_TURN {
        card.send_bytes(&bytes, &[]).unwrap();
    }
    assert!(card.guest.rings[queue::CONTROL].take_used(&card.guest.bench.memory).is_some());
}
