//! A virtio block device (section 5.2).

use super::transport::{Function, MOST_QUEUES};
use super::{Broken, Chain, Queue, Segment, Taken};
use crate::device::{Completion, Context, DeviceEffect, MOST_REQUEST_BYTES, Operation, Request};
use crate::journal::Journal;
use crate::slots::{SLOTS, Slots};
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use serde::{Deserialize, Serialize};
use spec::Gpa;
use spec::virtio::block::{
    HEADER_BYTES, ID_BYTES, RANGE_BYTES, RANGE_UNMAP, SECTOR_BYTES, config, feature, request, status,
};

mod state;
#[cfg(test)]
mod tests;
mod words;

pub use state::STATE_BYTES;
pub(crate) use words::STATE_WORDS;

/// Descriptors of a queue.
const QUEUE_SIZE: u16 = 128;
/// The most pieces of a request's data: segments, or ranges. Each is a request to the medium.
const MOST_PIECES: usize = 64;
/// The most pieces at the medium at a time.
pub(crate) const MOST_AT_MEDIUM: usize = 4 * MOST_PIECES;
/// The most sectors of a range to discard where that costs the same for each number of them.
pub const MOST_DISCARDED: u32 = 1 << 21;
/// The most sectors of a range to write zeroes to.
const MOST_ZEROED: u32 = 1 << 15;

/// What a device is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of a block, of which a request is a multiple: a power of two of at least 512.
    pub block_bytes: u32,
    /// The most bytes of a segment, at most [`MOST_REQUEST_BYTES`]; a request has at most 64 times that.
    pub segment_bytes: u32,
    /// Whether it takes writes.
    pub writable: bool,
    /// Whether it takes discards, and writes zeroes by itself.
    pub can_discard: bool,
    /// See [`can_discard`](Self::can_discard).
    pub can_write_zeroes: bool,
    /// The most sectors of a range to discard, and to write zeroes to if that is less than always.
    pub most_discarded: u32,
    /// How many queues it has, 1 to [`MOST_QUEUES`]; another number is taken for the nearest of these.
    pub queues: u16,
    /// What it calls itself; zeros behind the end.
    pub name: [u8; ID_BYTES],
}

/// Whom a request to the medium is for.
#[derive(Clone, Copy, Debug)]
struct Work {
    queue: usize,
    taken: Taken,
    /// Where its status goes.
    status: Gpa,
    /// Bytes that the device may write before the status.
    room: u32,
    /// Bytes that it writes there where all goes well.
    written: u32,
    /// Whether it is done only when it is flushed.
    flush: bool,
    /// Nobody waits for it any more: its queue was reset.
    is_forgotten: bool,
}

/// What a request asks of the medium.
enum Asked {
    /// To move data between it and the guest: which operation, and from which byte on.
    Move(Operation, u64),
    /// To do the same to ranges, which the data lists.
    Ranges(Operation),
    /// To flush.
    Flush,
    /// Nothing: the name.
    Name,
}

/// The device.
pub struct Block {
    config: Config,
    slots: Slots<Work>,
    /// The request in work.
    chain: Chain,
    /// The queue whose turn it is.
    turn: usize,
    /// The driver does not flush: what it writes is flushed before it is done (section 5.2.6.2).
    writes_through: bool,
    registers: [u8; config::BYTES],
}

impl Block {
    /// A device at power-up.
    pub fn new(mut config: Config) -> Self {
        config.queues = config.queues.clamp(1, MOST_QUEUES as u16);
        let chain = Chain::with_capacity(QUEUE_SIZE);
        Self {
            registers: registers(&config),
            config,
            slots: Slots::new(),
            chain,
            turn: 0,
            writes_through: false,
        }
    }

