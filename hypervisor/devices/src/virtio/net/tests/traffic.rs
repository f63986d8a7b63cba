//! Any traffic of a driver that does as it should.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Frames come out at one end as they went in at the other, in their order, through buffers of any
    /// size; none is lost where there is room.
    #[test]
    fn frames_come_as_they_are(
        merges: bool,
        is_packed: bool,
        steps in prop::collection::vec((0_u8..3, 14_usize..1500, 13_u32..3000), 0..120),
    ) {
        let features = if merges { USUAL } else { USUAL & !feature::MERGEABLE };
        let packed = if is_packed { common_feature::RING_PACKED } else { 0 };
        let mut card = Card::with(features | packed);
        let mut buffers = VecDeque::new();
        let mut at = 0_u64;
        for (step, length, size) in steps {
            let bytes = tcp4(1500)[..length].to_vec();
            match step {
                0 => {
                    let header = Header::default().encode();
                    let sizes = [size as usize % 20, 1 + size as usize % 700];
                    let sent = card.send_bytes(&[&header[..], &bytes].concat(), &sizes).unwrap();
                    prop_assert_eq!(sent.bytes(), &bytes);
                }
                1 if buffers.len() < 100 => {
                    let gpa = DATA + 0x1_0000 + at % 0xa_0000;
                    at += 3000;
                    let memory = &card.guest.bench.memory;
                    let halves = [(gpa, size / 2), (gpa + u64::from(size / 2), size - size / 2)];
                    card.guest.rings[queue::RECEIVE].add(memory, &halves, 2, true).unwrap();
                    buffers.push_back((gpa, size as usize));
                }
                _ => {
                    let needed = Header::BYTES + length;
                    let mut room = buffers.iter().scan(0, |sum, (_, size)| {
                        *sum += size;
                        Some(*sum)
                    });
                    let count = room.position(|sum| sum >= needed).filter(|count| merges || *count == 0);
                    let reception = card.receive(&frame(&bytes, PLAIN));
                    let expected = match count {
                        Some(_) => Reception::Taken,
                        None if merges || buffers.is_empty() => Reception::NoRoom,
                        None => Reception::Unfit,
                    };
                    prop_assert_eq!(reception, expected);
                    let Some(count) = count else { continue };
                    let mut received = Vec::new();
                    for (gpa, size) in buffers.drain(..=count) {
                        let memory = &card.guest.bench.memory;
                        let (_, written) = card.guest.rings[queue::RECEIVE].take_used(memory).unwrap();
                        prop_assert!(written as usize <= size);
                        let mut piece = vec![0; written as usize];
                        memory.read(Gpa(gpa), &mut piece).unwrap();
                        received.extend(piece);
                    }
                    let header = Header::decode(*received.first_chunk().unwrap());
                    prop_assert_eq!(usize::from(header.buffers), count + 1);
                    prop_assert_eq!(&received[Header::BYTES..], &bytes);
                }
            }
        }
        prop_assert!(!card.needs_reset());
    }
}
