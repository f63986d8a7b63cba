//! The driver of virtio network interfaces on the emulated one, whose registers lie and whose memory changes
//! under it.
#![no_main]

use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use access::{DeviceAccess, GuestMemory};
use devices::Device;
use devices::testing::VecMedium;
use devices::virtio::Transport;
use devices::virtio::net::{Config, Net};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use network::{Checksum, Frame, MacAddress, Tagging};
use nic::{Nic, State};
use spec::virtio::pci::common;
use spec::{Gpa, Width};
use std::cell::RefCell;
use std::rc::Rc;
use virtio::testing::{Registers, Space, Wire};
use virtio_net::{Interface, Sizes};

const SIZES: Sizes = Sizes { transmit: 4, receive: 8 };
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// More calls than any deadline of the driver needs: it is reset within 10 s, with a look every 2 ms, and
/// given up after the sixth time.
const CALLS: usize = 100_000;
/// The clock counts nanoseconds from some moment: after 146 years it is not here yet.
const LATEST: u64 = u64::MAX / 4;

/// Registers that are worth a lie: of the common configuration, and of the device's own.
const LIES: [u64; 12] = [
    common::DEVICE_FEATURE,
    common::CONFIG_VECTOR,
    common::STATUS,
    common::GENERATION,
    common::QUEUE_SIZE,
    common::QUEUE_VECTOR,
    common::QUEUE_NOTIFY,
    0x2000,
    0x2001,
    0x2005,
    0x2006,
    0x200a,
];

type Machine = devices::testing::Bench<Transport<Net>, Rc<FakeDomain>>;

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

struct World {
    driver: Interface<Registers<Line>, FakeDma>,
    registers: Registers<Line>,
    domain: Rc<FakeDomain>,
    now: u64,
    /// Frames that the driver took.
    taken: u64,
    frame: Frame,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.step(&mut input);
        world.check();
    }
    world.end();
});

