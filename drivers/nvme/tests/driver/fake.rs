//! A controller with the least that the driver needs, which tests bend: every field is what it
//! does next. It works when a doorbell is rung, or later when it is told to.

use access::fake_dma::{FakeDma, FakeDomain};
use access::{DeviceAccess, GuestMemory, RegisterWindow};
pub use block::Drive;
pub use block::testing::Ask;
use block::{Done, Geometry, State, Status, Tag};
use nvme::{Controller, Error, Sizes};
use spec::Gpa;
use spec::nvme::command::{admin, dataset, nvm};
use spec::nvme::register::{self, aqa, cap, cc, csts};
use spec::nvme::{Command, Completion, Status as CommandStatus, command, completion, identify};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

pub const SIZES: Sizes = Sizes { requests: 8, request_bytes: 256 << 10, commands: 7 };

/// Changes an answer before it is written, or has it not written at all.
type Tamper = Box<dyn FnMut(&Command, &mut Completion) -> bool>;

/// A queue as the controller knows it.
#[derive(Clone, Copy, Default)]
struct Ring {
    base: u64,
    entries: u32,
    place: u32,
    tail: u32,
    turns: u32,
}

pub struct Bent {
    pub capabilities: u64,
    pub configuration: u32,
    /// CSTS, where it is not what CC says.
    pub status: Option<u32>,
    /// What VS reads.
    pub version: u32,
    admin_attributes: u32,
    admin_queues: [u64; 2],
    submissions: [Ring; 2],
    completions: [Ring; 2],
    vectors: [u16; 2],
    /// Heads of the completion queues, as the driver says.
    heads: [u32; 2],
    pub controller: Vec<u8>,
    pub namespace: Vec<u8>,
    pub medium: Vec<u8>,
    /// First blocks and numbers of blocks.
    pub discarded: Vec<(u64, u64)>,
    /// Commands are only noted, until [`Fake::work`].
    pub holds: bool,
    pub tamper: Option<Tamper>,
    /// Every command that it fetched, and every register that was written.
    pub commands: Vec<Command>,
    pub writes: Vec<(usize, u64)>,
    /// Messages that it sent and nobody took.
    pub messages: Vec<u16>,
}

/// A handle on it; clones are the same controller.
#[derive(Clone)]
pub struct Fake {
    pub domain: Rc<FakeDomain>,
    state: Rc<RefCell<Bent>>,
}

/// Blocks of the fake's namespace.
pub const BLOCKS: u64 = 1024;

impl Fake {
    fn new(domain: Rc<FakeDomain>) -> Self {
        let mut controller = vec![0; identify::BYTES];
        controller[identify::controller::SERIAL..][..20].copy_from_slice(b"S1                  ");
        controller[identify::controller::MODEL..][..7].copy_from_slice(b"Fake\x07  ");
        controller[identify::controller::SUBMISSION_ENTRY] = 0x66;
        controller[identify::controller::COMPLETION_ENTRY] = 0x44;
        controller[identify::controller::NAMESPACES] = 1;
        controller[identify::controller::TRANSFER_SHIFT] = 5;
        let mut namespace = vec![0; identify::BYTES];
        namespace[..8].copy_from_slice(&BLOCKS.to_le_bytes());
        namespace[8..16].copy_from_slice(&BLOCKS.to_le_bytes());
        let state = Bent {
            capabilities: cap::of(64, 2),
            configuration: 0,
            status: None,
            version: register::VERSION_1_4,
            admin_attributes: 0,
            admin_queues: [0; 2],
            submissions: Default::default(),
            completions: Default::default(),
            vectors: [0; 2],
            heads: [0; 2],
            controller,
            namespace,
            medium: (0..BLOCKS as usize * 512).map(|byte| (byte / 512 + byte % 251) as u8).collect(),
            discarded: Vec::new(),
            holds: false,
            tamper: None,
            commands: Vec::new(),
            writes: Vec::new(),
            messages: Vec::new(),
        };
        let fake = Self { domain, state: Rc::new(RefCell::new(state)) };
        fake.set_format(9, 0);
        fake
    }

