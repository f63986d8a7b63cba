//! The driver on the emulated controller. Each is the other's test: what they agree on is tested by
//! neither's own idea of the specification. The controller's memory is what the driver's domain
//! maps, and nothing else.

use access::device::MessageInterrupt;
use access::fake_dma::{FakeDma, FakeDomain};
use access::{DeviceAccess, RegisterWindow};
use block::testing::Ask;
use block::{Done, Drive, Fault, Geometry, Refused, State, Tag};
use devices::device::RequestFault;
use devices::nvme::{BlockSize, Config, Nvme};
use devices::testing::VecMedium;
use nvme::{Controller, Sizes};
use proptest::prelude::*;
use spec::Width;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;
/// Bytes of the medium.
const MEDIUM: usize = 1 << 20;
const SIZES: Sizes = Sizes { requests: 6, request_bytes: 512 << 10, commands: 5 };

/// The controller with the driver's domain as its memory, and its medium.
type Machine = devices::testing::Bench<Nvme, Rc<FakeDomain>>;

/// The registers.
#[derive(Clone)]
struct Registers(Rc<RefCell<Machine>>);

impl Registers {
    fn read(&self, offset: usize, width: Width) -> u64 {
        self.0.borrow_mut().read(offset as u64, width)
    }
    fn write(&self, offset: usize, width: Width, value: u64) {
        self.0.borrow_mut().write(offset as u64, width, value);
    }
}

impl RegisterWindow for Registers {
    fn read32(&self, offset: usize) -> u32 {
        self.read(offset, Width::Dword) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, Width::Dword, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        self.read(offset, Width::Qword)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.write(offset, Width::Qword, value);
    }
    fn read8(&self, offset: usize) -> u8 {
        self.read(offset, Width::Byte) as u8
    }
    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, Width::Byte, value.into());
    }
    fn read16(&self, offset: usize) -> u16 {
        self.read(offset, Width::Word) as u16
    }
    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, Width::Word, value.into());
    }
}

/// A driver on the emulated controller.
struct Bench {
    machine: Rc<RefCell<Machine>>,
    domain: Rc<FakeDomain>,
    driver: Controller<Registers, FakeDma>,
    now: u64,
    /// How many messages of each number were delivered.
    delivered: BTreeMap<u16, usize>,
}

impl Bench {
    /// One that is ready.
    fn new(block: BlockSize, is_writable: bool) -> Self {
        let config = Config {
            blocks: MEDIUM as u64 >> block.shift(),
            block,
            writable: is_writable,
            messages: 4,
            serial: *b"emulated 1          ",
            uuid: [7; 16],
            vendor: 0x1b36,
            subsystem_vendor: 0x1af4,
            is_polled: false,
        };
        let (dma, domain) = FakeDma::new(8 << 20);
        let bytes = (0..MEDIUM).map(|byte| (byte / 512 + byte % 251) as u8).collect();
        let medium = VecMedium { bytes, read_only: !is_writable, ..VecMedium::new(0) };
        let machine = Machine::new(Nvme::new(config), Rc::clone(&domain), medium);
        let machine = Rc::new(RefCell::new(machine));
        let registers = Registers(Rc::clone(&machine));
        let access = DeviceAccess { registers, dma, interrupt: MessageInterrupt { messages: 4 } };
        let driver = Controller::new(access, SIZES).expect("it is made");
        let mut bench = Self { machine, domain, driver, now: SECOND, delivered: BTreeMap::new() };
        bench.start();
        bench
    }

    fn start(&mut self) {
        self.driver.start(self.now);
        while self.driver.status().state == State::Starting {
            self.deliver();
            self.now = self.driver.status().deadline_ns.unwrap_or(self.now).max(self.now);
            self.driver.poll(self.now);
        }
        self.namespace();
    }

    fn namespace(&self) -> Geometry {
        match self.driver.status().state {
            State::Ready(namespace) => namespace,
            state => panic!("it is {state:?}"),
        }
    }

    fn deliver(&mut self) {
        loop {
            let messages = std::mem::take(&mut self.machine.borrow_mut().messages);
            if messages.is_empty() {
                return;
            }
            for message in messages {
                *self.delivered.entry(message).or_default() += 1;
                self.driver.interrupt(message, self.now);
            }
        }
    }

