//! What the tests of a device, and of its driver, put around it: a medium that can fail, and
//! whoever applies the device's effects.

use crate::device::{
    Completion, Context, DEVICE_BUFFER, Device, DeviceEffect, Operation, Request, RequestFault,
};
use crate::effect::Effects;
use crate::endpoint::Own;
use crate::journal::{Journal, apply, record_words};
use crate::medium::Medium;
use crate::random::{Fault, Source};
use crate::rest::Rest;
use access::GuestMemory;
use spec::Width;
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::vec;
use std::vec::Vec;

/// A medium in a vector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VecMedium {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// How often it was flushed.
    pub flushes: usize,
    /// What each request gives from now on, whatever it is.
    pub fault: Option<RequestFault>,
}

impl VecMedium {
    /// `bytes` zeros that can be written.
    pub fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], read_only: false, flushes: 0, fault: None }
    }
}

impl Medium for VecMedium {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn perform(&mut self, request: &Request, memory: &dyn GuestMemory) -> Result<(), RequestFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let start = usize::try_from(request.at).map_err(|_| RequestFault::Range)?;
        let end = start.checked_add(request.bytes as usize).ok_or(RequestFault::Range)?;
        let bytes = self.bytes.get_mut(start..end).ok_or(RequestFault::Range)?;
        match request.operation {
            Operation::Read => memory.write(request.gpa, bytes).map_err(|_| RequestFault::Memory),
            Operation::Write if self.read_only => Err(RequestFault::ReadOnly),
            Operation::Write => memory.read(request.gpa, bytes).map_err(|_| RequestFault::Memory),
            Operation::Discard | Operation::WriteZeroes if self.read_only => Err(RequestFault::ReadOnly),
            // What is needed no more may read as it did, or anything else.
            Operation::Discard => {
                bytes.fill(0xdd);
                Ok(())
            }
            Operation::WriteZeroes => {
                bytes.fill(0);
                Ok(())
            }
            Operation::Flush => {
                self.flushes += 1;
                Ok(())
            }
        }
    }
}

/// A device with its memory and its medium.
///
/// It asserts what every device owes: no more effects than it said, no request outside of the
/// medium, an end to what one access causes.
pub struct Bench<D, M> {
    /// The device.
    pub device: D,
    /// What it reaches.
    pub memory: M,
    /// What its requests work on.
    pub medium: VecMedium,
    /// Guest time of the next calls.
    pub now: u64,
    /// The messages that it sent, in order.
    pub messages: Vec<u16>,
    /// It prints something that was not taken yet.
    pub has_output: bool,
    /// How often it asked to be polled.
    pub wakes: usize,
    /// The level of its line, as whoever looks after each [`DeviceEffect::Line`] knows it.
    pub line: bool,
    /// Whether requests wait for [`serve`](Self::serve) instead of being done at once.
    pub hold: bool,
    /// Those that wait.
    pub waiting: VecDeque<Request>,
    effects: Effects<DeviceEffect>,
}

impl<D: Device, M: GuestMemory> Bench<D, M> {
    /// Everything is done at once.
    pub fn new(device: D, memory: M, medium: VecMedium) -> Self {
        let effects = Effects::with_capacity(device.most_effects());
        Self {
            device,
            memory,
            medium,
            now: 0,
            messages: Vec::new(),
            has_output: false,
            wakes: 0,
            line: false,
            hold: false,
            waiting: VecDeque::new(),
            effects,
        }
    }

    /// Reads a register.
    pub fn read(&mut self, offset: u64, width: Width) -> u64 {
        self.call(|device, context| device.read(offset, width, context))
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u64, width: Width, value: u64) {
        self.call(|device, context| device.write(offset, width, value, context));
    }

    /// Reads as a string instruction does, and gives how many calls of the device that took.
    pub fn read_string(&mut self, offset: u64, width: Width, bytes: &mut [u8]) -> usize {
        let (mut rest, mut calls) = (bytes, 0);
        while !rest.is_empty() {
            let done = self.call(|device, context| device.read_string(offset, width, rest, context));
            assert!(done > 0, "no call moves nothing");
            (_, rest) = rest.split_at_mut(done);
            calls += 1;
        }
        calls
    }

