//! An interface: its stages, its deadlines, and the frames that it is given and gives.

use crate::control::{self, Control};
use crate::receive::{self, Receiver, Taken};
use crate::transmit::{self, Transmitter};
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use core::fmt::Display;
use network::{Checksum, Frame, MacAddress, Offload, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue as Waiting, Refused, State, Status};
use spec::address::PAGE_BYTES;
use spec::ethernet::{HEADER_BYTES, PAYLOAD_BYTES, TAG_BYTES};
use spec::virtio::net::{Header, feature};
use virtio::{Error, Layout, Queue, Transport};

/// The message of what is no frame.
const CONFIGURATION_MESSAGE: u16 = 0;
/// How often a device is looked at, whatever interrupts come: one that is gone, has failed or hangs, or
/// whose interrupt was lost is found after this.
pub(crate) const WATCH_NS: u64 = 1_000_000_000;
/// How long the device may take to send the next frame.
const SEND_NS: u64 = 5_000_000_000;
/// How often a device is reset before it is given up, if it carries no frame in between.
const RESETS: u8 = 5;
/// The largest frame: what is no jumbo frame, with a tag.
pub(crate) const LARGEST_BYTES: usize = HEADER_BYTES + TAG_BYTES + PAYLOAD_BYTES;

const _: () = assert!(Header::BYTES + LARGEST_BYTES <= receive::BUFFER_BYTES);
const _: () = assert!(Header::BYTES + LARGEST_BYTES <= transmit::BUFFER_BYTES);

/// How many frames there is room for, each with a buffer of 2 KiB: powers of two from 2 to 256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Those that are sent.
    pub transmit: u16,
    /// Those that are received.
    pub receive: u16,
}

impl Sizes {
    /// Bytes of memory for devices that a driver of these sizes takes: whole pages for each queue, for its
    /// buffers, and for commands.
    pub const fn bytes(self) -> usize {
        const fn side(entries: u16, bytes: usize) -> usize {
            let page = PAGE_BYTES as usize;
            (entries as usize).saturating_mul(bytes).next_multiple_of(page) + Queue::bytes(entries)
        }
        side(self.transmit, transmit::BUFFER_BYTES)
            + side(self.receive, receive::BUFFER_BYTES)
            + Queue::bytes(control::ENTRIES)
            + PAGE_BYTES as usize
    }
}

/// Where in its life a device is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Off,
    Resetting {
        until_ns: u64,
    },
    /// It was told to receive everything, and has not answered.
    Asking {
        until_ns: u64,
    },
    Ready,
    Failed(Error),
}

/// A virtio network interface, with one queue each way.
#[derive(Debug)]
pub struct Interface<R: RegisterWindow, D: DmaMemory> {
    pub(crate) transport: Transport<R>,
    pub(crate) dma: D,
    messages: u16,
    pub(crate) stage: Stage,
    pub(crate) receiver: Receiver<D::Buffer>,
    pub(crate) transmitter: Transmitter<D::Buffer>,
    pub(crate) control: Control<D::Buffer>,
    /// What was agreed on.
    pub(crate) features: u64,
    pub(crate) largest_bytes: usize,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) link: Link,
    /// Of which state of its configuration the link is.
    pub(crate) generation: u8,
    /// When to look at registers again.
    pub(crate) next_look_ns: u64,
    /// When the device last sent a frame, or had none to send.
    pub(crate) sent_ns: u64,
    /// Whether frames cause no messages.
    pub(crate) is_quiet: bool,
    /// Resets since it last carried a frame.
    resets: u8,
    counters: Counters,
}

impl<R: RegisterWindow, D: DmaMemory> Interface<R, D> {
    /// Allocates all that the driver needs. No register is touched before [`start`](Nic::start).
    /// `access` has the registers behind the BAR of `layout`.
    ///
    /// # Errors
    /// [`Error::Sizes`], [`Error::NoMemory`] and [`Error::NoMessages`].
    pub fn new(access: DeviceAccess<R, D>, layout: Layout, sizes: Sizes) -> Result<Self, Error> {
        let DeviceAccess { registers, mut dma, interrupt } = access;
        if interrupt.messages == 0 {
            return Err(Error::NoMessages);
        }
        Ok(Self {
            transport: Transport::new(registers, layout),
            receiver: Receiver::new(&mut dma, sizes.receive)?,
            transmitter: Transmitter::new(&mut dma, sizes.transmit)?,
            control: Control::new(&mut dma)?,
            dma,
            messages: interrupt.messages,
            stage: Stage::Off,
            features: 0,
            largest_bytes: LARGEST_BYTES,
            mac: None,
            link: Link::Down,
            generation: 0,
            next_look_ns: 0,
            sent_ns: 0,
            is_quiet: false,
            resets: 0,
            counters: Counters::default(),
        })
    }

