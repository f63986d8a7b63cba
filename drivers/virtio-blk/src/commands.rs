//! The requests that the device has, and which piece of a drive's request each carries out.
//!
//! Each slot has descriptors of its own, and a place in memory for what the device reads and writes
//! beside the data. Where the device takes tables of descriptors a slot is one descriptor that stands for
//! one; else it is three, and then data is in one segment, a request's own buffer.

use crate::limits::Limits;
use access::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use block::{Cause, Fault, Operation, Piece, Requests};
use spec::address::PAGE_BYTES;
use spec::virtio::block::{HEADER_BYTES, ID_BYTES, RANGE_BYTES, request, status};
use spec::virtio::split::{DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, Descriptor};
use spec::{Gpa, Iova};
use virtio::{Error, Queue, Used};

/// Descriptors of a slot where there are no tables: header, data, status.
const DIRECT: u16 = 3;
/// What a slot has in memory: bytes from its start.
const HEADER: usize = 0;
const RANGE: usize = HEADER + HEADER_BYTES;
const STATUS: usize = RANGE + RANGE_BYTES;
const ID: usize = STATUS + 4;
const TABLE: usize = 64;
/// A status that no device gives: what stands there before one does.
const NO_STATUS: u8 = 0xff;

const _: () = assert!(ID + ID_BYTES <= TABLE);

/// A request that the device has.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// What it carries out; `None` for the question who the device is.
    piece: Option<Piece>,
    /// Bytes that it may write, the status among them.
    writable: u32,
    until_ns: u64,
}

/// What came of a request.
pub(crate) enum Ended {
    /// A piece of a drive's request, which knows.
    Piece,
    /// The question who the device is; its answer, if it had one.
    Identity([u8; ID_BYTES]),
}

/// Requests, and what the device has of them.
#[derive(Debug)]
pub(crate) struct Commands<B> {
    pub requests: Requests<B>,
    flights: Box<[Option<Flight>]>,
    /// Which slots have a flight, and how many slots there are with the queue as it is.
    taken: u64,
    usable: u16,
    /// Descriptors of a slot, as the device takes them.
    stride: u16,
    /// No flight is late before this; there is none without it.
    deadline_ns: Option<u64>,
    areas: B,
    area_bytes: usize,
    /// The most segments of a request's data, wherever it begins.
    segments: usize,
}

/// The most segments of `request_bytes` bytes in whole pages.
pub(crate) const fn segments(request_bytes: usize) -> usize {
    request_bytes.div_ceil(PAGE_BYTES as usize) + 1
}

/// Bytes of what all slots have in memory.
pub(crate) const fn area_bytes(request_bytes: usize) -> usize {
    (TABLE + (segments(request_bytes) + 2) * Descriptor::BYTES).next_multiple_of(64)
}

impl<B: DmaBuffer> Commands<B> {
    /// Room for `requests` requests of `request_bytes` bytes each, of which the device has at most
    /// `slots` at a time, 64 at most.
    pub fn new<D: DmaMemory<Buffer = B>>(
        dma: &mut D,
        requests: u16,
        request_bytes: usize,
        slots: u16,
    ) -> Result<Self, Error> {
        let page = PAGE_BYTES as usize;
        let area_bytes = area_bytes(request_bytes);
        let areas = (usize::from(slots) * area_bytes).next_multiple_of(page);
        Ok(Self {
            requests: Requests::new(dma, requests, request_bytes, page).ok_or(Error::NoMemory)?,
            flights: core::iter::repeat_n(None, slots.into()).collect(),
            taken: 0,
            usable: 0,
            stride: DIRECT,
            deadline_ns: None,
            areas: dma.allocate(areas, page).ok_or(Error::NoMemory)?,
            area_bytes,
            segments: segments(request_bytes),
        })
    }

    /// Divides a queue of `size` descriptors into slots.
    pub fn divide(&mut self, size: u16, limits: &Limits) -> Result<(), Error> {
        self.stride = if limits.has_tables { 1 } else { DIRECT };
        let slots = if limits.has_tables { size } else { size / DIRECT };
        self.usable = slots.min(self.flights.len() as u16);
        if self.usable == 0 { Err(Error::Size { queue: 0, entries: size }) } else { Ok(()) }
    }

    /// Whether a request's data can be in as many segments as it has pages, with a queue of `size`
    /// descriptors: no chain has more than that, in a table or not (section 2.7.5.3.1).
    pub fn can_lend(&self, size: u16, limits: &Limits) -> bool {
        limits.has_tables
            && limits.segments as usize >= self.segments
            && usize::from(size) >= self.segments + 2
    }

    pub const fn in_flight(&self) -> u32 {
        self.taken.count_ones()
    }

    /// When [`check_late`](Self::check_late) is due: no later than the first request is late.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Whether a request is late, as an error.
    pub fn check_late(&mut self, now_ns: u64) -> Result<(), Error> {
        self.deadline_ns = self.flights.iter().flatten().map(|flight| flight.until_ns).min();
        match self.deadline_ns {
            Some(until_ns) if until_ns <= now_ns => Err(Error::Late(0)),
            _ => Ok(()),
        }
    }

