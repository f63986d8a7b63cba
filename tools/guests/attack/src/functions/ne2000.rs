//! An NE2000: pages that are outside of its ring and its memory, remote DMA over its end, frames that
//! nobody should send, a ring that is never emptied, resets in the middle, and a second processor that
//! does the same at the same time.

use super::rings::{DATA, DATA_BYTES};
use super::station::{
    ATTACKER, ATTACKER_TOO, Address, BROADCAST, EVIL, NEIGHBOUR, NOISE, PING, PONG, SMALLEST, Seen, Station,
    write_frame,
};
use super::{ARENA, Numbers, Outcome, PATIENCE, SECOND, fill, frames, hold, second};
use crate::Environment;
use support::cpu::{in8, in16, in16_all, in32, out8, out16, out16_all, out32, read8, read16};
use support::pci;
use support::time::{wait_until, wait_us};

const ID: u32 = 0x8029_10ec;
const DATA_PORT: u16 = 0x10;
const RESET_PORT: u16 = 0x1f;

// Registers of page 0.
const PAGE_START: u16 = 1;
const PAGE_STOP: u16 = 2;
const BOUNDARY: u16 = 3;
const TRANSMIT_PAGE: u16 = 4;
const TRANSMIT_BYTES: u16 = 5;
const STATUS: u16 = 7;
const REMOTE_ADDRESS: u16 = 8;
const REMOTE_BYTES: u16 = 10;
const RECEIVE_CONFIG: u16 = 12;
const TRANSMIT_CONFIG: u16 = 13;
const DATA_CONFIG: u16 = 14;
/// Of page 1.
const CURRENT: u16 = 7;

// Commands, of page 0.
const STOP: u8 = 0x21;
const START: u8 = 0x22;
const TRANSMIT: u8 = 0x26;
const READ: u8 = 0x0a;
const WRITE: u8 = 0x12;
const PAGE1: u8 = 0x62;

const SENT: u8 = 1;
const ABORTED: u8 = 8;

/// Where the first frame to send is, and where the ring begins and ends, in pages.
const FIRST: u8 = 0x40;
const RING: (u8, u8) = (0x46, 0x80);
/// Where frames are in the guest's memory.
const FRAME: u64 = ARENA + 0x3_8000;
const CAME: u64 = FRAME + 0x1000;

/// The card at these ports.
#[derive(Clone, Copy)]
struct Card {
    port: u16,
}