    /// Why it is failed. `None` while it is not.
    pub const fn failure(&self) -> Option<Error> {
        match self.stage {
            Stage::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The messages of the configuration, with commands, and of frames: each its own where there are two.
    pub(crate) const fn message_numbers(&self) -> (u16, u16) {
        (CONFIGURATION_MESSAGE, if self.messages > 1 { 1 } else { CONFIGURATION_MESSAGE })
    }

    pub(crate) const fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    const fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Looks at the device if it is time.
    fn look(&mut self, now_ns: u64) -> Result<(), Error> {
        if now_ns < self.next_look_ns {
            return Ok(());
        }
        match self.stage {
            Stage::Off | Stage::Failed(_) => Ok(()),
            Stage::Resetting { until_ns } => self.look_reset(until_ns, now_ns),
            Stage::Asking { until_ns } => self.look_answer(until_ns, now_ns),
            Stage::Ready => self.watch(now_ns),
        }
    }

    /// Looks at what works: whether it is there, was reset by others, or hangs.
    fn watch(&mut self, now_ns: u64) -> Result<(), Error> {
        self.next_look_ns = now_ns.saturating_add(WATCH_NS);
        match self.transport.check() {
            Err(Error::NeedsReset | Error::Reset) => return self.recover(now_ns),
            checked => checked?,
        }
        self.look_link()?;
        self.sent(now_ns)?;
        if now_ns.saturating_sub(self.sent_ns) >= SEND_NS { self.recover(now_ns) } else { Ok(()) }
    }

    /// Resets a device that hangs or asks for it. Where the link is down, it is no wonder that nothing is
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

    /// Takes back the buffers of frames that were sent, and asks for a message for the next.
    fn sent(&mut self, now_ns: u64) -> Result<(), Error> {
        if !self.is_ready() {
            return Ok(());
        }
        for _ in 0..self.transmitter.queue.size() {
            while let Some(bytes) = self.transmitter.take(&self.dma)? {
                self.counters.sent.frames = self.counters.sent.frames.saturating_add(1);
                self.counters.sent.bytes = self.counters.sent.bytes.saturating_add(bytes as u64);
                (self.sent_ns, self.resets) = (now_ns, 0);
            }
            if !self.transmitter.queue.arm(&self.dma)? {
                break;
            }
        }
        if self.transmitter.queue.in_flight() == 0 {
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

    /// Takes the next frame; passes by what is none, as many as the queue has at most.
    fn take(&mut self, into: &mut Frame) -> Result<bool, Error> {
        if !self.is_ready() {
            return Ok(false);
        }
        for _ in 0..self.receiver.queue.size() {
            let taken = self.receiver.take(&self.dma, into, self.largest_bytes)?;
            if self.receiver.is_due(taken == Taken::Nothing) {
                self.publish_buffers()?;
            }
            match taken {
                // A message is asked for, and what came before that is taken without one.
                Taken::Nothing if self.receiver.queue.arm(&self.dma)? => {}
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
        // One that floods with what is no frame is asked again later.
        Ok(false)
    }

    pub(crate) fn publish_buffers(&mut self) -> Result<(), Error> {
        if self.receiver.publish(&self.dma)? {
            self.transport.notify(&self.receiver.queue);
        }
        Ok(())
    }

    /// Does some work, and fails the device if that fails.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Status {
        if let Err(error) = work(self) {
            // It is reset, so that it asks nothing more of memory; one that reads as gone is not
            // touched.
            if error != Error::Removed {
                self.transport.reset();
            }
            self.lose();
            self.stage = Stage::Failed(error);
        }
        self.status()
    }
}

impl<R: RegisterWindow, D: DmaMemory> Nic for Interface<R, D> {
    fn start(&mut self, now_ns: u64) -> Status {
        self.resets = 0;
        self.attempt(|interface| interface.begin(now_ns))
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        self.attempt(|interface| {
            interface.sent(now_ns)?;
            interface.look(now_ns)
        })
    }

    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.attempt(|interface| {
            let (configuration, frames) = interface.message_numbers();
            if message == frames {
                interface.sent(now_ns)?;
            }
            if message == configuration {
                interface.look_answer_now(now_ns)?;
                interface.look_configuration(now_ns)?;
            }
            Ok(())
        })
    }

    fn status(&self) -> Status {
        let (state, is_watched) = match self.stage {
            Stage::Off => (State::Off, false),
            Stage::Resetting { .. } | Stage::Asking { .. } => (State::Starting, true),
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
        Capabilities {
            checksum: self.has(feature::CHECKSUM),
            segmentation: false,
            largest_bytes: self.largest_bytes,
        }
    }

    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        if !self.is_ready() {
            return Err(Refused::NotReady);
        }
        if self.link == Link::Down {
            return Err(Refused::Down);
        }
        let bytes = parts.bytes();
        if bytes < HEADER_BYTES {
            return Err(Refused::TooShort);
        }
        if bytes > self.largest_bytes {
            return Err(Refused::TooLong(self.largest_bytes));
        }
        match parts.offload {
            Offload { segmentation: Some(_), .. } => return Err(Refused::Offload),
            Offload { checksum: Checksum::Missing { start, offset }, .. } => {
                if !self.has(feature::CHECKSUM) {
                    return Err(Refused::Offload);
                }
                if usize::from(start) + usize::from(offset) + 2 > bytes {
                    return Err(Refused::Senseless);
                }
            }
            Offload { .. } => {}
        }
        if self.transmitter.room() == 0 {
            return Err(Refused::Full);
        }
        self.attempt(|interface| interface.transmitter.put(parts));
        Ok(())
    }

    fn queue(&self) -> Waiting {
        if !self.is_ready() {
            return Waiting::default();
        }
        Waiting { waiting: self.transmitter.in_flight().into(), room: self.transmitter.room().into() }
    }

    fn kick(&mut self, now_ns: u64) -> Status {
        self.attempt(|interface| {
            // Room first, and with it the time of what is in flight.
            interface.sent(now_ns)?;
            if interface.is_ready() && interface.transmitter.queue.publish(&interface.dma)? {
                interface.transport.notify(&interface.transmitter.queue);
            }
            Ok(())
        })
    }

    fn set_quiet(&mut self, is_quiet: bool) {
        if is_quiet != self.is_quiet {
            self.is_quiet = is_quiet;
            if self.is_ready() {
                self.attempt(|interface| {
                    interface.receiver.queue.set_quiet(is_quiet)?;
                    interface.transmitter.queue.set_quiet(is_quiet)
                });
            }
        }
    }

    fn receive(&mut self, into: &mut Frame) -> bool {
        into.clear();
        let mut is_there = false;
        self.attempt(|interface| {
            is_there = interface.take(into)?;
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
