//! A virtio network interface (section 5.1): pairs of queues, and the control queue.
//!
//! Somebody serves it: takes the frames that the driver sends, and gives those that it receives. So
//! its [`Transport`](super::Transport) is made as one that is polled.
//!
//! A frame, and the header before it, are copied out of the guest's memory once; what is checked is
//! the copy. A frame that the driver should not have sent (too short, too long, a checksum outside,
//! segments that make no sense, memory that is none) goes nowhere, as it would not on a wire. A buffer
//! for a frame that is no memory, or too small for a header, leaves nobody to tell but the driver: the
//! device needs a reset.

use super::copy::{gather, place, scatter, total};
use super::transport::Function;
use super::{Broken, Chain, Queue, Taken};
use crate::device::{Accepts, Context, Reception};
use crate::journal::Journal;
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use alloc::boxed::Box;
use filter::Filter;
use network::{Frame, LARGEST_BYTES, MacAddress, Parts};
use serde::{Deserialize, Serialize};
use spec::ethernet::{HEADER_BYTES, TAG_BYTES, TYPE};
use spec::virtio::feature::IN_ORDER;
use spec::virtio::net::{Header, config, control, feature, queue};

mod filter;
mod header;
mod pairs;
mod state;
#[cfg(test)]
mod tests;
mod words;

pub use pairs::MOST_PAIRS;
pub use state::STATE_BYTES;
pub(crate) use words::STATE_WORDS;

use pairs::{Pairs, Steering};

/// Descriptors of a queue.
const QUEUE_SIZE: u16 = 256;
/// The most bytes of a command that are looked at.
const COMMAND_BYTES: usize = 512;
/// The most commands of one call.
const COMMANDS_A_CALL: usize = 16;
/// After so many frames commands have their turn, also while frames go on coming.
const FRAMES_A_TURN: u32 = 32;

/// Features that each interface offers.
const FEATURES: u64 = IN_ORDER
    | feature::CHECKSUM
    | feature::GUEST_CHECKSUM
    | feature::MTU
    | feature::MAC
    | feature::GUEST_TCP4
    | feature::GUEST_TCP6
    | feature::HOST_TCP4
    | feature::HOST_TCP6
    | feature::MERGEABLE
    | feature::STATUS
    | feature::CONTROL_QUEUE
    | feature::CONTROL_RECEIVE;

/// What an interface is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Its address.
    pub mac: MacAddress,
    /// The largest payload of a frame that is not to be cut, in bytes; at least 68 (section 5.1.4.1).
    pub mtu: u16,
    /// Whether the driver may change the address: the network takes frames from any.
    pub any_source: bool,
}

/// The interface.
pub struct Net {
    config: Config,
    features: u64,
    filter: Filter,
    pairs: Pairs,
    steering: Steering,
    /// The pair whose turn it is to send.
    turn: usize,
    link_is_up: bool,
    /// The chain in work.
    chain: Chain,
    /// The chains of one frame that is received, and the bytes written to each.
    received: Box<[(Taken, u32)]>,
    command: Box<[u8]>,
    /// Frames since commands were looked for.
    frames: u32,
    /// The filter may be another than when it was committed.
    is_touched: bool,
}

impl Net {
    /// An interface at power-up, of one pair of queues; its link is down.
    pub fn new(config: Config) -> Self {
        Self::with_pairs(config, 1)
    }

    /// As [`new`](Self::new), of `pairs` pairs of queues, 1 to [`MOST_PAIRS`].
    pub fn with_pairs(config: Config, pairs: u16) -> Self {
        Self {
            filter: Filter::new(config.mac),
            pairs: Pairs::new(pairs.clamp(1, MOST_PAIRS)),
            steering: Steering::new(),
            turn: 0,
            config,
            features: 0,
            link_is_up: false,
            chain: Chain::with_capacity(QUEUE_SIZE),
            received: core::iter::repeat_n(Default::default(), QUEUE_SIZE.into()).collect(),
            command: core::iter::repeat_n(0, COMMAND_BYTES).collect(),
            frames: 0,
            is_touched: true,
        }
    }

    const fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Bytes of the largest frame that is not to be cut.
    fn largest_bytes(&self) -> usize {
        usize::from(self.config.mtu) + HEADER_BYTES + TAG_BYTES
    }

    /// Copies the frame of the chain. `None` where it is none that can be sent.
    fn fetch(&self, frame: &mut Frame, memory: &dyn GuestMemory) -> Option<()> {
        let segments = self.chain.readable();
        let mut header = [0; Header::BYTES];
        gather(segments, 0, memory, &mut header)?;
        let bytes = total(segments).checked_sub(Header::BYTES)?;
        let offload = header::decode(&Header::decode(header), bytes, self.features)?;
        let most = if offload.segmentation.is_some() { LARGEST_BYTES } else { self.largest_bytes() };
        if !(HEADER_BYTES..=most).contains(&bytes) {
            return None;
        }
        gather(segments, Header::BYTES, memory, frame.room().get_mut(..bytes)?)?;
        frame.set_len(bytes)?;
        frame.offload = offload;
        let fits = offload.segmentation.is_some() || frame.fits(self.config.mtu.into());
        (fits && header::can_be_cut(frame)).then_some(())
    }