    /// Takes the request that was over first.
    fn done(&mut self) -> (Done, Vec<u8>) {
        let done = self.driver.next_done().expect("a request is over");
        let mut data = vec![0; if done.operation == block::Operation::Read { done.bytes } else { 0 }];
        if done.outcome.is_ok() && !data.is_empty() {
            self.driver.get(done.tag, 0, &mut data).expect("the data is there");
        }
        self.driver.release(done.tag);
        (done, data)
    }

    fn read(&mut self, first_block: u64, blocks: u64) -> Vec<u8> {
        let tag = self.driver.read(first_block, blocks, self.now).expect("it is taken");
        self.deliver();
        let (done, data) = self.done();
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
        data
    }

    fn write(&mut self, first_block: u64, data: &[u8]) {
        let tag = self.driver.write(first_block, data, self.now).expect("it is taken");
        self.deliver();
        let (done, _) = self.done();
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
    }

    fn medium(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        self.machine.borrow().medium.bytes[range].to_vec()
    }

    /// The medium ends the request at `place` of those that wait.
    fn complete(&mut self, place: usize) {
        let mut machine = self.machine.borrow_mut();
        if place < machine.waiting.len() {
            let request = machine.waiting.remove(place).expect("it waits");
            machine.waiting.push_front(request);
            machine.serve();
        }
    }
}

