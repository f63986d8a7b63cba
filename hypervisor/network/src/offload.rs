//! What the sender of a frame left for others to do.

/// What is known of the checksum of a frame's TCP or UDP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// It stands in the frame, right or wrong, or there is none.
    #[default]
    InPlace,
    /// It is to be computed, over all bytes from `start` on, and written at `start + offset`, where
    /// the sum over the pseudo header stands until then. Bytes from the frame's first.
    Missing {
        /// Where the header starts.
        start: u16,
        /// Where in the header the checksum is.
        offset: u16,
    },
    /// It was checked, or never left this machine: the receiver need not check it.
    Good,
}

/// Which packets a large frame is cut into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// A frame that is larger than what the wire carries, to be cut into segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segmentation {
    /// What it is cut into.
    pub kind: SegmentKind,
    /// CWR may be set, which is of the first segment alone (RFC 3168).
    pub ecn: bool,
    /// Bytes of TCP payload in each segment but the last.
    pub segment_bytes: u16,
    /// Bytes before the TCP payload, by the sender's word: nothing here relies on it.
    pub header_bytes: u16,
}

/// All that the sender left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// What is known of the checksum.
    pub checksum: Checksum,
    /// What the frame is cut into, if it is. [`Frame::segments`](crate::Frame::segments) computes
    /// each segment's checksum then.
    pub segmentation: Option<Segmentation>,
}

impl Offload {
    /// The same for a frame that has `bytes` more bytes behind its addresses (a VLAN tag), or as
    /// many less if negative. `None` where the checksum's header would start outside.
    pub(crate) fn moved(self, bytes: i16) -> Option<Self> {
        let checksum = match self.checksum {
            Checksum::Missing { start, offset } => {
                Checksum::Missing { start: start.checked_add_signed(bytes)?, offset }
            }
            other => other,
        };
        let segmentation = match self.segmentation {
            Some(cut) => {
                let header_bytes = cut.header_bytes.saturating_add_signed(bytes);
                Some(Segmentation { header_bytes, ..cut })
            }
            None => None,
        };
        Some(Self { checksum, segmentation })
    }
}
