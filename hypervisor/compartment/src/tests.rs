//! A device in a compartment is the device: whatever is asked of both, they answer the same, and want the
//! same done.

use crate::{Area, Compartment, Ended, Places, Remote, Server, Sizes};
use access::{GuestMemory, OutOfBounds};
use devices::Device;
use devices::device::{Completion, Context, DEVICE_BUFFER, DeviceEffect, Operation, Reception, Request};
use devices::effect::Effects;
use devices::ide::{Disk, Ide};
use devices::ne2000::Ne2000;
use devices::serial::Serial;
use killed::Death;
use network::{Checksum, Frame, MacAddress, Offload, SegmentKind, Segmentation, Tagging};
use proptest::prelude::*;
use spec::{Gpa, Width};
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

mod killed;
mod nvme;
mod peers;
mod requests;
mod virtio;

const MEMORY_BYTES: usize = 0x4000;

/// A guest's memory that both sides reach.
#[derive(Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((0..MEMORY_BYTES).map(|at| at as u8).collect())))
    }

    fn of_zeros(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![0; bytes])))
    }
}

impl GuestMemory for Shared {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let memory = self.0.lock().unwrap();
        let start = usize::try_from(gpa.0).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        bytes.copy_from_slice(memory.get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let mut memory = self.0.lock().unwrap();
        let start = usize::try_from(gpa.0).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(bytes.len()).ok_or(OutOfBounds)?;
        memory.get_mut(start..end).ok_or(OutOfBounds)?.copy_from_slice(bytes);
        Ok(())
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        gpa.0.checked_add(bytes).is_some_and(|end| end <= self.0.lock().unwrap().len() as u64)
    }
}

/// A compartment in the same process, which may spoil what it answers.
struct InProcess {
    server: Server,
    words: Vec<u64>,
    sizes: Sizes,
    memory: Shared,
    /// Words that are written over the answer.
    spoiled: Vec<(usize, u64)>,
    ends: Option<Ended>,
    /// What fails when, if anything does.
    fate: Option<killed::Fate>,
}

impl Compartment for InProcess {
    fn area(&mut self) -> &mut [u64] {
        &mut self.words
    }
    fn enter(&mut self) -> Result<(), Ended> {
        if let Some(ended) = self.ends {
            return Err(ended);
        }
        if let Some(fate) = &mut self.fate {
            fate.enter(&self.memory);
        }
        let death = self.fate.as_mut().and_then(killed::Fate::death);
        if death == Some(Death::Before) {
            return Err(Ended::Late);
        }
        let left = if let Some(Death::Writing(writes)) = death { writes } else { usize::MAX };
        let memory = killed::Dying { memory: &self.memory, left: left.into() };
        let places = Places::of(self.sizes);
        let mut area = Area::new(&mut self.words, &places).unwrap();
        self.server.serve(&memory, &mut area);
        match (death, &mut self.fate) {
            (Some(Death::Scribbling), Some(fate)) => {
                fate.scribble(&mut self.words);
                return Err(Ended::Fault { vector: 14, rip: 0 });
            }
            (Some(Death::Nonsense), Some(fate)) => {
                fate.scribble(&mut self.words);
                return Ok(());
            }
            (Some(_), _) => return Err(Ended::Fault { vector: 13, rip: 1 }),
            (None, _) => {}
        }
        let words = self.words.len();
        for (at, value) in &self.spoiled {
            self.words[at % words] = *value;
        }
        Ok(())
    }
    fn restart(&mut self) -> Result<(), Ended> {
        let fate = self.fate.as_mut().ok_or(Ended::Late)?;
        self.server = fate.restarted(&self.memory);
        Ok(())
    }
}

fn in_process(device: Box<dyn Device>, carries_frames: bool, memory: &Shared) -> InProcess {
    let mut device = device;
    let sizes = Sizes {
        effects: device.most_effects().max(device.most_requests()),
        buffer_bytes: device.buffer().len(),
        data_bytes: if carries_frames { network::LARGEST_BYTES } else { 512 },
        state_words: device.state_words(),
    };
    let server = Server::new(device, carries_frames);
    InProcess {
        server,
        words: vec![0; sizes.words()],
        sizes,
        memory: memory.clone(),
        spoiled: Vec::new(),
        ends: None,
        fate: None,
    }
}

/// One of both devices, with all around it.
struct World<D> {
    device: D,
    memory: Shared,
    effects: Effects<DeviceEffect>,
    /// Requests that wait, and whatever else it wanted done.
    waiting: VecDeque<Request>,
    wanted: Vec<DeviceEffect>,
    bus_master: bool,
}

