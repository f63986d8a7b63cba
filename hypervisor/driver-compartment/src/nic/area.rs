//! The area of a network interface: frames either way, and what it is and did.

use crate::words::{WORD_BYTES, Words, at};
use compartment::{Ended, frames};
use network::{MacAddress, Offload, Traffic};
use nic::{Capabilities, Link};
use serde::{Deserialize, Serialize};

/// Words before a frame's bytes: how many there are, and what its sender left to do.
const HEADER_WORDS: usize = 3;

/// Which frames are to be sent, how many, where those that came are to be put, how many at most, and
/// whether frames are to cause no messages.
const FIRST_TO_SEND: usize = at::ARGUMENTS;
const TO_SEND: usize = at::ARGUMENTS + 1;
const FIRST_FREE: usize = at::ARGUMENTS + 2;
const FREE_AND_QUIET: usize = at::ARGUMENTS + 3;

/// Words by their place.
mod own {
    use super::at;

    pub const TAKEN: usize = at::OWN;
    pub const CAME: usize = at::OWN + 1;
    /// Link, capabilities, address and room.
    pub const FACTS: usize = at::OWN + 2;
    /// What became of frames since the last answer.
    pub const PROGRESS: usize = at::OWN + 6;
    /// Those that wait outlive the compartment.
    pub const FRAMES: usize = at::KEPT;

    const _: () = assert!(PROGRESS + super::PROGRESS_WORDS <= FRAMES);
}

const PROGRESS_WORDS: usize = 7;
const THERE: u64 = 1 << 63;

/// What a network interface in a compartment is used with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NicSizes {
    /// Frames that there is room for on their way into the compartment, and as many out of it: 1 to 1024.
    pub frames: u16,
    /// Bytes of the largest, header and tag included.
    pub frame_bytes: usize,
}

impl NicSizes {
    /// Words of the area.
    pub const fn words(self) -> usize {
        own::FRAMES.saturating_add((self.frames as usize * 2).saturating_mul(self.frame_words()))
    }

    const fn frame_words(self) -> usize {
        self.frame_bytes.div_ceil(WORD_BYTES).saturating_add(HEADER_WORDS)
    }

    /// Where a frame is that is to be sent.
    pub(crate) const fn sent_at(self, place: usize) -> usize {
        own::FRAMES.saturating_add(place.saturating_mul(self.frame_words()))
    }

    /// Where one is that came.
    pub(crate) const fn came_at(self, place: usize) -> usize {
        self.sent_at((self.frames as usize).saturating_add(place))
    }

    /// The place behind `place`.
    pub(crate) const fn next(self, place: usize) -> usize {
        if place + 1 < self.frames as usize { place + 1 } else { 0 }
    }
}

/// Which frames a call is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub first_to_send: usize,
    pub to_send: usize,
    pub first_free: usize,
    pub free: usize,
    pub is_quiet: bool,
}

/// What became of frames since the last answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Progress {
    pub sent: Traffic,
    pub lost: u64,
    pub damaged: u64,
    pub missed: u64,
    pub resets: u64,
    /// Of what was taken, what the driver did not: nothing could be made of it.
    pub unfit: u64,
}

/// What an interface says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub link: Link,
    pub capabilities: Capabilities,
    pub mac: Option<MacAddress>,
    /// Frames that it has room for.
    pub room: usize,
}

