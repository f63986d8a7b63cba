//! A driver of Intel's gigabit controllers on the scripted controller of its own tests, whose registers lie and
//! whose memory changes: what the targets `e1000e` and `igb` have in common.

use crate::fake::{Driver, Fake, MAC, SIZES, bring_up, frame};
use crate::twin::{self, LIES, WHOLE, with_length};
use access::GuestMemory;
use fuzz::Input;
use network::{Checksum, Frame, MacAddress, Tagging, Vlan};
use nic::{Nic, State};
use spec::Gpa;
use std::cell::RefCell;

/// The clock counts nanoseconds from some moment: after 146 years it is not here yet.
const LATEST: u64 = u64::MAX / 4;

thread_local! {
    static ROOMS: RefCell<[Frame; 2]> = RefCell::new([Frame::new(), Frame::new()]);
}

struct World {
    fake: Fake,
    driver: Driver,
    now: u64,
    /// Frames that the driver took to send.
    taken: u64,
}

/// Does what the bytes say, and asserts what must hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (fake, driver) = Fake::new(input.pick(&[2, 1]));
    let mut world = World { fake, driver, now: 1, taken: 0 };
    world.driver.start(1);
    ROOMS.with_borrow_mut(|[out, into]| {
        while !input.is_empty() {
            world.step(&mut input, out, into);
            world.check();
        }
        world.end(into);
    });
}

impl World {
    fn step(&mut self, input: &mut Input<'_>, out: &mut Frame, into: &mut Frame) {
        let now = self.now;
        match input.u8() % 14 {
            0 => self.transmit(input, out),
            1 => drop(self.driver.kick(now)),
            2 => self.poll(),
            3 => {
                let ns = input.u64() >> (input.u8() & 63);
                self.now = now.saturating_add(ns).min(LATEST);
                self.poll();
            }
            4 => drop(self.driver.interrupt(input.u16() % 3, now)),
            5 => {
                let is_there = self.driver.receive(into);
                assert_eq!(is_there, !into.is_empty());
                assert!(into.len() <= 2048 && into.offload.segmentation.is_none());
            }
            6 if input.u8() % 8 == 0 => drop(self.driver.start(now)),
            7 => {
                let place = self.next(twin::TRANSMIT_HEAD, SIZES.transmit);
                let at = self.fake.descriptor(twin::TRANSMIT_BASE_LOW, place);
                let _ = self.fake.domain.write32(Gpa(at.0 + 12), 1);
            }
            8 => {
                let (length, what) = (input.u16(), input.u8());
                let what = if what & 1 == 0 { WHOLE } else { input.u64() & !with_length(u16::MAX) };
                let length = if length < 0x8000 { length % 1600 } else { length };
                let place = self.next(twin::RECEIVE_HEAD, SIZES.receive);
                let at = self.fake.descriptor(twin::RECEIVE_BASE_LOW, place);
                let _ = self.fake.domain.write64(Gpa(at.0 + 8), with_length(length) | what);
            }
            9 => {
                let buffers = self.fake.domain.buffers();
                let (iova, bytes) = buffers[usize::from(input.u8()) % buffers.len()];
                let at = Gpa(iova.0 + (usize::from(input.u16()) * 8 % bytes) as u64);
                let _ = self.fake.domain.write64(at, input.u64());
            }
            10 => {
                let register = LIES[usize::from(input.u8()) % LIES.len()];
                self.fake.state.borrow_mut().lies.insert(register, input.u32());
            }
            11 => {
                let bits = input.u8();
                let mut state = self.fake.state.borrow_mut();
                state.never_quiet = bits & 1 != 0;
                state.never_configured = bits & 2 != 0;
                state.never_shared = bits & 4 != 0;
                state.loses_link = bits & 8 != 0;
                state.port = u32::from(bits >> 4 & 1);
            }
            12 => {
                let bits = input.u8();
                self.fake.set_link(bits & 1 == 0);
                self.driver.set_quiet(bits & 2 != 0);
            }
            _ => self.tell_the_truth(),
        }
    }

    fn transmit(&mut self, input: &mut Input<'_>, out: &mut Frame) {
        out.clear();
        let (bytes, kind) = (usize::from(input.u16() % 1600), input.u8());
        out.set_len(bytes).expect("there is room");
        if kind & 1 != 0 {
            out.offload.checksum = Checksum::Missing { start: 34, offset: 6 };
        }
        let vlan = Vlan::new(7).expect("it is one");
        let tagging = if kind & 2 == 0 { Tagging::Keep } else { Tagging::Insert(vlan) };
        if let Some(parts) = out.parts(tagging) {
            self.taken += u64::from(self.driver.transmit(&parts).is_ok());
        }
    }

    /// The descriptor that the controller is at, whether it has it or not; it goes on to the next.
    fn next(&self, head: u64, entries: u16) -> u32 {
        let place = self.fake.get(head) % u32::from(entries);
        self.fake.set(head, (place + 1) % u32::from(entries));
        place
    }

    /// The deadline comes; served, it moves on.
    fn poll(&mut self) {
        self.now = self.driver.status().deadline_ns.unwrap_or(self.now).max(self.now);
        let status = self.driver.poll(self.now);
        assert!(status.deadline_ns.is_none_or(|deadline| deadline > self.now), "{status:?} at {}", self.now);
    }

    fn check(&self) {
        let counters = self.driver.counters();
        let over = counters.sent.frames + counters.lost;
        assert!(
            over <= self.taken && self.taken <= over + u64::from(SIZES.transmit),
            "a frame twice, or none"
        );
        let is_failed = self.driver.status().state == State::Failed;
        assert_eq!(self.driver.error().is_some(), is_failed);
        assert!(self.fake.state.borrow().is_published, "a doorbell without a barrier");
    }

    fn tell_the_truth(&self) {
        let mut state = self.fake.state.borrow_mut();
        state.lies.clear();
        (state.never_quiet, state.never_configured, state.never_shared) = (false, false, false);
        (state.loses_link, state.port) = (false, 0);
    }

    /// Nobody lies any more, and all works.
    fn end(mut self, into: &mut Frame) {
        self.tell_the_truth();
        self.now = bring_up(&mut self.driver, self.now);
        assert_eq!(self.driver.status().state, State::Ready);
        assert_eq!(self.driver.mac(), Some(MacAddress(MAC)));
        let sent = frame(60, 3);
        self.driver.transmit(&sent.parts(Tagging::Keep).expect("it has a header")).expect("there is room");
        self.driver.kick(self.now);
        assert_eq!(self.fake.send_one().as_deref(), Some(sent.bytes()));
        assert!(self.fake.receive(&[4; 70]) && self.driver.receive(into));
        assert_eq!(into.bytes(), [4; 70]);
        self.poll();
    }
}