struct Nowhere;

impl GuestMemory for Nowhere {
    fn read(&self, _: Gpa, _: &mut [u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn write(&self, _: Gpa, _: &[u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn contains(&self, _: Gpa, _: u64) -> bool {
        false
    }
}

impl<D: Device> World<D> {
    fn new(device: D, memory: Shared) -> Self {
        let effects = Effects::with_capacity(device.most_effects());
        Self { device, memory, effects, waiting: VecDeque::new(), wanted: Vec::new(), bus_master: true }
    }

    fn with<R>(&mut self, call: impl FnOnce(&mut D, &mut Context<'_>) -> R) -> R {
        let memory: &dyn GuestMemory = if self.bus_master { &self.memory } else { &Nowhere };
        let result = call(&mut self.device, &mut Context { memory, now: 7, effects: &mut self.effects });
        for effect in self.effects.by_ref() {
            if let DeviceEffect::Submit(request) = effect {
                self.waiting.push_back(request);
            }
            self.wanted.push(effect);
        }
        assert!(!self.effects.take_overflow());
        result
    }

    /// Does the oldest request as a medium that is full of its sectors' numbers. What was written of the
    /// device's buffer is told.
    fn complete(&mut self) -> Vec<u8> {
        let Some(request) = self.waiting.pop_front() else { return Vec::new() };
        let mut written = Vec::new();
        if let Some(start) = request.gpa.0.checked_sub(DEVICE_BUFFER.0) {
            let range = start as usize..start as usize + request.bytes as usize;
            match request.operation {
                Operation::Read => self.device.buffer()[range].fill((request.at >> 9) as u8 | 1),
                Operation::Write => written = self.device.buffer()[range].to_vec(),
                _ => {}
            }
        }
        let completion = Completion { tag: request.tag, outcome: Ok(()) };
        self.with(|device, context| device.complete(completion, context));
        written
    }

    /// Everything that can be told of it.
    fn seen(&mut self) -> (Vec<DeviceEffect>, [bool; 2], devices::device::Accepts, devices::device::Work) {
        let wanted = core::mem::take(&mut self.wanted);
        (wanted, self.device.lines(), self.device.accepts(), self.device.work())
    }
}

/// One thing that is asked of both.
#[derive(Clone, Debug)]
enum Step {
    Read(u64, Width),
    Write(u64, Width, u64),
    ReadString(u64, usize),
    WriteString(u64, Vec<u8>),
    Complete,
    Reset,
    Poll,
    Want(bool),
    Transmit,
    Receive(Vec<u8>),
    Tell,
    Output(usize),
    Input(u8),
    Link(bool),
    BusMaster(bool),
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::Byte), Just(Width::Word), Just(Width::Dword)]
}

/// Steps at a device of so many registers, mostly sensible ones.
fn step(registers: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..registers, width()).prop_map(|(at, width)| Step::Read(at, width)),
        12 => (0..registers, width(), any::<u8>()).prop_map(|(at, width, value)| Step::Write(at, width, value.into())),
        3 => (0..registers, 1_usize..40).prop_map(|(at, count)| Step::ReadString(at, 2 * count)),
        3 => (0..registers, proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, mut bytes)| {
            bytes.extend(bytes.clone());
            Step::WriteString(at, bytes)
        }),
        4 => Just(Step::Complete),
        1 => Just(Step::Reset),
        1 => Just(Step::Poll),
        1 => any::<bool>().prop_map(Step::Want),
        2 => Just(Step::Transmit),
        2 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(Step::Receive),
        1 => Just(Step::Tell),
        1 => (0_usize..64).prop_map(Step::Output),
        1 => any::<u8>().prop_map(Step::Input),
        1 => any::<bool>().prop_map(Step::Link),
        1 => any::<bool>().prop_map(Step::BusMaster),
    ]
}

