//! A controller: its stages, its deadlines, and the requests that it is given.

use crate::error::{Error, Refused};
use crate::identify::{Identity, Namespace};
use crate::queue::Queue;
use crate::request::{Done, Operation, Requests, Tag};
use crate::start::Step;
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use spec::nvme::identify;
use spec::nvme::register::{self, csts};

/// The pair of queues for input and output.
pub(crate) const DATA_QUEUE: u16 = 1;
/// The message of the admin completion queue, which no command chooses (section 4.1).
const ADMIN_MESSAGE: u16 = 0;
/// Entries of the admin queues, of which one command at a time uses one.
const ADMIN_ENTRIES: u16 = 4;
/// How long an admin command may take.
pub(crate) const ADMIN_TIME_NS: u64 = 10_000_000_000;
/// How long a command for data may take.
const DATA_TIME_NS: u64 = 30_000_000_000;
/// How often a controller that has commands is looked at, whatever interrupts come: one that is
/// gone, has failed, or whose interrupt was lost is found after this.
const WATCH_NS: u64 = 1_000_000_000;

/// How much of what is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Requests that can be in flight, or over and not released, at a time; 1 to 256.
    pub requests: u16,
    /// The largest request, in bytes: a multiple of 4096.
    pub request_bytes: usize,
    /// Commands that the controller has at a time; 1 to 255. A request takes several if it is
    /// larger than what the controller moves at once.
    pub commands: u16,
}

impl Sizes {
    const fn check(self) -> Result<(), Error> {
        let are_right = matches!(self.requests, 1..=256)
            && matches!(self.commands, 1..=255)
            && self.request_bytes != 0
            && self.request_bytes.is_multiple_of(spec::nvme::PAGE_BYTES as usize);
        if are_right { Ok(()) } else { Err(Error::Sizes) }
    }
}

/// What a controller can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing yet: it was not started.
    Off,
    /// Nothing yet: it is being brought up.
    Starting,
    /// Reading and writing this.
    Ready(Namespace),
    /// Nothing any more, unless it is started again.
    Failed(Error),
}

/// What every call that takes the time gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What the controller can be used for.
    pub state: State,
    /// When to call [`Controller::poll`] at the latest, in nanoseconds of the clock whose time
    /// the calls are given. `None` while nothing is waited for.
    pub deadline_ns: Option<u64>,
}

/// Where in its life a controller is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Off,
    /// Found enabled and not ready; it is disabled once it is ready, or has had its time.
    Settling {
        until_ns: u64,
    },
    Disabling {
        until_ns: u64,
    },
    Enabling {
        until_ns: u64,
    },
    Starting(Step),
    Ready(Namespace),
    Failed(Error),
}

/// An NVM Express controller with one namespace and one pair of queues for input and output.
///
/// Requests that are in flight at the same time have no order among each other: who wants to read
/// what was written waits for the write to be over.
#[derive(Debug)]
pub struct Controller<R: RegisterWindow, D: DmaMemory> {
    pub(crate) registers: R,
    pub(crate) dma: D,
    messages: u16,
    pub(crate) stage: Stage,
    pub(crate) capabilities: u64,
    pub(crate) admin: Queue<D::Buffer>,
    pub(crate) data: Queue<D::Buffer>,
    pub(crate) identify: D::Buffer,
    pub(crate) identity: Option<Identity>,
    pub(crate) namespace: Option<Namespace>,
    /// The most that one command moves.
    pub(crate) command_bytes: u64,
    /// When to look at the status register again.
    pub(crate) next_look_ns: u64,
    requests: Requests<D::Buffer>,
}

