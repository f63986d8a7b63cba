//! A guest at a network, with its memory and its driver, which is right or does anything.

use crate::Input;
use crate::crossing::{self, Copied, Crossing, Who};
use access::GuestMemory;
use access::memory::VecMemory;
use devices::device::{Accepts, Completion, Context, Reception};
use devices::ne2000::Ne2000;
use devices::virtio::Transport;
use devices::virtio::net::{Config, Net};
use devices::virtio::testing::{DATA, MEMORY, RING_BYTES, Ring};
use devices::virtio::transport::WINDOW_BYTES;
use devices::{Backend, Device, Endpoint, Surroundings};
use network::{Checksum, Frame, MacAddress, Parts, SegmentKind};
use spec::dp8390::{DATA as DATA_PORT, RESET};
use spec::virtio::net::{Header, queue};
use spec::virtio::pci::common;
use spec::virtio::split::Descriptor;
use spec::virtio::{feature, status};
use spec::{Gpa, Width};

const MTU: u16 = 1500;
/// Descriptors of a queue, few, so that they are met again.
const SIZE: u16 = 16;
const NOTIFY: u64 = 0x3000;
const MESSAGES: u16 = 4;
/// The largest frame that an NE2000 sends.
const NE2000_BYTES: usize = 1518;

/// A device, of which is noted what crosses it.
struct Watched<D> {
    device: D,
    who: Who,
}

impl<D: Device> Device for Watched<D> {
    fn most_effects(&self) -> usize {
        self.device.most_effects()
    }
    fn most_requests(&self) -> usize {
        self.device.most_requests()
    }
    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        self.device.read(offset, width, context)
    }
    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.device.write(offset, width, value, context);
    }
    fn read_string(&mut self, offset: u64, width: Width, to: &mut [u8], context: &mut Context<'_>) -> usize {
        self.device.read_string(offset, width, to, context)
    }
    fn write_string(&mut self, offset: u64, width: Width, from: &[u8], context: &mut Context<'_>) -> usize {
        self.device.write_string(offset, width, from, context)
    }
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.device.complete(completion, context);
    }
    fn line(&self) -> bool {
        self.device.line()
    }
    fn reset(&mut self) {
        self.device.reset();
    }
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.device.poll(context)
    }
    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        self.device.want_notifications(wanted, context)
    }
    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        let is_one = self.device.transmit(frame, context);
        assert!(is_one || frame.is_empty());
        match is_one {
            true if frame.is_empty() => crossing::note(Crossing::Unfit(self.who)),
            true => crossing::note(Crossing::Sent(self.who, Copied::of(frame))),
            false => {}
        }
        is_one
    }
    fn accepts(&self) -> Accepts {
        self.device.accepts()
    }
    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        let reception = self.device.receive(parts, context);
        let copy = Copied::of_parts(parts);
        crossing::note(Crossing::Got(self.who, copy, reception == Reception::Taken));
        reception
    }
    fn tell(&mut self, context: &mut Context<'_>) {
        self.device.tell(context);
    }
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.device.set_link(is_up, context);
    }
}

/// A guest.
pub struct Station {
    /// Its interface.
    pub endpoint: Endpoint,
    memory: VecMemory,
    mac: MacAddress,
    is_virtio: bool,
    rings: Vec<Ring>,
    /// Frames that it put into its memory.
    placed: u64,
}

impl Station {
    /// Guest `who`, with an interface of virtio's or an NE2000, as after power-up.
    pub fn new(who: usize, is_virtio: bool, mac: MacAddress, any_source: bool) -> Self {
        let endpoint = if is_virtio {
            let device = Transport::new(Net::new(Config { mac, mtu: MTU, any_source }), MESSAGES, true);
            let device = Box::new(Watched { device, who: Some(who) });
            Endpoint::new(device, Backend::Served, MESSAGES, WINDOW_BYTES, WINDOW_BYTES + 0x1000)
        } else {
            let device = Box::new(Watched { device: Ne2000::new(mac), who: Some(who) });
            Endpoint::with_lines(device, Backend::Served, [Some(11), None])
        };
        let memory = VecMemory::new(MEMORY);
        Self { endpoint, memory, mac, is_virtio, rings: Vec::new(), placed: 0 }
    }

    /// Lets `serve` use the endpoint.
    pub fn with<R>(&mut self, serve: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R) -> R {
        let (send, print) = (&mut |_| (), &mut |_: &[u8]| ());
        let result =
            serve(&mut self.endpoint, &mut Surroundings { memory: &self.memory, now: 0, send, print });
        assert!(!self.endpoint.has_failed(), "more effects than the device said");
        result
    }

