//! The emulated virtio network interface: any registers, rings and frames, and any offloads.
#![no_main]

use access::GuestMemory;
use devices::Device;
use devices::device::Reception;
use devices::testing::VecMedium;
use devices::virtio::Transport;
use devices::virtio::net::{Config, Net};
use devices::virtio::testing::{DATA, Guest};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use network::{Checksum, Frame, MacAddress, Offload, SegmentKind, Segmentation, Tagging};
use spec::Gpa;
use spec::virtio::net::queue;
use spec::virtio::split::Descriptor;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const MTU: usize = 1500;
/// Descriptors of a queue, few, so that they are met again.
const SIZE: u16 = 16;

struct World {
    guest: Guest<Net>,
    frame: Frame,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let config = Config { mac: MAC, mtu: MTU as u16, any_source: input.u8() & 1 == 1 };
    let guest = Guest::new(Transport::new(Net::new(config), 4, true), VecMedium::new(0));
    let mut world = World { guest, frame: Frame::new() };
    world.start(input.u64());
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.check_that_it_still_works();
});

impl World {
    /// With any of the features that the device offers, and those that it cannot be without.
    fn start(&mut self, features: u64) {
        let offered = self.guest.offered();
        self.guest.start(offered & (features | 1 << 32), SIZE, true);
        self.guest.bench.with(|device, context| device.set_link(true, context));
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let queue = usize::from(input.u8() % 3);
        match input.u8() % 13 {
            0..3 => self.add_any(queue, input),
            3 => self.add_frame(input),
            4 => self.describe_any(queue, input),
            5 => self.guest.rings[queue].offer(&self.guest.bench.memory, input.u8().into()),
            6 => {
                let at = Gpa(self.guest.rings[queue].descriptors() + u64::from(input.u16() & 0x1fff));
                _ = self.guest.bench.memory.write(at, &[input.u8()]);
            }
            7 => self.receive(input),
            8 => self.guest.bench.write(u64::from(input.u16() & 0x7fff), input.width(), input.u64()),
            9 => _ = self.guest.bench.read(u64::from(input.u16() & 0x7fff), input.width()),
            10 => {
                let wanted = input.u8() & 1 == 1;
                self.guest.bench.with(|device, context| {
                    device.set_link(wanted, context);
                    device.tell(context);
                    device.want_notifications(wanted, context)
                });
            }
            11 if self.guest.reset_queue(queue as u16) => {
                let features = self.guest.taken();
                self.guest.enable(queue as u16, SIZE, 1, features);
            }
            _ => self.transmit(),
        }
    }

    /// A chain of any segments.
    fn add_any(&mut self, queue: usize, input: &mut Input<'_>) {
        let shape = input.u8();
        let segments: Vec<_> = (0..1 + shape % 5)
            .map(|_| {
                let at = DATA - 0x100 + u64::from(input.u16());
                (at, u32::from(input.u16()) >> (input.u8() & 0xf))
            })
            .collect();
        let writable = usize::from(shape >> 3) % (segments.len() + 1);
        let memory = &self.guest.bench.memory;
        if self.guest.rings[queue].next_head(segments.len(), shape & 0x80 != 0).is_some() {
            self.guest.rings[queue].add(memory, &segments, writable, shape & 0x80 != 0);
        }
    }

    /// A header of any kind and a frame that may fit it, or a command, in a chain that is right.
    fn add_frame(&mut self, input: &mut Input<'_>) {
        let bytes = input.bytes(160);
        let at = DATA + 0x4000;
        let memory = &self.guest.bench.memory;
        _ = memory.write(Gpa(at), bytes);
        let (queue, answers) = input.pick(&[(queue::TRANSMIT, 0), (queue::CONTROL, 1)]);
        let length = bytes.len() as u32 + u32::from(input.u8()) * 200;
        let segments = [(at, length), (at - 1, 1)];
        let ring = &mut self.guest.rings[queue];
        if ring.next_head(1 + answers, false).is_some() {
            ring.add(memory, &segments[..1 + answers], answers, false);
        }
    }

    fn describe_any(&mut self, queue: usize, input: &mut Input<'_>) {
        let ring = &self.guest.rings[queue];
        let gpa =
            Gpa(input.pick(&[ring.descriptors(), DATA, 0x3f_fff0, 0xffff_ffff_ffff_ff00])
                + u64::from(input.u8()));
        let bytes = input.pick(&[0, 1, 12, 16, 64, 2048, 0x1_0000, 0xffff_ffff]);
        let (flags, next) = (u16::from(input.u8() & 7), u16::from(input.u8() % 20));
        let index = u16::from(input.u8()) % SIZE;
        ring.describe(&self.guest.bench.memory, index, Descriptor { gpa, bytes, flags, next });
    }

    /// What is sent is bounded, and what is left to do of it is in it.
    fn transmit(&mut self) {
        let frame = &mut self.frame;
        frame.clear();
        let is_one = self.guest.bench.with(|device, context| device.transmit(frame, context));
        assert!(is_one || frame.is_empty());
        if frame.is_empty() {
            return;
        }
        assert!(frame.len() >= 14);
        match (frame.offload.segmentation, frame.offload.checksum) {
            (Some(_), Checksum::Missing { .. }) => {
                assert!(frame.segments().is_some_and(|all| all.left() <= 1024))
            }
            (Some(_), _) => panic!("cut without a checksum"),
            (None, _) => {
                assert!(frame.len() <= MTU + 18);
                assert!(frame.finish_checksum().is_some());
            }
        }
    }

    /// A frame that may be anything, with anything left to do, as another guest may send it.
    fn receive(&mut self, input: &mut Input<'_>) {
        let mut frame = Frame::new();
        _ = frame.append(&MAC.0).and(frame.append(&[2; 8]));
        _ = frame.append(&vec![input.u8(); usize::from(input.u16())]);
        let shape = input.u8();
        let (start, offset) = (input.u16(), input.u16());
        frame.offload = Offload {
            checksum: input.pick(&[Checksum::InPlace, Checksum::Good, Checksum::Missing { start, offset }]),
            segmentation: (shape & 1 == 1).then(|| Segmentation {
                kind: input.pick(&[SegmentKind::Tcp4, SegmentKind::Tcp6]),
                ecn: shape & 2 == 2,
                segment_bytes: input.u16(),
                header_bytes: input.u16(),
            }),
        };
        self.give(&frame);
    }

    fn give(&mut self, frame: &Frame) -> Reception {
        let parts = frame.parts(Tagging::Keep).expect("a header");
        self.guest.bench.with(|device, context| device.receive(&parts, context))
    }

    fn check_that_it_still_works(&mut self) {
        assert!(self.guest.reset());
        self.start(u64::MAX);
        let mut frame = Frame::new();
        _ = frame.append(&MAC.0).and(frame.append(&[2; 94]));
        let memory = &self.guest.bench.memory;
        self.guest.rings[queue::RECEIVE].add(memory, &[(DATA, 112)], 1, false);
        assert_eq!(self.give(&frame), Reception::Taken);
        let memory = &self.guest.bench.memory;
        let used = self.guest.rings[queue::RECEIVE].take_used(memory);
        assert_eq!(used.map(|(_, written)| written), Some(112));
        _ = memory.write(Gpa(DATA), &[0; 12]);
        self.guest.rings[queue::TRANSMIT].add(memory, &[(DATA, 112)], 0, false);
        assert!(self.guest.bench.with(|device, context| device.transmit(&mut self.frame, context)));
        assert_eq!(self.frame.bytes(), frame.bytes());
    }
}
