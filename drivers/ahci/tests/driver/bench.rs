//! A driver on the fake HBA, and what tests do with it.

pub use crate::fake::*;
use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::FakeDma;
use ahci::{Error, Hba, Port, Sizes};
pub use block::Drive;
pub use block::testing::Ask;
use block::{Done, Geometry, State, Tag};

pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

pub const SIZES: Sizes = Sizes { ports: u32::MAX, requests: 8, request_bytes: 256 << 10 };

/// A driver on a fake, and the time.
pub struct Bench {
    pub fake: Fake,
    pub hba: Hba<Fake, FakeDma>,
    pub now: u64,
}

impl Bench {
    /// A driver that was not started, on a fake with so many ports that `bend` has changed.
    pub fn new(ports: usize, bend: impl FnOnce(&Fake)) -> Self {
        let (dma, domain) = FakeDma::new(64 << 20);
        let fake = Fake::new(domain, ports);
        bend(&fake);
        let interrupt = MessageInterrupt { messages: 1 };
        let access = DeviceAccess { registers: fake.clone(), dma, interrupt };
        Self { fake, hba: Hba::new(access, SIZES).expect("it is made"), now: SECOND }
    }

    /// A driver that was started, on a fake of one port that `bend` has changed, until the drive is
    /// ready or failed.
    pub fn started(bend: impl FnOnce(&Fake)) -> Self {
        let mut bench = Self::new(1, bend);
        bench.hba.start(bench.now);
        bench.run();
        bench
    }

    /// One that has to be ready.
    pub fn ready() -> Self {
        Self::bent(|_| {})
    }

    /// One that has to be ready, on a drive that `bend` has changed.
    pub fn bent(bend: impl FnOnce(&mut FakePort)) -> Self {
        let mut bench = Self::started(|fake| bend(&mut fake.port()));
        bench.geometry();
        bench
    }

    pub fn drive(&mut self) -> &mut Port<Fake, FakeDma> {
        self.hba.drive(0).expect("it has a port")
    }

    /// Delivers messages, and lets deadlines pass while drives start.
    pub fn run(&mut self) {
        loop {
            self.deliver();
            let mut states =
                (0..self.hba.drives()).map(|index| self.hba.drive(index).unwrap().status().state);
            let is_starting = states.any(|state| state == State::Starting);
            match self.hba.deadline() {
                Some(deadline) if is_starting => {
                    self.now = self.now.max(deadline);
                    self.hba.poll(self.now);
                }
                _ => return,
            }
        }
    }

    /// Delivers the messages that were sent, and those that come of it.
    pub fn deliver(&mut self) {
        while std::mem::take(&mut self.fake.state().messages) != 0 {
            self.hba.interrupt(self.now);
        }
    }

    /// Lets time pass until nothing has a deadline, but `limit_ns` at most.
    pub fn pass(&mut self, limit_ns: u64) {
        let end = self.now + limit_ns;
        while let Some(deadline) = self.hba.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "a deadline that is over: {deadline} at {}", self.now);
            self.now = deadline;
            self.hba.poll(self.now);
        }
    }

    pub fn geometry(&mut self) -> Geometry {
        match self.drive().status().state {
            State::Ready(geometry) => geometry,
            state => panic!("it is {state:?}: {:?}", self.drive().failure()),
        }
    }

    pub fn error(&mut self) -> Error {
        let drive = self.drive();
        let error = drive.failure().unwrap_or_else(|| panic!("it is {:?}", drive.status()));
        assert_eq!(drive.error().map(ToString::to_string), Some(error.to_string()));
        assert_eq!(drive.status().state, State::Failed);
        error
    }

    /// Takes the one request that is over.
    pub fn done(&mut self) -> Done {
        let done = self.drive().next_done().expect("a request is over");
        self.drive().release(done.tag);
        done
    }

    /// Reads, until the data is there.
    pub fn read(&mut self, first_block: u64, blocks: u64) -> Vec<u8> {
        let now = self.now;
        let tag = self.drive().read(first_block, blocks, now).expect("it is taken");
        self.deliver();
        let done = self.drive().next_done().expect("the read is over");
        assert_eq!((done.tag, done.outcome), (tag, Ok(())));
        let data = self.data(tag, done.bytes);
        self.drive().release(tag);
        data
    }

    /// Submits a read.
    pub fn submit_read(&mut self, first_block: u64, blocks: u64) -> Tag {
        let now = self.now;
        self.drive().read(first_block, blocks, now).expect("it is taken")
    }

    /// Submits a write.
    pub fn submit_write(&mut self, first_block: u64, data: &[u8]) -> Tag {
        let now = self.now;
        self.drive().write(first_block, data, now).expect("it is taken")
    }

    /// Submits a flush.
    pub fn submit_flush(&mut self) -> Tag {
        let now = self.now;
        self.drive().flush(now).expect("it is taken")
    }

    pub fn data(&mut self, tag: Tag, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.drive().get(tag, 0, &mut data).expect("the data is there");
        data
    }

    /// Bytes of the first drive's medium.
    pub fn medium(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        self.fake.port().medium[range].to_vec()
    }

    /// Codes of the commands that the drive was given since this was asked last.
    pub fn codes(&mut self) -> Vec<u8> {
        self.fake.port().commands.drain(..).map(|issued| issued.registers.command).collect()
    }
}
