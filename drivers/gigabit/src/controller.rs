//! A controller: its stages, its deadlines, and the frames that it is given and gives.

use crate::error::Error;
use crate::model::{Model, Setup, read, write};
use crate::receive::{Receiver, Taken};
use crate::transmit::{self, Transmitter};
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use core::fmt::Display;
use network::{Checksum, Frame, MacAddress, Offload, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue, Refused, State, Status};
use spec::ethernet::{HEADER_BYTES, PAYLOAD_BYTES, TAG_BYTES};
use spec::gigabit::{
    CONTROL, DESCRIPTOR_BYTES, DESCRIPTOR_GROUP, LINK_CHANGED, MISSED, RECEIVE_BUFFER_BYTES, RECEIVE_CONTROL,
    STATUS, ctrl, rctl, status,
};

/// How often a controller is looked at, whatever interrupts come: one that is gone, hangs, or
/// whose interrupt was lost is found after this.
pub(crate) const WATCH_NS: u64 = 1_000_000_000;
/// How long the controller may take to send the next frame.
const SEND_NS: u64 = 2_000_000_000;
/// How often a controller is reset before it is given up, if it carries no frame in between.
const RESETS: u8 = 5;
/// The largest frame: what is no jumbo frame, with a tag.
const LARGEST_BYTES: usize = HEADER_BYTES + TAG_BYTES + PAYLOAD_BYTES;

/// How many descriptors there are, each with a buffer of 2 KiB: multiples of 8 from 8 to 256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Those of frames that are sent, of which one is always empty.
    pub transmit: u16,
    /// Those of frames that are received, likewise.
    pub receive: u16,
}

impl Sizes {
    /// Bytes of memory for devices that a driver of these sizes takes: whole pages for each ring, and
    /// for its buffers.
    pub const fn bytes(self) -> usize {
        const fn pages(entries: u16, bytes: usize) -> usize {
            (entries as usize).saturating_mul(bytes).next_multiple_of(4096)
        }
        pages(self.transmit, DESCRIPTOR_BYTES)
            + pages(self.transmit, transmit::BUFFER_BYTES)
            + pages(self.receive, DESCRIPTOR_BYTES)
            + pages(self.receive, RECEIVE_BUFFER_BYTES)
    }

    fn check(self) -> Result<(), Error> {
        let is_right = |entries: u16| matches!(entries, 8..=256) && entries.is_multiple_of(DESCRIPTOR_GROUP);
        if is_right(self.transmit) && is_right(self.receive) { Ok(()) } else { Err(Error::Sizes) }
    }
}

/// Where in its life a controller is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Off,
    /// It was told to ask nothing more of memory; it is reset once it does not, or has had its time.
    Quieting {
        until_ns: u64,
    },
    /// It was reset, and reads its configuration.
    Resetting {
        until_ns: u64,
    },
    /// It has read it, and its PHY is set up.
    Settling {
        until_ns: u64,
    },
    /// It was told all, and enables its queues.
    Enabling {
        until_ns: u64,
    },
    Ready,
    Failed(Error),
}

/// A controller of some model, with one queue each way.
#[derive(Debug)]
pub struct Controller<M: Model, R: RegisterWindow, D: DmaMemory> {
    pub(crate) model: M,
    pub(crate) registers: R,
    pub(crate) dma: D,
    pub(crate) messages: u16,
    pub(crate) stage: Stage,
    pub(crate) receiver: Receiver<D::Buffer>,
    pub(crate) transmitter: Transmitter<D::Buffer>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) link: Link,
    /// When to look at registers again.
    pub(crate) next_look_ns: u64,
    /// When the controller last sent a frame, or had none to send.
    pub(crate) sent_ns: u64,
    /// Whether frames cause no messages.
    pub(crate) is_quiet: bool,
    /// Resets since it last carried a frame.
    resets: u8,
    counters: Counters,
}

impl<M: Model, R: RegisterWindow, D: DmaMemory> Controller<M, R, D> {
    /// Allocates all that the driver needs. No register is touched before [`start`](Nic::start).
    ///
    /// # Errors
    /// [`Error::Sizes`], [`Error::NoMemory`] and [`Error::NoMessages`].
    pub fn new(access: DeviceAccess<R, D>, sizes: Sizes) -> Result<Self, Error> {
        let DeviceAccess { registers, mut dma, interrupt } = access;
        sizes.check()?;
        if interrupt.messages == 0 {
            return Err(Error::NoMessages);
        }
        Ok(Self {
            model: M::default(),
            receiver: Receiver::new(&mut dma, sizes.receive)?,
            transmitter: Transmitter::new(&mut dma, sizes.transmit)?,
            registers,
            dma,
            messages: interrupt.messages,
            stage: Stage::Off,
            mac: None,
            link: Link::Down,
            next_look_ns: 0,
            sent_ns: 0,
            is_quiet: false,
            resets: 0,
            counters: Counters::default(),
        })
    }

