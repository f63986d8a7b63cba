//! The virtio block device: any registers, rings and requests in a memory that changes while they are read,
//! a medium that answers late, in any order or never.
#![no_main]

use access::memory::VecMemory;
use access::{GuestMemory, OutOfBounds};
use devices::Device;
use devices::device::{CONFIG_REGISTERS, Completion, Request, RequestFault};
use devices::testing::VecMedium;
use devices::virtio::block::{Block, Config, STATE_BYTES};
use devices::virtio::testing::{DATA, Guest, MEMORY};
use devices::virtio::transport::{Transport, WINDOW_BYTES};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::virtio::block::{feature, request, status as outcome};
use spec::virtio::feature as common_feature;
use spec::virtio::split::Descriptor;
use spec::{Gpa, Width};
use std::cell::RefCell;

const SECTORS: u64 = 256;
const SIZE: u16 = 128;

/// A memory of which another processor changes something after so many reads.
struct Shifting {
    memory: VecMemory,
    /// Reads that are left, and what is written where then.
    shifts: RefCell<Vec<(u8, u64, u64)>>,
}

impl GuestMemory for Shifting {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.shifts.borrow_mut().retain_mut(|(left, at, value)| {
            let is_due = *left == 0;
            if is_due {
                let _ = self.memory.write64(Gpa(*at), *value);
            }
            *left = left.saturating_sub(1);
            !is_due
        });
        self.memory.read(gpa, bytes)
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.memory.write(gpa, bytes)
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.memory.contains(gpa, bytes)
    }
}

struct World {
    guest: Guest<Block, Shifting>,
    config: Config,
    is_polled: bool,
    /// The features that its driver takes, mostly.
    features: u64,
    /// Requests from before a reset from outside.
    stale: Vec<Request>,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    let config = Config {
        sectors: SECTORS,
        block_bytes: if shape & 1 == 0 { 512 } else { 4096 },
        segment_bytes: 0x2000,
        writable: shape & 2 == 0,
        can_discard: shape & 4 == 0,
        can_write_zeroes: shape & 8 == 0,
        most_discarded: devices::virtio::block::MOST_DISCARDED,
        queues: 1 + u16::from(shape >> 6 & 1),
        name: [shape; 20],
    };
    let is_polled = shape & 16 != 0;
    let mut medium = VecMedium::new((SECTORS * 512) as usize);
    medium.read_only = !config.writable;
    let memory = Shifting { memory: VecMemory::new(MEMORY), shifts: RefCell::default() };
    let device = Transport::new(Block::new(config), 3, is_polled);
    let guest = Guest::with_memory(device, memory, medium);
    let features = if shape & 128 == 0 { !common_feature::RING_PACKED } else { u64::MAX };
    let mut world = World { guest, config, is_polled, features, stale: Vec::new() };
    if shape & 32 == 0 {
        world.start(features);
    }
    while !input.is_empty() {
        world.step(&mut input);
        world.check();
    }
    world.check_that_it_still_works();
});

