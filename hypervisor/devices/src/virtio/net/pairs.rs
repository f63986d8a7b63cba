//! The pairs of queues, and which of them a flow of frames comes to: the one on which the driver sends
//! that flow (section 5.1.6.5.6).

use crate::journal::{self, Journal};
use crate::snapshot::RestoreFault;
use serde::{Deserialize, Serialize};
use spec::ethernet::{HEADER_BYTES, TAG_BYTES, TYPE, TYPE_IPV4, TYPE_IPV6, TYPE_VLAN};
use spec::ip::{v4, v6};
use spec::virtio::net::queue;

/// The most pairs of an interface, for which a transport has queues enough.
pub const MOST_PAIRS: u16 = 7;
/// Flows that are told apart.
const FLOWS: usize = 64;
/// Bytes of the type of a payload.
const TYPE_BYTES: usize = HEADER_BYTES - TYPE;
/// The protocols whose headers begin with two ports.
const WITH_PORTS: [u8; 2] = [6, 17];

/// The pairs of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pairs {
    /// How many there are.
    count: u16,
    /// How many the driver uses.
    active: u16,
    /// Whether the driver knows that there are several, which moves the control queue.
    are_several: bool,
}

impl Pairs {
    /// `count` pairs as after a reset.
    pub const fn new(count: u16) -> Self {
        Self { count, active: 1, are_several: false }
    }

    pub const fn count(self) -> u16 {
        self.count
    }

    pub const fn active(self) -> usize {
        self.active as usize
    }

    /// The driver is set up, and knows of all pairs or of one.
    pub const fn start(&mut self, are_several: bool) {
        *self = Self { are_several, ..Self::new(self.count) };
    }

    /// The driver uses so many of them. `None`, and nothing changes, where there are not so many.
    pub fn set_active(&mut self, active: u16) -> Option<()> {
        let is_possible = self.are_several && (1..=self.count).contains(&active);
        is_possible.then(|| self.active = active)
    }

    /// The control queue's number.
    pub const fn control(self) -> usize {
        if self.are_several { 2 * self.count as usize } else { queue::CONTROL }
    }

    /// They in a word's lower half.
    pub fn to_word(self) -> u64 {
        u64::from(self.active) | u64::from(self.are_several) << 16
    }

    /// `count` pairs as a word's lower half says.
    pub const fn of_word(word: u64, count: u16) -> Self {
        Self { count, active: word as u16, are_several: word >> 16 & 1 != 0 }
    }

    /// Whether there can be such pairs of `count`.
    pub fn is_possible(self, count: u16) -> bool {
        self.count == count && (1..=count).contains(&self.active) && (self.are_several || self.active == 1)
    }
}

/// Which pair each flow was seen on last. It is not part of a saved state: it is learned again.
#[derive(Clone, Debug)]
pub struct Steering {
    pairs: [u8; FLOWS],
    /// The words of which something has changed since they were committed.
    changed: u8,
}

/// Words of which pair each flow was seen on.
pub const STEERING_WORDS: usize = FLOWS / 8;
const _: () = assert!(STEERING_WORDS == u8::BITS as usize);

impl Steering {
    /// Nothing was seen.
    pub const fn new() -> Self {
        Self { pairs: [0; FLOWS], changed: u8::MAX }
    }

    /// Says what has changed, from word `at` on.
    pub fn say(&mut self, at: usize, journal: &mut Journal<'_>) {
        let (words, _) = self.pairs.as_chunks::<8>();
        let changed = core::mem::take(&mut self.changed);
        for (index, word) in words.iter().enumerate().filter(|(index, _)| changed >> index & 1 != 0) {
            journal.put(at + index, u64::from_le_bytes(*word));
        }
    }

    /// Takes over what was said from word `at` on. A flow of a pair that is not used has none.
    pub fn take_over_words(&mut self, words: &[u64], at: usize) -> Result<(), RestoreFault> {
        journal::copy(words, at, &mut self.pairs)
    }

    /// The driver sends a frame on `pair`, of which `typed` is what is behind the addresses.
    pub fn learn(&mut self, typed: &[u8], pair: usize) {
        let flow = flow(typed);
        if let Some(place) = self.pairs.get_mut(flow).filter(|place| **place != pair as u8) {
            *place = pair as u8;
            self.changed |= 1 << (flow / 8);
        }
    }

