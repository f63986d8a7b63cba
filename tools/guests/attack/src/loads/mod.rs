//! Loads for the bench: drivers that do as drivers should and nothing else, each by one request or frame
//! at a time and by as many as its queue takes. What the hypervisor has to do for them is counted by
//! itself, what they cost their own processor here: exits, interrupts, instructions at ports.

mod blk;
pub mod flood;
pub mod frames;
mod ide;
mod ne2000;
mod nvme;

use crate::Environment;
use crate::bench::exits;
use support::cpu::{self, enable_interrupts, rdtsc};
use support::trap::hits;
use support::{apic, ports, println};

/// Where rings and tables are, for each device in turn: nothing of the image is there.
const ARENA: u64 = 0x100_0000;
/// Where data goes: [`SLOT_BYTES`] for each request.
const DATA: u64 = 0x240_0000;
const SLOT_BYTES: u64 = 0x1_0000;
/// Requests or frames at once.
const DEPTH: u16 = 32;
const VECTOR: u8 = 0x64;
const TIMER: u8 = 0x62;
/// How long a rest is, in ticks of a timer at 1 GHz: until whatever was printed is sent, and nobody polls
/// any more.
const REST: u32 = 40_000_000;

/// Sleeps.
fn rest() {
    apic::write(apic::DIVIDE, 0xb);
    apic::write(apic::LVT_TIMER, TIMER.into());
    let before = hits(TIMER);
    cpu::disable_interrupts();
    apic::write(apic::INITIAL, REST);
    while hits(TIMER) == before {
        cpu::wait_for_interrupt();
        cpu::disable_interrupts();
    }
    enable_interrupts();
}

/// Does `run`, of which `count` requests or frames come, between two rests; says what it cost. `run` says
/// whether it could.
fn phase(name: &str, count: u64, run: impl FnOnce() -> bool) {
    println!("load: {name}: starting");
    rest();
    let executed = ports::executed();
    let (before, left, start) = (hits(VECTOR), exits(), rdtsc());
    let is_done = run();
    let ticks = rdtsc() - start;
    // The first look is among what the second one counts.
    let left = exits().zip(left).map_or(0, |(now, before)| now - before - 1);
    let interrupts = hits(VECTOR) - before;
    let ports = ports::executed() - executed;
    rest();
    if is_done {
        println!(
            "load: {name}: {count} done, {left} exits, {ports} port instructions, {interrupts} interrupts, {ticks} ticks"
        );
    } else {
        println!("load: FAILED, {name}");
    }
}

/// A drive that reads from its next sectors.
trait Reader {
    /// Reads `bytes` bytes `count` times at once, and waits for all of them.
    fn read(&mut self, count: u16, bytes: u32) -> bool;
}

/// Reads of both sizes, alone and, if it takes so many, as many as there are at once.
fn drive(name: &str, reader: &mut dyn Reader, has_queue: bool) {
    // What is done once is done.
    let is_ready = reader.read(1, 4096) && (!has_queue || reader.read(DEPTH, 4096));
    if !is_ready {
        println!("load: FAILED, {name} does not read");
        return;
    }
    let sizes = [("4 KiB", 4096, 4), ("64 KiB", 0x1_0000, 1)];
    for (size, bytes, more) in sizes {
        let times = 64 * more;
        phase(Name::of(&[name, ", ", size, ", alone"]).text(), times, || {
            (0..times).all(|_| reader.read(1, bytes))
        });
        if has_queue {
            let rounds = 8 * more;
            phase(Name::of(&[name, ", ", size, ", 32 at once"]).text(), rounds * u64::from(DEPTH), || {
                (0..rounds).all(|_| reader.read(DEPTH, bytes))
            });
        }
    }
}

/// A name that is put together.
struct Name([u8; 64], usize);

impl Name {
    fn of(pieces: &[&str]) -> Self {
        let (mut room, mut length) = ([0; 64], 0);
        for (to, from) in room.iter_mut().zip(pieces.iter().flat_map(|piece| piece.bytes())) {
            *to = from;
            length += 1;
        }
        Self(room, length)
    }

    fn text(&self) -> &str {
        core::str::from_utf8(&self.0[..self.1]).unwrap_or_default()
    }
}

/// Waits until `done`; gives up after a while.
fn spin_until(done: impl FnMut() -> bool) -> bool {
    spin(200_000_000, done)
}

/// Looks so often whether it is `done`, at most.
fn spin(times: u64, mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..times {
        if done() {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// All of them, as far as their functions are there.
pub fn run(_: &Environment) {
    enable_interrupts();
    if let Some(mut blk) = blk::Blk::start() {
        drive("virtio-blk", &mut blk, true);
    }
    if let Some(mut nvme) = nvme::Nvme::start() {
        drive("NVMe", &mut nvme, true);
    }
    if let Some(mut ide) = ide::Ide::start() {
        drive("IDE", &mut ide, false);
    }
    frames::run();
    ne2000::run();
    frames::end();
    println!("load: over");
}
