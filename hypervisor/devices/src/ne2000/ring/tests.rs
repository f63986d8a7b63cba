use super::super::remote::Remote;
use super::*;
use network::{Frame, Tagging};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

fn frame(bytes: &[u8]) -> Frame {
    let mut frame = Frame::new();
    frame.append(bytes).unwrap();
    frame
}

fn memory() -> Memory {
    Remote::new(MacAddress([2; 6])).memory
}

/// A driver's side: takes frames as Linux does, BNRY being the page before the next one to read.
fn take(ring: &mut Ring, memory: &Memory) -> Option<Vec<u8>> {
    let size = ring.stop - ring.start;
    let page = if ring.boundary + 1 >= ring.stop { ring.start } else { ring.boundary + 1 };
    if page == ring.current {
        return None;
    }
    let at = usize::from(page) * PAGE_BYTES;
    let [status, next, low, high] = *memory.piece(at, 4).unwrap().first_chunk().unwrap();
    assert_eq!(status & 0xf, status::RECEIVED);
    assert!((ring.start..ring.stop).contains(&next));
    let bytes = usize::from(u16::from_le_bytes([low, high])) - FCS_BYTES;
    let pages = 1 + ((bytes + 4) >> 8) as u8;
    let places = [pages, pages + 1].map(|pages| ring.start + (page - ring.start + pages) % size);
    assert!(places.contains(&next), "{page} {bytes} {next}");
    let (start, stop) = (usize::from(ring.start) * PAGE_BYTES, usize::from(ring.stop) * PAGE_BYTES);
    let byte = |place| {
        let at = at + 4 + place;
        memory.piece(if at < stop { at } else { at - stop + start }, 1).unwrap()[0]
    };
    let frame = (0..bytes).map(byte).collect();
    ring.boundary = if next == ring.start { ring.stop - 1 } else { next - 1 };
    Some(frame)
}

/// The checksum by the reflected polynomial, turned round: another way to the same.
#[test]
fn the_filter_has_the_bit_of_the_addresses_checksum() {
    let plain = |address: [u8; 6]| {
        let mut crc = !0_u32;
        for byte in address {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            }
        }
        crc.reverse_bits()
    };
    for address in [[1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [0xff; 6], [1, 0x80, 0xc2, 0, 0, 0xe]] {
        assert_eq!(crc(MacAddress(address)), plain(address));
    }
}

#[test]
fn only_what_is_asked_for_is_wanted() {
    let station = [2, 0, 0, 0, 0, 9];
    let group = [1, 0, 0x5e, 0, 0, 1];
    let bit = 1 << (crc(MacAddress(group)) >> 26);
    let to = |ring: &Ring, destination: [u8; 6]| {
        let frame = frame(&[&destination[..], &[2; 6], &[8, 0]].concat());
        ring.wants(&frame.parts(Tagging::Keep).unwrap())
    };
    let all = [station, [2, 0, 0, 0, 0, 8], group, [0xff; 6]];
    for (config, multicast, wanted) in [
        (0, !0, [true, false, false, false]),
        (config::BROADCAST, !0, [true, false, false, true]),
        (config::MULTICAST, bit, [true, false, true, false]),
        (config::MULTICAST, !bit, [true, false, false, false]),
        (config::PROMISCUOUS, 0, [true, true, false, false]),
    ] {
        let ring = Ring { config, multicast, station, ..Ring::default() };
        assert_eq!(all.map(|destination| to(&ring, destination)), wanted, "{config:#x}");
    }
}

/// Every ring that there can be, with every CURR and some BNRY: nothing is received where there is no
/// ring, and never outside of it (CVE-2015-5279, CVE-2016-2841).
#[test]
fn no_registers_lead_outside_of_the_memory() {
    let mut memory = memory();
    memory.buffer.fill(0xee);
    let large = frame(&[2; 1514]);
    let parts = large.parts(Tagging::Keep).unwrap();
    for start in 0..=255_u8 {
        for stop in (0..=255_u8).step_by(3).chain([FIRST, END, start]) {
            for current in [0, 0x3f, 0x40, 0x7f, 0x80, 0xff, start, stop, stop.wrapping_sub(1)] {
                for boundary in [0, 0xff, start, stop, current, current.wrapping_add(7)] {
                    let mut ring = Ring { start, stop, boundary, current, ..Ring::default() };
                    let before = ring;
                    let is_ring = start >= FIRST && stop <= END && (start..stop).contains(&current);
                    let is_put = ring.put(&parts, &mut memory);
                    assert!(is_ring && stop - start > 6 || !is_put, "{before:x?}");
                    if is_put {
                        assert!((start..stop).contains(&ring.current));
                        assert_ne!(ring.current, boundary);
                    } else {
                        assert_eq!(ring, before);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Frames come out as they went in, padded, in order, and none is written over before it is read.
    #[test]
    fn it_is_a_queue(
        start in FIRST..0x70,
        size in 8_u8..16,
        steps in prop::collection::vec(prop::option::of((14_usize..1519, any::<u8>())), 0..120),
    ) {
        let mut memory = memory();
        let stop = (start + size).min(END);
        let mut ring = Ring { start, stop, boundary: stop - 1, current: start, ..Ring::default() };
        let mut queue = VecDeque::new();
        let mut used = 0;
        let pages = |bytes: usize| (bytes.max(60) + 8).div_ceil(PAGE_BYTES);
        for step in steps {
            let Some((length, byte)) = step else {
                let taken = take(&mut ring, &memory);
                used -= taken.as_ref().map_or(0, |frame| pages(frame.len()));
                prop_assert_eq!(taken, queue.pop_front());
                continue;
            };
            let bytes: Vec<u8> = (0..length).map(|place| byte.wrapping_add(place as u8)).collect();
            let is_put = ring.put(&frame(&bytes).parts(Tagging::Keep).unwrap(), &mut memory);
            let size = usize::from(stop - start);
            prop_assert_eq!(is_put, used + pages(length) < size - 1, "used {} of {}", used, size);
            if is_put {
                used += pages(length);
                let mut padded = bytes;
                padded.resize(length.max(60), 0);
                queue.push_back(padded);
            }
        }
        let outside = memory.buffer.iter().zip(0x4000..).filter(|(_, at)| !(usize::from(start) << 8..usize::from(stop) << 8).contains(at));
        prop_assert!(outside.into_iter().all(|(byte, _)| *byte == 0));
    }
}
