//! A driver that sends anything that is right, a medium that answers in any order, and a model of what
//! the medium then holds.

use super::saving::{device, save};
use super::*;
use crate::Device;
use crate::testing::Kept;
use proptest::prelude::*;
use proptest::sample::Index;
use spec::virtio::pci::common;

const SECTORS: u64 = 512;
/// Where the data of a request is: a place of so many bytes.
const PLACE_BYTES: u64 = 0x8000;
const PLACES: usize = 32;
const FREE: u8 = 0x77;

/// A request to send.
#[derive(Clone, Debug)]
struct Order {
    queue: u16,
    kind: u32,
    sector: u64,
    sectors: u64,
    /// Bytes of the segments, over and over.
    cuts: Vec<u32>,
    indirect: bool,
    notify: bool,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Send(Order),
    Notify(u16),
    /// The medium is done with one of the requests.
    Serve(Index),
    /// The driver's handler runs, for a message that came or without one.
    Handle(u16),
    /// The driver wants no interrupts until its handler runs.
    Quiet(u16),
    /// Whoever polls does so, and goes on doing it.
    Poll,
    /// They stop, unless something waits.
    Sleep,
    Fault(bool),
    Reset,
    /// The driver resets one queue.
    ResetQueue(u16),
    /// The device is saved, and restored into another one.
    Move,
}

