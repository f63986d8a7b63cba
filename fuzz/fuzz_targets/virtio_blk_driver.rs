//! The driver of virtio block devices on the emulated one, whose registers lie and whose memory changes
//! under it.
#![no_main]

use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use access::{DeviceAccess, GuestMemory};
use block::testing::Ask;
use block::{Drive, Operation, Refused, State, Tag};
use devices::testing::VecMedium;
use devices::virtio::Transport;
use devices::virtio::block::{Block, Config};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::virtio::pci::common;
use spec::{Gpa, Iova, Width};
use std::cell::RefCell;
use std::rc::Rc;
use virtio::testing::{Registers, Space, Wire};
use virtio_blk::{Device, Sizes};

const SIZES: Sizes = Sizes { requests: 4, request_bytes: 64 << 10, commands: 3 };
const MEDIUM: usize = 256 << 10;
/// More calls than any deadline of the driver needs: it is reset within 10 s, with a look every 2 ms.
const CALLS: usize = 100_000;

/// The clock counts nanoseconds from some moment: after 146 years it is not here yet.
const LATEST: u64 = u64::MAX / 4;

/// Registers that are worth a lie: of the common configuration, and of the device's own.
const LIES: [u64; 14] = [
    common::DEVICE_FEATURE,
    common::CONFIG_VECTOR,
    common::QUEUES,
    common::STATUS,
    common::GENERATION,
    common::QUEUE_SIZE,
    common::QUEUE_VECTOR,
    common::QUEUE_NOTIFY,
    0x2000,
    0x2004,
    0x2008,
    0x200c,
    0x2014,
    0x2024,
];

type Machine = devices::testing::Bench<Transport<Block>, Rc<FakeDomain>>;

#[derive(Clone)]
struct Line(Rc<RefCell<Machine>>);

impl Wire for Line {
    fn read(&self, offset: u64, width: Width) -> u64 {
        self.0.borrow_mut().read(offset, width)
    }
    fn write(&self, offset: u64, width: Width, value: u64) {
        self.0.borrow_mut().write(offset, width, value);
    }
}

/// Somebody's memory that is lent for one request at a time, and what it holds while it is not.
const LENT: Iova = Iova(0x9_0000_3000);
const LENT_BYTES: usize = 4 * 4096;
const OWN: u8 = 0x5a;