    /// Gives the device the next piece, if there is one and room for it. Whether it was given.
    pub fn next(&mut self, queue: &mut Queue<B>, limits: &Limits, until_ns: u64) -> Result<bool, Error> {
        while let Some(slot) = self.free_slot() {
            let most = |operation| limits.most_blocks(operation);
            let Some(piece) = self.requests.next_piece(most, limits.geometry) else { return Ok(false) };
            // A device without a cache has written what it said to have (section 5.2.6.2).
            if piece.operation == Operation::Flush && !limits.can_flush {
                self.requests.finish(piece, Ok(()));
                continue;
            }
            self.send(queue, slot, &piece, limits, until_ns)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn send(
        &mut self,
        queue: &mut Queue<B>,
        slot: u16,
        piece: &Piece,
        limits: &Limits,
        until_ns: u64,
    ) -> Result<(), Error> {
        let kind = match piece.operation {
            Operation::Read => request::IN,
            Operation::Write => request::OUT,
            Operation::Flush => request::FLUSH,
            Operation::Discard => request::DISCARD,
            Operation::WriteZeroes => request::WRITE_ZEROES,
        };
        let sector = limits.sector(piece.first_block);
        let mut chain = self.begin(slot, kind, if piece.operation.moves_data() { sector } else { 0 })?;
        let mut writable = 1;
        match piece.operation {
            Operation::Read => {
                writable += piece.bytes as u32;
                self.data(queue, &mut chain, piece, DESCRIPTOR_WRITE)?;
            }
            Operation::Write => self.data(queue, &mut chain, piece, 0)?,
            Operation::Flush => {}
            Operation::Discard | Operation::WriteZeroes => {
                let at = self.area(slot) + RANGE;
                self.areas.write64(at, sector)?;
                // Of 32 bits: that many the device says to take at most. No flags.
                self.areas.write64(at + 8, limits.sector(piece.blocks.into()))?;
                self.add(queue, &mut chain, self.at(at), RANGE_BYTES as u32, 0)?;
            }
        }
        self.end(queue, chain, Flight { piece: Some(*piece), writable, until_ns })
    }

    /// Asks the device who it is. There is no other request.
    pub fn ask_identity(&mut self, queue: &mut Queue<B>, until_ns: u64) -> Result<(), Error> {
        let mut chain = self.begin(0, request::GET_ID, 0)?;
        let at = self.area(0) + ID;
        self.areas.write(at, &[0; ID_BYTES])?;
        self.add(queue, &mut chain, self.at(at), ID_BYTES as u32, DESCRIPTOR_WRITE)?;
        self.end(queue, chain, Flight { piece: None, writable: ID_BYTES as u32 + 1, until_ns })
    }

    /// Begins the chain of a slot that is free, with its header.
    fn begin(&mut self, slot: u16, kind: u32, sector: u64) -> Result<Chain, Error> {
        let at = self.area(slot);
        self.areas.write64(at + HEADER, kind.into())?;
        self.areas.write64(at + HEADER + 8, sector)?;
        self.areas.write(at + STATUS, &[NO_STATUS])?;
        Ok(Chain { slot, segments: 0, pending: segment(self.at(at + HEADER), HEADER_BYTES as u32, 0) })
    }

    /// The segments of a piece's data: pages that lie behind each other are one.
    fn data(&self, queue: &Queue<B>, chain: &mut Chain, piece: &Piece, flags: u16) -> Result<(), Error> {
        let (mut run, mut left, mut number) = ((piece.data, 0_u64), piece.bytes, 0);
        while left > 0 {
            let at = if number == 0 { piece.data } else { self.requests.page(piece, number) };
            let bytes = left.min(PAGE_BYTES - at.page_offset());
            let (start, length) = run;
            run = if start.checked_add(length) == Some(at) {
                (start, length + bytes)
            } else {
                self.add(queue, chain, start, length as u32, flags)?;
                (at, bytes)
            };
            left -= bytes;
            number += 1;
        }
        self.add(queue, chain, run.0, run.1 as u32, flags)
    }

    /// Puts a segment behind those of a chain: what was the last is written, for now it has a next.
    fn add(
        &self,
        queue: &Queue<B>,
        chain: &mut Chain,
        at: Iova,
        bytes: u32,
        flags: u16,
    ) -> Result<(), Error> {
        let last = core::mem::replace(&mut chain.pending, segment(at, bytes, flags));
        let next = chain.segments + 1;
        self.describe(queue, chain.slot, chain.segments, last, Some(next))?;
        chain.segments = next;
        Ok(())
    }

    /// Puts the status behind a chain, and makes it available.
    fn end(&mut self, queue: &mut Queue<B>, mut chain: Chain, flight: Flight) -> Result<(), Error> {
        let slot = chain.slot;
        let status = self.at(self.area(slot) + STATUS);
        self.add(queue, &mut chain, status, 1, DESCRIPTOR_WRITE)?;
        self.describe(queue, slot, chain.segments, chain.pending, None)?;
        if self.stride == 1 {
            let bytes = u32::from(chain.segments + 1) * Descriptor::BYTES as u32;
            queue.describe(slot, segment(self.at(self.area(slot) + TABLE), bytes, DESCRIPTOR_INDIRECT))?;
        }
        self.deadline_ns = self.deadline_ns.into_iter().chain([flight.until_ns]).min();
        *self.flights.get_mut(usize::from(slot)).ok_or(Error::Buffer)? = Some(flight);
        self.taken |= 1 << slot;
        queue.offer(slot * self.stride)
    }

    /// Writes segment `index` of a slot's chain, in its table or in the queue.
    fn describe(
        &self,
        queue: &Queue<B>,
        slot: u16,
        index: u16,
        segment: Descriptor,
        next: Option<u16>,
    ) -> Result<(), Error> {
        let link = |first: u16, segment: Descriptor| match next {
            Some(next) => {
                Descriptor { flags: segment.flags | DESCRIPTOR_NEXT, next: first + next, ..segment }
            }
            None => segment,
        };
        if self.stride != 1 {
            if index >= DIRECT {
                return Err(Error::Buffer);
            }
            let first = slot * DIRECT;
            return queue.describe(first + index, link(first, segment));
        }
        let at = TABLE + usize::from(index) * Descriptor::BYTES;
        if at + Descriptor::BYTES > self.area_bytes {
            return Err(Error::Buffer);
        }
        Ok(self.areas.write(self.area(slot) + at, &link(0, segment).encode())?)
    }

    /// A chain was used: what came of it.
    pub fn finish(&mut self, used: Used) -> Result<Ended, Error> {
        let not_given = Error::NotGiven { queue: 0, id: used.head.into() };
        let slot = used.head.checked_div(self.stride).filter(|slot| slot * self.stride == used.head);
        let slot = slot.ok_or(not_given)?;
        let flight = self.flights.get_mut(usize::from(slot)).and_then(Option::take).ok_or(not_given)?;
        self.taken &= !(1 << slot);
        if self.taken == 0 {
            self.deadline_ns = None;
        }
        // The device is failed for that, and this request with it.
        if used.bytes > flight.writable {
            if let Some(piece) = flight.piece {
                self.requests.finish(piece, Err(Fault::Drive));
            }
            return Err(Error::Length { queue: 0, bytes: used.bytes });
        }
        let mut answer = [NO_STATUS];
        self.areas.read(self.area(slot) + STATUS, &mut answer)?;
        // Devices differ in whether they count a status that is all there is: data counts.
        let outcome = outcome(answer, flight.writable > 1 && used.bytes < flight.writable);
        match flight.piece {
            Some(piece) => {
                self.requests.finish(piece, outcome);
                Ok(Ended::Piece)
            }
            None => {
                let mut id = [0; ID_BYTES];
                if outcome.is_ok() {
                    self.areas.read(self.area(slot) + ID, &mut id)?;
                }
                Ok(Ended::Identity(id))
            }
        }
    }

    /// The device will be done with nothing any more; see [`Requests::fail`].
    pub fn fail(&mut self, is_quiet: bool) {
        self.flights.fill(None);
        (self.taken, self.deadline_ns) = (0, None);
        self.requests.fail(is_quiet);
    }

    fn free_slot(&self) -> Option<u16> {
        let slot = self.taken.trailing_ones() as u16;
        (slot < self.usable).then_some(slot)
    }

    fn area(&self, slot: u16) -> usize {
        usize::from(slot) * self.area_bytes
    }

    fn at(&self, offset: usize) -> Iova {
        Iova(self.areas.iova().0.wrapping_add(offset as u64))
    }
}

/// A chain that is being made, without its last segment.
struct Chain {
    slot: u16,
    /// Segments that were written.
    segments: u16,
    /// The last, which is not.
    pending: Descriptor,
}

/// A segment in the device's memory; the descriptor's type says guest, which the device's side is here.
const fn segment(at: Iova, bytes: u32, flags: u16) -> Descriptor {
    Descriptor { gpa: Gpa(at.0), bytes, flags, next: 0 }
}

/// What is told of a request that ended with this status, and `is_short` of data.
const fn outcome([answer]: [u8; 1], is_short: bool) -> Result<(), Fault> {
    let name = match answer {
        status::OK if is_short => "less data than was asked for",
        status::OK => return Ok(()),
        status::IO_ERROR => "I/O error",
        status::UNSUPPORTED => "unsupported request",
        _ => "an answer without a name",
    };
    let cause = Cause { name, code: answer as u16 };
    Err(if answer == status::IO_ERROR { Fault::Medium(cause) } else { Fault::Command(cause) })
}