fn order() -> impl Strategy<Value = Order> {
    let kind = prop_oneof![
        4 => Just(request::IN),
        4 => Just(request::OUT),
        1 => Just(request::FLUSH),
        1 => Just(request::DISCARD),
        1 => Just(request::WRITE_ZEROES),
        1 => Just(request::GET_ID),
    ];
    let cut = prop_oneof![Just(512_u32), Just(4096), 1..300_u32, 300..9000_u32];
    let cuts = proptest::collection::vec(cut, 1..4);
    (0..2_u16, kind, 0..SECTORS, 1..=48_u64, cuts, any::<bool>(), any::<bool>()).prop_map(
        |(queue, kind, sector, sectors, cuts, indirect, notify)| {
            let sectors = sectors.min(SECTORS - sector);
            Order { queue, kind, sector, sectors, cuts, indirect, notify }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => order().prop_map(Step::Send),
        2 => (0..2_u16).prop_map(Step::Notify),
        16 => any::<Index>().prop_map(Step::Serve),
        3 => (0..2_u16).prop_map(Step::Handle),
        1 => (0..2_u16).prop_map(Step::Quiet),
        4 => Just(Step::Poll),
        2 => Just(Step::Sleep),
        1 => any::<bool>().prop_map(Step::Fault),
        1 => Just(Step::Reset),
        1 => (0..2_u16).prop_map(Step::ResetQueue),
        3 => Just(Step::Move),
    ]
}

/// A request that was sent and not answered.
struct Flight {
    head: u16,
    order: Order,
    place: usize,
    segments: Vec<(u64, u32)>,
}

struct World {
    drive: Drive,
    features: u64,
    /// What the medium holds.
    model: Vec<u8>,
    flights: Vec<Flight>,
    places: Vec<usize>,
    /// Messages that were handled.
    handled: usize,
    /// Times that the poller was woken, as far as it knows.
    woken: usize,
    is_polled: bool,
    /// Somebody polls at the moment.
    polls: bool,
    pattern: u8,
}

impl World {
    fn new(features: u64, is_polled: bool, hold: bool) -> Self {
        let mut drive = Drive::with(Config { sectors: SECTORS, ..config() }, features, is_polled);
        drive.guest.bench.hold = hold;
        let model = drive.guest.bench.medium.bytes.clone();
        let places = (0..PLACES).collect();
        let (flights, handled, woken, polls, pattern) = (Vec::new(), 0, 0, false, 0);
        Self { drive, features, model, flights, places, handled, woken, is_polled, polls, pattern }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(order) => self.send(order),
            Step::Notify(queue) => drop(self.drive.guest.notify(queue)),
            Step::Serve(which) if !self.drive.guest.bench.waiting.is_empty() => {
                self.serve(which.index(self.drive.guest.bench.waiting.len()));
            }
            Step::Handle(queue) => self.handle(queue),
            Step::Quiet(queue) => {
                let Guest { bench, rings } = &mut self.drive.guest;
                rings[usize::from(queue)].want_interrupt(&bench.memory, false);
            }
            Step::Poll if self.is_polled && self.polls => self.poll(),
            Step::Sleep if self.is_polled && self.polls => self.sleep(),
            Step::Fault(fails) => {
                self.drive.guest.bench.medium.fault = fails.then_some(RequestFault::Medium);
            }
            Step::Reset => self.reset(),
            Step::ResetQueue(queue) => self.reset_queue(queue),
            Step::Move if self.drive.guest.bench.waiting.is_empty() => self.replace(),
            Step::Serve(_) | Step::Poll | Step::Sleep | Step::Move => {}
        }
        self.look();
    }

    /// Messages reach the driver, and wakes whoever polls.
    fn look(&mut self) {
        let wakes = self.drive.guest.bench.wakes;
        if wakes != self.woken {
            self.woken = wakes;
            assert!(self.is_polled);
            if !self.polls {
                self.polls = true;
                self.drive.guest.bench.want_notifications(false);
            }
        }
        while let Some(&message) = self.drive.guest.bench.messages.get(self.handled) {
            self.handled += 1;
            self.handle(message - 1);
        }
    }

    /// As the processor does that polls: until nothing is taken any more.
    fn poll(&mut self) {
        while self.drive.guest.bench.poll() {}
        let bench = &self.drive.guest.bench;
        assert!(bench.rests() || !bench.waiting.is_empty(), "nobody would sleep");
    }

    fn sleep(&mut self) {
        let missed = self.drive.guest.bench.want_notifications(true);
        self.polls = missed;
        if missed {
            self.poll();
        }
    }

    fn serve(&mut self, which: usize) {
        self.drive.guest.bench.waiting.swap(0, which);
        self.drive.guest.bench.serve();
        // Who serves polls.
        if self.is_polled {
            self.poll();
        }
    }

    fn send(&mut self, order: Order) {
        let end = order.sector + order.sectors;
        let overlaps = |other: &Flight| {
            other.order.sector < end && order.sector < other.order.sector + other.order.sectors
        };
        let Some(place) = self.places.last().copied() else { return };
        if self.flights.iter().any(overlaps) {
            return;
        }
        let bytes = match order.kind {
            request::IN | request::OUT => order.sectors as u32 * 512,
            request::GET_ID => 20,
            request::FLUSH => 0,
            _ => 16,
        };
        let segments = cut(place, bytes, &order.cuts);
        let guest_place = DATA + place as u64 * PLACE_BYTES;
        self.drive.fill(guest_place, &[FREE; PLACE_BYTES as usize]);
        match order.kind {
            request::OUT => {
                self.pattern = self.pattern.wrapping_add(1);
                let data = self.written(&order);
                self.scatter(&segments, &data);
            }
            request::DISCARD | request::WRITE_ZEROES => {
                let list = ranges(&[(order.sector, order.sectors as u32, 0)]);
                self.scatter(&segments, &list);
            }
            _ => {}
        }
        self.drive.indirect = order.indirect && self.features & common_feature::INDIRECT_DESCRIPTORS != 0;
        let ring = &self.drive.guest.rings[usize::from(order.queue)];
        if ring.next_head(2 + segments.len(), self.drive.indirect).is_none() {
            return;
        }
        self.places.pop();
        let reads = matches!(order.kind, request::IN | request::GET_ID);
        let (out, into) = if reads { (&[][..], &segments[..]) } else { (&segments[..], &[][..]) };
        let head = self.drive.add(order.queue, order.kind, order.sector, out, into);
        if order.notify {
            self.drive.guest.notify(order.queue);
        }
        self.flights.push(Flight { head, order, place, segments });
    }

    /// What a write writes: told from all others, and from byte to byte.
    fn written(&self, order: &Order) -> Vec<u8> {
        (0..order.sectors * 512).map(|byte| (byte as u8).wrapping_mul(3) ^ self.pattern).collect()
    }

    fn scatter(&mut self, segments: &[(u64, u32)], mut bytes: &[u8]) {
        for &(gpa, count) in segments {
            let (now, rest) = bytes.split_at(count as usize);
            self.drive.fill(gpa, now);
            bytes = rest;
        }
        assert!(bytes.is_empty());
    }

    fn range(order: &Order) -> core::ops::Range<usize> {
        order.sector as usize * 512..(order.sector + order.sectors) as usize * 512
    }

    /// The driver's handler: it takes what there is, and wants to be interrupted again.
    fn handle(&mut self, queue: u16) {
        while let Some(done) = self.drive.take(queue) {
            self.answered(queue, done);
        }
        let Guest { bench, rings } = &mut self.drive.guest;
        rings[usize::from(queue)].want_interrupt(&bench.memory, true);
    }

    fn answered(&mut self, queue: u16, done: Done) {
        let is_it = |flight: &Flight| flight.order.queue == queue && flight.head == done.head;
        let index = self.flights.iter().position(is_it).expect("a request that was sent");
        let flight = self.flights.swap_remove(index);
        let range = Self::range(&flight.order);
        let mut place = vec![FREE; PLACE_BYTES as usize];
        let base = DATA + flight.place as u64 * PLACE_BYTES;
        let data = self.drive.bytes(base, PLACE_BYTES as usize);
        let bytes: u32 = flight.segments.iter().map(|(_, bytes)| *bytes).sum();
        let is_ok = done.status == status::OK;
        assert!(is_ok || done.status == status::IO_ERROR);
        let reads = matches!(flight.order.kind, request::IN | request::GET_ID);
        let length = if !reads {
            1
        } else if is_ok {
            bytes + 1
        } else {
            0
        };
        assert_eq!(done.length, length, "{:?}", flight.order);
        match flight.order.kind {
            request::IN if is_ok => gathered(base, &flight.segments, &mut place, &self.model[range]),
            request::GET_ID => gathered(base, &flight.segments, &mut place, &config().name),
            // What was done of it nobody knows.
            _ if !is_ok => {
                self.model[range.clone()].copy_from_slice(self.drive.medium(range.start, range.len()));
                place.clone_from(&data);
            }
            request::OUT => {
                let mut written = vec![];
                for &(gpa, count) in &flight.segments {
                    let at = (gpa - base) as usize;
                    written.extend_from_slice(&data[at..at + count as usize]);
                }
                self.model[range].copy_from_slice(&written);
                place.clone_from(&data);
            }
            request::DISCARD => self.model[range].fill(0xdd),
            request::WRITE_ZEROES => self.model[range].fill(0),
            _ => {}
        }
        if reads {
            assert!(place == data, "{:?} wrote something else", flight.order);
        }
        self.places.push(flight.place);
    }

    fn replace(&mut self) {
        let config = Config { sectors: SECTORS, ..config() };
        let state = save(&self.drive.guest.bench.device);
        let mut other = device(config, self.is_polled);
        other.restore(&state).expect("a state that was saved");
        assert_eq!(save(&other), state);
        assert_eq!(other.line(), self.drive.guest.bench.line);
        self.drive.guest.bench.device = other;
    }

    /// The driver resets the device and sets it up again.
    fn reset(&mut self) {
        let is_over = self.drive.guest.reset();
        assert_eq!(is_over, self.drive.guest.bench.waiting.is_empty());
        let told = self.drive.guest.bench.messages.len();
        while !self.drive.guest.bench.waiting.is_empty() {
            assert_ne!(self.drive.guest.status(), 0);
            self.drive.guest.bench.serve();
        }
        assert_eq!(self.drive.guest.status(), 0, "the reset does not end");
        assert_eq!(self.drive.guest.bench.messages.len(), told);
        for flight in core::mem::take(&mut self.flights) {
            let range = Self::range(&flight.order);
            self.model[range.clone()].copy_from_slice(self.drive.medium(range.start, range.len()));
            self.places.push(flight.place);
        }
        self.drive.guest.start(self.features, 128, true);
    }

    /// The driver resets a queue and enables it again: its requests may be done or not, and those of the other go
    /// on. It waits as a driver does, meanwhile the medium answers in any order.
    fn reset_queue(&mut self, queue: u16) {
        let is_over = self.drive.guest.reset_queue(queue);
        let mut answered = 0;
        while !is_over && self.drive.guest.common(common::QUEUE_RESET, Width::Word) != 0 {
            let waiting = self.drive.guest.bench.waiting.len();
            assert_ne!(waiting, 0, "the reset does not end");
            self.serve(answered * 7 % waiting);
            answered += 1;
        }
        assert_eq!(self.drive.guest.common(common::QUEUE_ENABLE, Width::Word), 0);
        assert_eq!(self.drive.guest.common(common::QUEUE_DESCRIPTORS, Width::Qword), 0);
        let (own, others) = self.flights.drain(..).partition(|flight| flight.order.queue == queue);
        self.flights = others;
        let own: Vec<Flight> = own;
        for flight in own {
            let range = Self::range(&flight.order);
            self.model[range.clone()].copy_from_slice(self.drive.medium(range.start, range.len()));
            self.places.push(flight.place);
        }
        self.drive.guest.enable(queue, 128, 1 + queue, self.features);
    }

    /// Everything ends, by what was asked for alone: notifications, wakes and interrupts.
    fn end(&mut self) {
        self.drive.guest.bench.medium.fault = None;
        for queue in 0..2 {
            self.handle(queue);
            self.drive.guest.notify(queue);
        }
        self.look();
        if self.polls {
            self.poll();
        }
        self.look();
        for _ in 0..10_000 {
            if self.drive.guest.bench.waiting.is_empty() {
                break;
            }
            self.serve(0);
            self.look();
        }
        if self.polls {
            self.sleep();
            self.look();
        }
        assert!(self.flights.is_empty(), "{} requests are not answered", self.flights.len());
        assert!(self.drive.guest.rings.iter().all(|ring| ring.is_idle()));
        assert!(self.drive.guest.bench.medium.bytes == self.model, "the medium holds something else");
    }
}

