//! The AHCI driver on an HBA whose registers lie, whose drives fail, and whose memory changes under it.
#![no_main]

use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use access::{DeviceAccess, GuestMemory};
use ahci::{Hba, Sizes};
use block::testing::Ask;
use block::{Drive, Operation, Refused, State, Tag};
use fuzz::Input;
use fuzz::lying_ahci::{LyingAhci, PORTS};
use libfuzzer_sys::fuzz_target;
use spec::Gpa;
use std::rc::Rc;

const SIZES: Sizes = Sizes { ports: u32::MAX, requests: 4, request_bytes: 64 << 10 };
/// More calls than any deadline of the driver needs: it waits 60 s at most, and looks each 5 ms at what
/// takes 30.
const CALLS: usize = 100_000;

/// The clock counts nanoseconds from some moment: after 146 years it is not here yet.
const LATEST: u64 = u64::MAX / 4;

struct World {
    hba: Hba<LyingAhci, FakeDma>,
    device: LyingAhci,
    domain: Rc<FakeDomain>,
    now: u64,
    /// Requests that are submitted, and that are reserved, of each drive.
    open: [Vec<Tag>; PORTS],
    reserved: [Vec<Tag>; PORTS],
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
        let (dma, domain) = FakeDma::new(2 << 20);
        let device = LyingAhci::new(Rc::clone(&domain), input.pick(&[31, 0, 2, 7]));
        let interrupt = MessageInterrupt { messages: 1 };
        let access = DeviceAccess { registers: device.clone(), dma, interrupt };
        let mut hba = Hba::new(access, SIZES).expect("there is memory for it");
        let now = 1;
        hba.start(now);
        Self { hba, device, domain, now, open: Default::default(), reserved: Default::default() }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let kind = input.u8();
        let number = usize::from(kind >> 7);
        let drive = self.hba.drive(number).expect("it has as many");
        match kind % 14 {
            0 => {
                let taken = drive.read(input.u16().into(), input.u8().into(), now);
                self.note(number, taken);
            }
            1 => {
                let State::Ready(geometry) = drive.status().state else { return };
                let (first_block, blocks) = (input.u16(), usize::from(input.u8() & 0x7f));
                let bytes = (blocks * geometry.block_bytes as usize).min(1 << 20);
                let data =
                    vec![input.u8(); bytes / geometry.block_bytes as usize * geometry.block_bytes as usize];
                let taken = drive.write(first_block.into(), &data, now);
                self.note(number, taken);
            }
            2 => {
                let taken = drive.flush(now);
                self.note(number, taken);
            }
            3 => self.reserve_or_submit(number, input),
            4 => {
                let fault =
                    input.pick(&[None, None, None, Some(0x4041), Some(0x8441), Some(0x0020), Some(0)]);
                self.device.complete(number, input.u8().into(), fault);
            }
            5 => self.deliver(),
            6 => self.poll(),
            7 => {
                let ticks = input.u64() >> (input.u8() & 63);
                self.now = now.saturating_add(ticks).min(LATEST);
                self.poll();
            }
            8 => self.change_memory(input),
            9 => self.lie(number, input),
            10 => {
                let mut state = self.device.state();
                state.holds ^= true;
            }
            11 => self.take_done(),
            12 => match input.u8() % 5 {
                0 => {
                    self.hba.start(now);
                }
                4 => {
                    self.hba.reset(now);
                }
                1 => {
                    drive.start(now);
                }
                2 => {
                    drive.interrupt(input.u16(), now);
                }
                _ => {
                    drive.kick(now);
                }
            },
            _ => {
                let mut state = self.device.state();
                let place = usize::from(input.u16() & 0x1ff);
                state.drives[number].identify[place] = input.u8();
            }
        }
    }

    fn reserve_or_submit(&mut self, number: usize, input: &mut Input<'_>) {
        let drive = self.hba.drive(number).expect("it has as many");
        if input.u8() % 2 == 0 {
            self.reserved[number].extend(drive.reserve());
        } else if let Some(tag) = self.reserved[number].pop() {
            let operation = input.pick(&[
                Operation::Read,
                Operation::Write,
                Operation::Flush,
                Operation::Discard,
                Operation::WriteZeroes,
            ]);
            if drive.submit(tag, operation, input.u16().into(), input.u8().into()).is_ok() {
                self.open[number].push(tag);
            } else {
                drive.release(tag);
            }
        }
    }

    /// A register says something else from now on, or changes once, or the truth is told again.
    fn lie(&mut self, number: usize, input: &mut Input<'_>) {
        let mut state = self.device.state();
        let place = usize::from(input.u8() & 0x3f) * 4;
        let offset = if place < 0x30 { place } else { 0x100 + number * 0x80 + (place & 0x3f) };
        match input.u8() % 8 {
            0 => {
                state.lies.insert(offset, input.u32());
            }
            1 => state.is_gone ^= true,
            2 => state.drives[number].is_plugged ^= true,
            3 => state.drives[number].registers[usize::from(input.u8() & 0x1f)] = input.u32(),
            4 => state.drives[number].registers[usize::from(input.u8() & 0x1f)] ^= 1 << (input.u8() & 31),
            5 => state.capabilities = input.u32(),
            _ => state.lies.clear(),
        }
        drop(state);
        self.device.signal(number);
    }

    fn change_memory(&mut self, input: &mut Input<'_>) {
        let buffers = self.domain.buffers();
        let (iova, bytes) = buffers[usize::from(input.u8()) % buffers.len()];
        let place = usize::from(input.u16()) * 16 % bytes;
        let _ = self.domain.write(Gpa(iova.0 + place as u64), input.bytes(16));
    }

    fn note(&mut self, number: usize, taken: Result<Tag, Refused>) {
        if let Ok(tag) = taken {
            assert!(!self.open[number].contains(&tag), "two requests are one");
            self.open[number].push(tag);
        }
    }

    fn deliver(&mut self) {
        let messages = std::mem::take(&mut self.device.state().messages);
        for _ in 0..messages {
            self.hba.interrupt(self.now);
        }
    }

    /// The deadline comes; served, it moves on.
    fn poll(&mut self) {
        self.now = self.hba.deadline().unwrap_or(self.now).max(self.now);
        let deadline = self.hba.poll(self.now);
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "{deadline:?} at {}", self.now);
    }

    fn take_done(&mut self) {
        for number in 0..PORTS {
            let drive = self.hba.drive(number).expect("it has as many");
            while let Some(done) = drive.next_done() {
                let open = &mut self.open[number];
                let place = open.iter().position(|tag| *tag == done.tag).expect("it ends once");
                open.swap_remove(place);
                let mut data = vec![0; done.bytes];
                if done.operation == Operation::Read && done.outcome.is_ok() {
                    drive.get(done.tag, 0, &mut data).expect("the data is there");
                }
                drive.release(done.tag);
            }
            assert!(self.open[number].len() <= usize::from(SIZES.requests));
        }
    }

    /// Time passes until nothing is waited for; then nobody lies any more, and all works.
    fn end(mut self) {
        for number in 0..PORTS {
            let drive = self.hba.drive(number).expect("it has as many");
            drive.kick(self.now);
        }
        self.pass();
        self.take_done();
        assert!(self.open.iter().all(Vec::is_empty), "a request that never ends");

        let mut state = self.device.state();
        state.lies.clear();
        (state.is_gone, state.holds) = (false, false);
        state.capabilities = spec::ahci::cap::ADDRESSES_64 | spec::ahci::cap::NATIVE_QUEUING;
        for drive in &mut state.drives {
            drive.is_plugged = true;
            drive.be_honest();
        }
        drop(state);
        self.hba.start(self.now);
        self.pass();
        for number in 0..PORTS {
            self.device.state().drives[number].medium.fill(7);
            let drive = self.hba.drive(number).expect("it has as many");
            assert!(matches!(drive.status().state, State::Ready(_)), "{:?}", drive.failure());
            for tag in self.reserved[number].drain(..) {
                drive.release(tag);
            }
            let tag = drive.read(1, 8, self.now).expect("there is room");
            self.pass();
            let drive = self.hba.drive(number).expect("it has as many");
            let done = drive.next_done().expect("it is over");
            assert_eq!((done.tag, done.outcome), (tag, Ok(())));
            let mut data = vec![0; done.bytes];
            drive.get(tag, 0, &mut data).expect("the data is there");
            assert!(data.iter().all(|byte| *byte == 7));
        }
    }

    fn pass(&mut self) {
        for _ in 0..CALLS {
            self.deliver();
            if self.hba.deadline().is_none() {
                return;
            }
            self.poll();
        }
        panic!("it waits for ever");
    }
}