impl<R: RegisterWindow, D: DmaMemory> Controller<R, D> {
    /// Allocates all that the driver needs. No register is touched before
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// [`Error::Sizes`], [`Error::NoMemory`] and [`Error::NoMessages`].
    pub fn new(access: DeviceAccess<R, D>, sizes: Sizes) -> Result<Self, Error> {
        let DeviceAccess { registers, mut dma, interrupt } = access;
        sizes.check()?;
        if interrupt.messages == 0 {
            return Err(Error::NoMessages);
        }
        let requests = Requests::new(&mut dma, sizes.requests, sizes.request_bytes, sizes.commands)?;
        Ok(Self {
            admin: Queue::new(&mut dma, 0, ADMIN_ENTRIES)?,
            data: Queue::new(&mut dma, DATA_QUEUE, sizes.commands + 1)?,
            identify: dma
                .allocate(identify::BYTES, spec::nvme::PAGE_BYTES as usize)
                .ok_or(Error::NoMemory)?,
            registers,
            dma,
            messages: interrupt.messages,
            stage: Stage::Off,
            capabilities: 0,
            identity: None,
            namespace: None,
            command_bytes: 0,
            next_look_ns: 0,
            requests,
        })
    }

    /// Begins to bring the controller up, from whatever state it and this driver are in. Requests
    /// that are in flight end with [`Fault::Controller`](crate::Fault::Controller).
    pub fn start(&mut self, now_ns: u64) -> Status {
        self.drop_commands();
        self.attempt(|controller| controller.begin(now_ns))
    }

    /// Sees to what is due. It may be called at any time, and has to be at a [`Status`]'s deadline.
    pub fn poll(&mut self, now_ns: u64) -> Status {
        self.attempt(|controller| {
            controller.admin_completions(now_ns)?;
            controller.data_completions(now_ns)?;
            controller.look(now_ns)
        })
    }

