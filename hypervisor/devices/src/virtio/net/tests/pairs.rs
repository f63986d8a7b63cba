//! Several pairs of queues. The bench has place for four queues: of two pairs, all but the control queue.

use super::*;
use spec::Width;

/// An interface of two pairs that is set up, its control queue being the fourth that has a place.
fn card(features: u64) -> Card {
    let device = Transport::new(Net::with_pairs(CONFIG, 2), 6, true);
    let mut card = Card { guest: Guest::new(device, VecMedium::new(0)) };
    assert!(card.guest.negotiate(features));
    for queue in 0..4 {
        card.guest.enable(queue, 128, 1 + queue, features);
    }
    card.guest.add_status(status::DRIVER_OK);
    card.set_link(true);
    card.guest.bench.messages.clear();
    card
}

const BOTH: u64 = USUAL | feature::MULTI_QUEUE;

/// The command that says how many pairs are used, as if by the control queue.
fn set_pairs(card: &mut Card, pairs: u16) -> Option<()> {
    card.guest.bench.with(|device, _| device.function.pairs.set_active(pairs))
}

#[test]
fn the_configuration_says_how_many_there_are() {
    let mut card = card(BOTH);
    assert_eq!(card.config(config::PAIRS, Width::Word), 2);
    assert_eq!(card.guest.offered(), BOTH | OTHERS);
    assert_eq!(card.guest.common(spec::virtio::pci::common::QUEUES, Width::Word), 5);
    for pairs in [0, 3, 0xffff] {
        assert_eq!(set_pairs(&mut card, pairs), None);
    }
    assert!(card.guest.reset());
}

#[test]
fn frames_are_sent_in_turns_and_answers_come_where_they_went() {
    let mut card = card(BOTH);
    let bytes = |port: u8| {
        let mut bytes = tcp4(10);
        bytes[37] = port;
        bytes
    };
    let send = |card: &mut Card, queue: usize, port: u8| {
        card.add(queue, &[&Header::default().encode()[..], &bytes(port)].concat(), &[], &[])
    };
    // The second pair is not used yet.
    send(&mut card, 3, 1);
    assert!(card.transmit().is_none());
    set_pairs(&mut card, 2).unwrap();
    let frame_1 = card.transmit().unwrap();
    assert_eq!(frame_1.bytes()[37], 1);
    // Of two that wait on one queue and one on the other, the second is of the other.
    card.guest.bench.memory.write(Gpa(DATA), &[0; 64]).unwrap();
    send(&mut card, 1, 1);
    send(&mut card, 1, 1);
    send(&mut card, 3, 1);
    let order: Vec<_> = (0..3)
        .map(|_| {
            card.transmit().unwrap();
            [1, 3].map(|queue| card.guest.rings[queue].take_used(&card.guest.bench.memory).is_some())
        })
        .collect();
    // The first frame of all was not taken back yet.
    assert_eq!(order, [[true, true], [false, true], [true, false]]);
    // The flow was seen on the first pair last.
    for (queue, at) in [(0, DATA), (2, DATA + 0x1000)] {
        card.guest.rings[queue].add(&card.guest.bench.memory, &[(at, 2048)], 1, false).unwrap();
    }
    assert_eq!(card.receive(&frame(&bytes(1), PLAIN)), Reception::Taken);
    assert!(card.guest.rings[0].take_used(&card.guest.bench.memory).is_some());
    send(&mut card, 3, 1);
    card.transmit().unwrap();
    assert_eq!(card.receive(&frame(&bytes(1), PLAIN)), Reception::Taken);
    assert!(card.guest.rings[2].take_used(&card.guest.bench.memory).is_some());
    card.tell();
    assert!(card.guest.bench.messages.contains(&3), "by the message of its queue");
    set_pairs(&mut card, 1).unwrap();
    assert_eq!(card.receive(&frame(&bytes(1), PLAIN)), Reception::NoRoom, "the first pair has no buffer");
}

#[test]
fn a_driver_that_knows_of_one_pair_has_its_control_queue_behind_it() {
    let mut card = card(USUAL);
    assert_eq!(set_pairs(&mut card, 2), None);
    assert_eq!(card.command(&[4, 0, 2, 0]), control::ERROR);
    assert_eq!(card.command(&[0, 0, 0]), control::OK);
}
