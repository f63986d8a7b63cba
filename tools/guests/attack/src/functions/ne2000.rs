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
use support::cpu::{in8, in16, in32, out8, out16, out32, read8, read16};
use support::ne2000::command::{PAGE1, READ, START, STOP, WRITE};
use support::ne2000::register::{
    BOUNDARY, COMMAND, CURRENT, DATA as DATA_PORT, DATA_CONFIG, RECEIVE_CONFIG, STATUS, TRANSMIT_PAGE,
};
use support::ne2000::{Card, FIRST, RING};
use support::time::{wait_until, wait_us};

// What became of a frame.
const SENT: u8 = 1;
const ABORTED: u8 = 8;

/// Frames for everybody and for groups are taken.
const TAKES_MOST: u8 = 0x0c;
/// Where frames are in the guest's memory.
const FRAME: u64 = ARENA + 0x3_8000;
const CAME: u64 = FRAME + 0x1000;

fn set_up(card: Card) {
    card.set_up(ATTACKER_TOO, TAKES_MOST);
}

/// Copies what is at [`FRAME`] to the card and starts to send so many bytes of it.
fn start(card: Card, bytes: u16) {
    card.put(u16::from(FIRST) << 8, FRAME, bytes);
    card.send_from(FIRST, bytes);
}

/// What became of the frame, once it is over.
fn sent(card: Card) -> Option<u8> {
    wait_until(PATIENCE, || card.read(COMMAND) & 4 == 0).then(|| card.read(TRANSMIT_PAGE))
}

fn send(card: Card, bytes: u16) -> Option<u8> {
    start(card, bytes);
    sent(card)
}

/// Shows the frames that are in the ring, and takes them out.
fn receive(card: Card, mut look: impl FnMut(Seen)) {
    for _ in 0..=u8::MAX {
        let current = card.current();
        let next = card.read(BOUNDARY).wrapping_add(1);
        let next = if next >= RING.1 { RING.0 } else { next };
        if next == current {
            return;
        }
        card.get(u16::from(next) << 8, CAME, 64);
        look(Seen::at(CAME + 4, u32::from(read16(CAME + 2))));
        card.free_until(read8(CAME + 1));
    }
}

/// Whether it works: after a reset a frame goes to the neighbour and its answer comes.
fn is_well(card: Card) -> bool {
    set_up(card);
    (0..20).any(|number| {
        write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, PING, number);
        let mut is_answered = false;
        send(card, SMALLEST as u16) == Some(SENT)
            && wait_until(SECOND / 10, || {
                receive(card, |frame| {
                    is_answered |= frame.ours == Some((PONG, number)) && frame.to == ATTACKER_TOO;
                });
                is_answered
            })
    })
}

/// Tries it all; frames must come and go as at first afterwards.
pub fn run(environment: &Environment) -> Outcome {
    let card = Card::find().ok_or("there is no NE2000")?;
    let mut other = Station::find(0, ARENA + 0x10_0000).ok_or("there is no virtio interface")?;
    hold(other.restart(0), "the virtio interface does not start")?;
    hold(is_well(card), "it does not work to begin with")?;
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
        hold(is_well(card), "a register broke it")?;
    }
    Ok(())
}

/// Rings that are none, while frames come.
fn rings(card: Card, other: &mut Station) -> Outcome {
    const PAGES: [u8; 11] = [0, 1, 0x1f, 0x3f, 0x40, 0x46, 0x47, 0x7f, 0x80, 0x81, 0xff];
    let mut numbers = Numbers::new(0x2000);
    for round in 1..=300 {
        set_up(card);
        let [start, stop, boundary, current] = core::array::from_fn(|_| numbers.one_of(&PAGES));
        card.set_ring(start, stop, boundary);
        card.command(PAGE1);
        card.write(CURRENT, current);
        card.command(START);
        card.write(RECEIVE_CONFIG, numbers.one_of(&[0x1f, 0x0c, 0x3f]));
        (0..3).for_each(|_| _ = other.say(BROADCAST, NOISE, round));
        // What it says that it has received.
        card.remote(READ, u16::from(current) << 8, 0x4000);
        card.get_words(DATA, 0x100);
        if round % 50 == 0 {
            hold(is_well(card), "a ring that is none broke it")?;
        }
    }
    Ok(())
}

/// Frames to send that are not in its memory, or none: the card says so.
fn sends(card: Card) -> Outcome {
    set_up(card);
    fill(FRAME, 0x800, 0);
    for page in [0x3f, 0x40, 0x41, 0x7f, 0x80, 0xc0, 0xff] {
        for bytes in [0, 1, 13, 14, 60, 1514, 1518, 1519, 0x4000, 0x4001, 0xffff] {
            card.send_from(page, bytes);
            let end = u32::from(page) * 0x100 + u32::from(bytes);
            let is_frame = (14..=1514).contains(&bytes) && page >= 0x40 && end <= 0x8000;
            let expected = if is_frame { SENT } else { ABORTED };
            hold(sent(card) == Some(expected), "a frame that is not in memory")?;
        }
    }
    // Where the address memory is, whatever it makes of it.
    card.send_from(0, 60);
    hold(sent(card).is_some(), "a frame of the address memory")?;
    // Nothing is sent while it is stopped, or to itself.
    card.command(STOP);
    card.command(STOP | 4);
    hold(card.read(COMMAND) & 4 == 0, "it sends while it is stopped")?;
    hold(is_well(card), "frames that are none broke it")
}