/// `bytes` bytes in segments of these sizes, with a gap behind each.
fn cut(place: usize, bytes: u32, cuts: &[u32]) -> Vec<(u64, u32)> {
    let mut gpa = DATA + place as u64 * PLACE_BYTES;
    let mut left = bytes;
    let mut segments = vec![];
    for (number, cut) in cuts.iter().cycle().enumerate() {
        if left == 0 {
            break;
        }
        // The last of all that may be has the rest.
        let now = if number == 60 { left } else { left.min(*cut) };
        segments.push((gpa, now));
        gpa += u64::from(now) + 8;
        left -= now;
    }
    segments
}

/// What the place at `base` holds once its segments have `bytes`.
fn gathered(base: u64, segments: &[(u64, u32)], place: &mut [u8], mut bytes: &[u8]) {
    for &(gpa, count) in segments {
        let (now, rest) = bytes.split_at(count as usize);
        let at = (gpa - base) as usize;
        place[at..at + count as usize].copy_from_slice(now);
        bytes = rest;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The medium holds what was written, each request is answered once and told of, and nothing but
    /// its segments is written.
    #[test]
    fn the_medium_holds_what_a_model_holds(
        is_polled: bool,
        hold: bool,
        event_index: bool,
        is_packed: bool,
        flushes: bool,
        is_lost: bool,
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let with = |is_so: bool, feature: u64| if is_so { feature } else { 0 };
        let features = INDIRECT
            | with(event_index, common_feature::EVENT_INDEX)
            | with(is_packed, common_feature::RING_PACKED)
            | common_feature::RING_RESET
            | with(flushes, feature::FLUSH);
        let mut world = World::new(features, is_polled, hold);
        let mut kept = Kept::new(&world.drive.guest.bench.device);
        for step in steps {
            world.step(step);
            if is_lost {
                let other = Block::new(Config { sectors: SECTORS, ..config() });
                kept.replace(&mut world.drive.guest.bench.device, Transport::new(other, 3, is_polled));
            }
        }
        world.end();
    }
}
