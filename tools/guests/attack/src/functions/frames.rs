//! Frames that nobody should send, by the interface of whoever wants to.

use super::station::{
    ATTACKER, ATTACKER_TOO, Address, BROADCAST, EVIL, HEADER, NEIGHBOUR, NEIGHBOUR_TOO, SMALLEST, Station,
    write_frame,
};
use super::{Outcome, hold};
use support::cpu::{write8, write16, write32};

/// Sources that a station may not send from. The last is the attacker's other interface.
pub const FORGED: [Address; 8] = [
    NEIGHBOUR,
    NEIGHBOUR_TOO,
    BROADCAST,
    [0; 6],
    [1, 0, 0x5e, 0, 0, 1],
    [0x52, 0x54, 0, 0, 0x0b, 3],
    [0x53, 0x54, 0, 0, 0x0a, 3],
    ATTACKER_TOO,
];

/// Types of tags; a station that is in no VLAN sends none.
pub const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// What tags can say: no VLAN, one, the last, the one that there is not, and priorities.
pub const VLANS: [u16; 5] = [0, 1, 0xffe, 0xfff, 0xe001];

/// Writes a frame that nobody may receive to `at`, with a tag if there is one.
pub fn write_evil(at: u64, to: Address, from: Address, tag: Option<(u16, u16)>) {
    let Some((kind, vlan)) = tag else { return write_frame(at, to, from, EVIL, 0) };
    // Behind the tag stands what is behind the addresses of one without.
    write_frame(at + 4, to, from, EVIL, 0);
    let tag = kind.to_be_bytes().into_iter().chain(vlan.to_be_bytes());
    for (place, byte) in (at..).zip(to.into_iter().chain(from).chain(tag)) {
        write8(place, byte);
    }
}

/// Sends them all, each of which the interface has to be done with, and after which it goes on.
pub fn send(station: &mut Station) -> Outcome {
    let frame = station.room() + HEADER;
    for to in [NEIGHBOUR, BROADCAST, [1, 0, 0x5e, 0, 0, 1]] {
        for from in FORGED {
            clear_header(station);
            write_evil(frame, to, from, None);
            hold(station.send(SMALLEST), "a forged source")?;
        }
        for kind in TAGS {
            for vlan in VLANS {
                write_evil(frame, to, ATTACKER, Some((kind, vlan)));
                hold(station.send(SMALLEST + 4), "a tag")?;
            }
        }
    }
    // For the bridge itself and what stands next to it (IEEE 802.1Q, table 8-1).
    for last in 0..16 {
        write_evil(frame, [1, 0x80, 0xc2, 0, 0, last], ATTACKER, None);
        hold(station.send(SMALLEST), "a reserved address")?;
    }
    lengths(station)?;
    hold(station.is_answered(100), "frames that nobody should send broke it")
}

fn clear_header(station: &Station) {
    (0..HEADER).step_by(4).for_each(|at| write32(station.room() + at, 0));
}

/// Frames that are too short and too long, in memory that is none, and of parts.
fn lengths(station: &mut Station) -> Outcome {
    let room = station.room();
    clear_header(station);
    write_evil(room + HEADER, BROADCAST, ATTACKER, None);
    for bytes in [0, 1, 11, 12, 13, 18 + 12, 25] {
        hold(station.send_parts(&[(room, bytes, false)]), "a frame that is too short")?;
    }
    for bytes in [1515, 1518, 1519, 4096, 0x1_0000, 0x1_0001, 0x10_0000, u32::MAX - 12] {
        hold(station.send(bytes), "a frame that is too long")?;
    }
    for place in super::nowhere(station.device.base) {
        let parts = [(room, 12, false), (place, SMALLEST, false)];
        hold(station.send_parts(&parts), "a frame that is nowhere")?;
        hold(station.send_parts(&[(place, 12 + SMALLEST, false)]), "a header that is nowhere")?;
    }
    // As many parts as there can be, of which none has a byte.
    let nothing = [(room, 0, false); super::station::SIZE as usize];
    hold(station.send_parts(&nothing), "a frame of nothing")?;
    hold(station.send_parts(&[(room, 512, true)]), "a frame that is written")
}

/// A header before a frame (Virtio 1.2, section 5.1.6).
#[derive(Clone, Copy)]
struct Left {
    flags: u8,
    cut: u8,
    header_bytes: u16,
    segment_bytes: u16,
    start: u16,
    offset: u16,
}

/// Writes a TCP segment over IPv4 or IPv6 that is the neighbour's to receive, with these lengths in it.
fn write_segment(at: u64, is_6: bool, ip_words: u8, tcp_words: u8, ip_bytes: u16) {
    write_frame(at, NEIGHBOUR, ATTACKER, EVIL, 0);
    (at + 12..at + 0x1000).for_each(|place| write8(place, 0x11));
    let put =
        |from: u64, bytes: &[u8]| (at + from..).zip(bytes).for_each(|(place, byte)| write8(place, *byte));
    let [high, low] = ip_bytes.to_be_bytes();
    if is_6 {
        put(12, &[0x86, 0xdd, 0x60, 0, 0, 0, high, low, 6, 64]);
        put(54 + 12, &[tcp_words << 4, 0x10]);
    } else {
        put(12, &[8, 0, 0x40 | ip_words, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        put(14 + 4 * u64::from(ip_words.max(5)) + 12, &[tcp_words << 4, 0x10]);
    }
}

/// What is left to do of a frame, in ways that its bytes do not allow. What is none goes nowhere; the
/// interface is done with it in any case.
pub fn lie(station: &mut Station) -> Outcome {
    let room = station.room();
    let mut numbers = super::Numbers::new(0x0dd0_1e5);
    let words = [0, 13, 14, 20, 33, 34, 54, 66, 1513, 1514, 4000, 0x7fff, 0xfffe, 0xffff];
    for turn in 0..600 {
        let (is_6, bytes) = (turn % 2 == 1, numbers.one_of(&[14, 54, 60, 1514, 4000, 65_535]));
        let ip_bytes = numbers.one_of(&[0, 1, 20, 40, (bytes - 14) as u16, 0xffff]);
        write_segment(
            room + HEADER,
            is_6,
            numbers.one_of(&[0, 4, 5, 5, 5, 15]),
            numbers.one_of(&[0, 4, 5, 5, 15]),
            ip_bytes,
        );
        write_left(
            room,
            Left {
                flags: numbers.one_of(&[0, 1, 1, 1, 2, 3, 0xff]),
                cut: numbers.one_of(&[0, 1, 4, 1 + 3 * u8::from(is_6), 3, 5, 0x81, 0xff]),
                header_bytes: numbers.one_of(&words),
                segment_bytes: numbers.one_of(&words),
                start: numbers.one_of(&[34, 34, 54, 0, 13, bytes as u16, 0xffff]),
                offset: numbers.one_of(&[16, 16, 0, bytes as u16, 0xffff]),
            },
        );
        hold(station.send(bytes), "a header that does not fit its frame")?;
    }
    clear_header(station);
    hold(station.is_answered(100), "headers that do not fit broke it")
}

fn write_left(at: u64, left: Left) {
    write8(at, left.flags);
    write8(at + 1, left.cut);
    for (place, value) in
        [(2, left.header_bytes), (4, left.segment_bytes), (6, left.start), (8, left.offset), (10, 0)]
    {
        write16(at + place, value);
    }
}