impl Card {
    fn find() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, 5);
        Some(Self { port: (function.read(0x10) & !3) as u16 })
    }

    fn write(self, register: u16, value: u8) {
        out8(self.port + register, value);
    }

    fn read(self, register: u16) -> u8 {
        in8(self.port + register)
    }

    fn command(self, value: u8) {
        self.write(0, value);
    }

    fn reset(self) {
        let _ = self.read(RESET_PORT);
        self.write(RESET_PORT, 0);
    }

    /// As a driver does after power-up.
    fn set_up(self) {
        self.reset();
        self.command(STOP);
        self.write(DATA_CONFIG, 0x49);
        self.set_ring(RING.0, RING.1, RING.0);
        self.write(STATUS, 0xff);
        self.command(PAGE1 & !2 | 1);
        for (register, byte) in (1..).zip(ATTACKER_TOO) {
            self.write(register, byte);
        }
        (8..16).for_each(|register| self.write(register, 0xff));
        self.write(CURRENT, RING.0 + 1);
        self.command(START);
        self.write(TRANSMIT_CONFIG, 0);
        self.write(RECEIVE_CONFIG, 0x0c);
    }

    fn set_ring(self, start: u8, stop: u8, boundary: u8) {
        self.write(PAGE_START, start);
        self.write(PAGE_STOP, stop);
        self.write(BOUNDARY, boundary);
    }

    fn remote(self, command: u8, at: u16, bytes: u16) {
        self.command(START);
        self.write(REMOTE_BYTES, bytes as u8);
        self.write(REMOTE_BYTES + 1, (bytes >> 8) as u8);
        self.write(REMOTE_ADDRESS, at as u8);
        self.write(REMOTE_ADDRESS + 1, (at >> 8) as u8);
        self.command(command);
    }

    /// Copies what is at [`FRAME`] to the card and starts to send so many bytes of it.
    fn start(self, bytes: u16) {
        self.remote(WRITE, u16::from(FIRST) << 8, bytes.next_multiple_of(2));
        out16_all(self.port + DATA_PORT, FRAME, u64::from(bytes.div_ceil(2)));
        self.start_from(FIRST, bytes);
    }

    fn start_from(self, page: u8, bytes: u16) {
        self.command(START);
        self.write(TRANSMIT_PAGE, page);
        self.write(TRANSMIT_BYTES, bytes as u8);
        self.write(TRANSMIT_BYTES + 1, (bytes >> 8) as u8);
        self.command(TRANSMIT);
    }

    /// What became of the frame, once it is over.
    fn sent(self) -> Option<u8> {
        wait_until(PATIENCE, || self.read(0) & 4 == 0).then(|| self.read(TRANSMIT_PAGE))
    }

    fn send(self, bytes: u16) -> Option<u8> {
        self.start(bytes);
        self.sent()
    }

    /// Shows the frames that are in the ring, and takes them out.
    fn receive(self, mut look: impl FnMut(Seen)) {
        for _ in 0..=u8::MAX {
            self.command(PAGE1);
            let current = self.read(CURRENT);
            self.command(START);
            let next = self.read(BOUNDARY).wrapping_add(1);
            let next = if next >= RING.1 { RING.0 } else { next };
            if next == current {
                return;
            }
            self.remote(READ, u16::from(next) << 8, 64);
            in16_all(self.port + DATA_PORT, CAME, 32);
            look(Seen::at(CAME + 4, u32::from(read16(CAME + 2))));
            let behind = read8(CAME + 1);
            self.write(BOUNDARY, if behind == RING.0 { RING.1 - 1 } else { behind - 1 });
        }
    }

    /// Whether it works: after a reset a frame goes to the neighbour and its answer comes.
    fn is_well(self) -> bool {
        self.set_up();
        (0..20).any(|number| {
            write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, PING, number);
            let mut is_answered = false;
            self.send(SMALLEST as u16) == Some(SENT)
                && wait_until(SECOND / 10, || {
                    self.receive(|frame| {
                        is_answered |= frame.ours == Some((PONG, number)) && frame.to == ATTACKER_TOO;
                    });
                    is_answered
                })
        })
    }
}

/// Tries it all; frames must come and go as at first afterwards.
pub fn run(environment: &Environment) -> Outcome {
    let card = Card::find().ok_or("there is no NE2000")?;
    let mut other = Station::find(0, ARENA + 0x10_0000).ok_or("there is no virtio interface")?;
    hold(other.restart(0), "the virtio interface does not start")?;
    hold(card.is_well(), "it does not work to begin with")?;
    registers(card)?;
    rings(card, &mut other)?;
    sends(card)?;
    forged(card)?;
    remote(card)?;
    unfreed(card, &mut other)?;
    resets(card)?;
    by_two(card, &mut other, environment)
}

/// Every register of every page, of every width.
fn registers(card: Card) -> Outcome {
    for page in 0..4 {
        for value in [0, 0xff, 0x80, 0x46, 0x3f] {
            for register in 0..0x20 {
                card.command(page << 6 | 0x22);
                out8(card.port + register, value);
                out16(card.port + register.min(0x1e), u16::from(value) * 0x101);
                out32(card.port + register.min(0x1c), u32::from(value) * 0x101_0101);
                let _ = (in8(card.port + register), in16(card.port + register.min(0x1e)));
                let _ = in32(card.port + register.min(0x1c));
            }
        }
        hold(card.is_well(), "a register broke it")?;
    }
    Ok(())
}