    /// Message `message` came. One that nobody waits for is no harm.
    pub fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.attempt(|controller| {
            if message == ADMIN_MESSAGE {
                controller.admin_completions(now_ns)?;
            }
            if message == controller.data_message() {
                controller.data_completions(now_ns)?;
            }
            Ok(())
        })
    }

    /// What the controller can be used for, and when to call next.
    pub fn status(&self) -> Status {
        let (state, until_ns) = match self.stage {
            Stage::Off => (State::Off, None),
            Stage::Settling { until_ns } | Stage::Disabling { until_ns } | Stage::Enabling { until_ns } => {
                (State::Starting, Some(until_ns))
            }
            Stage::Starting(_) => (State::Starting, self.admin.deadline()),
            Stage::Ready(namespace) => (State::Ready(namespace), self.data.deadline()),
            Stage::Failed(error) => (State::Failed(error), None),
        };
        Status { state, deadline_ns: until_ns.map(|until_ns| until_ns.min(self.next_look_ns)) }
    }

    /// Who the controller said that it is when it was last started.
    pub const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Reads `blocks` blocks from `first_block` on into the request's buffer.
    ///
    /// # Errors
    /// When the request cannot be taken; nothing has happened then.
    pub fn read(&mut self, first_block: u64, blocks: u64, now_ns: u64) -> Result<Tag, Refused> {
        self.submit(Operation::Read, first_block, blocks, &[], now_ns)
    }

    /// Writes `data`, which is copied, to the blocks from `first_block` on.
    ///
    /// # Errors
    /// When the request cannot be taken; nothing has happened then.
    pub fn write(&mut self, first_block: u64, data: &[u8], now_ns: u64) -> Result<Tag, Refused> {
        let Stage::Ready(namespace) = self.stage else { return Err(Refused::NotReady) };
        let (bytes, block_bytes) = (data.len() as u64, u64::from(namespace.block_bytes));
        if !bytes.is_multiple_of(block_bytes) {
            return Err(Refused::NoBlocks);
        }
        self.submit(Operation::Write, first_block, bytes / block_bytes, data, now_ns)
    }

    /// Has what was written by requests that are over survive a loss of power.
    ///
    /// # Errors
    /// When the request cannot be taken; nothing has happened then.
    pub fn flush(&mut self, now_ns: u64) -> Result<Tag, Refused> {
        self.submit(Operation::Flush, 0, 0, &[], now_ns)
    }

    /// The request that was over first of those that are and were not released. It is told until
    /// it is released.
    pub fn next_done(&self) -> Option<Done> {
        self.requests.next_done()
    }

    /// Copies what a read that is over has read, from `offset` bytes of it on. `None`, and
    /// nothing is copied, where it has not so much, did not succeed, or is no such request.
    pub fn copy(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        self.requests.copy(tag, offset, into)
    }

    /// Forgets a request that is over, and its data.
    pub fn release(&mut self, tag: Tag) {
        self.requests.release(tag);
    }

    fn submit(
        &mut self,
        operation: Operation,
        first_block: u64,
        blocks: u64,
        data: &[u8],
        now_ns: u64,
    ) -> Result<Tag, Refused> {
        let Stage::Ready(namespace) = self.stage else { return Err(Refused::NotReady) };
        let tag = self.requests.submit(operation, first_block, blocks, data, namespace)?;
        self.attempt(|controller| controller.issue(now_ns));
        Ok(tag)
    }

    /// Makes commands of what was requested, as many as the queue takes.
    fn issue(&mut self, now_ns: u64) -> Result<(), Error> {
        let Stage::Ready(namespace) = self.stage else { return Ok(()) };
        let was_idle = self.data.in_flight() == 0;
        let mut has_new = false;
        while let Some(slot) = self.data.free_slot() {
            let Some(command) = self.requests.next_command(slot, self.command_bytes, namespace)? else {
                break;
            };
            self.data.push(slot, command, now_ns.saturating_add(DATA_TIME_NS))?;
            has_new = true;
        }
        if has_new {
            if was_idle {
                self.watch(now_ns);
            }
            self.data.ring(&self.registers, &self.dma);
        }
        Ok(())
    }

    /// Takes what is in the completion queue, and makes new commands in the room that this gives.
    fn data_completions(&mut self, now_ns: u64) -> Result<(), Error> {
        if !matches!(self.stage, Stage::Ready(_)) {
            return Ok(());
        }
        let mut has_taken = false;
        for _ in 0..self.data.in_flight() {
            let Some((slot, completion)) = self.data.take(&self.dma)? else { break };
            self.requests.finish(slot, completion.status);
            has_taken = true;
        }
        if has_taken {
            self.data.acknowledge(&self.registers);
        }
        self.issue(now_ns)
    }

    /// Looks at the controller if it is time, and for commands that are late.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        let queue = match self.stage {
            Stage::Off | Stage::Failed(_) => return Ok(()),
            Stage::Settling { .. } | Stage::Disabling { .. } | Stage::Enabling { .. } => {
                return self.look_ready(now_ns);
            }
            Stage::Starting(_) => &self.admin,
            Stage::Ready(_) => &self.data,
        };
        let Some(until_ns) = queue.deadline() else { return Ok(()) };
        if now_ns < until_ns.min(self.next_look_ns) {
            return Ok(());
        }
        let status = self.status_register()?;
        if status & csts::FATAL != 0 {
            return Err(Error::Fatal);
        }
        if status & csts::READY == 0 {
            return Err(Error::Reset);
        }
        queue.check_late(now_ns)?;
        self.watch(now_ns);
        Ok(())
    }

    /// Has the controller looked at again.
    pub(crate) const fn watch(&mut self, now_ns: u64) {
        self.next_look_ns = now_ns.saturating_add(WATCH_NS);
    }

    /// CSTS, unless the controller is gone.
    pub(crate) fn status_register(&self) -> Result<u32, Error> {
        match self.registers.read32(register::STATUS as usize) {
            u32::MAX => Err(Error::Removed),
            status => Ok(status),
        }
    }

    /// The message of the completion queue for data: one of its own where there are two.
    pub(crate) const fn data_message(&self) -> u16 {
        if self.messages > 1 { 1 } else { ADMIN_MESSAGE }
    }

    /// Does some work, and fails the controller if that fails.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Status {
        if let Err(error) = work(self) {
            // It is disabled, so that it does no more of what it was told; a controller that
            // reads as gone is not touched.
            if error != Error::Removed {
                self.registers.write32(register::CONFIGURATION as usize, 0);
            }
            self.stage = Stage::Failed(error);
            self.drop_commands();
        }
        self.status()
    }

    /// Nothing in flight is waited for any more.
    fn drop_commands(&mut self) {
        self.admin.forget();
        self.data.forget();
        self.requests.fail();
    }
}