#[test]
fn the_drive_is_identified_and_a_block_is_read() {
    for (block, bytes) in [(BlockSize::Bytes512, 512), (BlockSize::Bytes4096, 4096)] {
        let mut bench = Bench::new(block, true);
        let namespace = bench.namespace();
        assert_eq!((namespace.block_bytes, namespace.blocks), (bytes as u32, (MEDIUM / bytes) as u64));
        let identity = bench.driver.identity().unwrap();
        assert_eq!(identity.model.to_string(), "Bulkhead emulated NVMe");
        assert_eq!(identity.serial.to_string(), "emulated 1");
        assert_eq!(bench.read(5, 1), bench.medium(5 * bytes..6 * bytes));
        assert_eq!(bench.read(namespace.blocks - 1, 1), bench.medium(MEDIUM - bytes..MEDIUM));
        assert_eq!(bench.domain.refused(), 0, "nothing but buffers was asked for");
        // Five commands of the start, and two reads.
        assert_eq!(bench.delivered, BTreeMap::from([(0, 5), (1, 2)]));
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut bench = Bench::new(BlockSize::Bytes512, true);
    let before = bench.medium(0..MEDIUM);
    let data: Vec<u8> = (0..3 * 512).map(|byte| (byte % 199) as u8).collect();
    bench.write(100, &data);
    bench.driver.flush(bench.now).unwrap();
    bench.deliver();
    assert_eq!(bench.done().0.outcome, Ok(()));
    assert_eq!(bench.machine.borrow().medium.flushes, 1);
    assert_eq!(bench.read(100, 3), data);
    let after = bench.medium(0..MEDIUM);
    assert_eq!(after[100 * 512..103 * 512], data);
    assert_eq!((&after[..100 * 512], &after[103 * 512..]), (&before[..100 * 512], &before[103 * 512..]));
}

#[test]
fn much_at_once_is_moved_whole() {
    for block in [BlockSize::Bytes512, BlockSize::Bytes4096] {
        let mut bench = Bench::new(block, true);
        let bytes = bench.namespace().block_bytes as usize;
        for size in [128 << 10, (128 << 10) + bytes, 256 << 10, 512 << 10] {
            let data: Vec<u8> = (0..size).map(|byte| (byte / 509 + byte % 241) as u8).collect();
            bench.write(3, &data);
            assert_eq!(bench.medium(3 * bytes..3 * bytes + size), data);
            assert_eq!(bench.read(3, (size / bytes) as u64), data);
        }
        assert_eq!(bench.domain.refused(), 0);
    }
}

#[test]
fn every_size_of_a_request_is_moved_whole() {
    let mut bench = Bench::new(BlockSize::Bytes512, true);
    for blocks in (1..=40).chain([255, 256, 257, 511, 512, 513, 1024]) {
        assert_eq!(bench.read(1, blocks), bench.medium(512..512 + 512 * blocks as usize), "{blocks}");
    }
}

#[test]
fn a_drive_that_takes_no_writes_says_so() {
    let mut bench = Bench::new(BlockSize::Bytes512, false);
    assert!(bench.namespace().is_read_only);
    assert_eq!(bench.driver.write(0, &[0; 512], bench.now), Err(Refused::ReadOnly));
    assert_eq!(bench.read(0, 8), bench.medium(0..4096));
}

#[test]
fn a_medium_that_fails_fails_the_request_alone() {
    let mut bench = Bench::new(BlockSize::Bytes512, true);
    bench.machine.borrow_mut().medium.fault = Some(RequestFault::Medium);
    let lost = bench.driver.read(1500, 1, bench.now).unwrap();
    bench.machine.borrow_mut().medium.fault = None;
    let kept = bench.driver.read(0, 1, bench.now).unwrap();
    bench.deliver();
    let (first, second) = (bench.done().0, bench.done().0);
    assert_eq!((first.tag, second.tag, second.outcome), (lost, kept, Ok(())));
    assert!(matches!(first.outcome, Err(Fault::Medium(cause)) if cause.code == 0x281));
    assert!(matches!(bench.driver.status().state, State::Ready(_)));
}

#[test]
fn several_requests_are_in_flight_and_end_in_any_order() {
    let mut bench = Bench::new(BlockSize::Bytes512, true);
    bench.machine.borrow_mut().hold = true;
    let tags: Vec<Tag> = (0..4).map(|block| bench.driver.read(block, 1, bench.now).unwrap()).collect();
    assert_eq!(bench.machine.borrow().waiting.len(), 4);
    for place in [2, 2, 0, 0] {
        bench.complete(place);
        bench.deliver();
    }
    let ended: Vec<Tag> = (0..4).map(|_| bench.done().0.tag).collect();
    assert_eq!(ended, [2, 3, 0, 1].map(|place: usize| tags[place]));
}

#[test]
fn it_is_started_again_with_requests_at_the_medium() {
    let mut bench = Bench::new(BlockSize::Bytes512, true);
    bench.machine.borrow_mut().hold = true;
    bench.driver.read(0, 8, bench.now).unwrap();
    bench.driver.start(bench.now);
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
    // The medium ends what it was given before the controller says that it is disabled.
    bench.machine.borrow_mut().hold = false;
    while bench.machine.borrow_mut().serve() {}
    bench.start();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
    assert_eq!(bench.domain.refused(), 0);
}

#[test]
fn a_medium_that_never_answers_is_given_up_and_can_be_started_again() {
    let mut bench = Bench::new(BlockSize::Bytes512, true);
    bench.machine.borrow_mut().hold = true;
    bench.driver.read(0, 8, bench.now).unwrap();
    while let Some(deadline) = bench.driver.status().deadline_ns {
        bench.now = deadline;
        bench.driver.poll(bench.now);
    }
    let error = bench.driver.error().expect("it waits for ever").to_string();
    assert_eq!(error, "it did not complete command 0x02 of queue 1 in time");
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
    bench.machine.borrow_mut().hold = false;
    while bench.machine.borrow_mut().serve() {}
    bench.start();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

/// What a run does next.
#[derive(Clone, Debug)]
enum Step {
    Read {
        first_block: u64,
        blocks: u64,
    },
    Write {
        first_block: u64,
        blocks: u64,
        byte: u8,
    },
    Flush,
    /// The medium ends the request at this place.
    Complete(usize),
    /// All messages come, or are lost.
    Deliver,
    Lose,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let blocks = || prop_oneof![4 => 1_u64..20, 1 => 200_u64..600];
    let first_block = || prop_oneof![0_u64..64, 0_u64..1400];
    prop_oneof![
        3 => (first_block(), blocks()).prop_map(|(first_block, blocks)| Step::Read { first_block, blocks }),
        3 => (first_block(), blocks(), any::<u8>())
            .prop_map(|(first_block, blocks, byte)| Step::Write { first_block, blocks, byte }),
        1 => Just(Step::Flush),
        6 => (0_usize..8).prop_map(Step::Complete),
        4 => Just(Step::Deliver),
        1 => Just(Step::Lose),
        1 => Just(Step::Poll),
    ]
}

/// A run, and what has to come of each of its requests.
struct Run {
    bench: Bench,
    /// The medium as it is once all writes are done.
    expected: Vec<u8>,
    /// Blocks of requests that are not over, whether they write, and what a read has to give.
    open: BTreeMap<usize, Open>,
    next: usize,
}

struct Open {
    tag: Tag,
    blocks: std::ops::Range<u64>,
    writes: bool,
    data: Vec<u8>,
}

impl Run {
    fn take(&mut self, step: &Step) {
        let now = self.bench.now;
        match *step {
            Step::Read { first_block, blocks } if self.is_apart(first_block, blocks, false) => {
                let range = first_block as usize * 512..(first_block + blocks) as usize * 512;
                let taken = self.bench.driver.read(first_block, blocks, now);
                let data = self.expected[range].to_vec();
                self.note(taken, first_block, blocks, false, data);
            }
            Step::Write { first_block, blocks, byte } if self.is_apart(first_block, blocks, true) => {
                let range = first_block as usize * 512..(first_block + blocks) as usize * 512;
                let data: Vec<u8> = range.clone().map(|at| byte.wrapping_add((at % 247) as u8)).collect();
                let taken = self.bench.driver.write(first_block, &data, now);
                if self.note(taken, first_block, blocks, true, Vec::new()) {
                    self.expected[range].copy_from_slice(&data);
                }
            }
            Step::Read { .. } | Step::Write { .. } => {}
            Step::Flush => {
                let taken = self.bench.driver.flush(now);
                self.note(taken, 0, 0, false, Vec::new());
            }
            Step::Complete(place) => {
                let waiting = self.bench.machine.borrow().waiting.len();
                self.bench.complete(place % waiting.max(1));
            }
            Step::Deliver => self.bench.deliver(),
            Step::Lose => self.bench.machine.borrow_mut().messages.clear(),
            Step::Poll => {
                self.bench.driver.poll(now);
            }
        }
        self.take_done();
    }

    /// Requests that are open at the same time have no order, so none may meet what one writes.
    fn is_apart(&self, first_block: u64, blocks: u64, writes: bool) -> bool {
        let meets = |open: &&Open| {
            (writes || open.writes)
                && open.blocks.start < first_block + blocks
                && first_block < open.blocks.end
        };
        !self.open.values().any(|open| meets(&open))
    }

    fn note(
        &mut self,
        taken: Result<Tag, Refused>,
        first_block: u64,
        blocks: u64,
        writes: bool,
        data: Vec<u8>,
    ) -> bool {
        match taken {
            Ok(tag) => {
                let open = Open { tag, blocks: first_block..first_block + blocks, writes, data };
                self.open.insert(self.next, open);
                self.next += 1;
                true
            }
            Err(refused) => {
                assert_eq!((refused, self.open.len()), (Refused::Busy, SIZES.requests.into()));
                false
            }
        }
    }

    fn take_done(&mut self) {
        while self.bench.driver.next_done().is_some() {
            let (done, data) = self.bench.done();
            let place = self.open.iter().find(|(_, open)| open.tag == done.tag).map(|(place, _)| *place);
            let open = place.and_then(|place| self.open.remove(&place)).expect("it was open");
            assert_eq!((done.outcome, data == open.data), (Ok(()), true), "of blocks {:?}", open.blocks);
        }
    }

    /// Everything comes to its end, messages that were lost included.
    fn end(&mut self) {
        for _ in 0..1000 {
            self.bench.complete(0);
            self.bench.deliver();
            if let Some(deadline) = self.bench.driver.status().deadline_ns {
                self.bench.now = deadline.min(self.bench.now + SECOND);
                self.bench.driver.poll(self.bench.now);
            }
            self.take_done();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However requests, completions and messages interleave, and whichever messages are lost,
    /// each request ends once and well, and gives exactly what was written.
    #[test]
    fn any_interleaving_returns_what_was_written(steps in proptest::collection::vec(step(), 1..80)) {
        let bench = Bench::new(BlockSize::Bytes512, true);
        bench.machine.borrow_mut().hold = true;
        let expected = bench.medium(0..MEDIUM);
        let mut run = Run { bench, expected, open: BTreeMap::new(), next: 0 };
        for step in &steps {
            run.take(step);
        }
        run.end();
        prop_assert!(run.open.is_empty(), "{} requests did not end", run.open.len());
        prop_assert!(run.bench.machine.borrow().medium.bytes == run.expected);
        prop_assert_eq!(run.bench.domain.refused(), 0);
        prop_assert!(matches!(run.bench.driver.status().state, State::Ready(_)));
        prop_assert_eq!(run.bench.driver.status().deadline_ns, None);
    }
}

/// Memory of somebody else's that is mapped for the controller: pages in no order.
const LENT: [u64; 4] = [0x9_0000_3000, 0x9_0000_1000, 0x9_0000_7000, 0x9_0000_5000];

/// The bytes of a request that begins within the first page of [`LENT`] and ends within the last.
const PARTS: [(u64, usize); 4] =
    [(LENT[0] + 0xe00, 0x200), (LENT[1], 0x1000), (LENT[2], 0x1000), (LENT[3], 0x600)];

impl Bench {
    /// Submits a request whose data is in [`PARTS`].
    fn lend(&mut self, operation: block::Operation, first_block: u64) -> Tag {
        let tag = self.driver.reserve().expect("one is free");
        let mut parts = PARTS.iter().map(|&(start, bytes)| (spec::Iova(start), bytes));
        assert!(self.driver.lend(tag, &mut parts));
        assert_eq!(self.driver.put(tag, 0, &[1]), None, "it has no buffer any more");
        let bytes: usize = PARTS.iter().map(|&(_, bytes)| bytes).sum();
        self.driver.submit(tag, operation, first_block, bytes as u64 / 512).expect("it is ready");
        self.driver.kick(self.now);
        tag
    }

    /// What is over first, whose data is in no buffer.
    fn ended(&mut self) -> Done {
        let done = self.driver.next_done().expect("a request is over");
        assert_eq!(self.driver.get(done.tag, 0, &mut [0]), None);
        self.driver.release(done.tag);
        done
    }

    fn lent(&self) -> Vec<u8> {
        PARTS.iter().flat_map(|&(start, bytes)| self.domain.look(spec::Iova(start), bytes)).collect()
    }
}

fn with_lent_memory() -> Bench {
    let bench = Bench::new(BlockSize::Bytes512, true);
    LENT.iter().for_each(|&page| bench.domain.lend(spec::Iova(page), 4096));
    bench
}

#[test]
fn data_moves_between_the_medium_and_memory_that_was_lent() {
    let mut bench = with_lent_memory();
    let tag = bench.lend(block::Operation::Read, 3);
    bench.deliver();
    let done = bench.ended();
    assert_eq!((done.tag, done.outcome), (tag, Ok(())));
    let read = bench.lent();
    assert_eq!(read, bench.medium(3 * 512..3 * 512 + read.len()));
    // What is around it is as it was.
    assert_eq!(bench.domain.look(spec::Iova(LENT[0]), 0xe00), [0; 0xe00]);
    assert_eq!(bench.domain.look(spec::Iova(LENT[3] + 0x600), 0xa00), [0; 0xa00]);
    let tag = bench.lend(block::Operation::Write, 100);
    bench.deliver();
    assert_eq!((bench.ended().tag, bench.domain.refused()), (tag, 0));
    assert_eq!(bench.medium(100 * 512..100 * 512 + read.len()), read);
}

#[test]
fn a_drive_that_failed_reaches_no_memory_that_was_lent() {
    let mut bench = with_lent_memory();
    bench.machine.borrow_mut().hold = true;
    bench.lend(block::Operation::Read, 3);
    while let Some(deadline) = bench.driver.status().deadline_ns {
        bench.now = deadline;
        bench.driver.poll(bench.now);
    }
    assert!(bench.domain.is_blocked());
    assert_eq!(bench.done().0.outcome, Err(Fault::Drive));
    // The medium comes too late.
    bench.machine.borrow_mut().hold = false;
    while bench.machine.borrow_mut().serve() {}
    assert_eq!(bench.lent(), vec![0; 0x2800]);
    bench.start();
    assert!(!bench.domain.is_blocked());
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

#[test]
fn memory_is_not_given_back_while_the_drive_may_reach_it() {
    let mut bench = with_lent_memory();
    bench.machine.borrow_mut().hold = true;
    bench.domain.hold(true);
    let lent = bench.lend(block::Operation::Read, 3);
    let own = bench.driver.read(0, 8, bench.now).unwrap();
    bench.driver.start(bench.now);
    assert_eq!(bench.done().0.tag, own);
    assert_eq!(bench.driver.next_done(), None);
    // The controller says that it is disabled once it has ended what it was given.
    bench.machine.borrow_mut().hold = false;
    while bench.machine.borrow_mut().serve() {}
    assert_eq!(bench.driver.next_done(), None);
    bench.start();
    let done = bench.done().0;
    assert_eq!((done.tag, done.outcome), (lent, Err(Fault::Drive)));
}