impl World {
    /// Sets the device up, if its reset is over.
    fn start(&mut self, features: u64) -> bool {
        let is_over = self.guest.reset();
        if is_over {
            let features = self.guest.offered() & features | spec::virtio::feature::VERSION_1;
            self.guest.start(features, SIZE, true);
        }
        is_over
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let (offset, width) = (u64::from(input.u16() % 0x4010), input.width());
                assert_eq!(self.guest.bench.read(offset, width) & !width.mask(), 0);
            }
            1 => self.guest.bench.write(u64::from(input.u8() & 0x3f), input.width(), input.u64()),
            2 => {
                // Behind the window there are the registers in configuration space.
                let at = input.u64() % (WINDOW_BYTES + 16);
                let offset = at.checked_sub(WINDOW_BYTES).map_or(at, |at| CONFIG_REGISTERS + at);
                self.guest.bench.write(offset, input.width(), input.u64());
            }
            3 => self.guest.kick(0),
            4 => {
                let index = u16::from(input.u8()) % SIZE;
                let (queue, kind) = (input.u8(), input.u8() & 7);
                let descriptor = self.descriptor(kind, input);
                let Guest { bench, rings } = &self.guest;
                if let Some(ring) = rings.get(usize::from(queue) % rings.len().max(1)) {
                    ring.describe(&bench.memory, index, descriptor);
                }
            }
            5 => {
                let (queue, head) = (input.u8(), input.u8());
                self.offer(queue, head.into());
                self.guest.kick(0);
            }
            6 => {
                let at = address(input);
                let bytes = input.u8();
                let _ = self.guest.bench.memory.write(Gpa(at), input.bytes(bytes.into()));
            }
            7 => {
                let shift = (input.u8(), address(input), input.u64());
                self.guest.bench.memory.shifts.borrow_mut().push(shift);
            }
            8 => self.rare(input),
            9 | 10 => self.serve(input),
            11 => {
                self.guest.bench.poll();
            }
            12 => {
                let wanted = input.u8() & 1 != 0;
                self.guest.bench.with(|device, context| device.want_notifications(wanted, context));
            }
            _ => self.send(input),
        }
    }

    fn rare(&mut self, input: &mut Input<'_>) {
        match input.u8() % 9 {
            0 => {
                self.stale.extend(self.guest.bench.waiting.drain(..));
                self.guest.bench.reset();
            }
            1 => drop(self.guest.reset()),
            2 => self.guest.bench.medium.fault = input.pick(&[None, Some(RequestFault::Medium)]),
            3 => {
                let features = input.u64();
                self.start(features);
            }
            4 => {
                let tag = self.stale.pop().map_or(u32::MAX - input.u32(), |request| request.tag);
                if self.guest.bench.waiting.iter().all(|request| request.tag != tag) {
                    self.guest.bench.complete(Completion { tag, outcome: Ok(()) });
                }
            }
            5 => self.guest.bench.hold = !self.guest.bench.hold,
            6 => self.restore(input),
            8 => self.reset_queue(u16::from(input.u8() & 1), input.u8()),
            _ => drop(self.start(self.features)),
        }
    }

    /// Resets a queue, and mostly enables it again if that is over.
    fn reset_queue(&mut self, queue: u16, size: u8) {
        if self.guest.reset_queue(queue) && size != 0 && usize::from(queue) < self.guest.rings.len() {
            let features = self.guest.taken();
            self.guest.enable(queue, u16::from(size) % SIZE + 1, queue, features);
        }
    }

    fn offer(&mut self, queue: u8, head: u16) {
        let Guest { bench, rings } = &mut self.guest;
        let count = rings.len().max(1);
        if let Some(ring) = rings.get_mut(usize::from(queue) % count) {
            ring.offer(&bench.memory, head);
        }
    }

    fn descriptor(&self, kind: u8, input: &mut Input<'_>) -> Descriptor {
        let gpa = Gpa(address(input));
        let bytes = if kind & 4 == 0 { u32::from(input.u8()) * 16 } else { input.u32() };
        Descriptor { gpa, bytes, flags: (input.u8() & 7).into(), next: u16::from(input.u8()) % (SIZE + 1) }
    }

    /// A request that mostly makes sense: a chain that begins at any descriptor.
    fn send(&mut self, input: &mut Input<'_>) {
        const KINDS: [u32; 7] = [
            request::IN,
            request::OUT,
            request::FLUSH,
            request::GET_ID,
            request::DISCARD,
            request::WRITE_ZEROES,
            99,
        ];
        let (queue, head, kind) = (input.u8(), u16::from(input.u8()) % SIZE, input.pick(&KINDS));
        let sector = if input.u8() == 0xff { input.u64() } else { u64::from(input.u8()) };
        let count = u16::from(input.u8() & 0x4f) % 70;
        let (gpa, unit) = (address(input), 128 * u32::from(input.u8()));
        let Guest { bench, rings } = &self.guest;
        let Some(ring) = rings.get(usize::from(queue) % rings.len().max(1)) else { return };
        let (size, memory) = (ring.size, &bench.memory);
        let head = head % size;
        let (first, header) = (ring.first(head), ring.header(head));
        let bytes = u128::from(kind) | u128::from(sector) << 64;
        let _ = memory.write(Gpa(header), &bytes.to_le_bytes());
        let number = |place: u16| (first + place) % size;
        let put = |place: u16, gpa: u64, bytes: u32, flags: u16| {
            let next = if ring.is_packed { head } else { number(place + 1) };
            ring.describe(memory, number(place), Descriptor { gpa: Gpa(gpa), bytes, flags, next });
        };
        let writes = if matches!(kind, request::IN | request::GET_ID) { 3 } else { 1 };
        put(0, header, 16, 1);
        for place in 0..count {
            let offset = u64::from(place) * u64::from(unit);
            put(1 + place, gpa.wrapping_add(offset), unit, writes);
        }
        put(1 + count, header + 16, 1, 2);
        self.offer(queue, head);
        if input.u8() & 3 != 0 {
            self.guest.kick(queue.into());
        }
    }

    fn serve(&mut self, input: &mut Input<'_>) {
        let (times, which) = (input.u8() & 0x1f, usize::from(input.u8()));
        for _ in 0..=times {
            let waiting = &mut self.guest.bench.waiting;
            if waiting.is_empty() {
                break;
            }
            let place = which % waiting.len();
            waiting.swap(0, place);
            self.guest.bench.serve();
        }
    }

    /// Saves the device, and restores it, mostly with some bytes changed: that is refused and changes nothing,
    /// or the device goes on from there.
    fn restore(&mut self, input: &mut Input<'_>) {
        let device = &mut self.guest.bench.device;
        let mut state = [0; STATE_BYTES];
        let Ok(length) = device.save(&mut state) else { return };
        let before = state;
        for _ in 0..input.u8() & 3 {
            let place = usize::from(input.u16()) % length;
            state[place] = input.u8();
        }
        let is_same = state == before;
        match device.restore(&state[..length]) {
            Ok(()) => self.guest.bench.line = device.line(),
            Err(fault) => {
                assert!(!is_same, "{fault}");
                let mut after = [0; STATE_BYTES];
                assert_eq!(device.save(&mut after), Ok(length));
                assert_eq!(after, before);
            }
        }
    }

    fn check(&mut self) {
        let waiting = self.guest.bench.waiting.len();
        assert!(waiting <= self.guest.bench.device.most_requests(), "more requests than the device said");
        assert!(waiting == 0 || self.guest.status() != 0, "a reset ended too early");
    }

    /// Everything at the medium ends, and after a reset the device answers.
    fn check_that_it_still_works(&mut self) {
        self.guest.bench.memory.shifts.borrow_mut().clear();
        self.guest.bench.medium.fault = None;
        self.guest.bench.hold = false;
        while self.guest.bench.serve() {}
        assert!(self.start(self.features), "the reset does not end");
        let flush = self.guest.offered() & feature::FLUSH != 0;
        assert_eq!(flush, self.config.writable);
        let Guest { bench, rings } = &mut self.guest;
        let header = rings[0].header(rings[0].next_head(3, false).expect("an empty ring"));
        let bytes = u128::from(request::IN) | 8 << 64;
        bench.memory.write(Gpa(header), &bytes.to_le_bytes()).expect("memory");
        bench.memory.write(Gpa(header + 16), &[0xee]).expect("memory");
        let chain = [(header, 16), (DATA, 4096), (header + 16, 1)];
        let head = rings[0].add(&bench.memory, &chain, 2, false).expect("room");
        self.guest.notify(0);
        if self.is_polled {
            self.guest.bench.poll();
        }
        let Guest { bench, rings } = &mut self.guest;
        assert_eq!(rings[0].take_used(&bench.memory), Some((head, 4097)));
        let mut status = [0xee];
        bench.memory.read(Gpa(header + 16), &mut status).expect("memory");
        assert_eq!(status, [outcome::OK]);
        let mut data = [0; 4096];
        bench.memory.read(Gpa(DATA), &mut data).expect("memory");
        assert_eq!(data[..], bench.medium.bytes[4096..8192]);
        assert_eq!(self.guest.bench.read(0x4000, Width::Byte), 0xff);
    }
}

/// Mostly a place in the rings, in the headers or in the data; also anything.
fn address(input: &mut Input<'_>) -> u64 {
    let small = u64::from(input.u16());
    match input.u8() & 7 {
        0 => input.u64(),
        1 => MEMORY as u64 - (small & 0xfff),
        2 | 3 => 0x1_0000 + (small & 0x3fff),
        4 => 0x4_0000 + (small & 0x7fff),
        _ => DATA + small,
    }
}