    /// Does the commands that wait. Whether there were some.
    fn do_commands(&mut self, queues: &mut [Queue], memory: &dyn GuestMemory) -> Result<bool, Broken> {
        self.frames = 0;
        let Some(queue) = queues.get_mut(self.pairs.control()) else { return Ok(false) };
        for taken in 0..COMMANDS_A_CALL {
            if !queue.take(memory, &mut self.chain)? {
                return Ok(taken > 0);
            }
            let answer = self.do_command(memory);
            let place = place(self.chain.writable(), 0).ok_or(Broken)?;
            memory.write(place, &[answer]).map_err(|_| Broken)?;
            queue.put(memory, self.chain.taken, 1)?;
        }
        Ok(true)
    }

    /// Does the command of the chain, and gives the answer.
    fn do_command(&mut self, memory: &dyn GuestMemory) -> u8 {
        self.is_touched = true;
        let segments = self.chain.readable();
        let bytes = total(segments);
        let Some(command) = self.command.get_mut(..bytes.min(COMMAND_BYTES)) else { return control::ERROR };
        if gather(segments, 0, memory, command).is_none() {
            return control::ERROR;
        }
        let (class, which) = control::SET_TABLES;
        if bytes > COMMAND_BYTES
            && self.features & feature::CONTROL_RECEIVE != 0
            && command.starts_with(&[class, which])
        {
            self.filter.overflow();
            return control::OK;
        }
        let done = match *command {
            [class, which, low, high] if (class, which) == control::SET_PAIRS => {
                self.pairs.set_active(u16::from_le_bytes([low, high]))
            }
            _ => self.filter.command(command, self.features),
        };
        match done {
            Some(()) if bytes <= COMMAND_BYTES => control::OK,
            _ => control::ERROR,
        }
    }

    /// Copies a frame to buffers of the driver's: all of it, or nothing is used up.
    fn deliver(
        &mut self,
        frame: &Received<'_>,
        queue: &mut Queue,
        memory: &dyn GuestMemory,
    ) -> Result<Reception, Broken> {
        let most = if self.has(feature::MERGEABLE) { self.received.len() } else { 1 };
        let (mut done, mut chains, mut count) = (0, 0, [None; 2]);
        while done < frame.bytes() {
            let slot = self.received.get_mut(chains).filter(|_| chains < most);
            let Some(slot) = slot else {
                queue.untake(self.received.get(..chains).unwrap_or_default())?;
                return Ok(Reception::Unfit);
            };
            if !queue.take(memory, &mut self.chain)? {
                queue.untake(self.received.get(..chains).unwrap_or_default())?;
                return Ok(Reception::NoRoom);
            }
            let buffer = self.chain.writable();
            // The first one has room for the header (section 5.1.6.3.1).
            if total(buffer) < if chains == 0 { Header::BYTES } else { 1 } {
                return Err(Broken);
            }
            if chains == 0 {
                count = [Header::BUFFERS, Header::BUFFERS + 1].map(|at| place(buffer, at));
            }
            let bytes = total(buffer).min(frame.bytes() - done);
            frame.copy(done, bytes, |at, piece| scatter(buffer, at, memory, piece)).ok_or(Broken)?;
            *slot = (self.chain.taken, bytes as u32);
            done += bytes;
            chains += 1;
        }
        if chains > 1 {
            for (place, byte) in count.into_iter().zip((chains as u16).to_le_bytes()) {
                memory.write(place.ok_or(Broken)?, &[byte]).map_err(|_| Broken)?;
            }
        }
        queue.put_all(memory, self.received.get(..chains).unwrap_or_default())?;
        Ok(Reception::Taken)
    }
}

/// A frame with its header, as it is in the driver's buffers.
struct Received<'a> {
    header: [u8; Header::BYTES],
    parts: &'a Parts<'a>,
}

impl Received<'_> {
    fn bytes(&self) -> usize {
        Header::BYTES + self.parts.bytes()
    }

    /// Gives `copy` the `bytes` bytes from `at` on in pieces, each with where it goes of them.
    fn copy(&self, at: usize, bytes: usize, copy: impl Fn(usize, &[u8]) -> Option<()>) -> Option<()> {
        let [addresses, tag, rest] = self.parts.pieces();
        let (mut skip, mut done) = (at, 0);
        for piece in [&self.header, addresses, tag, rest] {
            let begin = skip.min(piece.len());
            skip -= begin;
            let now = (piece.len() - begin).min(bytes - done);
            copy(done, piece.get(begin..begin + now)?)?;
            done += now;
        }
        Some(())
    }
}

