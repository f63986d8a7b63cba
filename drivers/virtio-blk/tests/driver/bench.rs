//! A driver on the emulated device. Each is the other's test: what they agree on is tested by neither's
//! own idea of the specification. The device's memory is what the driver's domain maps, and nothing else.

use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use block::testing::Ask;
use block::{Done, Drive, Geometry, State};
use devices::testing::VecMedium;
use devices::virtio::Transport;
use devices::virtio::block::{Block, Config};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use spec::Width;
use std::cell::RefCell;
use std::rc::Rc;
use virtio::testing::{Registers, Space, Wire};
use virtio_blk::{Device, Error, Sizes};

pub const SECOND: u64 = 1_000_000_000;
/// Bytes of the medium.
pub const MEDIUM: usize = 1 << 20;
pub const SIZES: Sizes = Sizes { requests: 6, request_bytes: 128 << 10, commands: 5 };

/// The device with the driver's domain as its memory, and its medium.
pub type Machine = devices::testing::Bench<Transport<Block>, Rc<FakeDomain>>;

#[derive(Clone)]
pub struct Line(pub Rc<RefCell<Machine>>, Rc<FakeDomain>);

impl Wire for Line {
    fn read(&self, offset: u64, width: Width) -> u64 {
        self.0.borrow_mut().read(offset, width)
    }
    fn write(&self, offset: u64, width: Width, value: u64) {
        if offset >= 0x3000 {
            assert!(self.1.is_published(), "it is notified of what it may not see");
        }
        self.0.borrow_mut().write(offset, width, value);
    }
}

pub const CONFIG: Config = Config {
    sectors: MEDIUM as u64 / 512,
    block_bytes: 512,
    segment_bytes: 1 << 20,
    writable: true,
    can_discard: true,
    can_write_zeroes: true,
    most_discarded: 64,
    queues: 1,
    name: *b"emulated 1\0\0\0\0\0\0\0\0\0\0",
};

pub struct Bench {
    pub machine: Rc<RefCell<Machine>>,
    pub domain: Rc<FakeDomain>,
    pub registers: Registers<Line>,
    pub driver: Device<Registers<Line>, FakeDma>,
    pub now: u64,
    /// How many messages were delivered.
    pub delivered: usize,
}

impl Bench {
    /// One whose driver was not started.
    pub fn off(config: Config, messages: u16, sizes: Sizes) -> Self {
        let (dma, domain) = FakeDma::new(8 << 20);
        let bytes = (0..MEDIUM).map(|byte| (byte / 512 + byte % 251) as u8).collect();
        let medium = VecMedium { bytes, read_only: !config.writable, ..VecMedium::new(0) };
        let device = Transport::new(Block::new(config), messages, false);
        let machine = Rc::new(RefCell::new(Machine::new(device, Rc::clone(&domain), medium)));
        let registers = Registers::new(Line(Rc::clone(&machine), Rc::clone(&domain)));
        let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).expect("its registers are found");
        let interrupt = MessageInterrupt { messages };
        let access = DeviceAccess { registers: registers.clone(), dma, interrupt };
        let driver = Device::new(access, layout, sizes).expect("it is made");
        Self { machine, domain, registers, driver, now: SECOND, delivered: 0 }
    }

    /// One that is ready.
    pub fn new(config: Config) -> Self {
        let mut bench = Self::off(config, 2, SIZES);
        bench.start();
        bench
    }

    /// One that was started, and may have failed, without features and with registers that lie.
    pub fn lying(hidden: u64, reads: &[(u64, u64)]) -> Self {
        let mut bench = Self::off(CONFIG, 2, SIZES);
        bench.registers.lies.hidden.set(hidden);
        bench.registers.lies.reads.borrow_mut().extend(reads.iter().copied());
        bench.driver.start(bench.now);
        bench.run();
        bench
    }

    pub fn start(&mut self) {
        self.driver.start(self.now);
        self.run();
        self.geometry();
    }

    /// Until it is not being brought up any more.
    pub fn run(&mut self) {
        while self.driver.status().state == State::Starting {
            self.deliver();
            self.now = self.driver.status().deadline_ns.unwrap_or(self.now).max(self.now);
            self.driver.poll(self.now);
        }
    }

    /// Until nothing is waited for.
    pub fn pass(&mut self) {
        while let Some(deadline) = self.driver.status().deadline_ns {
            self.now = deadline.max(self.now);
            let status = self.driver.poll(self.now);
            assert!(status.deadline_ns.is_none_or(|deadline| deadline > self.now));
        }
    }

    pub fn geometry(&self) -> Geometry {
        match self.driver.status().state {
            State::Ready(geometry) => geometry,
            state => panic!("it is {state:?}: {:?}", self.driver.failure()),
        }
    }

    pub fn error(&self) -> Error {
        assert_eq!((self.driver.status().state, self.driver.status().deadline_ns), (State::Failed, None));
        self.driver.failure().expect("it is failed")
    }

    pub fn deliver(&mut self) {
        loop {
            let messages = std::mem::take(&mut self.machine.borrow_mut().messages);
            if messages.is_empty() {
                return;
            }
            for message in messages {
                self.delivered += 1;
                self.driver.interrupt(message, self.now);
            }
        }
    }

    /// Takes the request that was over first.
    pub fn done(&mut self) -> (Done, Vec<u8>) {
        let done = self.driver.next_done().expect("a request is over");
        let mut data = vec![0; if done.operation == block::Operation::Read { done.bytes } else { 0 }];
        if done.outcome.is_ok() && !data.is_empty() {
            self.driver.get(done.tag, 0, &mut data).expect("the data is there");
        }
        self.driver.release(done.tag);
        (done, data)
    }

    pub fn read(&mut self, first_block: u64, blocks: u64) -> Vec<u8> {
        let tag = self.driver.read(first_block, blocks, self.now).expect("it is taken");
        self.deliver();
        let (done, data) = self.done();
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
        data
    }

    pub fn write(&mut self, first_block: u64, data: &[u8]) {
        let tag = self.driver.write(first_block, data, self.now).expect("it is taken");
        self.deliver();
        let (done, _) = self.done();
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
    }

    pub fn medium(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        self.machine.borrow().medium.bytes[range].to_vec()
    }

    /// The medium ends the request at `place` of those that wait.
    pub fn complete(&mut self, place: usize) {
        let mut machine = self.machine.borrow_mut();
        if place < machine.waiting.len() {
            let request = machine.waiting.remove(place).expect("it waits");
            machine.waiting.push_front(request);
            machine.serve();
        }
    }
}
