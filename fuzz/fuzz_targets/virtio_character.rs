//! The emulated virtio entropy device and console: any registers, rings and buffers, a source of random
//! numbers that may fail, states with bytes changed.
#![no_main]

use access::GuestMemory;
use devices::Device;
use devices::random::{MOST_REPEATED, Tested, WORDS_AT_START};
use devices::snapshot::{RestoreFault, SaveFault};
use devices::testing::{RandomWords, VecMedium, random_words};
use devices::virtio::console::{self, Console};
use devices::virtio::entropy::{self, Entropy};
use devices::virtio::testing::{DATA, Guest};
use devices::virtio::transport::Function;
use devices::virtio::{Transport, transport};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::Gpa;
use spec::virtio::console::queue;
use spec::virtio::split::Descriptor;
use spec::virtio::status;

/// As whoever prints takes it.
const PIECE: usize = 256;
const STATE_BYTES: usize = 512;

/// A device of either type.
trait Saved: Function + Sized {
    /// The size of its queues.
    const SIZE: u16;
    fn save(device: &Transport<Self>, into: &mut [u8]) -> Result<usize, SaveFault>;
    fn restore(device: &mut Transport<Self>, from: &[u8]) -> Result<(), RestoreFault>;
}

impl Saved for Entropy {
    const SIZE: u16 = entropy::QUEUE_SIZE;
    fn save(device: &Transport<Self>, into: &mut [u8]) -> Result<usize, SaveFault> {
        device.save(into)
    }
    fn restore(device: &mut Transport<Self>, from: &[u8]) -> Result<(), RestoreFault> {
        device.restore(from)
    }
}

impl Saved for Console {
    const SIZE: u16 = console::QUEUE_SIZE;
    fn save(device: &Transport<Self>, into: &mut [u8]) -> Result<usize, SaveFault> {
        device.save(into)
    }
    fn restore(device: &mut Transport<Self>, from: &[u8]) -> Result<(), RestoreFault> {
        device.restore(from)
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    if shape & 1 == 0 {
        // Words behind the start, and whether a fault follows.
        let good = usize::from(WORDS_AT_START) + usize::from(input.u16());
        let fails = shape & 2 != 0;
        let then = random_words().skip(good).map(move |word| if fails { 0 } else { word });
        let (source, told) = RandomWords::new(random_words().take(good).chain(then));
        let source = Tested::new(Box::new(source)).expect("the words at the start pass");
        let mut guest = run(Entropy::new(source), shape, &mut input);
        check_entropy(&mut guest, fails);
        assert!(told.try_iter().count() <= 1, "it is said once");
    } else {
        let mut guest = run(Console::new(), shape, &mut input);
        check_console(&mut guest);
    }
});

fn run<F: Saved>(function: F, shape: u8, input: &mut Input<'_>) -> Guest<F> {
    let mut guest = Guest::new(Transport::new(function, 3, false), VecMedium::new(0));
    if shape & 4 == 0 {
        start(&mut guest, u64::MAX);
    }
    while !input.is_empty() {
        step(&mut guest, input);
    }
    guest
}

fn start<F: Saved>(guest: &mut Guest<F>, features: u64) {
    assert!(guest.reset(), "nothing keeps a reset from its end");
    let features = guest.offered() & features | spec::virtio::feature::VERSION_1;
    guest.start(features, F::SIZE, true);
}

fn step<F: Saved>(guest: &mut Guest<F>, input: &mut Input<'_>) {
    match input.u8() % 13 {
        0 => _ = guest.bench.read(u64::from(input.u16() & 0x7fff), input.width()),
        1 => guest.bench.write(u64::from(input.u16() & 0x7fff), input.width(), input.u64()),
        2 => guest.bench.write(u64::from(input.u8() & 0x3f), input.width(), input.u64()),
        3 => guest.kick(u16::from(input.u8() & 1)),
        4 => _ = guest.bench.output(1 + usize::from(input.u8())),
        5 => {
            let byte = input.u8();
            guest.bench.with(|device, context| device.input(byte, context));
        }
        6 => restore(guest, input),
        7 => {
            let features = input.u64();
            start(guest, features);
        }
        8 => guest.bench.reset(),
        _ if guest.rings.is_empty() => {}
        9 => {
            let at = guest.rings[0].descriptors() + u64::from(input.u16() & 0x3fff);
            _ = guest.bench.memory.write(Gpa(at), &[input.u8()]);
        }
        10 => describe_any(guest, input),
        11 => add_any(guest, input),
        _ => {
            let queue = u16::from(input.u8()) % guest.rings.len() as u16;
            if guest.reset_queue(queue) {
                let features = guest.taken();
                guest.enable(queue, F::SIZE, 1, features);
            }
        }
    }
}

