//! A virtio network interface: queues that break a rule, frames that nobody should send, commands that
//! make no sense, a driver that takes and gives nothing, and a second processor that rewrites all of it.

use super::rings::{self, DATA, DATA_BYTES, RING, Target};
use super::station::{
    ATTACKER, BROADCAST, CONTROL, END, EVIL, HEADER, NEIGHBOUR, NOISE, PING, RECEIVE, SIZE, SMALLEST,
    Station, TRANSMIT, write_frame,
};
use super::{ARENA, Outcome, PATIENCE, fill, frames, hold, nowhere, second};
use crate::Environment;
use core::cell::RefCell;
use support::cpu::{read8, write8, write16, write32, write64};
use support::println;
use support::time::{Stopwatch, wait_until, wait_us};
use support::virtio::{EVENT_INDEX, INDIRECT_DESCRIPTORS, Part, RING_PACKED, Ring};

const CHECKSUM: u64 = 1;
const CUTS: u64 = 1 << 11 | 1 << 12;
const MERGEABLE: u64 = 1 << 15;
const CONTROLS: u64 = 1 << 17 | 1 << 18;
/// The station's memory.
const OWN: u64 = ARENA + 0x10_0000;

fn find() -> Result<Station, &'static str> {
    let station = Station::find(0, OWN).ok_or("there is no virtio interface")?;
    hold(station.address == ATTACKER, "it has another's address")?;
    Ok(station)
}

/// Waits for the neighbour: it has a drive to fill first.
pub fn await_neighbour() -> Outcome {
    let mut station = find()?;
    hold(station.restart(0) && station.is_answered(400), "nobody answers")
}

/// Tells the neighbour that the attack is over.
pub fn say_end() {
    if let Ok(mut station) = find() {
        for _ in 0..100 {
            station.restart(0);
            station.say(BROADCAST, END, 0);
        }
    }
}

/// Tries it all; frames must come and go as at first afterwards.
pub fn run(environment: &Environment) -> Outcome {
    let mut station = find()?;
    hold(station.restart(0) && station.is_answered(100), "it does not work to begin with")?;
    queues(&mut station, environment)?;
    hold(station.restart(0), "it does not start")?;
    frames::send(&mut station)?;
    // Cuts and checksums that were not agreed on, and then those that were.
    frames::lie(&mut station)?;
    hold(station.restart(CHECKSUM | CUTS | RING_PACKED), "it does not start")?;
    frames::lie(&mut station)?;
    buffers(&mut station)?;
    commands(&mut station)?;
    resets(&mut station)?;
    flood(&mut station, environment)?;
    by_two(&mut station, environment)
}

fn queues(station: &mut Station, environment: &Environment) -> Outcome {
    let station = RefCell::new(station);
    let device = station.borrow().device;
    let good: [&[Part]; 3] = [
        &[(DATA, 0x800, true)],
        &[(DATA, HEADER as u32 + SMALLEST, false)],
        &[(DATA, 2, false), (DATA + 16, 1, true)],
    ];
    for (queue, good) in (RECEIVE..).zip(good) {
        for features in [INDIRECT_DESCRIPTORS, EVENT_INDEX] {
            let features = features | CONTROLS;
            let target = Target {
                device,
                queue,
                size: SIZE,
                good,
                uses_each: features & EVENT_INDEX == 0,
                stops_polling: false,
                memory_end: environment.memory_end,
                prepare: &|| station.borrow_mut().prepare(features, queue),
                provoke: &|| {
                    // Whoever sends nothing is sent nothing.
                    if queue == RECEIVE {
                        station.borrow_mut().say(NEIGHBOUR, PING, 0);
                    }
                },
            };
            let is_well = |features| {
                let mut station = station.borrow_mut();
                station.restart(features) && station.is_answered(100)
            };
            rings::run(&target, &mut || is_well(features))?;
            // The packed ones once, with all of it.
            if features & EVENT_INDEX == 0 {
                continue;
            }
            let features = features | INDIRECT_DESCRIPTORS | RING_PACKED;
            let prepare = || station.borrow_mut().prepare(features, queue);
            let target = Target { prepare: &prepare, uses_each: false, ..target };
            rings::run_packed(&target, &mut || is_well(features))?;
        }
    }
    Ok(())
}