/// Frames in others' names and with tags.
fn forged(card: Card) -> Outcome {
    let from = frames::FORGED.map(|from| if from == ATTACKER_TOO { ATTACKER } else { from });
    for to in [NEIGHBOUR, BROADCAST] {
        for from in from {
            frames::write_evil(FRAME, to, from, None);
            hold(send(card, SMALLEST as u16) == Some(SENT), "a forged source")?;
        }
        for tag in frames::TAGS {
            for vlan in frames::VLANS {
                frames::write_evil(FRAME, to, ATTACKER_TOO, Some((tag, vlan)));
                hold(send(card, SMALLEST as u16 + 4) == Some(SENT), "a tag")?;
            }
        }
    }
    for last in 0..16 {
        let to: Address = [1, 0x80, 0xc2, 0, 0, last];
        frames::write_evil(FRAME, to, ATTACKER_TOO, None);
        hold(send(card, SMALLEST as u16) == Some(SENT), "a reserved address")?;
    }
    hold(is_well(card), "frames that nobody should send broke it")
}

/// Remote DMA from and to everywhere, of every length, of as many words as an instruction can move.
fn remote(card: Card) -> Outcome {
    let places = [0, 0x1f, 0x20, 0x3fff, 0x4000, 0x45ff, 0x7ffe, 0x7fff, 0x8000, 0xfffe, 0xffff];
    for at in places {
        for bytes in [0, 1, 2, 3, 0x4001, 0xffff] {
            for config in [0x48, 0x49] {
                card.write(DATA_CONFIG, config);
                card.remote(READ, at, bytes);
                card.get_words(DATA, DATA_BYTES / 2);
                card.remote(WRITE, at, bytes);
                card.put_words(DATA, 0x9000);
                // The way that was not asked for.
                card.remote(WRITE, at, bytes);
                let _ = (in8(card.port + DATA_PORT), in32(card.port + DATA_PORT + 4));
                // "Send packet", and both ways at once.
                card.command(0x1a);
                card.command(0x3a);
                card.get_words(DATA, 0x10);
            }
        }
        hold(is_well(card), "remote DMA broke it")?;
    }
    Ok(())
}

/// A ring that is never emptied: what does not fit is missed, and the sender not held up.
fn unfreed(card: Card, other: &mut Station) -> Outcome {
    set_up(card);
    for round in 0..200 {
        hold(other.say(BROADCAST, NOISE, round), "a full ring holds its sender up")?;
        if round % 20 == 0 {
            // The frame that has no room may be taken, or left.
            card.write(STATUS, 0xff);
        }
    }
    let current = card.current();
    hold((RING.0..RING.1).contains(&current), "it left its ring")?;
    hold(is_well(card), "a full ring broke it")
}

/// A frame that is to be sent when the card is reset: none is sent afterwards.
fn resets(card: Card) -> Outcome {
    for round in 0..60 {
        set_up(card);
        write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, NOISE, 0);
        start(card, SMALLEST as u16);
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
            card.put_words(FRAME, u64::from(SMALLEST) / 2);
            wait_us(1000);
            hold(card.read(COMMAND) & 4 == 0, "it sends after a reset")?;
        }
    }
    hold(is_well(card), "frames that were cut off broke it")
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
                card.get_words(DATA + 0x1_0000, value >> 48 & 0xff);
            }
            _ => card.write((value >> 16) as u16 & 0xf, value as u8),
        }
    }
    second::end()
}

fn by_two(card: Card, other: &mut Station, environment: &Environment) -> Outcome {
    // What it sends may be anything that its memory holds, of which the neighbour may receive all.
    set_up(card);
    fill(DATA, DATA_BYTES, 0);
    card.remote(WRITE, u16::from(FIRST) << 8, 0x4000);
    card.put_words(DATA, 0x2000);
    hold(second::start([card.port.into(), 0, 0, 0], rewrite), "the second processor did not come")?;
    for round in 0..environment.number("rounds", 200) * 2 {
        set_up(card);
        write_frame(FRAME, NEIGHBOUR, ATTACKER_TOO, NOISE, round);
        start(card, SMALLEST as u16);
        other.throw(BROADCAST, NOISE);
        card.remote(READ, 0x4600, 0x400);
        card.get_words(DATA, 0x200);
    }
    hold(second::stop(), "the second processor did nothing")?;
    hold(wait_until(PATIENCE, || is_well(card)), "the card does not come back")?;
    hold(other.restart(0) && other.is_answered(100), "the interface beside it does not work any more")
}
