use super::*;
use crate::offload::Checksum;
use alloc::vec::Vec;
use proptest::prelude::*;

/// A large TCP packet, tagged or not, with so many words of TCP options.
fn packet(kind: SegmentKind, tagged: bool, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    if tagged {
        bytes.extend([0x81, 0, 0, 9]);
    }
    match kind {
        SegmentKind::Tcp4 => {
            bytes.extend([0x08, 0x00, 0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, 6, 0, 0]);
            bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        }
        SegmentKind::Tcp6 => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
            bytes.extend([0xfd; 32]);
        }
    }
    let flags = tcp::FIN | tcp::PSH | tcp::CWR | 0x10;
    bytes.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 7, ((5 + options) << 4) as u8, flags]);
    bytes.extend([0x20, 0, 0xaa, 0xbb, 0, 0]);
    bytes.extend(core::iter::repeat_n([1, 1, 1, 0], options).flatten());
    bytes.extend(payload);
    bytes
}

fn frame(bytes: &[u8], kind: SegmentKind, segment_bytes: u16) -> Frame {
    let mut frame = Frame::new();
    frame.append(bytes).unwrap();
    frame.offload.segmentation = Some(Segmentation { kind, ecn: true, segment_bytes, header_bytes: 0 });
    frame.offload.checksum = Checksum::Missing { start: 34, offset: 16 };
    frame
}

fn all(frame: &Frame) -> Vec<Vec<u8>> {
    let mut segments = frame.segments().expect("it makes sense");
    let (mut into, mut told) = (Frame::new(), Vec::new());
    let (count, largest) = (segments.left(), segments.largest_bytes());
    while segments.next_into(&mut into) {
        assert_eq!(into.offload, Offload::default());
        assert!(into.len() <= largest);
        told.push(into.bytes().to_vec());
        assert_eq!(segments.left() + told.len(), count);
    }
    assert!(into.is_empty());
    assert_eq!(told.iter().map(Vec::len).max(), Some(largest));
    told
}

/// The sum over what a receiver checks: 0xffff where the checksum is right. Written plainly, to
/// be another way than that of the code.
fn plain_sum(pieces: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = pieces.concat();
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn check(kind: SegmentKind, tagged: bool, options: usize, payload: &[u8], segment_bytes: u16) {
    let bytes = packet(kind, tagged, options, payload);
    let segments = all(&frame(&bytes, kind, segment_bytes));
    let ip = if tagged { 18 } else { 14 };
    let ip_bytes = if kind == SegmentKind::Tcp4 { 20 } else { 40 };
    let (tcp, data) = (ip + ip_bytes, ip + ip_bytes + 20 + 4 * options);
    assert_eq!(segments.len(), payload.len().div_ceil(segment_bytes.into()));
    let mut joined: Vec<u8> = Vec::new();
    for (place, segment) in segments.iter().enumerate() {
        let (header, body) = segment[ip..].split_at(ip_bytes);
        let number = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
        let pseudo = [0, 6, (body.len() >> 8) as u8, body.len() as u8];
        match kind {
            SegmentKind::Tcp4 => {
                assert_eq!(usize::from(number(ip + 2)), segment.len() - ip);
                assert_eq!(number(ip + 4), 0xffff_u16.wrapping_add(place as u16));
                assert_eq!(plain_sum(&[header]), 0xffff);
                assert_eq!(plain_sum(&[&header[12..], &pseudo, body]), 0xffff);
            }
            SegmentKind::Tcp6 => {
                assert_eq!(usize::from(number(ip + 4)), body.len());
                assert_eq!(plain_sum(&[&header[8..], &pseudo, body]), 0xffff);
            }
        }
        let sequence = u32::from_be_bytes(segment[tcp + 4..tcp + 8].try_into().unwrap());
        assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(joined.len() as u32));
        let is_last = place + 1 == segments.len();
        let flags = segment[tcp + 13];
        assert_eq!(flags & (tcp::FIN | tcp::PSH), if is_last { tcp::FIN | tcp::PSH } else { 0 });
        assert_eq!(flags & tcp::CWR != 0, place == 0);
        assert_eq!(flags & 0x10, 0x10);
        assert_eq!(segment[..ip], bytes[..ip]);
        assert_eq!(segment[tcp + 20..data], bytes[tcp + 20..data]);
        assert!(segment.len() - data == usize::from(segment_bytes) || is_last);
        joined.extend(&segment[data..]);
    }
    assert_eq!(joined, payload);
}