    pub fn state(&self) -> RefMut<'_, Bent> {
        self.state.borrow_mut()
    }

    /// Gives the namespace blocks of 2^`shift` bytes and `metadata` bytes.
    pub fn set_format(&self, shift: u8, metadata: u8) {
        let format = [metadata, 0, shift, 0];
        self.state().namespace[identify::namespace::FORMAT_0..][..4].copy_from_slice(&format);
    }

    /// Carries out all commands that are in the queues.
    pub fn work(&self) {
        let mut state = self.state();
        for queue in 0..2 {
            while state.submissions[queue].place != state.submissions[queue].tail {
                let ring = &mut state.submissions[queue];
                let mut bytes = [0; command::ENTRY_BYTES];
                let at = ring.base + u64::from(ring.place) * command::ENTRY_BYTES as u64;
                ring.place = (ring.place + 1) % ring.entries;
                let head = ring.place;
                self.domain.read(Gpa(at), &mut bytes).expect("the queue is mapped");
                let command = Command::decode(&bytes);
                state.commands.push(command);
                let mut answer = Completion {
                    submission_head: head as u16,
                    submission_queue: queue as u16,
                    identifier: command.identifier,
                    ..Completion::default()
                };
                answer.status = self.carry_out(&mut state, queue, &command);
                let mut tamper = state.tamper.take();
                let is_said = tamper.as_mut().is_none_or(|tamper| tamper(&command, &mut answer));
                state.tamper = tamper;
                if is_said {
                    self.post(&mut state, queue, answer);
                }
            }
        }
    }

    /// The next command for data, which is not carried out.
    pub fn next_command(&self) -> Command {
        let ring = self.state().submissions[1];
        assert_ne!(ring.place, ring.tail, "no command is in the queue");
        let at = ring.base + u64::from(ring.place) * command::ENTRY_BYTES as u64;
        let mut bytes = [0; command::ENTRY_BYTES];
        self.domain.read(Gpa(at), &mut bytes).expect("the queue is mapped");
        Command::decode(&bytes)
    }

    /// Writes a completion that the controller makes up.
    pub fn say(&self, queue: usize, answer: Completion) {
        let mut state = self.state();
        self.post(&mut state, queue, answer);
    }

    /// Whether the driver said that it took every completion.
    pub fn is_acknowledged(&self) -> bool {
        let state = self.state();
        (0..2).all(|queue| state.heads[queue] == state.completions[queue].place)
    }

    fn post(&self, state: &mut Bent, queue: usize, answer: Completion) {
        let ring = &mut state.completions[queue];
        let at = ring.base + u64::from(ring.place) * completion::ENTRY_BYTES as u64;
        let phase = ring.turns.is_multiple_of(2) ^ answer.phase;
        ring.place += 1;
        if ring.place == ring.entries {
            (ring.place, ring.turns) = (0, ring.turns + 1);
        }
        let answer = Completion { phase, ..answer };
        let written = self.domain.write(Gpa(at), &answer.encode());
        assert!(written.is_ok() || self.domain.is_blocked(), "the queue is mapped");
        let vector = state.vectors[queue];
        state.messages.push(vector);
    }

    fn carry_out(&self, state: &mut Bent, queue: usize, command: &Command) -> CommandStatus {
        match (queue, command.opcode) {
            (0, admin::IDENTIFY) => {
                let page = match command.identify_structure() {
                    identify::cns::CONTROLLER => &state.controller,
                    _ => &state.namespace,
                };
                self.domain.write(Gpa(command.prp1), page).expect("the page is mapped");
            }
            (0, admin::SET_FEATURES) => {}
            (0, admin::CREATE_COMPLETION_QUEUE) => {
                let (base, entries) = (command.prp1, command.queue_entries());
                state.completions[1] = Ring { base, entries, ..Ring::default() };
                state.vectors[1] = command::create::upper(command.dword11());
            }
            (0, admin::CREATE_SUBMISSION_QUEUE) => {
                let (base, entries) = (command.prp1, command.queue_entries());
                state.submissions[1] = Ring { base, entries, ..Ring::default() };
            }
            (1, nvm::FLUSH) => {}
            (1, nvm::WRITE_ZEROES) => {
                let start = command.first_block() as usize * 512;
                state.medium[start..][..command.blocks() as usize * 512].fill(0);
            }
            (1, nvm::DATASET_MANAGEMENT) => {
                assert_eq!((command.dwords[0], command.dwords[1]), (0, dataset::DEALLOCATE));
                let range = [0, 8]
                    .map(|offset| self.domain.read64(Gpa(command.prp1 + offset)).expect("it is mapped"));
                state.discarded.push((range[1], range[0] >> 32));
            }
            (1, nvm::READ | nvm::WRITE) => self.transfer(state, command),
            _ => return CommandStatus::INVALID_OPCODE,
        }
        CommandStatus::SUCCESS
    }

    fn transfer(&self, state: &mut Bent, command: &Command) {
        let shift = state.namespace[identify::namespace::FORMAT_0 + 2];
        let mut at = (command.first_block() << shift) as usize;
        let end = at + ((command.blocks() as usize) << shift);
        let mut number = 0;
        let pages = (end - at).div_ceil(4096) as u64;
        while at < end {
            let list = Gpa(command.prp2.wrapping_add(8 * (number.max(1) - 1)));
            let page = match number {
                0 => command.prp1,
                1 if pages == 2 => command.prp2,
                _ => self.domain.read64(list).expect("the list is mapped"),
            };
            let bytes = (end - at).min(4096);
            let range = &mut state.medium[at..at + bytes];
            if command.opcode == nvm::READ {
                self.domain.write(Gpa(page), range).expect("the data is mapped");
            } else {
                self.domain.read(Gpa(page), range).expect("the data is mapped");
            }
            (at, number) = (at + bytes, number + 1);
        }
    }
}

