//! What is before each frame in memory, and what the sender of a frame left to do.

use network::{Checksum, Frame, Offload, SMALLEST_SEGMENT_BYTES, SegmentKind, Segmentation};
use spec::ethernet::HEADER_BYTES;
use spec::virtio::net::{Header, feature};

/// What the driver left to do of a frame of `bytes` bytes. `None` where it may not leave that, or it is
/// not in the frame (section 5.1.6.2.1).
pub fn decode(header: &Header, bytes: usize, features: u64) -> Option<Offload> {
    let checksum = decode_checksum(header, bytes, features)?;
    let (kind, needed) = match header.cut {
        Header::CUT_NONE => return Some(Offload { checksum, segmentation: None }),
        Header::CUT_TCP4 => (SegmentKind::Tcp4, feature::HOST_TCP4),
        Header::CUT_TCP6 => (SegmentKind::Tcp6, feature::HOST_TCP6),
        _ => return None,
    };
    // What is cut gets its checksums then, so they are left out of the whole.
    let is_right = features & needed != 0
        && matches!(checksum, Checksum::Missing { .. })
        && header.segment_bytes >= SMALLEST_SEGMENT_BYTES
        && usize::from(header.header_bytes) <= bytes;
    let segment_bytes = header.segment_bytes;
    let cut = Segmentation { kind, ecn: false, segment_bytes, header_bytes: header.header_bytes };
    is_right.then_some(Offload { checksum, segmentation: Some(cut) })
}

fn decode_checksum(header: &Header, bytes: usize, features: u64) -> Option<Checksum> {
    if header.flags & Header::FLAG_NEEDS_CHECKSUM == 0 {
        return Some(Checksum::InPlace);
    }
    let (start, offset) = (header.checksum_start, header.checksum_offset);
    let is_right = features & feature::CHECKSUM != 0
        && usize::from(start) >= HEADER_BYTES
        && usize::from(start) + usize::from(offset) + 2 <= bytes;
    is_right.then_some(Checksum::Missing { start, offset })
}

/// Whether a frame that is to be cut can be.
pub fn can_be_cut(frame: &Frame) -> bool {
    frame.offload.segmentation.is_none() || frame.segments().is_some()
}

/// What tells the driver of what is left to do. `None` where the driver does not do that.
pub fn encode(offload: Offload, features: u64) -> Option<Header> {
    let takes = |needed: u64| features & needed != 0;
    let mut header = Header { buffers: 1, ..Header::default() };
    match offload.checksum {
        Checksum::Missing { start, offset } if takes(feature::GUEST_CHECKSUM) => {
            header.flags = Header::FLAG_NEEDS_CHECKSUM;
            (header.checksum_start, header.checksum_offset) = (start, offset);
        }
        Checksum::Missing { .. } => return None,
        Checksum::Good if takes(feature::GUEST_CHECKSUM) => header.flags = Header::FLAG_VALID,
        Checksum::Good | Checksum::InPlace => {}
    }
    if let Some(cut) = offload.segmentation {
        let (kind, needed) = match cut.kind {
            SegmentKind::Tcp4 => (Header::CUT_TCP4, feature::GUEST_TCP4),
            SegmentKind::Tcp6 => (Header::CUT_TCP6, feature::GUEST_TCP6),
        };
        if cut.ecn || !takes(needed) {
            return None;
        }
        header.cut = kind;
        (header.segment_bytes, header.header_bytes) = (cut.segment_bytes, cut.header_bytes);
    }
    Some(header)
}
