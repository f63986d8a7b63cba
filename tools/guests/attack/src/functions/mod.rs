//! The emulated functions, each told everything wrong by two processors: registers, queues and tables
//! that make no sense or change while they are read, resets and moves in the middle of work. A
//! [`neighbour`] with functions on the same disk and the same network sees that nothing of it reaches it.

mod config_access;
pub mod display;
pub mod frames;
pub mod ide;
pub mod ne2000;
pub mod neighbour;
mod rings;
mod second;
mod station;
pub mod virtio_blk;
pub mod virtio_net;

use crate::{Environment, nvme};
use support::cpu::{rdtsc, read32, write32};
use support::time::tsc_hz;
use support::{apic, println};

/// Where nothing is: behind the guest's memory, behind every processor's, at its local APIC, at the
/// IOAPIC, at configuration space.
const NOWHERE: [u64; 6] =
    [0x3000_0000, 1 << 45, 0xffff_ffff_ffff_f000, 0xfee0_0000, 0xfec0_0000, 0xe000_0000];

/// Memory of the attack: nothing of the image is there.
const ARENA: u64 = 0x100_0000;
/// What reads hold that no transfer may reach any more.
const PATTERN: u32 = 0x0bad_f00d;
/// Memory on both sides of what is handed to devices, which none of them has a reason to touch.
const GUARDS: [u64; 2] = [ARENA - 0x1_0000, ARENA + 0x40_0000];
const GUARD_BYTES: u64 = 0x1_0000;
const SECOND: u64 = 1_000_000;
/// How long a device may take to answer: the emulator has fewer processors than its machine, and the
/// neighbour has a turn in between.
const PATIENCE: u64 = 10 * SECOND;

/// What came of an attack: nothing, or what broke.
type Outcome = Result<(), &'static str>;

/// `Ok` if it is so.
const fn hold(is_so: bool, broken: &'static str) -> Outcome {
    if is_so { Ok(()) } else { Err(broken) }
}

/// Places where nothing is, and the device's own registers.
fn nowhere(base: u64) -> [u64; 8] {
    let [a, b, c, d, e, f] = NOWHERE;
    [a, b, c, d, e, f, base, base + 0x4000]
}

fn fill(from: u64, bytes: u64, value: u32) {
    (from..from + bytes).step_by(4).for_each(|at| write32(at, value));
}

fn is_filled(from: u64, bytes: u64, value: u32) -> bool {
    (from..from + bytes).step_by(4).all(|at| read32(at) == value)
}

/// A sequence of numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next one (xorshift).
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of them.
    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        let place = self.next() >> 16;
        these[(place % these.len() as u64) as usize]
    }
}

/// Attacks one function after the other, and says what held. The neighbour is told when it is over.
pub fn run(environment: &Environment) {
    for guard in GUARDS {
        fill(guard, GUARD_BYTES, PATTERN);
    }
    let (version, hz) = (apic::read(apic::VERSION), tsc_hz());
    if virtio_net::await_neighbour().is_err() {
        println!("attack functions: BROKEN, nobody is at the network");
        return;
    }
    let attacks: [(&str, fn(&Environment) -> Outcome); 5] = [
        ("virtio-blk", virtio_blk::run),
        ("virtio-net", virtio_net::run),
        ("ide", ide::run),
        ("ne2000", ne2000::run),
        ("display", display::run),
    ];
    if !environment.has("quick") {
        nvme::run(environment);
    }
    for (name, attack) in attacks {
        let start = rdtsc();
        let outcome = attack(environment)
            .and_then(|()| hold(apic::read(apic::VERSION) == version, "it reached the local APIC"))
            .and_then(|()| {
                let is_whole = GUARDS.iter().all(|guard| is_filled(*guard, GUARD_BYTES, PATTERN));
                hold(is_whole, "memory changed that is none of its business")
            });
        match outcome {
            Ok(()) => println!("attack {name}: held"),
            Err(what) => println!("attack {name}: BROKEN, {what}"),
        }
        println!("functions: {name} took {} ms", (rdtsc() - start) / (hz / 1000).max(1));
    }
    virtio_net::say_end();
}