    /// How the controller is to work.
    pub(crate) fn setup(&self) -> Setup {
        Setup { receive: self.receiver.place(), transmit: self.transmitter.place(), messages: self.messages }
    }

    /// STATUS, unless the controller is gone.
    pub(crate) fn status_register(&self) -> Result<u32, Error> {
        match read(&self.registers, STATUS) {
            u32::MAX => Err(Error::Removed),
            status => Ok(status),
        }
    }

    /// Looks at the controller if it is time.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        if now_ns < self.next_look_ns {
            return Ok(());
        }
        match self.stage {
            Stage::Off | Stage::Failed(_) => Ok(()),
            Stage::Quieting { until_ns } => self.look_quiet(until_ns, now_ns),
            Stage::Resetting { until_ns } => self.look_reset(until_ns, now_ns),
            Stage::Settling { until_ns } => self.look_settled(until_ns, now_ns),
            Stage::Enabling { until_ns } => self.look_enabled(until_ns, now_ns),
            Stage::Ready => self.watch(now_ns),
        }
    }

    /// Looks at what works: whether it is there, was reset by others, or hangs.
    fn watch(&mut self, now_ns: u64) -> Result<(), Error> {
        self.next_look_ns = now_ns.saturating_add(WATCH_NS);
        self.look_link()?;
        let missed = read(&self.registers, MISSED);
        self.counters.missed = self.counters.missed.saturating_add(missed.into());
        self.sent(now_ns)?;
        let is_late = now_ns.saturating_sub(self.sent_ns) >= SEND_NS;
        let is_open = read(&self.registers, RECEIVE_CONTROL) & rctl::ENABLE != 0;
        if is_late || !is_open || !self.model.is_enabled(&self.registers) {
            return self.recover(now_ns);
        }
        self.arm();
        Ok(())
    }

    /// Lets causes send messages.
    pub(crate) fn arm(&self) {
        self.model.arm(&self.registers, &self.setup(), !self.is_quiet);
    }

    /// Resets a controller that hangs. Where the link is down, it is no wonder that nothing is
    /// sent; what was to be sent is old then, and a reset is the way to have it back.
    fn recover(&mut self, now_ns: u64) -> Result<(), Error> {
        if self.link != Link::Down {
            self.resets = self.resets.saturating_add(1);
            if self.resets > RESETS {
                return Err(Error::Hung(RESETS));
            }
        }
        self.counters.resets = self.counters.resets.saturating_add(1);
        self.begin(now_ns)
    }

    /// Sees whether the link is up.
    pub(crate) fn look_link(&mut self) -> Result<(), Error> {
        let status = self.status_register()?;
        self.link = if status & status::LINK_UP == 0 {
            Link::Down
        } else {
            let full_duplex = status & status::FULL_DUPLEX != 0;
            Link::Up { megabits: status::megabits(status), full_duplex }
        };
        Ok(())
    }

    /// Takes back the buffers of frames that were sent.
    fn sent(&mut self, now_ns: u64) -> Result<(), Error> {
        if !matches!(self.stage, Stage::Ready) {
            return Ok(());
        }
        for _ in 0..self.transmitter.in_flight() {
            let Some(bytes) = self.transmitter.take()? else { break };
            self.counters.sent.frames = self.counters.sent.frames.saturating_add(1);
            self.counters.sent.bytes = self.counters.sent.bytes.saturating_add(bytes as u64);
            (self.sent_ns, self.resets) = (now_ns, 0);
        }
        if self.transmitter.is_idle() {
            self.sent_ns = now_ns;
        }
        Ok(())
    }

    /// Nothing that was to be sent is any more.
    pub(crate) fn lose(&mut self) {
        self.counters.lost = self.counters.lost.saturating_add(self.transmitter.in_flight().into());
        self.link = Link::Down;
        self.transmitter.forget();
    }

    /// Takes the next frame that is of use; passes by damaged ones, as many as the ring has at most.
    fn take(&mut self, into: &mut Frame) -> Result<bool, Error> {
        if !matches!(self.stage, Stage::Ready) {
            return Ok(false);
        }
        for _ in 0..self.receiver.entries() {
            let taken = self.receiver.take::<M>(&self.dma, into)?;
            if let Some(tail) = self.receiver.tail(taken == Taken::Nothing) {
                self.dma.write_barrier();
                write(&self.registers, M::RECEIVE_TAIL, tail);
            }
            match taken {
                Taken::Nothing => return Ok(false),
                Taken::Frame => {
                    self.counters.received.frames = self.counters.received.frames.saturating_add(1);
                    self.counters.received.bytes =
                        self.counters.received.bytes.saturating_add(into.len() as u64);
                    self.resets = 0;
                    return Ok(true);
                }
                Taken::Damaged => self.counters.damaged = self.counters.damaged.saturating_add(1),
            }
        }
        // One that floods with damaged frames is asked again later.
        Ok(false)
    }

    /// Does some work, and fails the controller if that fails.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Status {
        if let Err(error) = work(self) {
            // It is reset, so that it asks nothing more of memory; one that reads as gone is not
            // touched.
            if error != Error::Removed {
                self.model.silence(&self.registers);
                write(&self.registers, CONTROL, ctrl::RESET);
            }
            self.stage = Stage::Failed(error);
            self.lose();
        }
        self.status()
    }
}