/// A frame to somebody else, of so many bytes behind its header.
fn frame(bytes: u16, byte: u8) -> Frame {
    let mut frame = Frame::new();
    _ = frame.append(&[2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 1, 8, 0]);
    _ = frame.append(&vec![byte; bytes.into()]);
    frame
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let messages = input.pick(&[2, 1]);
        let (dma, domain) = FakeDma::new(SIZES.bytes());
        let config = Config { mac: MAC, mtu: input.pick(&[1500, 68, 9000]), any_source: false };
        let device = Transport::new(Net::new(config), messages, true);
        let machine = Machine::new(device, Rc::clone(&domain), VecMedium::new(0));
        let registers = Registers::new(Line(Rc::new(RefCell::new(machine))));
        registers.lies.hidden.set(input.u64() & 0x2007_0009);
        let access =
            DeviceAccess { registers: registers.clone(), dma, interrupt: MessageInterrupt { messages } };
        let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).expect("its registers are found");
        let mut driver = Interface::new(access, layout, SIZES).expect("there is memory for it");
        let now = 1;
        registers.wire.0.borrow_mut().with(|device, context| device.set_link(true, context));
        driver.start(now);
        Self { driver, registers, domain, now, taken: 0, frame: Frame::new() }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.u8() % 14 {
            0 | 1 => {
                let mut frame = frame(input.u16() % 1600, input.u8());
                if input.u8() % 2 == 0 {
                    let (start, offset) = (input.u16(), input.u16());
                    frame.offload.checksum = Checksum::Missing { start, offset };
                }
                self.send(&frame);
            }
            2 => _ = self.driver.kick(now),
            3 => _ = self.device_sends(),
            4 => self.comes(&frame(input.u16() % 1600, input.u8())),
            5 => _ = self.take(),
            6 => self.deliver(),
            7 => {
                let ticks = input.u64() >> (input.u8() & 63);
                self.now = now.saturating_add(ticks).min(LATEST);
                self.poll();
            }
            8 => self.change_memory(input),
            9 => {
                let lies = &self.registers.lies;
                match input.u8() % 8 {
                    0 => _ = lies.reads.borrow_mut().insert(input.pick(&LIES), input.u64()),
                    1 => lies.is_restless.set(true),
                    2 => lies.is_gone.set(true),
                    3 => lies.hidden.set(lies.hidden.get() ^ 1 << (input.u8() & 63)),
                    _ => self.tell_the_truth(),
                }
            }
            10 => match input.u8() % 4 {
                0 => self.registers.wire.0.borrow_mut().reset(),
                1 => _ = self.driver.interrupt(input.u16(), now),
                2 => self.driver.set_quiet(input.u8() % 2 == 0),
                _ => _ = self.driver.start(now),
            },
            11 => {
                let is_up = input.u8() % 2 == 0;
                self.machine(|device, context| device.set_link(is_up, context));
            }
            12 => _ = self.registers.wire.0.borrow_mut().poll(),
            _ => self.poll(),
        }
    }

    fn machine<T>(
        &self,
        call: impl FnOnce(&mut Transport<Net>, &mut devices::device::Context<'_>) -> T,
    ) -> T {
        self.registers.wire.0.borrow_mut().with(call)
    }

    fn send(&mut self, frame: &Frame) -> bool {
        let is_taken = self.driver.transmit(&frame.parts(Tagging::Keep).expect("a header")).is_ok();
        self.taken += u64::from(is_taken);
        is_taken
    }

    fn device_sends(&mut self) -> bool {
        let mut frame = Frame::new();
        let is_one = self.machine(|device, context| {
            let is_one = device.transmit(&mut frame, context);
            device.tell(context);
            is_one
        });
        self.frame = frame;
        is_one
    }

    fn comes(&self, frame: &Frame) {
        self.machine(|device, context| {
            device.receive(&frame.parts(Tagging::Keep).expect("a header"), context);
            device.tell(context);
        });
    }

    /// What the driver gives is a frame, no larger than it says.
    fn take(&mut self) -> bool {
        let is_one = self.driver.receive(&mut self.frame);
        assert_eq!(is_one, !self.frame.is_empty());
        assert!(!is_one || (14..=self.driver.capabilities().largest_bytes).contains(&self.frame.len()));
        is_one
    }

    /// Each frame that was taken waits, was sent, or is lost: one of these, once.
    fn check(&self) {
        let counters = self.driver.counters();
        let waiting = self.driver.queue().waiting as u64;
        assert_eq!(self.taken, counters.sent.frames + counters.lost + waiting);
    }

    fn change_memory(&mut self, input: &mut Input<'_>) {
        let buffers = self.domain.buffers();
        let (iova, bytes) = buffers[usize::from(input.u8()) % buffers.len()];
        let place = usize::from(input.u16()) % bytes;
        let count = usize::from(input.u8() % 16);
        _ = self.domain.write(Gpa(iova.0 + place as u64), input.bytes(count));
        // What it says to have used: the rings begin there where the buffer is a queue.
        if input.u8() % 2 == 0 {
            let at = input.pick(&[0x50_u64, 0x54, 0x58, 0x98, 0x9c, 0xa0, 0x2c, 0x30]);
            _ = self.domain.write(Gpa(iova.0 + at), &input.u32().to_le_bytes());
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

    fn tell_the_truth(&self) {
        let lies = &self.registers.lies;
        lies.reads.borrow_mut().clear();
        lies.is_restless.set(false);
        lies.is_gone.set(false);
        lies.hidden.set(0);
    }

    /// Nobody lies any more, and all works.
    fn end(mut self) {
        self.tell_the_truth();
        self.machine(|device, context| device.set_link(true, context));
        self.driver.set_quiet(false);
        self.driver.start(self.now);
        for _ in 0..CALLS {
            if self.driver.status().state != State::Starting {
                break;
            }
            self.registers.wire.0.borrow_mut().poll();
            self.deliver();
            self.poll();
        }
        assert_eq!(self.driver.status().state, State::Ready, "{:?}", self.driver.failure());
        let out = frame(46, 1);
        assert!(self.send(&out));
        self.driver.kick(self.now);
        assert!(self.device_sends());
        assert_eq!(self.frame.bytes(), out.bytes());
        self.comes(&frame(40, 2));
        assert!(self.take());
        assert_eq!(self.frame.bytes(), frame(40, 2).bytes());
        self.deliver();
        self.check();
        assert_eq!(self.driver.queue().waiting, 0);
    }
}