impl Words<'_> {
    pub fn ask(&self) -> Ask {
        let number = |at| usize::try_from(self.get(at)).unwrap_or(usize::MAX);
        Ask {
            first_to_send: number(FIRST_TO_SEND),
            to_send: number(TO_SEND),
            first_free: number(FIRST_FREE),
            free: number(FREE_AND_QUIET) >> 1,
            is_quiet: self.get(FREE_AND_QUIET) & 1 != 0,
        }
    }

    pub fn set_ask(&mut self, ask: &Ask) {
        let Ask { first_to_send, to_send, first_free, free, is_quiet } = *ask;
        self.put(FIRST_TO_SEND, first_to_send as u64);
        self.put(TO_SEND, to_send as u64);
        self.put(FIRST_FREE, first_free as u64);
        self.put(FREE_AND_QUIET, (free as u64) << 1 | u64::from(is_quiet));
    }

    /// How many frames were taken of those that were to be sent, and how many came.
    pub fn moved(&self, ask: &Ask) -> Result<(usize, usize), Ended> {
        let within = |at, most: usize| {
            let count = usize::try_from(self.get(at)).ok().filter(|count| *count <= most);
            count.ok_or(Ended::Answer("more frames than there are"))
        };
        Ok((within(own::TAKEN, ask.to_send)?, within(own::CAME, ask.free)?))
    }

    pub fn set_moved(&mut self, taken: usize, came: usize) {
        self.put_all(own::TAKEN, &[taken as u64, came as u64]);
    }

    pub fn progress(&self) -> Progress {
        let [frames, bytes, lost, damaged, missed, resets, unfit] = self.all(own::PROGRESS);
        Progress { sent: Traffic { frames, bytes }, lost, damaged, missed, resets, unfit }
    }

    pub fn set_progress(&mut self, progress: &Progress) {
        let Progress { sent, lost, damaged, missed, resets, unfit } = *progress;
        self.put_all(own::PROGRESS, &[sent.frames, sent.bytes, lost, damaged, missed, resets, unfit]);
    }

    /// What it says of itself: frames no larger than there is room for, and no more than ring 0 has places for.
    pub fn facts(&self, sizes: NicSizes) -> Facts {
        let [link, capabilities, mac, room] = self.all(own::FACTS);
        let number = |value| usize::try_from(value).unwrap_or(usize::MAX);
        let link = if link & THERE == 0 {
            Link::Down
        } else {
            Link::Up { megabits: link as u32, full_duplex: link >> 32 & 1 != 0 }
        };
        let [a, b, c, d, e, f, ..] = mac.to_le_bytes();
        let address = MacAddress([a, b, c, d, e, f]);
        Facts {
            link,
            capabilities: Capabilities {
                checksum: capabilities & THERE != 0,
                // Frames that are to be cut have no room in the area.
                segmentation: false,
                largest_bytes: number(capabilities & !THERE).min(sizes.frame_bytes),
            },
            mac: (mac & THERE != 0 && address.is_station()).then_some(address),
            room: number(room).min(sizes.frames.into()),
        }
    }

    pub fn set_facts(&mut self, facts: &Facts) {
        let Facts { link, capabilities, mac, room } = *facts;
        let link = match link {
            Link::Down => 0,
            Link::Up { megabits, full_duplex } => THERE | u64::from(full_duplex) << 32 | u64::from(megabits),
        };
        let checksum = if capabilities.checksum { THERE } else { 0 };
        let mac = mac
            .map_or(0, |MacAddress([a, b, c, d, e, f])| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | THERE);
        self.put_all(own::FACTS, &[link, checksum | capabilities.largest_bytes as u64, mac, room as u64]);
    }

    /// Says how many bytes the frame at a place has, and what its sender left to do.
    pub fn set_header(&mut self, place: usize, bytes: usize, offload: &Offload) {
        let [checksum, segmentation] = frames::encode(offload);
        self.put_all(place, &[bytes as u64, checksum, segmentation]);
    }

    /// The frame at a place, if it is no larger than there is room for.
    pub fn frame(&mut self, place: usize, sizes: NicSizes) -> Result<(&[u8], Offload), Ended> {
        let [bytes, checksum, segmentation] = self.all(place);
        let offload = frames::decode([checksum, segmentation])?;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= sizes.frame_bytes);
        let bytes = bytes.ok_or(Ended::Answer("a frame larger than any"))?;
        Ok((self.bytes(place.saturating_add(HEADER_WORDS), bytes), offload))
    }

    /// Room for the bytes of one.
    pub fn frame_room(&mut self, place: usize, sizes: NicSizes) -> &mut [u8] {
        self.bytes(place.saturating_add(HEADER_WORDS), sizes.frame_bytes)
    }
}
