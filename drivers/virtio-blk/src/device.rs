//! A device: its stages, its deadlines, and the requests that it is given.

use crate::commands::{self, Commands, Ended};
use crate::limits::Limits;
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use block::{Done, Drive, Geometry, Identity, Operation, Refused, State, Status, Tag};
use core::fmt::Display;
use spec::Iova;
use spec::address::PAGE_BYTES;
use virtio::{Error, Layout, Queue, Transport};

/// The message of what is no request.
const CONFIGURATION_MESSAGE: u16 = 0;
/// How long a request may take.
pub(crate) const DATA_TIME_NS: u64 = 30_000_000_000;
/// How often a device that has requests is looked at, whatever interrupts come: one that is gone, has
/// failed, or whose interrupt was lost is found after this.
const WATCH_NS: u64 = 1_000_000_000;

/// How much of what is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Requests that can be in flight, or over and not released, at a time; 1 to 256.
    pub requests: u16,
    /// The largest request, in bytes: a multiple of 4096, at most 1 MiB.
    pub request_bytes: usize,
    /// Requests that the device has at a time; 1 to 64. One of a drive takes several if it is larger than
    /// what the device moves at once.
    pub commands: u16,
}

impl Sizes {
    /// Bytes of memory for devices that a driver of these sizes takes.
    pub const fn bytes(self) -> usize {
        let data = (self.requests as usize).saturating_mul(self.request_bytes);
        let areas = (self.commands as usize).saturating_mul(commands::area_bytes(self.request_bytes));
        data.saturating_add(areas.next_multiple_of(PAGE_BYTES as usize))
            .saturating_add(Queue::bytes(self.entries()))
    }

    /// Descriptors of the queue: for every slot without tables, and for the longest chain.
    const fn entries(self) -> u16 {
        let longest = commands::segments(self.request_bytes) + 2;
        let slots = self.commands as usize * 3;
        let most = if longest > slots { longest } else { slots };
        if most > 256 { 256 } else { most.next_power_of_two() as u16 }
    }

    const fn check(self) -> Result<(), Error> {
        let are_right = matches!(self.requests, 1..=256)
            && matches!(self.commands, 1..=64)
            && matches!(self.request_bytes, 4096..=0x10_0000)
            && self.request_bytes.is_multiple_of(PAGE_BYTES as usize);
        if are_right { Ok(()) } else { Err(Error::Sizes) }
    }
}

/// Where in its life a device is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Off,
    Resetting {
        until_ns: u64,
    },
    /// It is asked who it is.
    Identifying,
    Ready,
    Failed(Error),
}

/// A virtio block device with one queue.
///
/// Requests that are in flight at the same time have no order among each other: who wants to read
/// what was written waits for the write to be over.
#[derive(Debug)]
pub struct Device<R: RegisterWindow, D: DmaMemory> {
    pub(crate) transport: Transport<R>,
    pub(crate) dma: D,
    messages: u16,
    pub(crate) stage: Stage,
    pub(crate) queue: Queue<D::Buffer>,
    pub(crate) commands: Commands<D::Buffer>,
    pub(crate) limits: Limits,
    pub(crate) can_lend: bool,
    pub(crate) identity: Option<Identity>,
    /// When to look at the status register again.
    pub(crate) next_look_ns: u64,
}