/// Starts it with these buffers alone for frames that come, and has some come. Whether it asks for a
/// reset.
fn with_buffers(station: &mut Station, features: u64, parts: &[Part]) -> Result<bool, &'static str> {
    hold(station.prepare(features, RECEIVE), "it does not start")?;
    let mut ring = Ring::agreed(RING, SIZE, features);
    station.device.enable(RECEIVE, SIZE, ring.places());
    station.device.start();
    if !parts.is_empty() {
        ring.chain(0, parts);
        ring.offer(0);
    }
    Ok((0..if parts.is_empty() { 20 } else { 100 }).any(|_| {
        station.say(NEIGHBOUR, PING, 0);
        wait_us(2000);
        station.device.needs_reset()
    }))
}

/// Buffers that are none, too few, too small, and never given at all.
fn buffers(station: &mut Station) -> Outcome {
    for features in [0, MERGEABLE | RING_PACKED] {
        for bytes in [1, 11] {
            let is_refused = with_buffers(station, features, &[(DATA, bytes, true)])?;
            hold(is_refused, "a buffer smaller than a header")?;
        }
        for place in nowhere(station.device.base) {
            hold(with_buffers(station, features, &[(place, 0x800, true)])?, "a buffer that is nowhere")?;
        }
        hold(with_buffers(station, features, &[(DATA, 0x800, false)])?, "a buffer that is read")?;
        for parts in [&[][..], &[(DATA, 13, true)]] {
            hold(!with_buffers(station, features, parts)?, "too little room for a frame")?;
        }
    }
    hold(station.restart(0) && station.is_answered(100), "buffers that are none broke it")
}

/// Commands of the control queue.
fn commands(station: &mut Station) -> Outcome {
    hold(station.prepare(CONTROLS, CONTROL), "it does not start")?;
    let mut ring = Ring::new(RING, SIZE);
    station.device.enable(CONTROL, SIZE, ring.places());
    station.device.start();
    let counts = [0, 1, 2, 33, 0x2aaa_aaab, 0x7fff_ffff, u32::MAX];
    for class in [0, 1, 2, 3, 4, 0x80, 0xff] {
        for which in [0, 1, 2, 0xff] {
            for count in counts {
                write8(DATA, class);
                write8(DATA + 1, which);
                write32(DATA + 2, count);
                for bytes in [0, 1, 2, 3, 6, 10, 511, 512, 513, 0x4000] {
                    write8(DATA + 0x8000, 0xee);
                    ring.chain(0, &[(DATA, bytes, false), (DATA + 0x8000, 1, true)]);
                    ring.offer(0);
                    station.device.kick(CONTROL);
                    hold(ring.wait_used(PATIENCE).is_some(), "a command without an answer")?;
                    hold(read8(DATA + 0x8000) < 2, "an answer that is none")?;
                }
            }
        }
    }
    hold(station.restart(0) && station.is_answered(100), "commands broke it")
}

/// Frames that are to be sent when the interface is reset, or may not master the bus any more: none is
/// sent afterwards, so what stands in their place then comes to nobody.
fn resets(station: &mut Station) -> Outcome {
    let device = station.device;
    for round in 0..40 {
        let is_started = station.restart(if round % 4 < 2 { 0 } else { RING_PACKED });
        hold(is_started, "it does not start after a reset")?;
        for number in 0..SIZE {
            let at = DATA + u64::from(number) * 0x100;
            (0..HEADER).step_by(4).for_each(|byte| write32(at + byte, 0));
            write_frame(at + HEADER, NEIGHBOUR, ATTACKER, NOISE, 0);
            station.transmit.chain(number, &[(at, HEADER as u32 + SMALLEST, false)]);
            station.transmit.offer(number);
        }
        device.kick(TRANSMIT);
        if round % 2 == 0 {
            hold(device.reset(), "a reset does not end")?;
        } else {
            device.function.write_ecam(4, 2);
        }
        for number in 0..u64::from(SIZE) {
            write_frame(DATA + number * 0x100 + HEADER, NEIGHBOUR, ATTACKER, EVIL, 0);
        }
        wait_us(2000);
        // With nothing to be sent any more.
        hold(device.reset(), "a reset does not end")?;
        device.function.write_ecam(4, 6);
    }
    // What the second processor makes of memory later may be sent.
    fill(DATA, DATA_BYTES, 0);
    hold(station.restart(0) && station.is_answered(100), "frames that were cut off broke it")
}