    /// Takes one request of the queue whose turn it is. Whether there was one in any.
    fn take_one(&mut self, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        for _ in 0..queues.len() {
            let index = if self.turn < queues.len() { self.turn } else { 0 };
            self.turn = index + 1;
            let Some(queue) = queues.get_mut(index) else { break };
            if queue.take(context.memory, &mut self.chain)? {
                self.begin(index, queue, context)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins the request in `chain`. What is wrong with it is answered at once, if it has room for
    /// an answer.
    fn begin(&mut self, index: usize, queue: &mut Queue, context: &mut Context<'_>) -> Result<(), Broken> {
        let writable: u64 = self.chain.writable().iter().map(|segment| u64::from(segment.bytes)).sum();
        let data = writable.checked_sub(1).ok_or(Broken)?;
        let last = self.chain.writable().last().ok_or(Broken)?;
        let status = Gpa(last.gpa.0 + u64::from(last.bytes) - 1);
        let room = data as u32;
        let (taken, written) = (self.chain.taken, 0);
        let mut work = Work { queue: index, taken, status, room, written, flush: false, is_forgotten: false };
        match self.start(&mut work, context) {
            Ok(true) => Ok(()),
            Ok(false) => answer(&work, queue, status::OK, context.memory),
            Err(code) => answer(&work, queue, code, context.memory),
        }
    }

    /// Gives the medium what a request asks for. Whether anything is awaited.
    ///
    /// # Errors
    /// The status of the request.
    fn start(&mut self, work: &mut Work, context: &mut Context<'_>) -> Result<bool, u8> {
        let mut header = [0; HEADER_BYTES];
        gather(self.chain.readable(), context.memory, &mut header).ok_or(status::IO_ERROR)?;
        let asked = self.decode(header)?;
        match &asked {
            Asked::Move(Operation::Read, _) => work.written = work.room,
            Asked::Move(..) | Asked::Ranges(Operation::WriteZeroes) => work.flush = self.writes_through,
            _ => {}
        }
        match asked {
            Asked::Move(operation, at) => self.move_data(*work, operation, at, context)?,
            Asked::Ranges(operation) => self.do_ranges(*work, operation, context)?,
            Asked::Flush if !self.config.writable => return Ok(false),
            Asked::Flush => self.flush(*work, context)?,
            Asked::Name => {
                work.written = work.room.min(ID_BYTES as u32);
                let place = pieces(self.chain.writable(), 0, work.written.into());
                scatter(place, context.memory, &self.config.name).ok_or(status::IO_ERROR)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn flush(&mut self, work: Work, context: &mut Context<'_>) -> Result<(), u8> {
        let tag = self.slots.take(work, 1).ok_or(status::IO_ERROR)?;
        let flush = Request { tag, operation: Operation::Flush, ..Request::default() };
        context.effects.push(DeviceEffect::Submit(flush));
        Ok(())
    }

    fn decode(&self, header: [u8; HEADER_BYTES]) -> Result<Asked, u8> {
        let header = u128::from_le_bytes(header);
        let (kind, sector) = (header as u32, (header >> 64) as u64);
        let at = sector.checked_mul(SECTOR_BYTES).ok_or(status::IO_ERROR);
        let changes = |asked| if self.config.writable { Ok(asked) } else { Err(status::IO_ERROR) };
        match kind {
            request::IN => Ok(Asked::Move(Operation::Read, at?)),
            request::OUT => changes(Asked::Move(Operation::Write, at?)),
            request::FLUSH => Ok(Asked::Flush),
            request::GET_ID => Ok(Asked::Name),
            request::DISCARD if self.config.can_discard => changes(Asked::Ranges(Operation::Discard)),
            request::WRITE_ZEROES if self.config.can_write_zeroes => {
                changes(Asked::Ranges(Operation::WriteZeroes))
            }
            _ => Err(status::UNSUPPORTED),
        }
    }

    /// Reads or writes the request's data, `at` bytes into the medium and on.
    fn move_data(
        &mut self,
        work: Work,
        operation: Operation,
        at: u64,
        context: &mut Context<'_>,
    ) -> Result<(), u8> {
        let (segments, skip, bytes) = match operation {
            Operation::Read => (self.chain.writable(), 0, work.room.into()),
            _ => {
                let all: u64 = self.chain.readable().iter().map(|segment| u64::from(segment.bytes)).sum();
                (self.chain.readable(), HEADER_BYTES as u64, all.saturating_sub(HEADER_BYTES as u64))
            }
        };
        self.config.check(at, bytes)?;
        if bytes > MOST_PIECES as u64 * u64::from(self.config.segment_bytes) {
            return Err(status::IO_ERROR);
        }
        let count = pieces(segments, skip, bytes).take(MOST_PIECES + 1).count();
        if count > MOST_PIECES {
            return Err(status::IO_ERROR);
        }
        let tag = self.slots.take(work, count as u32).ok_or(status::IO_ERROR)?;
        let mut at = at;
        for (gpa, bytes) in pieces(segments, skip, bytes) {
            context.effects.push(DeviceEffect::Submit(Request { tag, operation, at, gpa, bytes }));
            at = at.saturating_add(bytes.into());
        }
        Ok(())
    }

    /// Does `operation` to each range that the request's data lists.
    fn do_ranges(&mut self, work: Work, operation: Operation, context: &mut Context<'_>) -> Result<(), u8> {
        let mut list = [0; HEADER_BYTES + MOST_PIECES * RANGE_BYTES];
        let all: u64 = self.chain.readable().iter().map(|segment| u64::from(segment.bytes)).sum();
        let list = usize::try_from(all).ok().and_then(|all| list.get_mut(..all)).ok_or(status::IO_ERROR)?;
        gather(self.chain.readable(), context.memory, list).ok_or(status::IO_ERROR)?;
        let (ranges, rest) = list.get(HEADER_BYTES..).unwrap_or_default().as_chunks::<RANGE_BYTES>();
        if ranges.is_empty() || !rest.is_empty() {
            return Err(status::IO_ERROR);
        }
        for range in ranges {
            self.config.range(operation, *range)?;
        }
        let tag = self.slots.take(work, ranges.len() as u32).ok_or(status::IO_ERROR)?;
        for range in ranges {
            let (at, bytes) = self.config.range(operation, *range)?;
            context.effects.push(DeviceEffect::Submit(Request { tag, operation, at, gpa: Gpa(0), bytes }));
        }
        Ok(())
    }
}

impl Config {
    /// Whether `bytes` bytes from `at` are blocks of the device, at least one.
    fn check(&self, at: u64, bytes: u64) -> Result<(), u8> {
        let unit = u64::from(self.block_bytes);
        let end = at.checked_add(bytes).filter(|end| end.div_ceil(SECTOR_BYTES) <= self.sectors);
        let is_whole = bytes != 0 && at.is_multiple_of(unit) && bytes.is_multiple_of(unit);
        if end.is_some() && is_whole { Ok(()) } else { Err(status::IO_ERROR) }
    }

    /// The most sectors of a range to write zeroes to.
    fn most_zeroed(&self) -> u32 {
        self.most_discarded.min(MOST_ZEROED)
    }

    /// The bytes of a range that is listed, from where on and how many. Flags that are not known are
    /// an error (section 5.2.6.2).
    fn range(&self, operation: Operation, range: [u8; RANGE_BYTES]) -> Result<(u64, u32), u8> {
        let range = u128::from_le_bytes(range);
        let (sector, sectors, flags) = (range as u64, (range >> 64) as u32, (range >> 96) as u32);
        let (most, known) = match operation {
            Operation::Discard => (self.most_discarded, 0),
            _ => (self.most_zeroed(), RANGE_UNMAP),
        };
        if flags & !known != 0 {
            return Err(status::UNSUPPORTED);
        }
        let at = sector.checked_mul(SECTOR_BYTES).ok_or(status::IO_ERROR)?;
        let bytes = u64::from(sectors) * SECTOR_BYTES;
        self.check(at, bytes)?;
        if sectors > most { Err(status::IO_ERROR) } else { Ok((at, bytes as u32)) }
    }
}

impl Function for Block {
    fn features(&self) -> u64 {
        let Config { writable, can_discard, can_write_zeroes, queues, .. } = self.config;
        let with = |is_so: bool, feature: u64| if is_so { feature } else { 0 };
        feature::SIZE_MAX
            | feature::SEG_MAX
            | feature::BLOCK_SIZE
            | with(writable, feature::FLUSH)
            | with(!writable, feature::READ_ONLY)
            | with(queues > 1, feature::MULTI_QUEUE)
            | with(writable && can_discard, feature::DISCARD)
            | with(writable && can_write_zeroes, feature::WRITE_ZEROES)
    }

    fn queues(&self) -> (u16, u16) {
        (self.config.queues, QUEUE_SIZE)
    }

    fn most_effects(&self) -> usize {
        MOST_AT_MEDIUM
    }

    fn most_requests(&self) -> usize {
        MOST_AT_MEDIUM
    }

    fn read_config(&self, offset: u64) -> u8 {
        usize::try_from(offset).ok().and_then(|place| self.registers.get(place)).copied().unwrap_or(0)
    }

    fn start(&mut self, features: u64) {
        self.writes_through = self.config.writable && features & feature::FLUSH == 0;
    }

    fn poll(&mut self, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        // One call takes no more than this, however fast requests are answered.
        let mut took = false;
        for _ in 0..SLOTS {
            let has_room = !self.slots.is_full()
                && self.slots.pieces() + MOST_PIECES <= MOST_AT_MEDIUM
                && context.effects.room() > MOST_PIECES + queues.len() + 3;
            if !has_room || !self.take_one(queues, context)? {
                break;
            }
            took = true;
        }
        Ok(took)
    }

    fn complete(
        &mut self,
        completion: Completion,
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        let Some((Some(work), fault)) = self.slots.finish(completion) else { return Ok(()) };
        if work.is_forgotten {
            return Ok(());
        }
        let queue = queues.get_mut(work.queue).ok_or(Broken)?;
        if work.flush && fault.is_none() && self.flush(Work { flush: false, ..work }, context).is_ok() {
            return Ok(());
        }
        let code = match fault {
            None => status::OK,
            // There is no other word for any of them (section 5.2.6).
            Some(_) => status::IO_ERROR,
        };
        answer(&work, queue, code, context.memory)
    }

    fn is_idle(&self) -> bool {
        self.slots.is_idle()
    }

    fn orphan(&mut self) {
        self.slots.orphan();
    }

    fn orphan_queue(&mut self, queue: usize) {
        let works = self.slots.works_mut().filter(|work| work.queue == queue);
        works.for_each(|work| work.is_forgotten = true);
    }

    fn is_queue_idle(&self, queue: usize) -> bool {
        self.slots.works().all(|work| work.queue != queue)
    }

    fn reset(&mut self) {
        self.slots.forget();
        self.turn = 0;
        self.writes_through = false;
    }

    fn state_words(&self) -> usize {
        STATE_WORDS
    }

    fn journal(&mut self, at: usize, journal: &mut Journal<'_>) {
        self.say(at, journal);
    }

    fn restore_words(&mut self, words: &[u64], queues: &[Queue]) -> Result<(), RestoreFault> {
        self.take_over_words(words, queues)
    }
}

/// Writes the status of a request, and gives the driver its chain back. What counts as written begins
/// with the first byte and has no gap (section 2.7.8.2); where a request failed it is not known.
fn answer(work: &Work, queue: &mut Queue, code: u8, memory: &dyn GuestMemory) -> Result<(), Broken> {
    memory.write(work.status, &[code]).map_err(|_| Broken)?;
    let written = if code == status::OK { work.written } else { 0 };
    let with_status = if written == work.room { written.saturating_add(1) } else { written };
    queue.put(memory, work.taken, with_status)
}

/// Copies `bytes` to `places`, as many as fit; `None` where that is not memory.
fn scatter(
    places: impl Iterator<Item = (Gpa, u32)>,
    memory: &dyn GuestMemory,
    mut bytes: &[u8],
) -> Option<()> {
    for (gpa, room) in places {
        let (now, rest) = bytes.split_at_checked(room as usize)?;
        memory.write(gpa, now).ok()?;
        bytes = rest;
    }
    Some(())
}

/// Copies the first bytes of `segments` to `into`; `None` where they are fewer, or not memory.
fn gather(segments: &[Segment], memory: &dyn GuestMemory, into: &mut [u8]) -> Option<()> {
    let mut done = 0;
    for (gpa, bytes) in pieces(segments, 0, into.len() as u64) {
        let place = into.get_mut(done..)?.get_mut(..bytes as usize)?;
        memory.read(gpa, place).ok()?;
        done += bytes as usize;
    }
    (done == into.len()).then_some(())
}

/// The pieces of `bytes` bytes of `segments`, without the first `skip`: each is one range of the
/// guest's memory, of at most [`MOST_REQUEST_BYTES`].
fn pieces(segments: &[Segment], mut skip: u64, mut left: u64) -> impl Iterator<Item = (Gpa, u32)> {
    let mut rest = segments.iter();
    let mut open = Segment { gpa: Gpa(0), bytes: 0 };
    core::iter::from_fn(move || {
        while u64::from(open.bytes) <= skip {
            skip -= u64::from(open.bytes);
            open = *rest.next().filter(|_| left > 0)?;
        }
        let gpa = open.gpa.0.checked_add(skip)?;
        let here = u64::from(open.bytes) - skip;
        let now = here.min(left).min(MOST_REQUEST_BYTES.into()) as u32;
        left -= u64::from(now);
        skip += u64::from(now);
        (now != 0).then_some((Gpa(gpa), now))
    })
}

/// The configuration that the driver reads.
fn registers(made: &Config) -> [u8; config::BYTES] {
    let mut bytes = [0; config::BYTES];
    let mut put = |at: usize, value: &[u8]| {
        bytes.get_mut(at..).unwrap_or_default().iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    };
    put(config::CAPACITY, &made.sectors.to_le_bytes());
    put(config::SIZE_MAX, &made.segment_bytes.to_le_bytes());
    put(config::SEG_MAX, &(MOST_PIECES as u32).to_le_bytes());
    put(config::BLOCK_SIZE, &made.block_bytes.to_le_bytes());
    put(config::QUEUES, &made.queues.to_le_bytes());
    put(config::MAX_DISCARD_SECTORS, &made.most_discarded.to_le_bytes());
    put(config::MAX_DISCARD_SEG, &(MOST_PIECES as u32).to_le_bytes());
    put(config::DISCARD_ALIGNMENT, &(made.block_bytes >> 9).to_le_bytes());
    put(config::MAX_ZEROES_SECTORS, &made.most_zeroed().to_le_bytes());
    put(config::MAX_ZEROES_SEG, &(MOST_PIECES as u32).to_le_bytes());
    bytes
}