    /// Writes as a string instruction does, and gives how many calls of the device that took.
    pub fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8]) -> usize {
        let (mut rest, mut calls) = (bytes, 0);
        while !rest.is_empty() {
            let done = self.call(|device, context| device.write_string(offset, width, rest, context));
            assert!(done > 0, "no call moves nothing");
            (_, rest) = rest.split_at(done);
            calls += 1;
        }
        calls
    }

    /// Does the oldest request that waits. Whether there was one.
    pub fn serve(&mut self) -> bool {
        let Some(request) = self.waiting.pop_front() else { return false };
        let outcome = self.perform(&request);
        self.complete(Completion { tag: request.tag, outcome });
        true
    }

    /// Takes what it prints, in pieces of so many bytes.
    pub fn output(&mut self, piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while core::mem::take(&mut self.has_output) {
            let mut bytes = vec![0; piece];
            let count = self.call(|device, context| device.output(&mut bytes, context));
            self.has_output |= count == piece;
            all.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
        all
    }

    /// Polls the device. Whether it took something, which it does not where it rests.
    pub fn poll(&mut self) -> bool {
        let rests = self.rests();
        let took = self.with_device(|device, context| device.poll(context));
        assert!(!rests || !took && self.effects.is_empty(), "it rested and had something to do");
        self.apply();
        assert_eq!(self.line, self.device.line(), "the line changed and nobody was told");
        took
    }

    /// Tells the device whether its guest is to tell; see [`Device::want_notifications`]. Where it rests, what it says
    /// of that tells the same, and misses nothing: it may be that there is nothing to do for a device of what it finds.
    pub fn want_notifications(&mut self, wanted: bool) -> bool {
        let mut rest = Rest::new();
        let rests = self.device.rests(&mut rest, &self.memory);
        let missed = self.call(|device, context| device.want_notifications(wanted, context));
        let told = |memory: &M| rest.wishes().iter().map(|wish| wish.place.read(memory)).collect::<Vec<_>>();
        if rests {
            let before = told(&self.memory);
            let found = rest.want_notifications(wanted, &self.memory);
            assert!(found == Ok(true) || !missed && found == Ok(false), "what was missed");
            assert_eq!(told(&self.memory), before, "what the guest is told");
        }
        missed
    }

    /// Whether the device says that polling it does nothing now.
    pub fn rests(&self) -> bool {
        let mut rest = Rest::new();
        self.device.rests(&mut rest, &self.memory) && rest.goes_on(&self.memory)
    }

    /// Lets `call` use the device, and does what it caused.
    pub fn with<R>(&mut self, call: impl FnOnce(&mut D, &mut Context<'_>) -> R) -> R {
        self.call(call)
    }

    /// Tells the device that a request is done.
    pub fn complete(&mut self, completion: Completion) {
        self.call(|device, context| device.complete(completion, context));
    }

    /// Resets the device; requests that wait go on waiting.
    pub fn reset(&mut self) {
        self.device.reset();
        self.line = self.device.line();
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut D, &mut Context<'_>) -> R) -> R {
        let result = self.with_device(call);
        self.apply();
        assert_eq!(self.line, self.device.line(), "the line changed and nobody was told");
        result
    }

    fn with_device<R>(&mut self, call: impl FnOnce(&mut D, &mut Context<'_>) -> R) -> R {
        let mut context = Context { memory: &self.memory, now: self.now, effects: &mut self.effects };
        let result = call(&mut self.device, &mut context);
        assert!(!self.effects.take_overflow(), "more effects than the device said");
        result
    }

    fn apply(&mut self) {
        let mut steps = 0;
        while let Some(effect) = self.effects.pop() {
            steps += 1;
            assert!(steps < 100_000, "one access causes effects without end");
            match effect {
                DeviceEffect::Line => self.line = self.device.line(),
                DeviceEffect::Msi(message) => self.messages.push(message),
                DeviceEffect::Submit(request) => self.submit(request),
                DeviceEffect::Wake => self.wakes += 1,
                DeviceEffect::Output => self.has_output = true,
            }
        }
    }

    fn perform(&mut self, request: &Request) -> Result<(), RequestFault> {
        if request.gpa >= DEVICE_BUFFER {
            return self.medium.perform(request, &Own::of(&mut self.device));
        }
        self.medium.perform(request, &self.memory)
    }

    fn submit(&mut self, request: Request) {
        let end = request.at.checked_add(request.bytes.into());
        assert!(end.is_some_and(|end| end <= self.medium.bytes()), "{request:?} leaves the medium");
        if self.hold {
            self.waiting.push_back(request);
            return;
        }
        let outcome = self.perform(&request);
        let completion = Completion { tag: request.tag, outcome };
        self.with_device(|device, context| device.complete(completion, context));
    }
}

/// The committed state of a device, as whoever keeps it has it.
pub struct Kept {
    said: Vec<u64>,
    /// Its words.
    pub words: Vec<u64>,
}

impl Kept {
    /// Of a device that has not said anything.
    pub fn new<D: Device + ?Sized>(device: &D) -> Self {
        let words = vec![0; device.state_words()];
        Self { said: words.clone(), words }
    }

    /// Takes in what the device says after a call.
    #[allow(
        clippy::expect_used,
        reason = "a device that says more than it said it would shall fail the test"
    )]
    pub fn follow<D: Device + ?Sized>(&mut self, device: &mut D) {
        let is_committed = device.is_committed();
        let mut records = vec![0; record_words(self.said.len())];
        let mut journal = Journal::new(&mut self.said, &mut records);
        device.journal(&mut journal);
        let used = journal.finish().expect("more words than it said");
        assert!(used == 0 || !is_committed, "it said that nothing has changed");
        apply(records.get(..used).unwrap_or_default(), &mut self.words).expect("words of the state");
    }

    /// Has another device, as after power-up, go on instead.
    #[allow(clippy::expect_used, reason = "a state that is not taken shall fail the test")]
    pub fn replace<D: Device>(&mut self, device: &mut D, mut other: D) {
        self.follow(device);
        other.restore_words(&self.words).expect("the state of a device");
        *device = other;
    }
}

/// The committed state of a device that has not said any.
pub fn state_of<D: Device + ?Sized>(device: &mut D) -> Vec<u64> {
    let mut kept = Kept::new(device);
    kept.follow(device);
    kept.words
}

/// Words that are as random as a test needs them, always the same (SplitMix64: Steele, Lea and Flood, 2014).
pub fn random_words() -> impl Iterator<Item = u64> + Clone + Send {
    (1_u64..).map(|number| {
        let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    })
}

/// A source of random words that has these, and says when it is given up.
pub struct RandomWords {
    words: Box<dyn Iterator<Item = u64> + Send>,
    faults: Sender<Fault>,
}

impl RandomWords {
    /// The source, and what is told of it.
    pub fn new(words: impl Iterator<Item = u64> + Send + 'static) -> (Self, Receiver<Fault>) {
        let (faults, told) = channel();
        (Self { words: Box::new(words), faults }, told)
    }
}

impl Source for RandomWords {
    fn word(&mut self) -> Option<u64> {
        self.words.next()
    }

    fn given_up(&mut self, fault: Fault) {
        // Who does not look does not want to know.
        let _ = self.faults.send(fault);
    }
}
