//! A driver on the emulated interface. Each is the other's test: what they agree on is tested by neither's
//! own idea of the specification. The device's memory is what the driver's domain maps, and nothing else.

use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use devices::Device;
use devices::device::Reception;
use devices::testing::VecMedium;
use devices::virtio::Transport;
use devices::virtio::net::{Config, Net};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use network::{Frame, MacAddress, Tagging};
use nic::{Link, Nic, State};
use spec::Width;
use spec::virtio::pci::common;
use std::cell::RefCell;
use std::rc::Rc;
use virtio::testing::{Registers, Space, Wire};
use virtio_net::{Error, Interface, Sizes};

pub const SECOND: u64 = 1_000_000_000;
pub const SIZES: Sizes = Sizes { transmit: 8, receive: 16 };
pub const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
pub const UP: Link = Link::Up { megabits: 0, full_duplex: true };

pub type Machine = devices::testing::Bench<Transport<Net>, Rc<FakeDomain>>;

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

pub struct Bench {
    pub machine: Rc<RefCell<Machine>>,
    pub domain: Rc<FakeDomain>,
    pub registers: Registers<Line>,
    pub driver: Interface<Registers<Line>, FakeDma>,
    pub now: u64,
    /// How many messages were delivered.
    pub delivered: usize,
}

impl Bench {
    /// One whose driver was not started, at a link that is up.
    pub fn off(mtu: u16, messages: u16) -> Self {
        let (dma, domain) = FakeDma::new(SIZES.bytes());
        let device = Transport::new(Net::new(Config { mac: MAC, mtu, any_source: false }), messages, true);
        let machine = Machine::new(device, Rc::clone(&domain), VecMedium::new(0));
        let machine = Rc::new(RefCell::new(machine));
        let registers = Registers::new(Line(Rc::clone(&machine), Rc::clone(&domain)));
        let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).expect("its registers are found");
        let interrupt = MessageInterrupt { messages };
        let access = DeviceAccess { registers: registers.clone(), dma, interrupt };
        let driver = Interface::new(access, layout, SIZES).expect("it is made");
        let mut bench = Self { machine, domain, registers, driver, now: SECOND, delivered: 0 };
        bench.set_link(true);
        bench
    }

    /// One that was started, and may have failed, without features and with registers that lie.
    pub fn lying(hidden: u64, reads: &[(u64, u64)]) -> Self {
        let mut bench = Self::off(1500, 2);
        bench.registers.lies.hidden.set(hidden);
        bench.registers.lies.reads.borrow_mut().extend(reads.iter().copied());
        bench.driver.start(bench.now);
        bench.run();
        bench
    }

    /// One that is ready.
    pub fn new() -> Self {
        let bench = Self::lying(0, &[]);
        bench.check_ready();
        bench
    }

    /// Until it is not being brought up any more.
    pub fn run(&mut self) {
        while self.driver.status().state == State::Starting {
            self.machine.borrow_mut().poll();
            self.deliver();
            self.now = self.driver.status().deadline_ns.unwrap_or(self.now).max(self.now);
            self.driver.poll(self.now);
        }
    }

    /// Until so much time has passed, or nothing is waited for.
    pub fn pass(&mut self, nanoseconds: u64) {
        let end = self.now + nanoseconds;
        while let Some(deadline) = self.driver.status().deadline_ns.filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            let status = self.driver.poll(self.now);
            assert!(status.deadline_ns.is_none_or(|deadline| deadline > self.now));
        }
        self.now = end;
    }

    pub fn check_ready(&self) {
        assert_eq!(self.driver.status().state, State::Ready, "{:?}", self.driver.failure());
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

    pub fn set_link(&mut self, is_up: bool) {
        self.machine.borrow_mut().with(|device, context| device.set_link(is_up, context));
    }

    /// Gives the driver a frame to send, and has the device begin.
    pub fn send(&mut self, frame: &Frame) -> Result<(), nic::Refused> {
        let sent = self.driver.transmit(&frame.parts(Tagging::Keep).expect("it has a header"));
        self.driver.kick(self.now);
        sent
    }

    /// What the device sends next.
    pub fn sent(&mut self) -> Option<Frame> {
        let mut frame = Frame::new();
        let is_one = self.machine.borrow_mut().with(|device, context| {
            let is_one = device.transmit(&mut frame, context);
            device.tell(context);
            is_one
        });
        is_one.then_some(frame)
    }

    /// A frame comes.
    pub fn comes(&mut self, frame: &Frame) -> Reception {
        self.machine.borrow_mut().with(|device, context| {
            let reception = device.receive(&frame.parts(Tagging::Keep).expect("a frame"), context);
            device.tell(context);
            reception
        })
    }

    /// What the driver gives next.
    pub fn received(&mut self) -> Option<Vec<u8>> {
        let mut frame = Frame::new();
        self.driver.receive(&mut frame).then(|| frame.bytes().to_vec())
    }

    /// Where a ring is that the driver told the device of last but `back`: the queues come in their order.
    pub fn ring(&self, register: u64, back: usize) -> u64 {
        let writes = self.registers.lies.writes.borrow();
        let nth = |register| writes.iter().rev().filter(|(offset, _)| *offset == register).nth(back);
        nth(register).unwrap().1 | nth(register + 4).unwrap().1 << 32
    }

    /// The used ring of the queue for what is received, where there is a control queue.
    pub fn receive_used(&self) -> u64 {
        self.ring(common::QUEUE_DEVICE, 2)
    }
}

/// A frame to somebody else, of so many bytes.
pub fn frame(bytes: usize, byte: u8) -> Frame {
    let mut frame = Frame::new();
    frame.append(&[2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 1, 8, 0]).unwrap();
    frame.append(&vec![byte; bytes - 14]).unwrap();
    frame
}