impl<M: Model, R: RegisterWindow, D: DmaMemory> Nic for Controller<M, R, D> {
    fn start(&mut self, now_ns: u64) -> Status {
        self.resets = 0;
        self.attempt(|controller| controller.begin(now_ns))
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        self.attempt(|controller| {
            controller.sent(now_ns)?;
            controller.look(now_ns)
        })
    }

    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.attempt(|controller| {
            if !matches!(controller.stage, Stage::Ready) {
                return Ok(());
            }
            if message == controller.setup().other_message().into() {
                // Frames that came meanwhile are found in the ring, whatever the cause.
                let cause = read(&controller.registers, M::CAUSE);
                if cause == u32::MAX {
                    controller.status_register()?;
                }
                // Not every read clears: one while masked causes are there does not.
                write(&controller.registers, M::CAUSE, cause);
                if cause & LINK_CHANGED != 0 {
                    controller.look_link()?;
                }
            }
            // Before anybody looks into the rings: what comes afterwards has a message of its own.
            controller.arm();
            controller.sent(now_ns)
        })
    }

    fn status(&self) -> Status {
        let (state, is_watched) = match self.stage {
            Stage::Off => (State::Off, false),
            Stage::Quieting { .. }
            | Stage::Resetting { .. }
            | Stage::Settling { .. }
            | Stage::Enabling { .. } => (State::Starting, true),
            Stage::Ready => (State::Ready, true),
            Stage::Failed(_) => (State::Failed, false),
        };
        Status { state, deadline_ns: is_watched.then_some(self.next_look_ns) }
    }

    fn error(&self) -> Option<&dyn Display> {
        match &self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    fn mac(&self) -> Option<MacAddress> {
        self.mac
    }

    fn link(&self) -> Link {
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: false, segmentation: false, largest_bytes: LARGEST_BYTES }
    }

    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        if !matches!(self.stage, Stage::Ready) {
            return Err(Refused::NotReady);
        }
        if self.link == Link::Down {
            return Err(Refused::Down);
        }
        match parts.bytes() {
            ..HEADER_BYTES => return Err(Refused::TooShort),
            HEADER_BYTES..=LARGEST_BYTES => {}
            _ => return Err(Refused::TooLong(LARGEST_BYTES)),
        }
        let Offload { checksum, segmentation } = parts.offload;
        if segmentation.is_some() || matches!(checksum, Checksum::Missing { .. }) {
            return Err(Refused::Offload);
        }
        if self.transmitter.is_full() {
            return Err(Refused::Full);
        }
        self.attempt(|controller| controller.transmitter.put::<M>(parts));
        Ok(())
    }

    fn queue(&self) -> Queue {
        match self.stage {
            Stage::Ready => self.transmitter.queue(),
            _ => Queue::default(),
        }
    }

    fn kick(&mut self, now_ns: u64) -> Status {
        self.attempt(|controller| {
            // Room first, and with it the time of what is in flight.
            controller.sent(now_ns)?;
            if let Some(tail) = controller.transmitter.tail() {
                controller.dma.write_barrier();
                write(&controller.registers, M::TRANSMIT_TAIL, tail);
            }
            Ok(())
        })
    }

    fn set_quiet(&mut self, is_quiet: bool) {
        if is_quiet != self.is_quiet {
            self.is_quiet = is_quiet;
            if matches!(self.stage, Stage::Ready) {
                if is_quiet { self.model.mute(&self.registers, &self.setup()) } else { self.arm() }
            }
        }
    }

    fn receive(&mut self, into: &mut Frame) -> bool {
        into.clear();
        let mut is_there = false;
        self.attempt(|controller| {
            is_there = controller.take(into)?;
            Ok(())
        });
        if !is_there {
            into.clear();
        }
        is_there
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
