//! What a hostile driver does: registers that make no sense, transfers that end nowhere.

use super::linux::started;
use super::*;
use proptest::prelude::*;

/// Where every frame would go to the guest's station, with any ring.
fn set_ring(card: &mut Card, start: u8, stop: u8, boundary: u8, current: u8) {
    for (port, value) in [(0, 0x22), (1, start), (2, stop), (3, boundary), (0, 0x62), (7, current), (0, 0x22)]
    {
        out(card, port, value);
    }
}

#[test]
fn rings_that_are_none_take_nothing() {
    let mut card = started().card;
    let bytes = bytes_to(MAC.0, 1514);
    for (start, stop, boundary, current) in [
        (0x80, 0x40, 0x50, 0x50),
        (0x4c, 0x4c, 0x4c, 0x4c),
        (0x00, 0x80, 0x50, 0x4c),
        (0x4c, 0xff, 0x50, 0x7f),
        (0x4c, 0x80, 0x50, 0x80),
        (0x4c, 0x80, 0x50, 0x4b),
        (0x4c, 0x80, 0x50, 0xff),
        (0x4c, 0x50, 0x4c, 0x4c),
        (0xff, 0x00, 0xff, 0xff),
    ] {
        set_ring(&mut card, start, stop, boundary, current);
        let before = card.device.remote.memory.clone();
        assert_eq!(receive(&mut card, &bytes), Reception::NoRoom, "{start:x} {stop:x} {current:x}");
        assert_eq!(card.device.remote.memory, before);
    }
}

#[test]
fn a_boundary_anywhere_overwrites_the_ring_only() {
    let mut card = started().card;
    set_ring(&mut card, 0x60, 0x68, 0xff, 0x67);
    for _ in 0..100 {
        assert_eq!(receive(&mut card, &bytes_to(MAC.0, 1514)), Reception::Taken);
    }
    let memory = &card.device.remote.memory;
    assert!(memory.piece(0x6000, 0x800).unwrap().iter().any(|byte| *byte != 0));
    assert!(memory.piece(0x4000, 0x2000).unwrap().iter().all(|byte| *byte == 0));
    assert!(memory.piece(0x6800, 0x1800).unwrap().iter().all(|byte| *byte == 0));
}

/// CURR that moves between two frames: each is whole, where CURR was when it came.
#[test]
fn current_may_move_while_frames_come() {
    let mut card = started().card;
    for current in (0x4c..0x80).rev() {
        set_ring(&mut card, 0x4c, 0x80, if current == 0x4c { 0x7f } else { current - 1 }, current);
        assert_eq!(receive(&mut card, &bytes_to(MAC.0, 300)), Reception::Taken);
        let next = 0x4c + (current - 0x4c + 2) % 0x34;
        assert_eq!(card.device.remote.memory.piece(usize::from(current) << 8, 4).unwrap(), [1, next, 48, 1]);
    }
}

/// Remote DMA from anywhere, of any length: what is no memory reads ones and takes nothing, and it ends
/// (CVE-2015-8743).
#[test]
fn remote_dma_leads_nowhere_else() {
    for (at, count) in [(0x7ffe, 0xffff), (0xfffe, 8), (0x3ffe, 4), (0x8000, 0x10), (0, 0xffff), (0x1f, 3)] {
        for command in [0x0a, 0x12] {
            let mut card = started().card;
            let ([low, high], [at_low, at_high]) = (u16::to_le_bytes(count), u16::to_le_bytes(at));
            for (port, value) in [(0xa, low), (0xb, high), (8, at_low), (9, at_high), (0, command)] {
                out(&mut card, port, value);
            }
            let bytes = std::vec![0x55; 0x1_0004];
            let mut read = bytes.clone();
            if command == 0x0a {
                assert_eq!(card.read_string(DATA_PORT, Width::Dword, &mut read), 1);
                assert!(read.ends_with(&[0xff; 4]), "it ended");
            } else {
                assert_eq!(card.write_string(DATA_PORT, Width::Dword, &bytes), 1);
            }
            assert_eq!(input(&mut card, 7) & 0x40, 0x40);
            let before = card.device.remote.memory.clone();
            assert_eq!(card.read(DATA_PORT, Width::Dword), 0xffff_ffff);
            card.write(DATA_PORT, Width::Dword, 0x1234_5678);
            assert_eq!(card.device.remote.memory, before);
        }
    }
}

