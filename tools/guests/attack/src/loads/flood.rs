//! A guest whose rings are always full, and one beside it that measures how long its own requests and
//! frames take meanwhile.

use super::blk::Blk;
use super::frames::{Interface, NOTHING, SIZES};
use super::{DEPTH, Reader, rest, spin_until};
use crate::Environment;
use support::cpu::{enable_interrupts, rdtsc};
use support::println;

/// Frames or requests that are seen to at a time: on an emulator that runs one processor after the other
/// all of it is in between.
const AT_ONCE: u16 = 2;

/// Reads of 64 KiB (`disk`) and frames that the hypervisor has to cut into segments (`net`), as many as the queues
/// take, until the machine is off.
pub fn run(environment: &Environment) {
    enable_interrupts();
    let mut disk = if environment.has("disk") { Blk::start() } else { None };
    let mut net = match environment.has("net") {
        true => Interface::start(0, true).zip(Interface::start(1, false)),
        false => None,
    };
    if let Some(disk) = &mut disk {
        let old = disk.offered();
        (0..DEPTH).for_each(|slot| disk.put(slot, 0x1_0000));
        disk.tell(old);
    }
    let (_, bytes) = SIZES[2];
    if let Some((sender, receiver)) = &mut net {
        let old = sender.offered();
        for slot in 0..DEPTH {
            sender.write(slot, receiver.address, bytes, NOTHING, 0);
            sender.put(slot, bytes);
        }
        sender.tell(old);
    }
    println!("flood: full");
    loop {
        if let Some(disk) = &mut disk {
            let old = disk.offered();
            let done = (0..AT_ONCE).map_while(|_| disk.done()).fold([None; AT_ONCE as usize], push);
            done.into_iter().flatten().for_each(|slot| disk.put(slot, 0x1_0000));
            if disk.offered() != old {
                disk.tell(old);
            }
        }
        if let Some((sender, receiver)) = &mut net {
            receiver.take(AT_ONCE, |_, _| {});
            let old = sender.offered();
            let sent = (0..AT_ONCE).map_while(|_| sender.sent()).fold([None; AT_ONCE as usize], push);
            sent.into_iter().flatten().for_each(|slot| sender.put(slot, bytes));
            if sender.offered() != old {
                sender.tell(old);
            }
        }
        core::hint::spin_loop();
    }
}

fn push(mut slots: [Option<u16>; AT_ONCE as usize], slot: u16) -> [Option<u16>; AT_ONCE as usize] {
    if let Some(place) = slots.iter_mut().find(|place| place.is_none()) {
        *place = Some(slot);
    }
    slots
}

/// Its own requests and frames, `rounds` of each.
pub fn beside(environment: &Environment) {
    enable_interrupts();
    let rounds = environment.number("rounds", 200);
    rest();
    if let Some(mut disk) = Blk::start() {
        measure("read of 4 KiB", rounds, || disk.read(1, 4096));
    }
    let Some((mut one, mut other)) = Interface::start(0, true).zip(Interface::start(1, true)) else { return };
    one.write(0, other.address, 60, NOTHING, 0);
    measure("frame", rounds, || one.send(1, 60) && spin_until(|| other.take(1, |_, _| {}) > 0));
}

fn measure(name: &str, rounds: u64, mut run: impl FnMut() -> bool) {
    // What is done once is done.
    let mut is_done = (0..8).all(|_| run());
    let (mut most, mut sum) = (0, 0);
    for _ in 0..rounds {
        let start = rdtsc();
        is_done &= run();
        let ticks = rdtsc() - start;
        (most, sum) = (most.max(ticks), sum + ticks);
    }
    match is_done {
        true => {
            println!("beside: {name}: {most} at most, {} on average, {rounds} times", sum / rounds.max(1))
        }
        false => println!("beside: FAILED, {name}"),
    }
}