    /// The pair, of the `active` ones, of a frame that the driver receives.
    pub fn pair(&self, typed: &[u8], active: usize) -> usize {
        let pair = self.pairs.get(flow(typed)).copied().unwrap_or(0).into();
        if pair < active { pair } else { 0 }
    }
}

/// The number of a frame's flow, the same both ways: of its addresses and ports, as far as it has any.
fn flow(typed: &[u8]) -> usize {
    let sum = mix(typed).unwrap_or(0);
    // The highest bits of the product depend on all of the sum's (Fibonacci hashing).
    (sum.wrapping_mul(0x9e37_79b9) >> (32 - FLOWS.trailing_zeros())) as usize
}

/// Source and destination, either way round.
fn mix(typed: &[u8]) -> Option<u32> {
    let kind = |at: usize| Some(u16::from_be_bytes(*typed.get(at..)?.first_chunk()?));
    let (kind, ip) = match kind(0)? {
        TYPE_VLAN => (kind(TAG_BYTES)?, TYPE_BYTES + TAG_BYTES),
        kind => (kind, TYPE_BYTES),
    };
    let packet = typed.get(ip..)?;
    let (addresses, protocol, payload) = match kind {
        TYPE_IPV4 => {
            let fragment = u16::from_be_bytes(*packet.get(v4::FRAGMENT..)?.first_chunk()?);
            let protocol = if fragment & v4::FRAGMENT_MASK == 0 { *packet.get(v4::PROTOCOL)? } else { 0 };
            let bytes = usize::from(packet.get(v4::VERSION_LENGTH)? & 0xf) * 4;
            (packet.get(v4::ADDRESSES..v4::HEADER_BYTES)?, protocol, bytes)
        }
        TYPE_IPV6 => {
            (packet.get(v6::ADDRESSES..v6::HEADER_BYTES)?, *packet.get(v6::NEXT_HEADER)?, v6::HEADER_BYTES)
        }
        _ => return None,
    };
    let (words, _) = addresses.as_chunks::<4>();
    let sum = words.iter().fold(0, |sum, word| sum ^ u32::from_be_bytes(*word));
    if !WITH_PORTS.contains(&protocol) {
        return Some(sum);
    }
    let ports =
        packet.get(payload..).and_then(<[u8]>::first_chunk).copied().map_or([0; 2], |ports: [u8; 4]| {
            let [a, b, c, d] = ports;
            [a ^ c, b ^ d]
        });
    Some(sum ^ u32::from(u16::from_be_bytes(ports)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn packet(addresses: [u32; 2], ports: [u16; 2], tagged: bool, is_6: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        if tagged {
            bytes.extend([0x81, 0, 0, 5]);
        }
        if is_6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64]);
            for address in addresses {
                bytes.extend([0xfd; 12]);
                bytes.extend(address.to_be_bytes());
            }
        } else {
            bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            bytes.extend(addresses.map(u32::to_be_bytes).concat());
        }
        bytes.extend(ports.map(u16::to_be_bytes).concat());
        bytes
    }

    proptest! {
        /// An answer comes to the pair on which the question was sent, unless that is used no more.
        #[test]
        fn answers_come_where_questions_went(
            addresses: [u32; 2],
            ports: [u16; 2],
            tagged: bool,
            is_6: bool,
            pair in 0_usize..7,
            active in 1_usize..8,
        ) {
            let mut steering = Steering::new();
            steering.learn(&packet(addresses, ports, tagged, is_6), pair);
            let [a, b] = addresses;
            let [c, d] = ports;
            let answer = packet([b, a], [d, c], tagged, is_6);
            prop_assert_eq!(steering.pair(&answer, active), if pair < active { pair } else { 0 });
        }

        #[test]
        fn anything_has_a_flow(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0_usize..4) {
            let mut bytes = bytes;
            let kinds = [[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6]];
            if let Some(place) = bytes.get_mut(..2) {
                place.copy_from_slice(&kinds[kind]);
            }
            prop_assert!(flow(&bytes) < FLOWS);
        }
    }

    #[test]
    fn flows_spread() {
        let flows: std::collections::BTreeSet<_> = (0..64)
            .map(|port| flow(&packet([0x0a00_0001, 0x0a00_0002], [80, 40_000 + port], false, false)))
            .collect();
        assert!(flows.len() > 24, "{}", flows.len());
    }
}