fn describe_any<F: Saved>(guest: &mut Guest<F>, input: &mut Input<'_>) {
    let place = usize::from(input.u8()) % guest.rings.len();
    let ring = &guest.rings[place];
    let gpa = Gpa(
        input.pick(&[ring.descriptors(), DATA, 0x3f_fff0, 0xffff_ffff_ffff_ff00]) + u64::from(input.u8())
    );
    let bytes = input.pick(&[0, 1, 16, 64, 5000, 0xffff_ffff]);
    let (flags, next) = (u16::from(input.u8() & 7), u16::from(input.u8() % 20));
    let index = u16::from(input.u8()) % F::SIZE;
    ring.describe(&guest.bench.memory, index, Descriptor { gpa, bytes, flags, next });
    if flags & 1 == 0 {
        guest.rings[place].offer(&guest.bench.memory, index);
    }
}

/// A chain of any segments.
fn add_any<F: Saved>(guest: &mut Guest<F>, input: &mut Input<'_>) {
    let (place, shape) = (usize::from(input.u8()) % guest.rings.len(), input.u8());
    let segments: Vec<_> = (0..1 + shape % 5)
        .map(|_| (DATA + u64::from(input.u16()), u32::from(input.u16()) >> (input.u8() & 0xf)))
        .collect();
    let writable = usize::from(shape >> 3) % (segments.len() + 1);
    let memory = &guest.bench.memory;
    if guest.rings[place].next_head(segments.len(), shape & 0x80 != 0).is_some() {
        guest.rings[place].add(memory, &segments, writable, shape & 0x80 != 0);
    }
    guest.kick(place as u16);
}

/// Saves the device, and restores it, mostly with some bytes changed: that is refused and changes nothing,
/// or the device goes on from there.
fn restore<F: Saved>(guest: &mut Guest<F>, input: &mut Input<'_>) {
    let device = &mut guest.bench.device;
    let mut state = [0; STATE_BYTES];
    let Ok(length) = F::save(device, &mut state) else { return };
    let before = state;
    for _ in 0..input.u8() & 3 {
        let place = usize::from(input.u16()) % length;
        state[place] = input.u8();
    }
    match F::restore(device, &state[..length]) {
        Ok(()) => guest.bench.line = device.line(),
        Err(fault) => {
            assert!(state != before, "{fault}");
            let mut after = [0; STATE_BYTES];
            assert_eq!(F::save(device, &mut after), Ok(length));
            assert_eq!(after, before);
        }
    }
}

/// After a reset it gives random bytes, or nothing where its source has failed.
fn check_entropy(guest: &mut Guest<Entropy>, fails: bool) {
    let words = entropy::MOST_BYTES / 8;
    for _ in 0..usize::from(MOST_REPEATED) / words + 2 {
        start(guest, u64::MAX);
        let memory = &guest.bench.memory;
        guest.rings[0].add(memory, &[(DATA, 64)], 1, false).expect("an empty ring");
        guest.kick(0);
        let used = guest.rings[0].take_used(&guest.bench.memory);
        let needs_reset = guest.status() & status::NEEDS_RESET != 0;
        assert_eq!(used.is_some(), !needs_reset);
        assert!(fails || used.is_some_and(|(_, written)| written == 64), "a good source is used");
    }
}

/// After a reset it prints, and gives what is typed.
fn check_console(guest: &mut Guest<Console>) {
    start(guest, u64::MAX);
    let memory = &guest.bench.memory;
    _ = memory.write(Gpa(DATA), b"hello");
    guest.rings[queue::TRANSMIT].add(memory, &[(DATA, 5)], 0, false).expect("an empty ring");
    guest.rings[queue::RECEIVE].add(memory, &[(DATA + 0x1000, 64)], 1, false).expect("an empty ring");
    guest.kick(queue::TRANSMIT as u16);
    assert_eq!(guest.bench.output(PIECE), b"hello");
    assert!(guest.bench.with(|device, context| device.input(b'x', context)));
    let memory = &guest.bench.memory;
    assert!(guest.rings[queue::TRANSMIT].take_used(memory).is_some());
    assert_eq!(guest.rings[queue::RECEIVE].take_used(memory).map(|(_, written)| written), Some(1));
    let mut typed = [0];
    _ = memory.read(Gpa(DATA + 0x1000), &mut typed);
    assert_eq!(typed, *b"x");
    assert_eq!(guest.bench.read(transport::WINDOW_BYTES, spec::Width::Byte), 0xff);
}
