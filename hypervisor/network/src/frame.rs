//! A frame: its bytes, and what its sender left to do.

use crate::checksum::Sum;
use crate::mac::MacAddress;
use crate::offload::{Checksum, Offload};
use crate::vlan::{Parts, Tagging, Vlan};
use alloc::boxed::Box;
use core::fmt;
use spec::ethernet::{self, HEADER_BYTES, TAG_BYTES, TYPE, TYPE_VLAN, VLAN_MASK};

#[cfg(test)]
mod tests;

/// The largest frame: a packet of 65,535 bytes that is yet to be segmented, Ethernet's header
/// and a VLAN tag.
pub const LARGEST_BYTES: usize = 65_535 + HEADER_BYTES + TAG_BYTES;

/// Room for one frame, and the frame in it.
pub struct Frame {
    room: Box<[u8]>,
    length: usize,
    /// What its sender left to do.
    pub offload: Offload,
}

impl Frame {
    /// Allocates the room, which is of [`LARGEST_BYTES`]; the frame is empty.
    pub fn new() -> Self {
        Self { room: alloc::vec![0; LARGEST_BYTES].into(), length: 0, offload: Offload::default() }
    }

    /// The frame, from its destination address on.
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }
    /// The frame, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(..self.length).unwrap_or_default()
    }
    /// All of the room, of [`LARGEST_BYTES`]; what a frame before left in it is still there.
    /// [`set_len`](Self::set_len) says how much of it is a frame.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.room
    }
    /// Says how many bytes of the room are the frame. `None`, and nothing changes, where it has
    /// not so many.
    pub fn set_len(&mut self, bytes: usize) -> Option<()> {
        (bytes <= self.room.len()).then(|| self.length = bytes)
    }
    /// Bytes of the frame.
    pub const fn len(&self) -> usize {
        self.length
    }
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
    /// Whether it is no larger than that of a packet of `payload` bytes, with its tag if it has one.
    pub fn fits(&self, payload: usize) -> bool {
        let tag = if self.tag().is_some() { TAG_BYTES } else { 0 };
        self.length <= HEADER_BYTES + tag + payload
    }
    /// Makes it an empty frame of which nothing is left to do.
    pub fn clear(&mut self) {
        self.length = 0;
        self.offload = Offload::default();
    }
    /// Appends a copy of `bytes`. `None`, and nothing changes, where there is no room.
    pub fn append(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.room.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }
    /// Becomes a copy of the frame that `parts` make. Empty, and `None`, where there is no room.
    pub fn assign(&mut self, parts: &Parts<'_>) -> Option<()> {
        self.clear();
        if parts.bytes() > self.room.len() {
            return None;
        }
        parts.pieces().into_iter().try_for_each(|piece| self.append(piece))?;
        self.offload = parts.offload;
        Some(())
    }

    /// Where it goes. `None` where it is too short to say.
    pub fn destination(&self) -> Option<MacAddress> {
        self.get(ethernet::DESTINATION).map(MacAddress)
    }
    /// Where it says to come from. `None` where it is too short to say.
    pub fn source(&self) -> Option<MacAddress> {
        self.get(ethernet::SOURCE).map(MacAddress)
    }
    /// What its payload is (EtherType); of a tagged frame 0x8100. `None` where it is too short
    /// to say.
    pub fn kind(&self) -> Option<u16> {
        self.get(TYPE).map(u16::from_be_bytes)
    }
    /// The control information of its tag: VLAN in bits 0 to 11, drop eligibility and priority.
    /// `None` where it has no tag, or is cut off within it.
    pub fn tag(&self) -> Option<u16> {
        if self.kind()? != TYPE_VLAN {
            return None;
        }
        // The payload's type belongs to the tag: without it there is nothing that could be untagged.
        let [high, low, _, _] = self.get(HEADER_BYTES)?;
        Some(u16::from_be_bytes([high, low]))
    }
    /// The VLAN that its tag names. `None` where it has no tag, or one for a priority only.
    pub fn vlan(&self) -> Option<Vlan> {
        Vlan::new(self.tag()? & VLAN_MASK)
    }

    /// Its pieces, with the tag as `tagging` says. `None` where it has no header, or no tag that
    /// could be left out.
    pub fn parts(&self, tagging: Tagging) -> Option<Parts<'_>> {
        let (addresses, rest) = self.bytes().split_at_checked(TYPE)?;
        if rest.len() < HEADER_BYTES - TYPE {
            return None;
        }
        Some(match tagging {
            Tagging::Keep => Parts { addresses, tag: None, rest, offload: self.offload },
            Tagging::Untag => {
                self.tag()?;
                let rest = rest.get(TAG_BYTES..)?;
                Parts { addresses, tag: None, rest, offload: self.offload.moved(-(TAG_BYTES as i16))? }
            }
            Tagging::Insert(vlan) => {
                let ([a, b], [c, d]) = (TYPE_VLAN.to_be_bytes(), vlan.number().to_be_bytes());
                let offload = self.offload.moved(TAG_BYTES as i16)?;
                Parts { addresses, tag: Some([a, b, c, d]), rest, offload }
            }
        })
    }

    /// Computes the checksum that the sender left out, for a receiver that cannot. `None`, and
    /// nothing changes, where it would not be in the frame, or the frame is still to be cut.
    pub fn finish_checksum(&mut self) -> Option<()> {
        let Checksum::Missing { start, offset } = self.offload.checksum else { return Some(()) };
        if self.offload.segmentation.is_some() {
            return None;
        }
        let summed = self.bytes_mut().get_mut(usize::from(start)..)?;
        let checksum = Sum::default().add(summed).finish();
        let place = summed.get_mut(usize::from(offset)..)?.first_chunk_mut::<2>()?;
        *place = checksum.to_be_bytes();
        self.offload.checksum = Checksum::InPlace;
        Some(())
    }

    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes().get(offset..)?.first_chunk().copied()
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("bytes", &self.length)
            .field("offload", &self.offload)
            .finish_non_exhaustive()
    }
}