/// As many frames to everybody as the interface takes.
fn flood(station: &mut Station, environment: &Environment) -> Outcome {
    hold(station.restart(0), "it does not start")?;
    let room = station.room();
    (0..HEADER).step_by(4).for_each(|byte| write32(room + byte, 0));
    write_frame(room + HEADER, BROADCAST, ATTACKER, NOISE, 0);
    for index in 0..SIZE {
        station.transmit.chain(index, &[(room, HEADER as u32 + SMALLEST, false)]);
    }
    let (mut watch, mut sent) = (Stopwatch::start(), 0_u32);
    let milliseconds = environment.number("flood", 1500);
    (0..SIZE).for_each(|index| station.transmit.offer(index));
    station.device.kick(TRANSMIT);
    while watch.microseconds() < milliseconds * 1000 {
        let before = sent;
        while let Some((index, _)) = station.transmit.used() {
            station.transmit.offer(index);
            sent += 1;
        }
        if sent != before {
            station.device.kick(TRANSMIT);
        }
    }
    println!("functions: sent {sent} frames to everybody in {milliseconds} ms");
    hold(sent > u32::from(SIZE), "a flood is not taken at all")?;
    hold(station.restart(0) && station.is_answered(100), "a flood broke it")
}

/// The second processor turns a frame into another one, and back.
fn rewrite_frames() -> ! {
    let mut numbers = super::Numbers::new(0xfeed);
    let frame = DATA + HEADER;
    while second::goes_on() {
        let from = numbers.one_of(&frames::FORGED);
        (0..6).for_each(|byte| write8(frame + 6 + byte as u64, from[byte]));
        write16(frame + 12, numbers.one_of(&frames::TAGS).to_be());
        write64(DATA, numbers.next());
        write16(frame + 12, super::station::TYPE.to_be());
        (0..6).for_each(|byte| write8(frame + 6 + byte as u64, ATTACKER[byte]));
        write64(DATA, 0);
    }
    second::end()
}

fn by_two(station: &mut Station, environment: &Environment) -> Outcome {
    let rounds = environment.number("rounds", 200);
    let device = station.device;
    hold(second::start([0; 4], rewrite_frames), "the second processor did not come")?;
    hold(station.restart(CHECKSUM | CUTS), "it does not start")?;
    write_frame(DATA + HEADER, BROADCAST, ATTACKER, NOISE, 0);
    for _ in 0..rounds * 8 {
        hold(station.send_parts(&[(DATA, HEADER as u32 + SMALLEST, false)]), "a frame that changes")?;
    }
    hold(second::stop(), "the second processor did nothing")?;
    for (queue, registers) in [(TRANSMIT, false), (CONTROL, false), (RECEIVE, true), (TRANSMIT, true)] {
        write_frame(DATA + HEADER, NEIGHBOUR, ATTACKER, NOISE, 0);
        let started = rings::start_disturbance(&device, queue, SIZE, registers);
        hold(started, "the second processor did not come")?;
        for round in 0..rounds {
            let kind = if round % 4 < 2 { 0 } else { RING_PACKED };
            let features = CONTROLS | kind | if round % 2 == 0 { EVENT_INDEX } else { INDIRECT_DESCRIPTORS };
            station.prepare(features, queue);
            let mut ring = Ring::agreed(RING, SIZE, features);
            device.enable(queue, SIZE, ring.places());
            device.start();
            if queue == RECEIVE {
                station.throw(NEIGHBOUR, PING);
            }
            for number in 0..16 {
                ring.chain(number % 13, &[(DATA, HEADER as u32 + SMALLEST, queue == RECEIVE)]);
                ring.offer(number % 13);
                device.kick(queue);
            }
        }
        hold(second::stop(), "the second processor did nothing")?;
        let settled = wait_until(PATIENCE, || {
            device.function.write_ecam(4, 6);
            station.restart(0) && station.is_answered(5)
        });
        hold(settled, "the interface does not come back")?;
    }
    Ok(())
}