struct World {
    lent: Option<Tag>,
    /// The device has neither made up its state or what it used nor changed a descriptor.
    is_honest: bool,
    driver: Device<Registers<Line>, FakeDma>,
    registers: Registers<Line>,
    domain: Rc<FakeDomain>,
    now: u64,
    open: Vec<Tag>,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.end();
});

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let messages = input.pick(&[2, 1]);
        let config = Config {
            sectors: MEDIUM as u64 / 512,
            block_bytes: input.pick(&[512, 4096]),
            segment_bytes: input.pick(&[1 << 20, 4096]),
            writable: true,
            can_discard: true,
            can_write_zeroes: true,
            most_discarded: 64,
            queues: 1,
            name: [b'1'; 20],
        };
        let (dma, domain) = FakeDma::new(2 << 20);
        let device = Transport::new(Block::new(config), messages, false);
        let machine = Machine::new(device, Rc::clone(&domain), VecMedium::new(MEDIUM));
        let registers = Registers::new(Line(Rc::new(RefCell::new(machine))));
        registers.lies.hidden.set(input.u64() & 0x3000_7ffe);
        let access =
            DeviceAccess { registers: registers.clone(), dma, interrupt: MessageInterrupt { messages } };
        let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).expect("its registers are found");
        let mut driver = Device::new(access, layout, SIZES).expect("there is memory for it");
        let now = 1;
        driver.start(now);
        domain.lend(LENT, LENT_BYTES);
        domain.fill(LENT, LENT_BYTES, OWN);
        Self { lent: None, is_honest: true, driver, registers, domain, now, open: Vec::new() }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.u8() % 14 {
            0 => {
                let (first_block, blocks) = (input.u16(), input.u8());
                let taken = self.driver.read(first_block.into(), blocks.into(), now);
                self.note(taken);
            }
            1 => {
                let (first_block, blocks, byte) = (input.u16(), input.u8(), input.u8());
                let State::Ready(geometry) = self.driver.status().state else { return };
                let most = (2 * SIZES.request_bytes / geometry.block_bytes as usize).max(1);
                let bytes = usize::from(blocks).min(most) * geometry.block_bytes as usize;
                let taken = self.driver.write(first_block.into(), &vec![byte; bytes], now);
                self.note(taken);
            }
            2 => {
                let taken = self.driver.flush(now);
                self.note(taken);
            }
            3 => {
                let place = usize::from(input.u8());
                let mut device = self.registers.wire.0.borrow_mut();
                let waiting = device.waiting.len();
                device.waiting.rotate_left(place.checked_rem(waiting).unwrap_or(0));
                device.serve();
            }
            4 => self.deliver(),
            5 => self.poll(),
            6 => {
                let ticks = input.u64() >> (input.u8() & 63);
                self.now = now.saturating_add(ticks).min(LATEST);
                self.poll();
            }
            7 => self.change_memory(input),
            8 => {
                let lies = &self.registers.lies;
                match input.u8() % 8 {
                    0 => {
                        // It may say that it is reset, and go on.
                        self.is_honest = false;
                        lies.reads.borrow_mut().insert(input.pick(&LIES), input.u64());
                    }
                    1 => lies.is_restless.set(true),
                    2 => lies.is_gone.set(true),
                    3 => {
                        let feature = 1 << (input.u8() & 63);
                        lies.hidden.set(lies.hidden.get() ^ feature);
                    }
                    _ => self.tell_the_truth(),
                }
            }
            9 => {
                let kind = input.u8() % 4;
                match kind {
                    0 => {
                        // What the medium has is not reset with it.
                        self.is_honest = false;
                        self.registers.wire.0.borrow_mut().reset();
                    }
                    1 => {
                        self.driver.interrupt(input.u16(), now);
                    }
                    _ => {
                        self.driver.start(now);
                    }
                }
            }
            10 => self.take_done(),
            11 => self.lend(input),
            12 => self.domain.hold(input.u8() % 2 == 0),
            _ => {
                let mut device = self.registers.wire.0.borrow_mut();
                device.hold ^= true;
            }
        }
    }

    /// Has a request read or write memory that is lent for it.
    fn lend(&mut self, input: &mut Input<'_>) {
        let State::Ready(geometry) = self.driver.status().state else { return };
        let (operation, block) = (input.pick(&[Operation::Read, Operation::Write]), input.u8());
        let (offset, bytes) = (usize::from(input.u16()) % 4096, usize::from(input.u16()));
        let blocks = bytes / geometry.block_bytes as usize;
        let bytes = blocks * geometry.block_bytes as usize;
        if self.lent.is_some() || offset + bytes > LENT_BYTES {
            return;
        }
        let Ok(tag) = self.driver.reserve() else { return };
        let start = LENT + offset as u64;
        let is_lent = self.driver.lend(tag, &mut core::iter::once((start, bytes)));
        assert!(!is_lent || bytes != 0 && offset.is_multiple_of(4));
        if !is_lent || self.driver.submit(tag, operation, block.into(), blocks as u64).is_err() {
            return self.driver.release(tag);
        }
        self.driver.kick(self.now);
        self.lent = Some(tag);
        self.open.push(tag);
    }

    /// What was lent is its owner's again, and nobody else writes there.
    fn take_back(&mut self) {
        self.lent = None;
        self.domain.fill(LENT, LENT_BYTES, OWN);
    }

    fn check_lent(&self) {
        let is_own = || self.domain.look(LENT, LENT_BYTES).iter().all(|byte| *byte == OWN);
        assert!(self.lent.is_some() || !self.is_honest || is_own(), "memory that was given back is written");
    }

    /// Changes what the driver's buffers hold: bytes anywhere, or a completion.
    fn change_memory(&mut self, input: &mut Input<'_>) {
        self.is_honest = false;
        let mut buffers = self.domain.buffers();
        buffers.retain(|(iova, _)| *iova != LENT);
        let (iova, bytes) = buffers[usize::from(input.u8()) % buffers.len()];
        let place = usize::from(input.u16()) % bytes;
        let at = Gpa(iova.0 + place as u64);
        let bytes = usize::from(input.u8() % 16);
        let _ = self.domain.write(at, input.bytes(bytes));
        // What it says to have used: the ring begins there where the buffer is the queue.
        if input.u8() % 2 == 0 {
            let used = Gpa(iova.0 + u64::from(input.pick(&[0x248_u16, 0x24c, 0x250, 0x254])));
            let _ = self.domain.write(used, &input.u32().to_le_bytes());
        }
    }

    fn note(&mut self, taken: Result<Tag, Refused>) {
        if let Ok(tag) = taken {
            assert!(!self.open.contains(&tag), "two requests are one");
            self.open.push(tag);
        }
    }

    fn deliver(&mut self) {
        let messages = std::mem::take(&mut self.registers.wire.0.borrow_mut().messages);
        for message in messages {
            self.driver.interrupt(message, self.now);
        }
    }

    /// The deadline comes; served, it moves on.
    fn poll(&mut self) {
        self.now = self.driver.status().deadline_ns.unwrap_or(self.now).max(self.now);
        let status = self.driver.poll(self.now);
        assert!(status.deadline_ns.is_none_or(|deadline| deadline > self.now), "{status:?} at {}", self.now);
    }

    fn take_done(&mut self) {
        while let Some(done) = self.driver.next_done() {
            let place = self.open.iter().position(|tag| *tag == done.tag).expect("it ends once");
            self.open.swap_remove(place);
            let mut data = vec![0; done.bytes];
            let has_data = done.operation == Operation::Read && done.outcome.is_ok() && done.bytes > 0;
            if self.lent == Some(done.tag) {
                self.take_back();
            } else if has_data {
                self.driver.get(done.tag, 0, &mut data).expect("the data is there");
            }
            self.driver.release(done.tag);
        }
        assert!(self.open.len() <= usize::from(SIZES.requests));
        self.check_lent();
    }

    fn tell_the_truth(&self) {
        let lies = &self.registers.lies;
        lies.reads.borrow_mut().clear();
        lies.is_restless.set(false);
        lies.is_gone.set(false);
        lies.hidden.set(0);
    }

    /// Time passes until nothing is waited for; then nobody lies any more, and all works.
    fn end(mut self) {
        self.domain.hold(false);
        self.pass();
        self.take_done();
        // What could not be taken away from a controller that failed is once it can.
        assert!(self.open.is_empty() || self.open == self.lent.as_slice(), "a request that never ends");

        self.tell_the_truth();
        let mut device = self.registers.wire.0.borrow_mut();
        device.hold = false;
        while device.serve() {}
        drop(device);
        self.driver.start(self.now);
        self.pass();
        self.take_done();
        assert!(self.open.is_empty(), "a request that never ends");
        assert!(matches!(self.driver.status().state, State::Ready(_)), "{:?}", self.driver.status());
        self.registers.wire.0.borrow_mut().medium.bytes.fill(7);
        let tag = self.driver.read(1, 8, self.now).expect("there is room");
        self.pass();
        let done = self.driver.next_done().expect("it is over");
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
        let mut data = vec![0; done.bytes];
        self.driver.get(tag, 0, &mut data).expect("the data is there");
        assert!(data.iter().all(|byte| *byte == 7));
    }

    fn pass(&mut self) {
        for _ in 0..CALLS {
            self.deliver();
            if self.driver.status().deadline_ns.is_none() {
                return;
            }
            self.poll();
        }
        panic!("it waits for ever: {:?}", self.driver.status());
    }
}