#[test]
fn the_station_address_cannot_be_written() {
    let mut card = started().card;
    for (port, value) in [(0xa, 32), (0xb, 0), (8, 0), (9, 0), (0, 0x12)] {
        out(&mut card, port, value);
    }
    card.write_string(DATA_PORT, Width::Word, &[0x66; 32]);
    card.reset();
    assert_eq!(card.device.remote.mac(), MAC);
}

#[test]
fn remote_dma_goes_round_in_the_ring() {
    let mut card = started().card;
    for (port, value) in [(0xa, 8), (0xb, 0), (8, 0xfc), (9, 0x7f), (0, 0x12)] {
        out(&mut card, port, value);
    }
    card.write_string(DATA_PORT, Width::Word, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(card.device.remote.memory.piece(0x7ffc, 4).unwrap(), [1, 2, 3, 4]);
    assert_eq!(card.device.remote.memory.piece(0x4c00, 4).unwrap(), [5, 6, 7, 8]);
    assert_eq!((input(&mut card, 8), input(&mut card, 9)), (4, 0x4c));
}

#[test]
fn frames_that_cannot_be_sent_are_aborted() {
    let mut card = started().card;
    for (page, bytes) in [
        (0x40, 0),
        (0x40, 13),
        (0x40, 1515),
        (0x40, 1519),
        (0x40, 0xffff),
        (0, 60),
        (0x7f, 257),
        (0xff, 60),
        (0x3f, 300),
    ] {
        let [low, high] = u16::to_le_bytes(bytes);
        for (port, value) in [(5, low), (6, high), (4, page), (0, 0x26)] {
            out(&mut card, port, value);
        }
        assert_eq!(transmit(&mut card), Some(Vec::new()), "one of whoever's number is used up");
        assert_eq!((input(&mut card, 4), input(&mut card, 7)), (8, 8));
        out(&mut card, 7, 8);
        assert_eq!(transmit(&mut card), None);
    }
}

#[test]
fn a_reset_in_the_middle_forgets_the_frame_and_the_transfer() {
    let mut card = started().card;
    for (port, value) in [(5, 60), (6, 0), (4, 0x40), (0, 0x26), (0xa, 32), (0xb, 0), (9, 0x40), (0, 0x0a)] {
        out(&mut card, port, value);
    }
    input(&mut card, RESET_PORT);
    assert_eq!(transmit(&mut card), None);
    assert_eq!(card.read(DATA_PORT, Width::Dword), 0xffff_ffff);
    assert_eq!((input(&mut card, 0), input(&mut card, 7)), (0x21, 0x80));
    assert_eq!(receive(&mut card, &bytes_to([0xff; 6], 60)), Reception::Down);
    card.reset();
    assert_eq!(input(&mut card, 0), 0x21);
    assert!(card.device.link_is_up, "the cable stays");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any accesses with frames in between: the bench asserts what every device owes, and the card works
    /// afterwards.
    #[test]
    fn any_accesses_leave_a_card_that_can_be_started(
        steps in prop::collection::vec((0_u8..8, 0_u64..0x28, any::<u16>()), 0..300),
    ) {
        let mut card = card();
        for (kind, port, value) in steps {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][usize::from(value & 3)];
            match kind {
                0 => _ = card.read(port, width),
                1 => _ = card.read_string(port, width, &mut std::vec![0; usize::from(value & 0xff8)]),
                2 => _ = card.write_string(port, width, &std::vec![kind; usize::from(value & 0xff8)]),
                3 => _ = receive(&mut card, &bytes_to(MAC.0, 14 + usize::from(value % 1505))),
                4 => _ = transmit(&mut card),
                _ => card.write(port, width, value.into()),
            }
        }
        input(&mut card, RESET_PORT);
        let mut driver = super::linux::take_over(card);
        prop_assert_eq!(receive(&mut driver.card, &bytes_to([0xff; 6], 60)), Reception::Taken);
        prop_assert_eq!(driver.receive_all(), [bytes_to([0xff; 6], 60)]);
    }
}
