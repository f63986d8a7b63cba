//! Segmentation in software, for who takes no frame that is larger than its wire.

use crate::checksum::Sum;
use crate::frame::Frame;
use crate::offload::{Offload, SegmentKind, Segmentation};
use core::num::NonZero;
use spec::ethernet::{HEADER_BYTES, TAG_BYTES, TYPE, TYPE_IPV4, TYPE_IPV6, TYPE_VLAN};
use spec::ip::{PROTOCOL_TCP, tcp, v4, v6};

#[cfg(test)]
mod tests;

/// The least payload that a segment may be asked to have, so that no frame is cut into more than
/// 1,024. (The least MTU of IPv4's hosts is 576 bytes, RFC 791.)
pub const SMALLEST_SEGMENT_BYTES: u16 = 64;

/// How far a frame is that is cut into segments over several turns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cut {
    /// Segments that were made of it.
    pub told: u16,
    /// How many more may be made now.
    pub most: u16,
    /// More are left.
    pub goes_on: bool,
}

impl Cut {
    /// Gives `give` the next segments of `frame`, made in `spare`, until it fails, as many as may be.
    /// `None` where its headers make no sense.
    ///
    /// # Errors
    /// What `give` failed with; then no more are left.
    pub fn give<E>(
        &mut self,
        frame: &Frame,
        spare: &mut Frame,
        mut give: impl FnMut(&mut Frame) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        self.goes_on = false;
        let mut segments = frame.segments()?.skip(self.told);
        while self.most > 0 && segments.next_into(spare) {
            if let Err(error) = give(spare) {
                return Some(Err(error));
            }
            self.told = self.told.saturating_add(1);
            self.most -= 1;
        }
        self.goes_on = segments.left() > 0;
        Some(Ok(()))
    }
}

/// The segments of one frame, one after the other.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    kind: SegmentKind,
    /// Where IP's and TCP's headers start.
    ip: usize,
    tcp: usize,
    segment_bytes: NonZero<usize>,
    /// How many were told, and the bytes of payload in them.
    told: u16,
    told_bytes: usize,
}

impl Frame {
    /// The segments that the frame is to be cut into. `None` where it is to be cut into none, or
    /// its headers make no sense.
    pub fn segments(&self) -> Option<Segments<'_>> {
        Segments::new(self.bytes(), self.offload.segmentation?)
    }
}

impl<'a> Segments<'a> {
    /// The segments of `frame`. `None` where its headers are not those of one whole TCP packet
    /// with a payload, or no option of IPv6 is known here.
    fn new(frame: &'a [u8], cut: Segmentation) -> Option<Self> {
        if cut.segment_bytes < SMALLEST_SEGMENT_BYTES {
            return None;
        }
        let ip = match number(frame, TYPE)? {
            TYPE_VLAN => HEADER_BYTES + TAG_BYTES,
            _ => HEADER_BYTES,
        };
        let (header, kind) = (frame.get(ip..)?, number(frame, ip - 2)?);
        let tcp = ip
            + match (cut.kind, kind) {
                (SegmentKind::Tcp4, TYPE_IPV4) => check_v4(header)?,
                (SegmentKind::Tcp6, TYPE_IPV6) => check_v6(header)?,
                _ => return None,
            };
        let header_words = usize::from(*frame.get(tcp + tcp::DATA_OFFSET)? >> 4);
        let tcp_bytes = Some(header_words * 4).filter(|bytes| *bytes >= tcp::HEADER_BYTES)?;
        let (headers, payload) = frame.split_at_checked(tcp + tcp_bytes)?;
        let segment_bytes = NonZero::new(usize::from(cut.segment_bytes))?;
        // What IP's length can say of a segment.
        let fits = tcp_bytes + segment_bytes.get().min(payload.len()) + (tcp - ip) <= usize::from(u16::MAX);
        (fits && !payload.is_empty()).then_some(Self {
            headers,
            payload,
            kind: cut.kind,
            ip,
            tcp,
            segment_bytes,
            told: 0,
            told_bytes: 0,
        })
    }

    /// Leaves out the first `segments` of those that are yet to come.
    #[must_use]
    pub fn skip(mut self, segments: u16) -> Self {
        self.told = self.told.saturating_add(segments);
        let skipped = self.segment_bytes.get().saturating_mul(segments.into());
        self.told_bytes = self.told_bytes.saturating_add(skipped).min(self.payload.len());
        self
    }

    /// How many are yet to come, 1,024 at most.
    pub fn left(&self) -> usize {
        (self.payload.len() - self.told_bytes.min(self.payload.len())).div_ceil(self.segment_bytes.get())
    }

