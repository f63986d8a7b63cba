use super::*;
use crate::offload::{SegmentKind, Segmentation};
use alloc::vec::Vec;
use proptest::prelude::*;

fn frame(bytes: &[u8]) -> Frame {
    let mut frame = Frame::new();
    frame.append(bytes).unwrap();
    frame
}

fn copied(frame: &Frame, tagging: Tagging) -> Option<Frame> {
    let mut copy = Frame::new();
    copy.assign(&frame.parts(tagging)?).map(|()| copy)
}

#[test]
fn a_frame_has_room_for_the_largest_and_no_more() {
    let mut frame = Frame::new();
    assert!(frame.is_empty() && frame.bytes().is_empty() && frame.destination().is_none());
    assert_eq!(frame.room().len(), 65_553);
    assert_eq!(frame.set_len(65_554), None);
    assert_eq!(frame.len(), 0);
    frame.set_len(65_552).unwrap();
    assert_eq!(frame.append(&[1, 2]), None);
    frame.append(&[1]).unwrap();
    assert_eq!((frame.len(), frame.bytes().last()), (65_553, Some(&1)));
    let mut other = Frame::new();
    let vlan = Vlan::new(7).unwrap();
    assert_eq!(other.assign(&frame.parts(Tagging::Insert(vlan)).unwrap()), None);
    assert!(other.is_empty());
    frame.clear();
    assert!(frame.bytes_mut().is_empty());
}

#[test]
fn addresses_and_tag_are_told_where_they_are_whole() {
    let whole = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x81, 0, 0x60, 5, 8, 0];
    let frame_of = |bytes: usize| frame(&whole[..bytes]);
    assert_eq!(frame_of(5).destination(), None);
    assert_eq!(frame_of(11).source(), None);
    assert_eq!(frame_of(12).destination(), Some(MacAddress([1, 2, 3, 4, 5, 6])));
    assert_eq!(frame_of(12).source(), Some(MacAddress([7, 8, 9, 10, 11, 12])));
    assert_eq!((frame_of(13).kind(), frame_of(14).kind()), (None, Some(0x8100)));
    assert_eq!((frame_of(17).tag(), frame_of(18).tag()), (None, Some(0x6005)));
    assert_eq!(frame_of(18).vlan(), Vlan::new(5));
    for (control, vlan) in [(0x6000_u16, None), (0x0fff, None), (0x0ffe, Vlan::new(0xffe))] {
        let mut frame = frame_of(18);
        frame.bytes_mut()[14..16].copy_from_slice(&control.to_be_bytes());
        assert_eq!(frame.vlan(), vlan, "{control:#x}");
    }
}

#[test]
fn a_checksum_is_computed_over_what_the_sender_says() {
    // RFC 1071 section 3: the sum of these bytes is 0xddf2.
    let mut frame = frame(&[9, 9, 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0]);
    frame.offload.checksum = Checksum::Missing { start: 2, offset: 8 };
    frame.finish_checksum().unwrap();
    assert_eq!(frame.bytes()[10..], (!0xddf2_u16).to_be_bytes());
    assert_eq!(frame.offload.checksum, Checksum::InPlace);
    // What is computed already is left alone.
    frame.bytes_mut()[10] = 1;
    frame.finish_checksum().unwrap();
    assert_eq!(frame.bytes()[10], 1);
}

#[test]
fn a_checksum_is_never_zero() {
    let mut frame = frame(&[0xff, 0xff, 0, 0]);
    frame.offload.checksum = Checksum::Missing { start: 0, offset: 2 };
    frame.finish_checksum().unwrap();
    assert_eq!(frame.bytes()[2..], [0xff, 0xff]);
}

#[test]
fn a_checksum_outside_of_the_frame_is_refused() {
    for (start, offset) in [(0, 9), (10, 0), (9, 0), (11, 0), (8, 1), (65_535, 65_535), (0, 65_535)] {
        let mut frame = frame(&[1; 10]);
        frame.offload.checksum = Checksum::Missing { start, offset };
        assert_eq!(frame.finish_checksum(), None, "{start} {offset}");
        assert_eq!(frame.bytes(), [1; 10]);
    }
    let mut large = frame(&[1; 10]);
    large.offload.checksum = Checksum::Missing { start: 0, offset: 0 };
    large.offload.segmentation =
        Some(Segmentation { kind: SegmentKind::Tcp4, ecn: false, segment_bytes: 100, header_bytes: 54 });
    assert_eq!(large.finish_checksum(), None);
}

proptest! {
    #[test]
    fn a_tag_that_is_put_in_can_be_left_out(
        bytes in prop::collection::vec(any::<u8>(), 14..200), number in 1..=4094_u16, start: u16, cut: Option<u16>
    ) {
        let mut before = frame(&bytes);
        before.offload.checksum = Checksum::Missing { start: start.min(65_000), offset: 3 };
        before.offload.segmentation = cut.map(|bytes| Segmentation {
            kind: SegmentKind::Tcp6, ecn: true, segment_bytes: 1, header_bytes: bytes.min(65_000),
        });
        let vlan = Vlan::new(number).unwrap();
        let tagged = copied(&before, Tagging::Insert(vlan)).unwrap();
        prop_assert_eq!((tagged.vlan(), tagged.len()), (Some(vlan), bytes.len() + 4));
        let after = copied(&tagged, Tagging::Untag).unwrap();
        prop_assert_eq!((after.bytes(), after.offload), (before.bytes(), before.offload));
        let kept = copied(&tagged, Tagging::Keep).unwrap();
        prop_assert_eq!((kept.bytes(), kept.offload), (tagged.bytes(), tagged.offload));
    }

    #[test]
    fn whatever_a_frame_is_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..64), start in 0..80_u16, offset in 0..80_u16, tag: bool
    ) {
        let mut frame = frame(&bytes);
        if let Some([a, b]) = frame.bytes_mut().get_mut(12..14).filter(|_| tag) {
            (*a, *b) = (0x81, 0);
        }
        frame.offload.checksum = Checksum::Missing { start, offset };
        let vlan = Vlan::new(1).unwrap();
        let all = [Tagging::Keep, Tagging::Untag, Tagging::Insert(vlan)];
        let sizes: Vec<_> = all.iter().map(|tagging| frame.parts(*tagging).map(|parts| parts.bytes())).collect();
        let length = bytes.len();
        prop_assert_eq!(sizes[0], (length >= 14).then_some(length));
        prop_assert_eq!(sizes[1], (length >= 18 && frame.kind() == Some(0x8100) && start >= 4).then(|| length - 4));
        prop_assert_eq!(sizes[2], (length >= 14).then_some(length + 4));
        let fits = usize::from(start) + usize::from(offset) + 2 <= length;
        prop_assert_eq!(frame.finish_checksum().is_some(), fits);
    }
}
