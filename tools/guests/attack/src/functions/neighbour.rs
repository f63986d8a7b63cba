//! The innocent beside the attacks on functions, with a drive on the same disk and two interfaces at
//! the same network: looks at its memory, its sectors and its frames, answers who asks, and measures how
//! long its own requests and frames take.

use super::rings::{DATA, RING};
use super::station::{
    ATTACKER, ATTACKER_TOO, Address, END, EVIL, NEIGHBOUR, NEIGHBOUR_TOO, OWN, PING, PONG, Seen, Station,
};
use super::virtio_blk::Disk;
use super::{ARENA, PATIENCE, SECOND};
use crate::Environment;
use crate::neighbour::{self, FIRST};
use core::ops::Range;
use support::cpu::{enable_interrupts, rdtsc, read32, write32};
use support::println;
use support::time::Stopwatch;

/// Bytes of the disk that are looked at at a time, at [`PIECE`].
const PIECE_BYTES: u64 = 0x8000;
const PIECE: u64 = DATA + 0x1000;
/// What the pieces of a disk that takes no writes held at first: a word each.
const SUMS: u64 = ARENA + 0x38_0000;
/// After so long a frame of its own counts as lost, and it sends another.
const LOST: u64 = SECOND / 5;
/// The largest frame without a tag.
const LARGEST: u32 = 1514;

/// Until the attacker says that it is over, at most `seconds`.
pub fn run(environment: &Environment) {
    let seconds = environment.number("seconds", 120);
    match watch(environment.memory_end & !0xfff, seconds * SECOND) {
        Ok(seen) => {
            let Figures { requests, frames, lost, others, slowest, .. } = seen;
            println!("neighbour: slowest request {} us, frame {} us", slowest[0], slowest[1]);
            println!("neighbour: {requests} requests, {frames} frames ({lost} lost), {others} of others");
            println!("neighbour: unharmed");
        }
        Err(harm) => println!("neighbour: HARMED, {harm}"),
    }
}

#[derive(Default)]
struct Figures {
    requests: u64,
    /// Of its own that came.
    frames: u64,
    lost: u64,
    others: u64,
    /// Microseconds: of requests, of frames.
    slowest: [u64; 2],
}

fn watch(end: u64, most: u64) -> Result<Figures, &'static str> {
    let mut figures = Figures::default();
    let quiet = [FIRST..RING, ARENA + 0x40_0000..end];
    quiet.iter().cloned().for_each(neighbour::mark);
    let mut drive = Drive::fill()?;
    let mut talk = Talk::start()?;
    enable_interrupts();
    println!("neighbour: watching");
    let (mut since, mut round) = (Stopwatch::start(), 0);
    while !talk.is_over {
        if since.microseconds() > most {
            return Err("the attack does not end");
        }
        talk.go_on(&mut figures)?;
        drive.check(round % drive.pieces, &mut figures)?;
        check_memory(&quiet, Some(round))?;
        if neighbour::stray_interrupt().is_some() {
            return Err("an interrupt came out of nowhere");
        }
        round += 1;
    }
    for piece in 0..drive.pieces {
        drive.check(piece, &mut figures)?;
    }
    check_memory(&quiet, None)?;
    Ok(figures)
}

/// All of it, or a slice.
fn check_memory(quiet: &[Range<u64>], round: Option<u64>) -> Result<(), &'static str> {
    const SLICES: u64 = 256;
    let is_well = quiet.iter().all(|range| {
        let slice = (range.end - range.start) / SLICES & !0xfff;
        let part = round.map_or(range.clone(), |round| {
            let start = range.start + round % SLICES * slice;
            start..start + slice
        });
        neighbour::is_marked(part)
    });
    if is_well { Ok(()) } else { Err("memory changed") }
}

/// Its drive, and what is on it.
struct Drive {
    disk: Disk,
    pieces: u64,
}

impl Drive {
    /// Fills the drive, or looks at what is on it.
    fn fill() -> Result<Self, &'static str> {
        let disk = Disk::find().ok_or("there is no drive")?;
        let pieces = disk.sectors * 512 / PIECE_BYTES;
        let mut drive = Self { disk, pieces };
        for piece in 0..pieces {
            if drive.disk.is_writable {
                (0..PIECE_BYTES).step_by(4).for_each(|at| write32(PIECE + at, word(piece, at)));
                drive.request(1, piece, false)?;
            } else {
                drive.request(0, piece, true)?;
                write32(SUMS + 4 * piece, sum());
            }
        }
        Ok(drive)
    }

    fn request(&mut self, kind: u32, piece: u64, to_guest: bool) -> Result<(), &'static str> {
        let data = [(PIECE, PIECE_BYTES as u32, to_guest)];
        let answer = self.disk.request(kind, piece * PIECE_BYTES / 512, &data);
        if answer == Some(0) { Ok(()) } else { Err("its drive does not answer") }
    }

    fn check(&mut self, piece: u64, figures: &mut Figures) -> Result<(), &'static str> {
        let mut watch = Stopwatch::start();
        self.request(0, piece, true)?;
        figures.requests += 1;
        figures.slowest[0] = figures.slowest[0].max(watch.microseconds());
        let is_well = if self.disk.is_writable {
            (0..PIECE_BYTES).step_by(4).all(|at| read32(PIECE + at) == word(piece, at))
        } else {
            sum() == read32(SUMS + 4 * piece)
        };
        if is_well { Ok(()) } else { Err("its sectors changed") }
    }
}