    /// Bytes of the largest of them, headers included.
    pub fn largest_bytes(&self) -> usize {
        self.headers.len() + self.segment_bytes.get().min(self.payload.len())
    }

    /// Makes the next one of `into`, all checksums computed. False, and `into` is empty, where
    /// there is none any more.
    pub fn next_into(&mut self, into: &mut Frame) -> bool {
        into.clear();
        let made = self.make(into);
        if made.is_none() {
            into.clear();
        }
        made.is_some()
    }

    fn make(&mut self, into: &mut Frame) -> Option<()> {
        let rest = self.payload.get(self.told_bytes..).filter(|rest| !rest.is_empty())?;
        let (payload, behind) = rest.split_at_checked(self.segment_bytes.get().min(rest.len()))?;
        into.append(self.headers)?;
        into.append(payload)?;
        into.offload = Offload::default();
        let (_, packet) = into.bytes_mut().split_at_mut_checked(self.ip)?;
        let (ip, tcp) = packet.split_at_mut_checked(self.tcp - self.ip)?;
        self.fix_ip(ip, tcp.len())?;
        self.fix_tcp(ip, tcp, behind.is_empty())?;
        self.told = self.told.wrapping_add(1);
        self.told_bytes += payload.len();
        Some(())
    }

    fn fix_ip(&self, ip: &mut [u8], tcp_bytes: usize) -> Option<()> {
        match self.kind {
            SegmentKind::Tcp6 => put(ip, v6::PAYLOAD_LENGTH, u16::try_from(tcp_bytes).ok()?.to_be_bytes()),
            SegmentKind::Tcp4 => {
                let total = u16::try_from(ip.len() + tcp_bytes).ok()?;
                put(ip, v4::TOTAL_LENGTH, total.to_be_bytes())?;
                let identification = number(ip, v4::IDENTIFICATION)?.wrapping_add(self.told);
                put(ip, v4::IDENTIFICATION, identification.to_be_bytes())?;
                put(ip, v4::CHECKSUM, [0; 2])?;
                let checksum = Sum::default().add(ip).finish();
                put(ip, v4::CHECKSUM, checksum.to_be_bytes())
            }
        }
    }

    fn fix_tcp(&self, ip: &[u8], tcp: &mut [u8], is_last: bool) -> Option<()> {
        let told = u32::try_from(self.told_bytes).ok()?;
        let sequence = tcp.get(tcp::SEQUENCE..)?.first_chunk().copied().map(u32::from_be_bytes)?;
        put(tcp, tcp::SEQUENCE, sequence.wrapping_add(told).to_be_bytes())?;
        let flags = tcp.get_mut(tcp::FLAGS)?;
        if !is_last {
            *flags &= !(tcp::FIN | tcp::PSH);
        }
        if self.told != 0 {
            *flags &= !tcp::CWR;
        }
        let addresses = match self.kind {
            SegmentKind::Tcp4 => ip.get(v4::ADDRESSES..v4::HEADER_BYTES)?,
            SegmentKind::Tcp6 => ip.get(v6::ADDRESSES..v6::HEADER_BYTES)?,
        };
        put(tcp, tcp::CHECKSUM, [0; 2])?;
        // The pseudo header: addresses, length and protocol (RFC 9293 section 3.1, RFC 8200 section 8.1).
        let pseudo = Sum::default()
            .add(addresses)
            .add_number(u32::try_from(tcp.len()).ok()?)
            .add_number(PROTOCOL_TCP.into());
        put(tcp, tcp::CHECKSUM, pseudo.add(tcp).finish().to_be_bytes())
    }
}

/// Bytes of the IPv4 header that `packet` starts with, if it is one of TCP, and no fragment.
fn check_v4(packet: &[u8]) -> Option<usize> {
    let first = *packet.get(v4::VERSION_LENGTH)?;
    let bytes = usize::from(first & 0xf) * 4;
    let is_right = first >> 4 == 4
        && bytes >= v4::HEADER_BYTES
        && number(packet, v4::FRAGMENT)? & v4::FRAGMENT_MASK == 0
        && *packet.get(v4::PROTOCOL)? == PROTOCOL_TCP;
    is_right.then_some(bytes)
}

/// Bytes of the IPv6 header that `packet` starts with, if TCP follows at once.
fn check_v6(packet: &[u8]) -> Option<usize> {
    let is_right = *packet.get(v6::VERSION)? >> 4 == 6 && *packet.get(v6::NEXT_HEADER)? == PROTOCOL_TCP;
    is_right.then_some(v6::HEADER_BYTES)
}

fn number(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(offset..)?.first_chunk_mut()? = value;
    Some(())
}