/// Rings that are none, while frames come.
fn rings(card: Card, other: &mut Station) -> Outcome {
    const PAGES: [u8; 11] = [0, 1, 0x1f, 0x3f, 0x40, 0x46, 0x47, 0x7f, 0x80, 0x81, 0xff];
    let mut numbers = Numbers::new(0x2000);
    for round in 1..=300 {
        card.set_up();
        let [start, stop, boundary, current] = core::array::from_fn(|_| numbers.one_of(&PAGES));
        card.set_ring(start, stop, boundary);
        card.command(PAGE1);
        card.write(CURRENT, current);
        card.command(START);
        card.write(RECEIVE_CONFIG, numbers.one_of(&[0x1f, 0x0c, 0x3f]));
        (0..3).for_each(|_| _ = other.say(BROADCAST, NOISE, round));
        // What it says that it has received.
        card.remote(READ, u16::from(current) << 8, 0x4000);
        in16_all(card.port + DATA_PORT, DATA, 0x100);
        if round % 50 == 0 {
            hold(card.is_well(), "a ring that is none broke it")?;
        }
    }
    Ok(())
}

/// Frames to send that are not in its memory, or none: the card says so.
fn sends(card: Card) -> Outcome {
    card.set_up();
    fill(FRAME, 0x800, 0);
    for page in [0x3f, 0x40, 0x41, 0x7f, 0x80, 0xc0, 0xff] {
        for bytes in [0, 1, 13, 14, 60, 1514, 1518, 1519, 0x4000, 0x4001, 0xffff] {
            card.start_from(page, bytes);
            let end = u32::from(page) * 0x100 + u32::from(bytes);
            let is_frame = (14..=1514).contains(&bytes) && page >= 0x40 && end <= 0x8000;
            let expected = if is_frame { SENT } else { ABORTED };
            hold(card.sent() == Some(expected), "a frame that is not in memory")?;
        }
    }
    // Where the address memory is, whatever it makes of it.
    card.start_from(0, 60);
    hold(card.sent().is_some(), "a frame of the address memory")?;
    // Nothing is sent while it is stopped, or to itself.
    card.command(STOP);
    card.command(STOP | 4);
    hold(card.read(0) & 4 == 0, "it sends while it is stopped")?;
    hold(card.is_well(), "frames that are none broke it")
}

/// Frames in others' names and with tags.
fn forged(card: Card) -> Outcome {
    let from = frames::FORGED.map(|from| if from == ATTACKER_TOO { ATTACKER } else { from });
    for to in [NEIGHBOUR, BROADCAST] {
        for from in from {
            frames::write_evil(FRAME, to, from, None);
            hold(card.send(SMALLEST as u16) == Some(SENT), "a forged source")?;
        }
        for tag in frames::TAGS {
            for vlan in frames::VLANS {
                frames::write_evil(FRAME, to, ATTACKER_TOO, Some((tag, vlan)));
                hold(card.send(SMALLEST as u16 + 4) == Some(SENT), "a tag")?;
            }
        }
    }
    for last in 0..16 {
        let to: Address = [1, 0x80, 0xc2, 0, 0, last];
        frames::write_evil(FRAME, to, ATTACKER_TOO, None);
        hold(card.send(SMALLEST as u16) == Some(SENT), "a reserved address")?;
    }
    hold(card.is_well(), "frames that nobody should send broke it")
}

