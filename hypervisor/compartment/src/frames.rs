//! What the sender of a frame left to do, in words, and the frame in a call's data.

use crate::ended::Ended;
use network::{Checksum, Frame, Offload, Parts, SegmentKind, Segmentation};

/// Words of it.
pub const OFFLOAD_WORDS: usize = 2;

const IN_PLACE: u64 = 0;
const GOOD: u64 = 1;
const MISSING: u64 = 2;
const CUT: u64 = 1;
const TCP6: u64 = 2;
const ECN: u64 = 4;

/// Puts it in words.
pub fn encode(offload: &Offload) -> [u64; OFFLOAD_WORDS] {
    let checksum = match offload.checksum {
        Checksum::InPlace => IN_PLACE,
        Checksum::Good => GOOD,
        Checksum::Missing { start, offset } => MISSING | u64::from(start) << 16 | u64::from(offset) << 32,
    };
    let segmentation = offload.segmentation.map_or(0, |cut| {
        let kind = if cut.kind == SegmentKind::Tcp6 { TCP6 } else { 0 };
        let ecn = if cut.ecn { ECN } else { 0 };
        CUT | kind | ecn | u64::from(cut.segment_bytes) << 16 | u64::from(cut.header_bytes) << 32
    });
    [checksum, segmentation]
}

/// What these words say. Nothing relies on its being true.
///
/// # Errors
/// They name a checksum of no kind.
pub fn decode([checksum, segmentation]: [u64; OFFLOAD_WORDS]) -> Result<Offload, Ended> {
    let checksum = match checksum & 0xffff {
        IN_PLACE => Checksum::InPlace,
        GOOD => Checksum::Good,
        MISSING => Checksum::Missing { start: (checksum >> 16) as u16, offset: (checksum >> 32) as u16 },
        _ => return Err(Ended::Answer("a checksum of no kind")),
    };
    let segmentation = (segmentation & CUT != 0).then_some(Segmentation {
        kind: if segmentation & TCP6 != 0 { SegmentKind::Tcp6 } else { SegmentKind::Tcp4 },
        ecn: segmentation & ECN != 0,
        segment_bytes: (segmentation >> 16) as u16,
        header_bytes: (segmentation >> 32) as u16,
    });
    Ok(Offload { checksum, segmentation })
}

/// Copies the frame that `parts` make into the data of a call. How many bytes it has; `None` where there is no
/// room for it.
pub fn put(parts: &Parts<'_>, data: &mut [u8]) -> Option<usize> {
    let mut end = 0;
    for piece in parts.pieces() {
        let start = end;
        end += piece.len();
        data.get_mut(start..end)?.copy_from_slice(piece);
    }
    Some(end)
}

/// Makes `frame` a copy of the data. `None`, and it is empty, where it has no room for it.
pub fn get(data: &[u8], offload: Offload, frame: &mut Frame) -> Option<()> {
    frame.clear();
    frame.append(data)?;
    frame.offload = offload;
    Some(())
}