impl Function for Net {
    fn features(&self) -> u64 {
        let with = |is_so: bool, feature: u64| if is_so { feature } else { 0 };
        FEATURES
            | with(self.config.any_source, feature::CONTROL_MAC)
            | with(self.pairs.count() > 1, feature::MULTI_QUEUE)
    }

    fn queues(&self) -> (u16, u16) {
        (2 * self.pairs.count() + 1, QUEUE_SIZE)
    }

    fn read_config(&self, offset: u64) -> u8 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let field = |start: usize, bytes: &[u8]| bytes.get(offset - start).copied().unwrap_or(0);
        let status = if self.link_is_up { config::LINK_UP } else { 0 };
        match offset {
            config::MAC..config::STATUS => field(config::MAC, &self.filter.mac().0),
            config::STATUS..config::PAIRS => field(config::STATUS, &status.to_le_bytes()),
            config::PAIRS..config::MTU => field(config::PAIRS, &self.pairs.count().to_le_bytes()),
            config::MTU..config::BYTES => field(config::MTU, &self.config.mtu.to_le_bytes()),
            _ => 0,
        }
    }

    /// What needs another feature holds only with it (section 5.1.3.1).
    fn start(&mut self, features: u64) {
        let without = |missing: u64, which: u64| if features & missing == 0 { which } else { 0 };
        self.features = features
            & !without(feature::CHECKSUM, feature::HOST_TCP4 | feature::HOST_TCP6)
            & !without(feature::GUEST_CHECKSUM, feature::GUEST_TCP4 | feature::GUEST_TCP6)
            & !without(
                feature::CONTROL_QUEUE,
                feature::CONTROL_RECEIVE | feature::CONTROL_MAC | feature::MULTI_QUEUE,
            );
        self.pairs.start(self.has(feature::MULTI_QUEUE));
    }

    fn poll(&mut self, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        self.do_commands(queues, context.memory)
    }

    fn reset(&mut self) {
        self.features = 0;
        self.filter = Filter::new(self.config.mac);
        self.is_touched = true;
        self.pairs.start(false);
        self.steering = Steering::new();
        self.turn = 0;
        self.frames = 0;
    }

    /// Buffers for frames that come are looked at when one comes.
    fn is_notified(&self, queue: usize) -> bool {
        queue == self.pairs.control() || queue % 2 == queue::TRANSMIT
    }

    fn transmit(
        &mut self,
        frame: &mut Frame,
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<bool, Broken> {
        let memory = context.memory;
        self.frames += 1;
        if self.frames > FRAMES_A_TURN {
            self.do_commands(queues, memory)?;
        }
        let active = self.pairs.active();
        for step in 0..active {
            let pair = (self.turn + step) % active.max(1);
            let queue = queues.get_mut(2 * pair + queue::TRANSMIT).ok_or(Broken)?;
            if !queue.take(memory, &mut self.chain)? {
                continue;
            }
            self.turn = pair + 1;
            if self.fetch(frame, memory).is_none() {
                frame.clear();
            } else if active > 1 {
                self.steering.learn(frame.bytes().get(TYPE..).unwrap_or_default(), pair);
            }
            queue.put(memory, self.chain.taken, 0)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn accepts(&self) -> Accepts {
        Accepts {
            checksum: self.has(feature::GUEST_CHECKSUM),
            tcp4: self.has(feature::GUEST_TCP4),
            tcp6: self.has(feature::GUEST_TCP6),
            largest_bytes: self.largest_bytes(),
        }
    }

    fn receive(
        &mut self,
        parts: &Parts<'_>,
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<Reception, Broken> {
        if !self.link_is_up {
            return Ok(Reception::Down);
        }
        if !self.filter.wants(parts) {
            return Ok(Reception::Taken);
        }
        let is_cut = parts.offload.segmentation.is_some();
        let Some(header) = header::encode(parts.offload, self.features) else { return Ok(Reception::Unfit) };
        if !is_cut && parts.bytes() > self.largest_bytes() {
            return Ok(Reception::Unfit);
        }
        let frame = Received { header: header.encode(), parts };
        let [_, _, typed] = parts.pieces();
        let active = self.pairs.active();
        let pair = if active > 1 { self.steering.pair(typed, active) } else { 0 };
        let queue = queues.get_mut(2 * pair + queue::RECEIVE).ok_or(Broken)?;
        self.deliver(&frame, queue, context.memory)
    }

    fn set_link(&mut self, is_up: bool) -> bool {
        core::mem::replace(&mut self.link_is_up, is_up) != is_up
    }

    fn state_words(&self) -> usize {
        STATE_WORDS
    }

    fn journal(&mut self, at: usize, journal: &mut Journal<'_>) {
        self.say(at, journal);
    }

    fn restore_words(&mut self, words: &[u64], _: &[Queue]) -> Result<(), RestoreFault> {
        self.take_over_words(words)
    }
}