/// Remote DMA from and to everywhere, of every length, of as many words as an instruction can move.
fn remote(card: Card) -> Outcome {
    let places = [0, 0x1f, 0x20, 0x3fff, 0x4000, 0x45ff, 0x7ffe, 0x7fff, 0x8000, 0xfffe, 0xffff];
    for at in places {
        for bytes in [0, 1, 2, 3, 0x4001, 0xffff] {
            for config in [0x48, 0x49] {
                card.write(DATA_CONFIG, config);
                card.remote(READ, at, bytes);
                in16_all(card.port + DATA_PORT, DATA, DATA_BYTES / 2);
                card.remote(WRITE, at, bytes);
                out16_all(card.port + DATA_PORT, DATA, 0x9000);
                // The way that was not asked for.
                card.remote(WRITE, at, bytes);
                let _ = (in8(card.port + DATA_PORT), in32(card.port + DATA_PORT + 4));
                // "Send packet", and both ways at once.
                card.command(0x1a);
                card.command(0x3a);
                in16_all(card.port + DATA_PORT, DATA, 0x10);
            }
        }
        hold(card.is_well(), "remote DMA broke it")?;
    }
    Ok(())
}

/// A ring that is never emptied: what does not fit is missed, and the sender not held up.
fn unfreed(card: Card, other: &mut Station) -> Outcome {
    card.set_up();
    for round in 0..200 {
        hold(other.say(BROADCAST, NOISE, round), "a full ring holds its sender up")?;
        if round % 20 == 0 {
            // The frame that has no room may be taken, or left.
            card.write(STATUS, 0xff);
        }
    }
    card.command(PAGE1);
    let current = card.read(CURRENT);
    card.command(START);
    hold((RING.0..RING.1).contains(&current), "it left its ring")?;
    hold(card.is_well(), "a full ring broke it")
}

/// A frame that is to be sent when the card is reset: none is sent afterwards.
fn resets(card: Card) -> Outcome {
    for round in 0..60 {
        card.set_up();
        write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, NOISE, 0);
        card.start(SMALLEST as u16);
        match round % 3 {
            0 => card.reset(),
            // Stopping it does not take the frame back: it is to be sent as it is.
            1 => card.command(STOP),
            _ => {
                card.command(STOP);
                card.reset();
            }
        }
        if round % 3 != 1 {
            card.command(START);
            write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, EVIL, 0);
            card.remote(WRITE, u16::from(FIRST) << 8, SMALLEST as u16);
            out16_all(card.port + DATA_PORT, FRAME, u64::from(SMALLEST) / 2);
            wait_us(1000);
            hold(card.read(0) & 4 == 0, "it sends after a reset")?;
        }
    }
    hold(card.is_well(), "frames that were cut off broke it")
}

fn rewrite() -> ! {
    let [port, ..] = second::words();
    let card = Card { port: port as u16 };
    let mut numbers = Numbers::new(0x8390);
    while second::goes_on() {
        let value = numbers.next();
        match value >> 8 & 7 {
            0 => card.reset(),
            1 => card.command(value as u8 & !4),
            2 => card.write(BOUNDARY, (value >> 16) as u8),
            3 => {
                card.remote(READ, (value >> 16) as u16, (value >> 32) as u16);
                in16_all(card.port + DATA_PORT, DATA + 0x1_0000, value >> 48 & 0xff);
            }
            _ => card.write((value >> 16) as u16 & 0xf, value as u8),
        }
    }
    second::end()
}

fn by_two(card: Card, other: &mut Station, environment: &Environment) -> Outcome {
    // What it sends may be anything that its memory holds, of which the neighbour may receive all.
    card.set_up();
    fill(DATA, DATA_BYTES, 0);
    card.remote(WRITE, u16::from(FIRST) << 8, 0x4000);
    out16_all(card.port + DATA_PORT, DATA, 0x2000);
    hold(second::start([card.port.into(), 0, 0, 0], rewrite), "the second processor did not come")?;
    for round in 0..environment.number("rounds", 200) * 2 {
        card.set_up();
        write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, NOISE, round);
        card.start(SMALLEST as u16);
        other.throw(BROADCAST, NOISE);
        card.remote(READ, 0x4600, 0x400);
        in16_all(card.port + DATA_PORT, DATA, 0x200);
    }
    hold(second::stop(), "the second processor did nothing")?;
    hold(wait_until(PATIENCE, || card.is_well()), "the card does not come back")?;
    hold(other.restart(0) && other.is_answered(100), "the interface beside it does not work any more")
}