impl<R: RegisterWindow, D: DmaMemory> Device<R, D> {
    /// Allocates all that the driver needs. No register is touched before [`start`](Drive::start).
    /// `access` has the registers behind the BAR of `layout`.
    ///
    /// # Errors
    /// [`Error::Sizes`], [`Error::NoMemory`] and [`Error::NoMessages`].
    pub fn new(access: DeviceAccess<R, D>, layout: Layout, sizes: Sizes) -> Result<Self, Error> {
        let DeviceAccess { registers, mut dma, interrupt } = access;
        sizes.check()?;
        if interrupt.messages == 0 {
            return Err(Error::NoMessages);
        }
        let commands = Commands::new(&mut dma, sizes.requests, sizes.request_bytes, sizes.commands)?;
        Ok(Self {
            transport: Transport::new(registers, layout),
            queue: Queue::new(&mut dma, 0, sizes.entries())?,
            commands,
            dma,
            messages: interrupt.messages,
            stage: Stage::Off,
            limits: Limits::default(),
            can_lend: false,
            identity: None,
            next_look_ns: 0,
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
            Stage::Ready => Ok(self.limits.geometry),
            _ => Err(Refused::NotReady),
        }
    }

    /// The messages of the configuration and of the queue: each its own where there are two.
    pub(crate) const fn message_numbers(&self) -> (u16, u16) {
        (CONFIGURATION_MESSAGE, if self.messages > 1 { 1 } else { CONFIGURATION_MESSAGE })
    }

    /// Gives the device what was requested, as much as there is room for.
    fn issue(&mut self, now_ns: u64) -> Result<(), Error> {
        if !matches!(self.stage, Stage::Ready) {
            return Ok(());
        }
        let was_idle = self.commands.in_flight() == 0;
        let until_ns = now_ns.saturating_add(DATA_TIME_NS);
        let mut has_new = false;
        while self.commands.next(&mut self.queue, &self.limits, until_ns)? {
            has_new = true;
        }
        if has_new {
            if was_idle {
                self.watch(now_ns);
            }
            self.publish()?;
        }
        Ok(())
    }

    /// Shows the device what was made available.
    pub(crate) fn publish(&mut self) -> Result<(), Error> {
        if self.queue.publish(&self.dma)? {
            self.transport.notify(&self.queue);
        }
        Ok(())
    }

    /// Takes what the device is done with, and gives it more in the room that this makes. That goes on
    /// while it is done with some before a message was asked for, though not without end. Whether there
    /// was something.
    fn completions(&mut self, now_ns: u64) -> Result<bool, Error> {
        let mut has_taken = false;
        if !matches!(self.stage, Stage::Ready | Stage::Identifying) {
            return Ok(has_taken);
        }
        for _ in 0..self.queue.size() {
            while let Some(used) = self.queue.take(&self.dma)? {
                has_taken = true;
                if let Ended::Identity(serial) = self.commands.finish(used)? {
                    self.identified(serial);
                }
            }
            self.issue(now_ns)?;
            if !self.queue.arm(&self.dma)? {
                return Ok(has_taken);
            }
        }
        // It is faster than this: it is looked at again before anything else is waited for.
        self.next_look_ns = now_ns.saturating_add(1);
        Ok(has_taken)
    }

    /// Looks at the device if it is time, and for requests that are late.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        match self.stage {
            Stage::Off | Stage::Failed(_) => Ok(()),
            Stage::Resetting { until_ns } if now_ns >= self.next_look_ns.min(until_ns) => {
                self.look_reset(until_ns, now_ns)
            }
            Stage::Resetting { .. } => Ok(()),
            Stage::Identifying | Stage::Ready => {
                let Some(until_ns) = self.commands.deadline() else { return Ok(()) };
                if now_ns < until_ns.min(self.next_look_ns) {
                    return Ok(());
                }
                self.transport.check()?;
                self.commands.check_late(now_ns)?;
                self.watch(now_ns);
                Ok(())
            }
        }
    }

    /// Has the device looked at again.
    pub(crate) const fn watch(&mut self, now_ns: u64) {
        self.next_look_ns = now_ns.saturating_add(WATCH_NS);
    }

    /// Does some work, and fails the device if that fails.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Status {
        if let Err(error) = work(self) {
            // It is reset, so that it does no more of what it was told; one that reads as gone is not
            // touched.
            if error != Error::Removed {
                self.transport.reset();
            }
            self.stage = Stage::Failed(error);
            self.drop_commands();
        }
        self.status()
    }

    /// Nothing in flight is waited for any more, and the device reaches no memory until it is reset.
    fn drop_commands(&mut self) {
        let is_quiet = self.dma.block();
        self.commands.fail(is_quiet);
    }
}

impl<R: RegisterWindow, D: DmaMemory> Drive for Device<R, D> {
    fn identity(&self) -> Option<Identity> {
        self.identity
    }

    fn start(&mut self, now_ns: u64) -> Status {
        self.drop_commands();
        self.attempt(|device| device.begin(now_ns))
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        self.attempt(|device| {
            device.completions(now_ns)?;
            device.look(now_ns)
        })
    }

    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.attempt(|device| {
            let (configuration, data) = device.message_numbers();
            if message != configuration && message != data {
                return Ok(());
            }
            // A message that is for no request, while there are some, may say that there will be none.
            let has_taken = device.completions(now_ns)?;
            if message == configuration && !has_taken && device.commands.in_flight() > 0 {
                device.transport.check()?;
            }
            Ok(())
        })
    }

    fn status(&self) -> Status {
        let (state, until_ns) = match self.stage {
            Stage::Off => (State::Off, None),
            Stage::Resetting { until_ns } => (State::Starting, Some(until_ns)),
            Stage::Identifying => (State::Starting, self.commands.deadline()),
            Stage::Ready => (State::Ready(self.limits.geometry), self.commands.deadline()),
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
        self.can_lend && self.commands.requests.lend(tag, parts)
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
        self.attempt(|device| device.issue(now_ns))
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