/// What word of the disk is what.
const fn word(piece: u64, at: u64) -> u32 {
    (piece * PIECE_BYTES + at + 1).wrapping_mul(0x9e37_79b9) as u32
}

fn sum() -> u32 {
    (0..PIECE_BYTES).step_by(4).fold(1, |sum: u32, at| sum.wrapping_mul(31) ^ read32(PIECE + at))
}

/// Its interfaces, one of which talks to the other.
struct Talk {
    stations: [Station; 2],
    /// What nobody else knows.
    secret: u64,
    /// Of the last frame of its own that was sent, and that came.
    sent: u64,
    came: u64,
    since_sent: Stopwatch,
    since_came: Stopwatch,
    is_over: bool,
}

impl Talk {
    fn start() -> Result<Self, &'static str> {
        let find = |n, at| Station::find(n, at).ok_or("there is no interface");
        let mut stations = [find(0, ARENA + 0x10_0000)?, find(1, ARENA + 0x18_0000)?];
        let addresses = stations.each_ref().map(|station| station.address);
        if addresses != [NEIGHBOUR, NEIGHBOUR_TOO] || !stations.each_mut().map(|one| one.restart(0))[0] {
            return Err("its interfaces do not start");
        }
        let secret = rdtsc() << 20;
        let (since_sent, since_came) = (Stopwatch::start(), Stopwatch::start());
        Ok(Self { stations, secret, sent: 0, came: 0, since_sent, since_came, is_over: false })
    }

    /// Looks at what came, answers, and sends.
    fn go_on(&mut self, figures: &mut Figures) -> Result<(), &'static str> {
        for index in 0..2 {
            self.take(index, figures)?;
        }
        let waited = self.since_sent.microseconds();
        if self.sent != self.came && waited < LOST {
            return Ok(());
        }
        if self.sent != self.came {
            figures.lost += 1;
        }
        if self.since_came.microseconds() > PATIENCE {
            return Err("its frames do not come through");
        }
        self.sent += 1;
        self.since_sent = Stopwatch::start();
        let [one, other] = &mut self.stations;
        if one.say(other.address, OWN, self.secret + self.sent) { Ok(()) } else { Err("it cannot send") }
    }

    fn take(&mut self, index: usize, figures: &mut Figures) -> Result<(), &'static str> {
        let Self { stations, secret, sent, came, since_sent, since_came, is_over } = self;
        let station = &mut stations[index];
        let own = station.address;
        let (mut harm, mut asked, mut count) = (None, [(ATTACKER, 0); 16], 0);
        station.receive(|frame| match judge(&frame, own) {
            Err(what) => harm = Some(what),
            Ok(()) if frame.from == NEIGHBOUR => match frame.ours {
                // A frame that was given up may still come.
                Some((OWN, number)) if (*secret + *came + 1..=*secret + *sent).contains(&number) => {
                    *came = number - *secret;
                    if came == sent {
                        figures.slowest[1] = figures.slowest[1].max(since_sent.microseconds());
                    }
                    figures.frames += 1;
                    *since_came = Stopwatch::start();
                }
                _ => harm = Some("a frame in its name that it did not send"),
            },
            Ok(()) => {
                figures.others += 1;
                match frame.ours {
                    Some((PING, number)) if count < asked.len() => {
                        asked[count] = (frame.from, number);
                        count += 1;
                    }
                    Some((END, _)) => *is_over = true,
                    _ => {}
                }
            }
        });
        for (to, number) in &asked[..count] {
            station.say(*to, PONG, *number);
        }
        harm.map_or(Ok(()), Err)
    }
}

/// What is wrong with a frame that the station `own` received.
fn judge(frame: &Seen, own: Address) -> Result<(), &'static str> {
    let is_known =
        [ATTACKER, ATTACKER_TOO].contains(&frame.from) || frame.from == NEIGHBOUR && own == NEIGHBOUR_TOO;
    if !is_known {
        return Err("a frame whose source is forged");
    }
    if !(14..=LARGEST).contains(&frame.bytes) {
        return Err("a frame of a size that there is not");
    }
    if matches!(frame.kind, 0x8100 | 0x88a8) {
        return Err("a frame with a tag");
    }
    if frame.to != own && frame.to[0] & 1 == 0 {
        return Err("a frame that is another's");
    }
    match frame.ours {
        Some((EVIL, _)) => Err("a frame that nobody may receive"),
        _ => Ok(()),
    }
}
