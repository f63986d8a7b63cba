//! A console and an entropy device: what is printed is printed once and whole, what is typed arrives once, and each
//! buffer is filled once.

use super::*;
use devices::random::{Source, Tested};
use devices::testing::{RandomWords, random_words};
use devices::virtio::Transport;
use devices::virtio::console::{Console, QUEUE_SIZE};
use devices::virtio::entropy::{self, Entropy};
use devices::virtio::testing::DATA;
use spec::virtio::console::queue;

fn console() -> Box<dyn Device> {
    Box::new(Transport::new(Console::new(), 3, false))
}

struct Text;

impl Load for Text {
    fn run<D: Device>(driver: &mut Driver<D, Shared>, features: u64, seed: u64) -> Vec<(u64, u64, u64)> {
        driver.start(features, QUEUE_SIZE, true);
        let (mut dice, mut seen) = (Dice(seed), Vec::new());
        let (mut said, mut printed, mut typed, mut got) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (receive, transmit) = (queue::RECEIVE, queue::TRANSMIT);
        for step in 0..400_u64 {
            let Driver { bench, rings } = &mut *driver;
            match dice.below(if step < 350 { 10 } else { 7 }) {
                0 | 1 => {
                    let bytes = core::array::from_fn::<_, 2, _>(|_| 1 + dice.below(40) as u32);
                    if let Some(head) = rings[transmit].next_head(2, true) {
                        let at = DATA + u64::from(head) * 0x100;
                        let text: Vec<u8> =
                            (0..bytes[0] + bytes[1]).map(|_| dice.below(95) as u8 + 32).collect();
                        bench.memory.write(Gpa(at), &text).unwrap();
                        let segments = [(at, bytes[0]), (at + u64::from(bytes[0]), bytes[1])];
                        rings[transmit].add(&bench.memory, &segments, 0, true).unwrap();
                        said.extend(text);
                        driver.notify(transmit as u16);
                    }
                }
                2 | 3 => {
                    // One piece, which may end in the middle of a buffer.
                    let mut piece = vec![0; 1 + dice.below(30) as usize];
                    let count = bench.with(|device, context| device.output(&mut piece, context));
                    printed.extend_from_slice(&piece[..count]);
                }
                4 => {
                    let byte = dice.below(256) as u8;
                    if bench.with(|device, context| device.input(byte, context)) {
                        typed.push(byte);
                    }
                }
                5 | 6 => {
                    while let Some((head, _)) = rings[receive].take_used(&bench.memory) {
                        let mut byte = [0];
                        let at = DATA + 0x8000 + u64::from(head) * 0x10;
                        bench.memory.read(Gpa(at), &mut byte).unwrap();
                        got.push(byte[0]);
                    }
                    while let Some((head, _)) = rings[transmit].take_used(&bench.memory) {
                        seen.push((1, head.into(), 0));
                    }
                    rings[transmit].want_interrupt(&bench.memory, dice.below(2) == 0);
                    rings[receive].want_interrupt(&bench.memory, dice.below(2) == 0);
                }
                _ => {
                    if let Some(head) = rings[receive].next_head(1, false) {
                        let at = DATA + 0x8000 + u64::from(head) * 0x10;
                        rings[receive].add(&bench.memory, &[(at, 4)], 1, false).unwrap();
                    }
                }
            }
        }
        driver.kick(transmit as u16);
        printed.extend(driver.bench.output(7));
        let Driver { bench, rings } = driver;
        while let Some((head, _)) = rings[receive].take_used(&bench.memory) {
            let mut byte = [0];
            bench.memory.read(Gpa(DATA + 0x8000 + u64::from(head) * 0x10), &mut byte).unwrap();
            got.push(byte[0]);
        }
        assert!(printed == said, "{printed:?} instead of {said:?}");
        assert_eq!(got, typed);
        let work = bench.device.work();
        seen.push((work.requests, work.bytes, work.errors));
        seen
    }
}

#[test]
fn a_console_goes_on() {
    goes_on::<Text>(console, false, 0);
}

fn entropy() -> Box<dyn Device> {
    let source: Box<dyn Source> = Box::new(RandomWords::new(random_words()).0);
    Box::new(Transport::new(Entropy::new(Tested::new(source).unwrap()), 2, false))
}

/// Fills buffers. What is in them differs, for a source goes on by itself.
fn fill<D: Device>(driver: &mut Driver<D, Shared>, features: u64, seed: u64) -> u64 {
    driver.start(features, entropy::QUEUE_SIZE, true);
    let (mut dice, mut asked, mut filled) = (Dice(seed), 0, 0);
    for _ in 0..200 {
        let Driver { bench, rings } = &mut *driver;
        match dice.below(3) {
            0 => {
                if let Some(head) = rings[0].next_head(1, false) {
                    let at = DATA + u64::from(head) * 0x100;
                    bench.memory.write(Gpa(at), &[0; 64]).unwrap();
                    rings[0].add(&bench.memory, &[(at, 64)], 1, false).unwrap();
                    asked += 1;
                }
            }
            1 => _ = driver.notify(0),
            _ => {
                while let Some((head, bytes)) = rings[0].take_used(&bench.memory) {
                    let mut random = [0; 64];
                    bench.memory.read(Gpa(DATA + u64::from(head) * 0x100), &mut random).unwrap();
                    assert_eq!(bytes, 64);
                    assert!(random.chunks(8).all(|word| word != [0; 8]), "{random:?}");
                    filled += 1;
                }
            }
        }
    }
    driver.kick(0);
    while driver.rings[0].take_used(&driver.bench.memory).is_some() {
        filled += 1;
    }
    assert_eq!((asked, driver.bench.device.work().requests), (filled, filled));
    filled
}

#[test]
fn an_entropy_device_goes_on() {
    for features in RINGS {
        let (mut kills, mut seed) = (0, 0);
        while kills < KILLS / RINGS.len() as u64 {
            let memory = Shared::of_zeros(MEMORY);
            let device = killed(entropy, false, seed, &memory);
            let mut driver = Driver::with_memory(device, memory, VecMedium::new(0));
            let local = Driver::with_memory(Boxed(entropy()), Shared::of_zeros(MEMORY), VecMedium::new(0));
            assert_eq!(
                fill(&mut driver, features, seed),
                fill(&mut { local }, features, seed),
                "seed {seed}"
            );
            assert_eq!(driver.bench.device.ended(), None, "seed {seed}");
            kills += driver.bench.device.compartment().unwrap().restarts;
            seed += 1;
        }
    }
}