impl RegisterWindow for Fake {
    fn read32(&self, offset: usize) -> u32 {
        let state = self.state();
        match offset as u64 {
            register::CONFIGURATION => state.configuration,
            register::VERSION => state.version,
            register::STATUS => state.status.unwrap_or(state.configuration & csts::READY),
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        let mut state = self.state();
        state.writes.push((offset, value.into()));
        match offset as u64 {
            register::CONFIGURATION => {
                if value & cc::ENABLE != 0 {
                    assert!(self.domain.is_published(), "empty queues that are not published");
                    let [submissions, completions] = state.admin_queues;
                    let entries = aqa::submission_entries(state.admin_attributes);
                    state.submissions[0] = Ring { base: submissions, entries, ..Ring::default() };
                    let entries = aqa::completion_entries(state.admin_attributes);
                    state.completions[0] = Ring { base: completions, entries, ..Ring::default() };
                }
                state.configuration = value;
            }
            register::ADMIN_QUEUE_ATTRIBUTES => state.admin_attributes = value,
            _ => {
                let stride = cap::doorbell_stride(state.capabilities);
                for queue in 0..2 {
                    if offset as u64 == register::submission_doorbell(queue, stride) {
                        assert!(self.domain.is_published(), "a command that is not published");
                        let ring = &mut state.submissions[usize::from(queue)];
                        assert!(value < ring.entries, "the doorbell of queue {queue} says {value}");
                        ring.tail = value;
                        let holds = state.holds;
                        drop(state);
                        if !holds {
                            self.work();
                        }
                        return;
                    }
                    if offset as u64 == register::completion_doorbell(queue, stride) {
                        state.heads[usize::from(queue)] = value;
                        return;
                    }
                }
                panic!("a write of {value:#x} to {offset:#x}");
            }
        }
    }

    fn read64(&self, offset: usize) -> u64 {
        assert_eq!(offset as u64, register::CAPABILITIES);
        self.state().capabilities
    }

    fn write64(&self, offset: usize, value: u64) {
        let mut state = self.state();
        state.writes.push((offset, value));
        match offset as u64 {
            register::ADMIN_SUBMISSION_QUEUE => state.admin_queues[0] = value,
            register::ADMIN_COMPLETION_QUEUE => state.admin_queues[1] = value,
            _ => panic!("a write of {value:#x} to {offset:#x}"),
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        panic!("a byte is read at {offset:#x}")
    }
    fn write8(&self, offset: usize, _: u8) {
        panic!("a byte is written at {offset:#x}")
    }
    fn read16(&self, offset: usize) -> u16 {
        panic!("a word is read at {offset:#x}")
    }
    fn write16(&self, offset: usize, _: u16) {
        panic!("a word is written at {offset:#x}")
    }
}

/// A driver on a fake, and the time.
pub struct Bench {
    pub fake: Fake,
    pub driver: Controller<Fake, FakeDma>,
    pub now: u64,
}

impl Bench {
    /// A driver that was not started, on a fake that `bend` has changed.
    pub fn new(sizes: Sizes, messages: u16, bend: impl FnOnce(&Fake)) -> Self {
        let (dma, domain) = FakeDma::new(16 << 20);
        let fake = Fake::new(domain);
        bend(&fake);
        let interrupt = access::device::MessageInterrupt { messages };
        let access = DeviceAccess { registers: fake.clone(), dma, interrupt };
        Self { fake, driver: Controller::new(access, sizes).expect("it is made"), now: SECOND }
    }

    /// A driver that was started, on a fake that `bend` has changed, until it is ready or failed.
    pub fn started(bend: impl FnOnce(&Fake)) -> Self {
        let mut bench = Self::new(SIZES, 2, bend);
        bench.driver.start(bench.now);
        bench.run();
        bench
    }

    /// One that has to be ready.
    pub fn ready() -> Self {
        let bench = Self::started(|_| {});
        bench.namespace();
        bench
    }

    /// Delivers messages, and lets deadlines pass while the driver starts.
    pub fn run(&mut self) -> Status {
        loop {
            self.deliver();
            let status = self.driver.status();
            match (status.state, status.deadline_ns) {
                (State::Starting, Some(deadline)) => {
                    self.now = self.now.max(deadline);
                    self.driver.poll(self.now);
                }
                _ => return status,
            }
        }
    }

    /// Delivers the messages that were sent, and those that come of it.
    pub fn deliver(&mut self) {
        loop {
            let messages = std::mem::take(&mut self.fake.state().messages);
            if messages.is_empty() {
                return;
            }
            for message in messages {
                self.driver.interrupt(message, self.now);
            }
        }
    }

    /// Lets time pass until nothing has a deadline, but `limit_ns` at most.
    pub fn pass(&mut self, limit_ns: u64) -> Status {
        let end = self.now + limit_ns;
        loop {
            let status = self.driver.status();
            match status.deadline_ns {
                Some(deadline) if deadline <= end => {
                    assert!(deadline > self.now, "a deadline that is over: {status:?} at {}", self.now);
                    self.now = deadline;
                    self.driver.poll(self.now);
                }
                _ => return status,
            }
        }
    }

    pub fn namespace(&self) -> Geometry {
        match self.driver.status().state {
            State::Ready(namespace) => namespace,
            state => panic!("it is {state:?}"),
        }
    }

    pub fn error(&self) -> Error {
        let error = self.driver.failure().unwrap_or_else(|| panic!("it is {:?}", self.driver.status()));
        assert_eq!(self.driver.error().map(ToString::to_string), Some(error.to_string()));
        error
    }

    /// Takes the one request that is over.
    pub fn done(&mut self) -> Done {
        let done = self.driver.next_done().expect("a request is over");
        self.driver.release(done.tag);
        done
    }

    /// Reads, until the data is there.
    pub fn read(&mut self, first_block: u64, blocks: u64) -> Vec<u8> {
        let tag = self.driver.read(first_block, blocks, self.now).expect("it is taken");
        self.deliver();
        let done = self.driver.next_done().expect("the read is over");
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
        let data = self.data(tag, done.bytes);
        self.driver.release(tag);
        data
    }

    pub fn data(&self, tag: Tag, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.driver.get(tag, 0, &mut data).expect("the data is there");
        data
    }
}