    fn read(&mut self, offset: u64, width: Width) -> u64 {
        self.with(|endpoint, around| endpoint.read(offset, width, around))
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        self.with(|endpoint, around| endpoint.write(offset, width, value, around));
    }

    /// The machine is reset, and its firmware enables the function.
    pub fn reboot(&mut self) {
        self.with(|endpoint, around| {
            endpoint.reset();
            endpoint.set_enables(true, true, false, around);
        });
        let entries = if self.is_virtio { MESSAGES.into() } else { 0 };
        for entry in 0..entries {
            let at = WINDOW_BYTES + 16 * entry;
            self.write(at, Width::Dword, 0xfee0_0000);
            self.write(at + 8, Width::Dword, 0x40 + entry);
            self.write(at + 12, Width::Dword, 0);
        }
    }

    /// A driver begins, with those of `features` that there are.
    pub fn start(&mut self, features: u64) {
        if self.is_virtio { self.start_virtio(features) } else { self.start_ne2000() }
    }

    fn start_virtio(&mut self, features: u64) {
        self.write(common::STATUS, Width::Byte, 0);
        self.add_status(status::ACKNOWLEDGE | status::DRIVER);
        let taken = (0..2).fold(0, |all, select| {
            self.write(common::DEVICE_FEATURE_SELECT, Width::Dword, select);
            let offered = self.read(common::DEVICE_FEATURE, Width::Dword) << (32 * select);
            let taken = offered & (features | feature::VERSION_1);
            self.write(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            self.write(common::DRIVER_FEATURE, Width::Dword, taken >> (32 * select) & 0xffff_ffff);
            all | taken
        });
        self.add_status(status::FEATURES_OK);
        self.write(common::CONFIG_VECTOR, Width::Word, 0);
        (0..3).for_each(|number| self.enable(number, taken));
        self.add_status(status::DRIVER_OK);
    }

    fn add_status(&mut self, bits: u8) {
        let all = self.read(common::STATUS, Width::Byte) | u64::from(bits);
        self.write(common::STATUS, Width::Byte, all);
    }

    fn enable(&mut self, number: u16, features: u64) {
        let ring = Ring::new(number, SIZE, features);
        let zeros = [0; RING_BYTES as usize];
        self.memory.write(Gpa(ring.descriptors()), &zeros).expect("a ring in memory");
        self.write(common::QUEUE_SELECT, Width::Word, number.into());
        self.write(common::QUEUE_SIZE, Width::Word, SIZE.into());
        self.write(common::QUEUE_VECTOR, Width::Word, 1 + u64::from(number));
        self.write(common::QUEUE_DESCRIPTORS, Width::Qword, ring.descriptors());
        self.write(common::QUEUE_DRIVER, Width::Qword, ring.driver_area());
        self.write(common::QUEUE_DEVICE, Width::Qword, ring.device_area());
        self.write(common::QUEUE_ENABLE, Width::Word, 1);
        self.rings.retain(|other| other.descriptors() != ring.descriptors());
        self.rings.push(ring);
        self.rings.sort_by_key(Ring::descriptors);
    }

    /// A ring of pages 0x4c to 0x7f.
    fn start_ne2000(&mut self) {
        self.read(RESET, Width::Byte);
        for (port, value) in [
            (0, 0x21),
            (0xe, 0x49),
            (1, 0x4c),
            (2, 0x80),
            (3, 0x7f),
            (4, 0x40),
            (7, 0xff),
            (0xc, 0x0c),
            (0xd, 0),
            (0xf, 0x3f),
            (0, 0x61),
            (7, 0x4c),
        ] {
            self.write(port, Width::Byte, value);
        }
        for (port, byte) in (1..).zip(self.mac.0) {
            self.write(port, Width::Byte, byte.into());
        }
        self.write(0, Width::Byte, 0x22);
    }

    /// Sends a frame, if its driver has room for it.
    pub fn send(&mut self, frame: &Copied) {
        if !self.is_virtio {
            return self.send_by_ports(&frame.bytes);
        }
        let mut header = Header::default();
        if let Checksum::Missing { start, offset } = frame.offload.checksum {
            header.flags = Header::FLAG_NEEDS_CHECKSUM;
            (header.checksum_start, header.checksum_offset) = (start, offset);
        }
        if let Some(cut) = frame.offload.segmentation {
            header.cut = if cut.kind == SegmentKind::Tcp4 { Header::CUT_TCP4 } else { Header::CUT_TCP6 };
            (header.segment_bytes, header.header_bytes) = (cut.segment_bytes, cut.header_bytes);
        }
        let bytes = [&header.encode()[..], &frame.bytes].concat();
        let at = self.place();
        self.memory.write(Gpa(at), &bytes).expect("there is memory");
        self.add(queue::TRANSMIT, &[(at, bytes.len() as u32)], 0, false);
        self.kick();
    }

    fn send_by_ports(&mut self, frame: &[u8]) {
        let frame = &frame[..frame.len().min(NE2000_BYTES)];
        let [low, high] = (frame.len() as u16).to_le_bytes().map(u64::from);
        for (port, value) in [(0, 0x22), (8, 0), (9, 0x40), (0xa, low), (0xb, high), (0, 0x12)] {
            self.write(port, Width::Byte, value);
        }
        let even = [frame, &[0][..frame.len() % 2]].concat();
        self.with(|endpoint, around| endpoint.write_string(DATA_PORT, Width::Word, &even, around));
        for (port, value) in [(4, 0x40), (5, low), (6, high), (0, 0x26)] {
            self.write(port, Width::Byte, value);
        }
    }

    /// Has room for a frame of `bytes` bytes more.
    pub fn make_room(&mut self, bytes: u32) {
        if self.is_virtio {
            let at = self.place();
            self.add(queue::RECEIVE, &[(at, bytes)], 1, false);
        }
    }

    /// Takes what came, and gives its bytes where the driver knows them at once.
    pub fn take_received(&mut self) -> Option<usize> {
        if !self.is_virtio {
            // As much as is between the pages is not looked at: the card says that something came.
            let came = self.read(7, Width::Byte) & 1 != 0;
            self.start_ne2000();
            return came.then_some(0);
        }
        let (_, bytes) = self.rings[queue::RECEIVE].take_used(&self.memory)?;
        Some(bytes as usize - Header::BYTES)
    }

    /// Whether what it sent is over.
    pub fn has_sent(&mut self) -> bool {
        if !self.is_virtio {
            return self.read(0, Width::Byte) & 4 == 0;
        }
        self.rings[queue::TRANSMIT].take_used(&self.memory).is_some()
    }

    /// Whether it tells of what it sent, and whoever polls is woken.
    pub fn tells(&mut self) -> bool {
        let tells = !self.is_virtio || self.rings[queue::TRANSMIT].must_notify(&self.memory);
        tells && self.endpoint.take_wants_service()
    }

    /// Where the next frame may be.
    const fn place(&mut self) -> u64 {
        self.placed = (self.placed + 1) % 7;
        DATA + self.placed * 0x2_0000
    }

    fn add(&mut self, queue: usize, segments: &[(u64, u32)], writable: usize, indirect: bool) {
        let Some(ring) = self.rings.get_mut(queue) else { return };
        if ring.next_head(segments.len(), indirect).is_some() {
            ring.add(&self.memory, segments, writable, indirect);
        }
    }

    fn kick(&mut self) {
        self.write(NOTIFY, Width::Word, 0);
    }

    /// Does anything, of which most is something that a driver does.
    pub fn act(&mut self, input: &mut Input<'_>) {
        match input.u8() % 20 {
            0..4 => {
                let frame = compose(input, self.mac);
                self.send(&frame);
            }
            4..6 => (0..1 + input.u8() % SIZE as u8).for_each(|_| self.make_room(1530)),
            6 => self.make_room(12 + u32::from(input.u16())),
            7 => {
                self.reboot();
                if input.u8() & 1 == 1 {
                    let features = input.u64();
                    self.start(features);
                }
            }
            8 => {
                let features = if input.u8() & 1 == 0 { u64::MAX } else { input.u64() };
                self.start(features);
            }
            9 => {
                let bits = input.u8();
                self.with(|endpoint, around| {
                    endpoint.set_enables(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, around);
                });
            }
            10 => _ = self.read(u64::from(input.u16() & 0x7fff), input.width()),
            11 => self.write(u64::from(input.u16() & 0x7fff), input.width(), input.u64()),
            12..15 if !self.is_virtio => {
                self.write(u64::from(input.u8() & 0x1f), Width::Byte, input.u8().into());
            }
            12 => {
                let at = input.pick(&[0x1_0000, 0x1_2000, 0x1_4000, DATA]) + u64::from(input.u16() & 0x1fff);
                self.memory.write(Gpa(at), &[input.u8()]).expect("it is memory");
            }
            13 => self.write(u64::from(input.u8() & 0x3f), input.width(), input.u64()),
            14 => {
                let (queue, head) = (usize::from(input.u8() % 3), u16::from(input.u8()));
                if let Some(ring) = self.rings.get_mut(queue) {
                    ring.offer(&self.memory, head);
                }
            }
            15 => self.add_any(input),
            16 => self.describe_any(input),
            17 => self.reset_queue(input.u8() % 3),
            18 => {
                let (queue, shape) = (usize::from(input.u8() % 3), input.u8());
                self.add(queue, &[(DATA, shape.into()), (DATA + 64, 1)], usize::from(shape & 1), false);
            }
            _ => self.kick(),
        }
    }

    /// A chain of any segments.
    fn add_any(&mut self, input: &mut Input<'_>) {
        let (queue, shape) = (usize::from(input.u8() % 3), input.u8());
        let segments: Vec<_> = (0..1 + shape % 5)
            .map(|_| (DATA - 0x100 + u64::from(input.u16()), u32::from(input.u16()) >> (input.u8() & 0xf)))
            .collect();
        let writable = usize::from(shape >> 3) % (segments.len() + 1);
        self.add(queue, &segments, writable, shape & 0x80 != 0);
    }

    fn describe_any(&mut self, input: &mut Input<'_>) {
        let Some(ring) = self.rings.get(usize::from(input.u8() % 3)) else { return };
        let places = [ring.descriptors(), DATA, 0x3f_fff0, 0xffff_ffff_ffff_ff00];
        let gpa = Gpa(input.pick(&places) + u64::from(input.u8()));
        let bytes = input.pick(&[0, 1, 12, 16, 64, 2048, 0x1_0000, 0xffff_ffff]);
        let (flags, next) = (u16::from(input.u8() & 7), u16::from(input.u8() % 20));
        let index = u16::from(input.u8()) % SIZE;
        ring.describe(&self.memory, index, Descriptor { gpa, bytes, flags, next });
    }

    /// One queue alone.
    fn reset_queue(&mut self, queue: u8) {
        self.write(common::QUEUE_SELECT, Width::Word, queue.into());
        self.write(common::QUEUE_RESET, Width::Word, 1);
        let features = (0..2).fold(0, |all, select| {
            self.write(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            all | self.read(common::DRIVER_FEATURE, Width::Dword) << (32 * select)
        });
        self.enable(queue.into(), features);
    }
}

/// The address of station `number`; 8 is one that is at no port, from 12 on they are groups.
pub const fn address(number: u8) -> MacAddress {
    match number {
        12 => MacAddress::BROADCAST,
        13 => MacAddress([1, 0, 0x5e, 0, 0, 1]),
        14 => MacAddress([1, 0x80, 0xc2, 0, 0, 1]),
        _ => MacAddress([2, 0, 0, 0, 0, number]),
    }
}

const TCP4: [u8; 42] = [
    8, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x19, 32, 0, 0, 0, 0, 0, // TCP
];

/// A frame from `mac`, or from elsewhere, to a station that is there or not; it may be large.
pub fn compose(input: &mut Input<'_>, mac: MacAddress) -> Copied {
    let (kind, to, from) = (input.u8(), input.u8(), input.u8());
    let source = if from < 0xc0 { mac } else { address(from & 15) };
    let mut bytes = [address(to & 15).0, source.0].concat();
    if kind & 3 == 3 {
        bytes.extend([0x81, 0, input.u8() & 0xf, input.pick(&[0, 7, 8, 0xff])]);
    }
    let mut offload = network::Offload::default();
    let start = bytes.len() as u16 + 22;
    if kind & 4 != 0 {
        bytes.extend(TCP4);
        let any = input.u16();
        let segment_bytes = input.pick(&[64, 65, 536, 1448, 9000, any]);
        let kind = if kind & 8 == 0 { SegmentKind::Tcp4 } else { SegmentKind::Tcp6 };
        let header_bytes = bytes.len() as u16;
        offload.checksum = Checksum::Missing { start, offset: 16 };
        offload.segmentation = Some(network::Segmentation { kind, ecn: false, segment_bytes, header_bytes });
        bytes.resize(bytes.len() + usize::from(input.u16()), input.u8());
    } else {
        let length = usize::from(input.u8());
        bytes.extend([8, 6]);
        bytes.extend(input.bytes(length & 15));
        bytes.resize(bytes.len() + length * 6, length as u8);
        if kind & 8 != 0 {
            offload.checksum = Checksum::Missing { start: input.u8().into(), offset: input.u8().into() };
        }
    }
    Copied { bytes, offload }
}