/// What a step gives.
fn take<D: Device>(world: &mut World<D>, step: &Step) -> (u64, Vec<u8>) {
    let mut data = Vec::new();
    let value = match step {
        Step::Read(at, width) => world.with(|device, context| device.read(*at, *width, context)),
        Step::Write(at, width, value) => {
            world.with(|device, context| device.write(*at, *width, *value, context));
            0
        }
        Step::ReadString(at, bytes) => {
            data = vec![0; *bytes];
            world.with(|device, context| device.read_string(*at, Width::Word, &mut data, context)) as u64
        }
        Step::WriteString(at, bytes) => {
            world.with(|device, context| device.write_string(*at, Width::Word, bytes, context)) as u64
        }
        Step::Complete => {
            data = world.complete();
            0
        }
        Step::Reset => {
            world.device.reset();
            world.waiting.clear();
            0
        }
        Step::Poll => world.with(|device, context| device.poll(context)).into(),
        Step::Want(wanted) => {
            world.with(|device, context| device.want_notifications(*wanted, context)).into()
        }
        Step::Transmit => {
            let mut frame = Frame::new();
            let is_there = world.with(|device, context| device.transmit(&mut frame, context));
            data = frame.bytes().to_vec();
            is_there.into()
        }
        Step::Receive(bytes) => {
            let mut frame = Frame::new();
            frame.append(bytes).unwrap();
            let parts = frame.parts(Tagging::Keep);
            let taken = parts.map(|parts| world.with(|device, context| device.receive(&parts, context)));
            taken.map_or(99, |taken| taken as u64)
        }
        Step::Tell => {
            world.with(|device, context| device.tell(context));
            0
        }
        Step::Output(room) => {
            data = vec![0; *room];
            let count = world.with(|device, context| device.output(&mut data, context));
            data.truncate(count);
            count as u64
        }
        Step::Input(byte) => world.with(|device, context| device.input(*byte, context)).into(),
        Step::Link(is_up) => {
            world.with(|device, context| device.set_link(*is_up, context));
            0
        }
        Step::BusMaster(on) => {
            world.bus_master = *on;
            0
        }
    };
    (value, data)
}

fn both_do_the_same(
    make: impl Fn() -> Box<dyn Device>,
    carries_frames: bool,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let (here, there) = (Shared::new(), Shared::new());
    let sizes = in_process(make(), carries_frames, &there).sizes;
    let remote = Remote::new(in_process(make(), carries_frames, &there), sizes).unwrap();
    let mut local = World::new(Boxed(make()), here);
    let mut remote = World::new(remote, there);
    prop_assert_eq!(local.device.most_effects(), remote.device.most_effects());
    prop_assert_eq!(local.device.resets_behind_requests(), remote.device.resets_behind_requests());
    for step in steps {
        prop_assert_eq!(take(&mut local, step), take(&mut remote, step), "{:?}", step);
        let (ours, theirs) = (local.seen(), remote.seen());
        // What reset does to the lines and the rest is known when the next call answers.
        if !matches!(step, Step::Reset) {
            prop_assert_eq!(ours, theirs, "{:?}", step);
        }
        prop_assert_eq!(remote.device.ended(), None);
    }
    let memory = |world: &Shared| world.0.lock().unwrap().clone();
    prop_assert!(memory(&local.memory) == memory(&remote.memory), "they wrote different things");
    Ok(())
}

/// A device in a box is one.
struct Boxed(Box<dyn Device>);

impl Device for Boxed {
    fn most_effects(&self) -> usize {
        self.0.most_effects()
    }
    fn most_requests(&self) -> usize {
        self.0.most_requests()
    }
    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        self.0.read(offset, width, context)
    }
    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.0.write(offset, width, value, context);
    }
    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        self.0.read_string(offset, width, bytes, context)
    }
    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        self.0.write_string(offset, width, bytes, context)
    }
    fn buffer(&mut self) -> &mut [u8] {
        self.0.buffer()
    }
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.0.complete(completion, context);
    }
    fn line(&self) -> bool {
        self.0.line()
    }
    fn lines(&self) -> [bool; 2] {
        self.0.lines()
    }
    fn resets_behind_requests(&self) -> bool {
        self.0.resets_behind_requests()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.0.poll(context)
    }
    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        self.0.want_notifications(wanted, context)
    }
    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        self.0.transmit(frame, context)
    }
    fn accepts(&self) -> devices::device::Accepts {
        self.0.accepts()
    }
    fn receive(&mut self, parts: &network::Parts<'_>, context: &mut Context<'_>) -> Reception {
        self.0.receive(parts, context)
    }
    fn tell(&mut self, context: &mut Context<'_>) {
        self.0.tell(context);
    }
    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        self.0.output(into, context)
    }
    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        self.0.input(byte, context)
    }
    fn work(&self) -> devices::device::Work {
        self.0.work()
    }
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.0.set_link(is_up, context);
    }
}

fn ide() -> Box<dyn Device> {
    let disk = Disk { start: 0, sectors: 256, serial: *b"B-0001              " };
    Box::new(Ide::new([[Some(disk), None], [Some(disk), None]]))
}

