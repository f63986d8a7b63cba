//! The driver of virtio interfaces in a compartment, on an emulated interface.

use crate::world::{InProcess, Line, Make, Memory, SECOND};
use access::fake_dma::{FakeDma, FakeDomain};
use devices::Device;
use devices::device::Reception;
use devices::testing::{Bench, VecMedium};
use devices::virtio::Transport;
use devices::virtio::net::{Config, Net};
use devices::virtio::transport::{CAPABILITIES, WINDOW_BYTES};
use driver_compartment::{Description, Driver, NicSizes, RemoteNic, Room};
use network::{Frame, MacAddress, Tagging};
use nic::{Link, Nic, State};
use spec::Iova;
use std::cell::RefCell;
use std::rc::Rc;
use virtio::testing::{Registers, Space};

const MESSAGES: u16 = 2;
const RINGS: u16 = 16;
const AREA: NicSizes = NicSizes { frames: 8, frame_bytes: 1518 };
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

struct World {
    nic: RemoteNic<InProcess>,
    line: Line<Transport<Net>>,
    domain: Rc<FakeDomain>,
    now_ns: u64,
}

/// A frame of somebody else's with this number in it.
fn frame(number: u64) -> Frame {
    let mut frame = Frame::new();
    frame.append(&[2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 1, 8, 0]).unwrap();
    frame.append(&number.to_le_bytes()).unwrap();
    frame.append(&[7; 60]).unwrap();
    frame
}

fn number(frame: &Frame) -> u64 {
    u64::from_le_bytes(frame.bytes()[14..22].try_into().unwrap())
}

impl World {
    /// One that is ready, at a link that is up.
    fn new(restarts: u16) -> Self {
        let (dma, domain) = FakeDma::new(1 << 30);
        let memory = Memory(Rc::new(RefCell::new(dma)));
        let device =
            Transport::new(Net::new(Config { mac: MAC, mtu: 1500, any_source: false }), MESSAGES, true);
        let line = Line(Rc::new(RefCell::new(Bench::new(device, Rc::clone(&domain), VecMedium::new(0)))));
        line.0.borrow_mut().with(|device, context| device.set_link(true, context));
        let layout = Space::new(CAPABILITIES).layout(WINDOW_BYTES).unwrap();
        let room = Room::Frames { area: AREA, rings: RINGS };
        let mut description = Description {
            driver: Driver::VirtioNet(layout),
            messages: MESSAGES,
            registers_bytes: 0x4000,
            own: Iova(1 << 30),
            own_bytes: 0,
            room,
            data: Iova(0),
        };
        description.own_bytes = description.own_bytes_needed().unwrap() as u64;
        let wire = line.clone();
        let make: Make =
            Box::new(move |description| description.build(Registers::new(wire.clone()), memory.clone()));
        let nic = RemoteNic::new(InProcess::new(make, description, AREA.words()), AREA, restarts).unwrap();
        let mut world = Self { nic, line, domain, now_ns: SECOND };
        world.nic.start(world.now_ns);
        world.pass();
        assert_eq!((world.nic.status().state, world.nic.mac()), (State::Ready, Some(MAC)));
        world
    }

    /// Some turns, in which what is under way goes on.
    fn pass(&mut self) {
        for _ in 0..8 {
            self.line.0.borrow_mut().poll();
            for message in std::mem::take(&mut self.line.0.borrow_mut().messages) {
                self.nic.interrupt(message, self.now_ns);
            }
            self.now_ns += SECOND / 100;
            self.nic.poll(self.now_ns);
            self.nic.kick(self.now_ns);
        }
    }

    /// What the device sends, this many at most.
    fn sent(&mut self, most: usize, into: &mut Vec<u64>) {
        let mut frame = Frame::new();
        for _ in 0..most {
            frame.clear();
            let is_one = self.line.0.borrow_mut().with(|device, context| {
                let is_one = device.transmit(&mut frame, context);
                device.tell(context);
                is_one
            });
            if !is_one {
                return;
            }
            into.push(number(&frame));
        }
    }

    fn comes(&mut self, number: u64) -> bool {
        let frame = frame(number);
        self.line.0.borrow_mut().with(|device, context| {
            let reception = device.receive(&frame.parts(Tagging::Keep).unwrap(), context);
            device.tell(context);
            reception == Reception::Taken
        })
    }

    fn received(&mut self, into: &mut Vec<u64>) {
        let mut frame = Frame::new();
        while self.nic.receive(&mut frame) {
            into.push(number(&frame));
        }
    }
}

/// Killed a thousand times while frames go both ways: it is up all the while, each frame that it was given is sent or
/// counted as lost, none is sent out of order, and what came is what was sent to it. Its device reaches
/// nothing that is not mapped, and receives what is for others as well each time.
#[test]
fn a_thousand_deaths() {
    let mut world = World::new(1000);
    let (mut given, mut came, mut received, mut sent) = (0, 0, Vec::new(), Vec::new());
    for death in 0..1000_u64 {
        for _ in 0..4 {
            let frame = frame(given);
            if world.nic.transmit(&frame.parts(Tagging::Keep).unwrap()).is_ok() {
                given += 1;
            }
        }
        world.nic.kick(world.now_ns);
        came += u64::from(world.comes(came));
        world.sent(death as usize % 4, &mut sent);
        world.nic.compartment_mut().dies = true;
        world.nic.interrupt(1, world.now_ns);
        assert_eq!(world.nic.poll(world.now_ns).state, State::Ready);
        assert_eq!(world.nic.account().ends, death + 1);
        assert_ne!(world.nic.link(), Link::Down);
        world.pass();
        assert_ne!(world.nic.link(), Link::Down);
        // The new driver is given what comes now, for whomever it is.
        assert!(world.comes(came));
        world.pass();
        world.received(&mut received);
        assert_eq!(received.last(), Some(&came));
        came += 1;
    }
    world.sent(usize::from(RINGS), &mut sent);
    world.pass();
    let counters = world.nic.counters();
    assert_eq!((world.nic.account().renewals, world.nic.queue().waiting), (1000, 0));
    assert_eq!((given, counters.sent.frames + counters.lost), (4000, 4000));
    assert!(sent.is_sorted() && sent.len() as u64 >= counters.sent.frames, "{counters:?}");
    assert!(sent.len() > 1000, "{}", sent.len());
    assert!(received.is_sorted_by(|a, b| a < b) && received.len() >= 1000, "{}", received.len());
    assert_eq!(world.domain.refused(), 0);
}
