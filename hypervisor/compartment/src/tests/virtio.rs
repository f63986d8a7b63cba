//! A driver of a virtio device under load, whose device's compartment is killed over and over: what it sees is what
//! the driver of the device itself sees.

use super::killed::{KILLS, Make, killed, watch};
use super::*;
use devices::testing::VecMedium;
use devices::virtio::testing::{Driver, MEMORY, Ring};
use spec::virtio::feature;
use spec::virtio::split::RING_INDEX;

mod block;
mod character;
mod net;

/// What every driver here takes of the transport, with each kind of ring.
const SPLIT: u64 =
    feature::VERSION_1 | feature::INDIRECT_DESCRIPTORS | feature::EVENT_INDEX | feature::RING_RESET;
const FLAGS: u64 = SPLIT & !feature::EVENT_INDEX;
const PACKED: u64 = SPLIT | feature::RING_PACKED;
const PACKED_FLAGS: u64 = FLAGS | feature::RING_PACKED;
const RINGS: [u64; 4] = [SPLIT, FLAGS, PACKED, PACKED_FLAGS];

/// Queues of a device here at most.
const MOST_QUEUES: u16 = 7;

/// What decides of what a driver does next.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % most
    }
}

/// What is left of a device and its surroundings after a load, and what was seen meanwhile.
#[derive(PartialEq)]
struct End {
    seen: Vec<(u64, u64, u64)>,
    messages: Vec<u16>,
    memory: Vec<u8>,
    medium: Vec<u8>,
}

/// What can be put under a load.
trait Load {
    /// The load that `seed` stands for, on a driver with these features.
    fn run<D: Device>(driver: &mut Driver<D, Shared>, features: u64, seed: u64) -> Vec<(u64, u64, u64)>;
}

fn end_of<L: Load, D: Device>(device: D, medium: usize, features: u64, seed: u64) -> (End, D) {
    let memory = Shared::of_zeros(MEMORY);
    end_with::<L, D>(device, memory, medium, features, seed)
}

fn end_with<L: Load, D: Device>(
    device: D,
    memory: Shared,
    medium: usize,
    features: u64,
    seed: u64,
) -> (End, D) {
    let mut driver = Driver::with_memory(device, memory, VecMedium::new(medium));
    let seen = L::run(&mut driver, features, seed);
    let Driver { bench, .. } = driver;
    let memory = bench.memory.0.lock().unwrap().clone();
    (End { seen, messages: bench.messages, memory, medium: bench.medium.bytes }, bench.device)
}

/// Puts both devices under the load, one of them with as many kills as there have to be, with each kind of ring.
fn goes_on<L: Load>(make: Make, carries_frames: bool, medium: usize) {
    for (kind, features) in RINGS.into_iter().enumerate() {
        let (mut kills, mut seed) = (0, kind as u64 * 1000);
        while kills < KILLS / RINGS.len() as u64 {
            let (local, _) = end_of::<L, _>(Boxed(make()), medium, features, seed);
            let memory = Shared::of_zeros(MEMORY);
            let mut device = killed(make, carries_frames, seed, &memory);
            if features & feature::RING_PACKED == 0 {
                let areas = (0..MOST_QUEUES).map(|queue| Ring::new(queue, 1, features).device_area());
                watch(&mut device, areas.map(|area| Gpa(area + RING_INDEX)));
            }
            let (remote, device) = end_with::<L, _>(device, memory, medium, features, seed);
            assert_eq!(device.ended(), None, "seed {seed}");
            assert_eq!(local.seen, remote.seen, "seed {seed}");
            assert_eq!(local.messages, remote.messages, "seed {seed}");
            assert!(local == remote, "they wrote different things: seed {seed}");
            kills += device.compartment().unwrap().restarts;
            seed += 1;
        }
    }
}