#[test]
fn the_largest_packet_is_cut_into_a_bounded_number() {
    let payload = [0xa5; 65_535 - 40];
    let bytes = packet(SegmentKind::Tcp4, true, 0, &payload);
    assert_eq!(all(&frame(&bytes, SegmentKind::Tcp4, 64)).len(), 1024);
    assert!(frame(&bytes, SegmentKind::Tcp4, 63).segments().is_none());
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let right = packet(SegmentKind::Tcp4, false, 1, &[0; 3000]);
    let six = packet(SegmentKind::Tcp6, false, 0, &[0; 3000]);
    let refused = |bytes: &[u8], kind| frame(bytes, kind, 1460).segments().is_none();
    let with = |at: usize, byte: u8| {
        let mut bytes = right.clone();
        bytes[at] = byte;
        refused(&bytes, SegmentKind::Tcp4)
    };
    assert!(!with(0, 0));
    for (at, byte, what) in [
        (12, 9, "another type"),
        (14, 0x55, "another version"),
        (14, 0x44, "a header that is too short"),
        (20, 0x20, "more fragments"),
        (21, 1, "a fragment"),
        (23, 17, "UDP"),
        (46, 0x40, "a TCP header that is too short"),
    ] {
        assert!(with(at, byte), "{what}");
    }
    assert!(refused(&right, SegmentKind::Tcp6) && refused(&six, SegmentKind::Tcp4));
    let mut options = six.clone();
    options[20] = 0;
    assert!(refused(&options, SegmentKind::Tcp6), "an option of IPv6");
    for (bytes, data, kind) in [(right, 58, SegmentKind::Tcp4), (six, 74, SegmentKind::Tcp6)] {
        for cut in 0..=data {
            assert!(refused(&bytes[..cut], kind), "{cut}");
        }
        assert!(!refused(&bytes[..=data], kind));
    }
}

#[test]
fn a_segment_that_no_length_can_say_is_refused() {
    let bytes = packet(SegmentKind::Tcp4, false, 0, &[0; 65_499]);
    assert!(frame(&bytes, SegmentKind::Tcp4, 65_495).segments().is_some());
    assert!(frame(&bytes, SegmentKind::Tcp4, 65_496).segments().is_none());
}

#[test]
fn a_frame_that_is_not_to_be_cut_has_no_segments() {
    let mut frame = frame(&packet(SegmentKind::Tcp4, false, 0, &[0; 3000]), SegmentKind::Tcp4, 1000);
    frame.offload = Offload::default();
    assert!(frame.segments().is_none());
}

proptest! {
    #[test]
    fn segments_are_right_and_join_again(
        six: bool, tagged: bool, options in 0..=10_usize,
        payload in prop::collection::vec(any::<u8>(), 1..4000), segment_bytes in 64..2000_u16
    ) {
        let kind = if six { SegmentKind::Tcp6 } else { SegmentKind::Tcp4 };
        check(kind, tagged, options, &payload, segment_bytes);
    }

    #[test]
    fn whatever_the_headers_are_segments_end(
        mut bytes in prop::collection::vec(any::<u8>(), 0..2000), six: bool, right in 0..60_usize,
        segment_bytes: u16
    ) {
        let kind = if six { SegmentKind::Tcp6 } else { SegmentKind::Tcp4 };
        for (byte, right) in bytes.iter_mut().zip(packet(kind, false, 0, &[]).iter().take(right)) {
            *byte = *right;
        }
        let frame = frame(&bytes, kind, segment_bytes);
        if let Some(mut segments) = frame.segments() {
            let (mut into, left) = (Frame::new(), segments.left());
            for _ in 0..left {
                prop_assert!(segments.next_into(&mut into));
            }
            prop_assert!(!segments.next_into(&mut into) && left <= 1024);
        }
    }
}
