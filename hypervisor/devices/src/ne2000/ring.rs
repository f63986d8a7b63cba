//! The receive ring, and which frames go into it.

use super::remote::{Memory, Pages, copy};
use network::{MacAddress, Parts};
use serde::{Deserialize, Serialize};
use spec::dp8390::{
    FCS_BYTES, FRAME_HEADER_BYTES, MEMORY, PAGE_BYTES, receive_config as config, receive_status as status,
};
use spec::ethernet::{ADDRESS_BYTES, SMALLEST_BYTES};

/// The first page of the buffer memory, and the page behind its last one.
const FIRST: u8 = (MEMORY.0 >> 8) as u8;
const END: u8 = (MEMORY.1 >> 8) as u8;

/// The receive ring, as the registers have it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Ring {
    /// PSTART.
    pub start: u8,
    /// PSTOP.
    pub stop: u8,
    /// BNRY.
    pub boundary: u8,
    /// CURR.
    pub current: u8,
    /// RCR.
    pub config: u8,
    /// RSR.
    pub status: u8,
    /// PAR.
    pub station: [u8; ADDRESS_BYTES],
    /// MAR.
    pub multicast: u64,
}

impl Ring {
    pub const fn pages(&self) -> Pages {
        (self.start, self.stop)
    }

    /// Whether the guest wants this frame.
    pub fn wants(&self, frame: &Parts<'_>) -> bool {
        let [addresses, ..] = frame.pieces();
        let Some(destination) = addresses.first_chunk().copied().map(MacAddress) else { return false };
        let has = |bit: u8| self.config & bit != 0;
        if destination == MacAddress::BROADCAST {
            has(config::BROADCAST)
        } else if destination.is_group() {
            has(config::MULTICAST) && self.multicast & 1 << (crc(destination) >> 26) != 0
        } else {
            has(config::PROMISCUOUS) || destination.0 == self.station
        }
    }

    /// Receives a frame into the ring, padded to the least that a wire carries. Whether there was room
    /// for it, or a ring at all.
    pub fn put(&mut self, frame: &Parts<'_>, memory: &mut Memory) -> bool {
        static PADDING: [u8; SMALLEST_BYTES] = [0; SMALLEST_BYTES];
        let padding = PADDING.get(frame.bytes().min(SMALLEST_BYTES)..).unwrap_or_default();
        let bytes = frame.bytes() + padding.len();
        let pages = (FRAME_HEADER_BYTES + bytes + FCS_BYTES).div_ceil(PAGE_BYTES);
        let Some(next) = self.behind(pages) else { return false };
        let [addresses, ..] = frame.pieces();
        let is_group = addresses.first().is_some_and(|byte| byte & spec::ethernet::GROUP != 0);
        self.status = status::RECEIVED | if is_group { status::GROUP } else { 0 };
        let [low, high] = ((bytes + FCS_BYTES) as u16).to_le_bytes();
        let header = [self.status, next, low, high];
        let mut at = usize::from(self.current) * PAGE_BYTES;
        let [first, tag, rest] = frame.pieces();
        for piece in [&header, first, tag, rest, padding] {
            at = self.write(at, piece, memory);
        }
        self.current = next;
        true
    }

    /// The page behind `pages` pages from CURR on. `None` where they reach BNRY, which stays free: a CURR
    /// that is there means an empty ring. A BNRY outside of the ring stops nothing.
    fn behind(&self, pages: usize) -> Option<u8> {
        let ring = self.start..self.stop;
        if self.start < FIRST || self.stop > END || !ring.contains(&self.current) {
            return None;
        }
        let size = ring.len();
        let from_start = usize::from(self.current - self.start);
        let free = match self.boundary.checked_sub(self.start).map(usize::from) {
            Some(boundary) if boundary > from_start && boundary < size => boundary - from_start,
            Some(boundary) if boundary < from_start => size - from_start + boundary,
            _ => size,
        };
        let next = from_start + pages;
        let next = if next < size { next } else { next - size };
        (pages < free).then_some(self.start + next as u8)
    }

    /// Copies `piece` to `at`, and on at the start of the ring where it reaches its end. Where the next
    /// one goes.
    fn write(&self, mut at: usize, piece: &[u8], memory: &mut Memory) -> usize {
        let (start, stop) = (usize::from(self.start) * PAGE_BYTES, usize::from(self.stop) * PAGE_BYTES);
        let mut rest = piece;
        while !rest.is_empty() {
            let Some((now, later)) = rest.split_at_checked(rest.len().min(stop - at)) else { break };
            if let Some(place) = memory.piece_mut(at, now.len()) {
                copy(now, place);
            }
            at = if at + now.len() < stop { at + now.len() } else { start };
            rest = later;
        }
        at
    }
}

/// The checksum of an address as on the wire (IEEE 802.3, 3.2.9), not inverted, its first bit the highest.
/// The filter has a bit for each value of its six highest bits (section 10.3, MAR).
fn crc(address: MacAddress) -> u32 {
    let bits = address.0.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1)));
    bits.fold(!0, |crc, bit| {
        let carry = crc >> 31 ^ bit;
        crc << 1 ^ if carry == 1 { 0x04c1_1db7 } else { 0 }
    })
}

#[cfg(test)]
mod tests;
