//! A controller: its stages, its deadlines, and the requests that it is given.

use crate::error::Error;
use crate::queue::Queue;
use crate::request::Commands;
use crate::start::Step;
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use block::{Done, Drive, Geometry, Identity, Operation, Refused, State, Status, Tag};
use core::fmt::Display;
use spec::Iova;
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
    /// Bytes of memory for devices that a driver of these sizes takes.
    pub const fn bytes(self) -> usize {
        let page = spec::nvme::PAGE_BYTES as usize;
        let data = (self.requests as usize).saturating_mul(self.request_bytes);
        let queues = Queue::<()>::bytes(ADMIN_ENTRIES) + Queue::<()>::bytes(self.commands.saturating_add(1));
        data.saturating_add(self.commands as usize * page + queues + page)
    }

    const fn check(self) -> Result<(), Error> {
        let are_right = matches!(self.requests, 1..=256)
            && matches!(self.commands, 1..=255)
            && self.request_bytes != 0
            && self.request_bytes.is_multiple_of(spec::nvme::PAGE_BYTES as usize);
        if are_right { Ok(()) } else { Err(Error::Sizes) }
    }
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
    Ready(Geometry),
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
    pub(crate) geometry: Option<Geometry>,
    /// Optional commands of the NVM command set that it has (ONCS).
    pub(crate) optional: u16,
    /// The most that one command moves.
    pub(crate) command_bytes: u64,
    /// When to look at the status register again.
    pub(crate) next_look_ns: u64,
    pub(crate) commands: Commands<D::Buffer>,
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
        let commands = Commands::new(&mut dma, sizes.requests, sizes.request_bytes, sizes.commands)?;
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
            geometry: None,
            optional: 0,
            command_bytes: 0,
            next_look_ns: 0,
            commands,
        })
    }

    /// Why it is failed. `None` while it is not.
    pub const fn failure(&self) -> Option<Error> {
        match self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    const fn ready(&self) -> Result<Geometry, Refused> {
        match self.stage {
            Stage::Ready(geometry) => Ok(geometry),
            _ => Err(Refused::NotReady),
        }
    }

    /// Makes commands of what was requested, as many as the queue takes.
    fn issue(&mut self, now_ns: u64) -> Result<(), Error> {
        let Stage::Ready(geometry) = self.stage else { return Ok(()) };
        let was_idle = self.data.in_flight() == 0;
        let mut has_new = false;
        while let Some(slot) = self.data.free_slot() {
            let Some(command) = self.commands.next(slot, self.command_bytes, geometry)? else {
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
            self.commands.finish(slot, completion.status);
            has_taken = true;
        }
        if has_taken {
            self.data.acknowledge(&self.registers);
        }
        self.issue(now_ns)
    }

    /// Looks at the controller if it is time, and for commands that are late.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        let deadline_ns = match self.stage {
            Stage::Off | Stage::Failed(_) => return Ok(()),
            Stage::Settling { .. } | Stage::Disabling { .. } | Stage::Enabling { .. } => {
                return self.look_ready(now_ns);
            }
            Stage::Starting(_) => self.admin.deadline(),
            Stage::Ready(_) => self.data.deadline(),
        };
        let Some(until_ns) = deadline_ns else { return Ok(()) };
        if now_ns < until_ns.min(self.next_look_ns) {
            return Ok(());
        }
        let status = self.status_register()?;
        if status & csts::FATAL != 0 {
            return Err(Error::Fatal);
        }
        if status & csts::READY == 0 {
            // Where nothing answers some machines read zeros; every controller has a version.
            let is_there = self.registers.read32(register::VERSION as usize) != 0;
            return Err(if is_there { Error::Reset } else { Error::Removed });
        }
        match self.stage {
            Stage::Starting(_) => self.admin.check_late(now_ns)?,
            _ => self.data.check_late(now_ns)?,
        }
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

    /// Nothing in flight is waited for any more, and the controller reaches no memory until it is enabled
    /// again.
    fn drop_commands(&mut self) {
        self.admin.forget();
        self.data.forget();
        let is_quiet = self.dma.block();
        self.commands.fail(is_quiet);
    }
}

impl<R: RegisterWindow, D: DmaMemory> Drive for Controller<R, D> {
    fn identity(&self) -> Option<Identity> {
        self.identity
    }

    fn start(&mut self, now_ns: u64) -> Status {
        self.drop_commands();
        self.attempt(|controller| controller.begin(now_ns))
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        self.attempt(|controller| {
            controller.admin_completions(now_ns)?;
            controller.data_completions(now_ns)?;
            controller.look(now_ns)
        })
    }

    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
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

    fn status(&self) -> Status {
        let (state, until_ns) = match self.stage {
            Stage::Off => (State::Off, None),
            Stage::Settling { until_ns } | Stage::Disabling { until_ns } | Stage::Enabling { until_ns } => {
                (State::Starting, Some(until_ns))
            }
            Stage::Starting(_) => (State::Starting, self.admin.deadline()),
            Stage::Ready(geometry) => (State::Ready(geometry), self.data.deadline()),
            Stage::Failed(_) => (State::Failed, None),
        };
        Status { state, deadline_ns: until_ns.map(|until_ns| until_ns.min(self.next_look_ns)) }
    }

    fn error(&self) -> Option<&dyn Display> {
        match &self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    fn request_bytes(&self) -> usize {
        self.commands.requests.request_bytes()
    }

    fn reserve(&mut self) -> Result<Tag, Refused> {
        self.ready()?;
        self.commands.requests.reserve()
    }

    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        self.commands.requests.put(tag, offset, bytes)
    }

    fn lend(&mut self, tag: Tag, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> bool {
        self.commands.requests.lend(tag, parts)
    }

    fn submit(
        &mut self,
        tag: Tag,
        operation: Operation,
        first_block: u64,
        blocks: u64,
    ) -> Result<(), Refused> {
        let geometry = self.ready()?;
        self.commands.requests.submit(tag, operation, first_block, blocks, geometry)
    }

    fn kick(&mut self, now_ns: u64) -> Status {
        self.attempt(|controller| controller.issue(now_ns))
    }

    fn next_done(&self) -> Option<Done> {
        self.commands.requests.next_done()
    }

    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        self.commands.requests.get(tag, offset, into)
    }

    fn release(&mut self, tag: Tag) {
        self.commands.requests.release(tag);
    }
}