fn ne2000() -> Box<dyn Device> {
    Box::new(Ne2000::new(MacAddress([2, 0, 0, 0, 0, 1])))
}

proptest! {
    #[test]
    fn an_ide_controller_is_the_same(steps in proptest::collection::vec(step(0x30), 0..200)) {
        both_do_the_same(ide, false, &steps)?;
    }

    #[test]
    fn an_ne2000_is_the_same(steps in proptest::collection::vec(step(0x20), 0..200)) {
        both_do_the_same(ne2000, true, &steps)?;
    }

    #[test]
    fn a_serial_port_is_the_same(steps in proptest::collection::vec(step(8), 0..200)) {
        both_do_the_same(|| Box::new(Serial::new()), false, &steps)?;
    }

    /// Whatever a compartment answers, ring 0 takes it for an answer that a device could give, or ends it.
    #[test]
    fn no_answer_harms_ring_0(
        steps in proptest::collection::vec(step(0x30), 1..60),
        spoiled in proptest::collection::vec((0_usize..80, prop_oneof![any::<u64>(), 0_u64..40]), 0..4),
    ) {
        let memory = Shared::new();
        let compartment = in_process(ide(), false, &memory);
        let sizes = compartment.sizes;
        let mut remote = Remote::new(compartment, sizes).unwrap();
        remote.compartment_mut().spoiled = spoiled;
        let mut world = World::new(remote, memory);
        for step in &steps {
            if !matches!(step, Step::Complete) {
                take(&mut world, step);
            }
            for effect in core::mem::take(&mut world.wanted) {
                let DeviceEffect::Submit(request) = effect else { continue };
                if request.operation.moves_data() && request.gpa >= DEVICE_BUFFER {
                    let end = request.gpa.0 - DEVICE_BUFFER.0 + u64::from(request.bytes);
                    prop_assert!(end <= sizes.buffer_bytes as u64);
                }
            }
        }
    }
}

/// What its sender left to do is the same in the compartment.
#[test]
fn what_a_sender_left_is_said_as_it_is() {
    let cut = Segmentation { kind: SegmentKind::Tcp6, ecn: true, segment_bytes: 1440, header_bytes: 74 };
    for offload in [
        Offload::default(),
        Offload { checksum: Checksum::Good, segmentation: None },
        Offload { checksum: Checksum::Missing { start: 0xfffe, offset: 0xabcd }, segmentation: Some(cut) },
        Offload {
            checksum: Checksum::InPlace,
            segmentation: Some(Segmentation { kind: SegmentKind::Tcp4, ecn: false, ..cut }),
        },
    ] {
        assert_eq!(crate::frames::decode(crate::frames::encode(&offload)), Ok(offload));
    }
    assert!(crate::frames::decode([77, 0]).is_err());
}

/// One that was ended is a card that was pulled out, and is not entered any more.
#[test]
fn what_was_ended_reads_as_ones_and_does_nothing() {
    let memory = Shared::new();
    let compartment = in_process(ide(), false, &memory);
    let sizes = compartment.sizes;
    let mut world = World::new(Remote::new(compartment, sizes).unwrap(), memory);
    assert_ne!(world.with(|device, context| device.read(7, Width::Byte, context)), 0xff);
    let fault = Ended::Fault { vector: 14, rip: 0x1234 };
    world.device.compartment_mut().ends = Some(fault);
    assert_eq!(world.with(|device, context| device.read(7, Width::Byte, context)), 0xff);
    assert_eq!(world.device.ended(), Some(fault));
    world.device.compartment_mut().ends = Some(Ended::Late);
    let mut bytes = [0; 6];
    let count = world.with(|device, context| device.read_string(0, Width::Word, &mut bytes, context));
    assert_eq!((count, bytes), (6, [0xff; 6]));
    assert_eq!(world.with(|device, context| device.write_string(0, Width::Word, &[1; 8], context)), 8);
    assert_eq!(world.device.lines(), [false; 2]);
    assert_eq!(world.device.ended(), Some(fault), "it is not entered again");
    assert_eq!(
        std::format!("{fault}; {}", Ended::Late),
        "exception 14 at 0x1234; it did not come back in time"
    );
}

/// A device that needs more than was provided for is none.
#[test]
fn a_device_has_to_fit_its_area() {
    let memory = Shared::new();
    let mut compartment = in_process(ide(), false, &memory);
    let sizes = Sizes { buffer_bytes: compartment.sizes.buffer_bytes - 1, ..compartment.sizes };
    compartment.sizes = sizes;
    assert!(matches!(Remote::new(compartment, sizes), Err(Ended::Answer(_))));
}
