//! The requests of a drive: where their data is, their life, and how they are cut into commands.

use crate::fifo::Fifo;
use crate::lent::Lent;
use crate::{Done, Fault, Geometry, Operation, Refused, Tag};
use access::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use spec::Iova;
use spec::address::PAGE_BYTES;

/// Where in its life a request is.
#[derive(Clone, Copy, Debug)]
enum Life {
    Free,
    Reserved,
    Running(Request),
    Over(Request),
}

/// What was submitted.
#[derive(Clone, Copy, Debug)]
struct Request {
    operation: Operation,
    first_block: u64,
    /// Blocks, or 1 for a flush; how many of them were given to the drive, and came back.
    blocks: u32,
    issued: u32,
    finished: u32,
    bytes: usize,
    /// The first thing that went wrong.
    outcome: Result<(), Fault>,
}

impl Request {
    /// Whether commands for it may still be made.
    const fn wants_more(&self) -> bool {
        self.outcome.is_ok() && self.issued < self.blocks
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    turn: u32,
    life: Life,
}

/// A part of a request that one command carries out. Every one comes back by
/// [`finish`](Requests::finish), or all by [`fail`](Requests::fail).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    slot: u16,
    /// Where in its request's data this begins, in bytes.
    start: u64,
    /// What the command does.
    pub operation: Operation,
    /// Its first block; 0 for a flush.
    pub first_block: u64,
    /// Its blocks; 1 for a flush, which has none.
    pub blocks: u32,
    /// Where its data begins; 0 where it has none. How it goes on, [`Requests::page`] tells.
    pub data: Iova,
    /// Bytes of its data; 0 where it has none.
    pub bytes: u64,
}

/// All requests of a drive, with the buffers for their data. Nothing that is done for one of them looks
/// at the others, for this is asked in each turn.
#[derive(Debug)]
pub struct Requests<B> {
    slots: Box<[Slot]>,
    /// Those that are free, those for which commands may be made in the order of submission, and those
    /// that are over in the order in which they were.
    free: Fifo,
    waiting: Fifo,
    over: Fifo,
    data: B,
    /// Where the data of a slot's request is, if it was lent memory for it.
    lent: Box<[Lent]>,
    request_bytes: usize,
}

impl<B: DmaBuffer> Requests<B> {
    /// Room for `requests` requests whose buffers have `request_bytes` bytes each and start at
    /// multiples of `alignment`, a power of two of which `request_bytes` is a multiple. `None`
    /// where there is no memory for them.
    pub fn new<D: DmaMemory<Buffer = B>>(
        dma: &mut D,
        requests: u16,
        request_bytes: usize,
        alignment: usize,
    ) -> Option<Self> {
        let bytes = usize::from(requests).checked_mul(request_bytes)?;
        Some(Self {
            slots: core::iter::repeat_n(Slot { turn: 0, life: Life::Free }, requests.into()).collect(),
            free: Fifo::full(requests),
            waiting: Fifo::new(requests),
            over: Fifo::new(requests),
            data: dma.allocate(bytes, alignment)?,
            lent: (0..requests).map(|_| Lent::new(request_bytes)).collect(),
            request_bytes,
        })
    }

    /// Bytes of each request's buffer.
    pub const fn request_bytes(&self) -> usize {
        self.request_bytes
    }

    /// Where all buffers end: the first address behind them.
    pub fn end(&self) -> Option<Iova> {
        self.data.iova().checked_add(self.data.bytes() as u64)
    }

    /// Reserves a request. A driver allows it only while nothing that it has forgotten can still
    /// be on its way to or from a buffer: once it has reset its drive.
    ///
    /// # Errors
    /// [`Refused::Busy`].
    pub fn reserve(&mut self) -> Result<Tag, Refused> {
        let number = self.free.pop().ok_or(Refused::Busy)?;
        let slot = self.slots.get_mut(usize::from(number)).ok_or(Refused::Busy)?;
        *slot = Slot { turn: slot.turn.wrapping_add(1), life: Life::Reserved };
        let tag = Tag { slot: number, turn: slot.turn };
        if let Some(lent) = self.lent.get_mut(usize::from(number)) {
            lent.clear();
        }
        Ok(tag)
    }

    /// See [`Drive::lend`](crate::Drive::lend).
    pub fn lend(&mut self, tag: Tag, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> bool {
        let is_reserved = matches!(self.life(tag), Some(Life::Reserved));
        let lent = self.lent.get_mut(usize::from(tag.slot)).filter(|_| is_reserved);
        lent.is_some_and(|lent| lent.set(parts))
    }

    /// See [`Drive::put`](crate::Drive::put).
    pub fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        let end = offset.checked_add(bytes.len())?;
        let is_lent = self.lent(tag.slot).is_some();
        if !matches!(self.life(tag)?, Life::Reserved) || end > self.request_bytes || is_lent {
            return None;
        }
        self.data.write(self.place(tag.slot) + offset, bytes).ok()
    }

    /// Takes a request for `blocks` blocks of a drive of this geometry.
    ///
    /// # Errors
    /// All of [`Refused`] but for `NotReady` and `Busy`; it is still reserved then.
    pub fn submit(
        &mut self,
        tag: Tag,
        operation: Operation,
        first_block: u64,
        blocks: u64,
        geometry: Geometry,
    ) -> Result<(), Refused> {
        let Some(Life::Reserved) = self.life(tag) else { return Err(Refused::NotReserved) };
        let (first_block, blocks, bytes) =
            check(operation, first_block, blocks, geometry, self.request_bytes)?;
        if let Some(lent) = self.lent(tag.slot).filter(|lent| lent.bytes() != bytes) {
            return Err(Refused::TooLarge(lent.bytes()));
        }
        let request =
            Request { operation, first_block, blocks, issued: 0, finished: 0, bytes, outcome: Ok(()) };
        if let Some(slot) = self.slots.get_mut(usize::from(tag.slot)) {
            slot.life = Life::Running(request);
            self.waiting.push(tag.slot);
        }
        Ok(())
    }

    /// What the next piece does, if there is one.
    pub fn next_operation(&self) -> Option<Operation> {
        match self.slots.get(usize::from(self.waiting.front()?))?.life {
            Life::Running(request) => Some(request.operation),
            _ => None,
        }
    }

    /// The next piece of the request that was submitted first and has one left. It has at most as
    /// many blocks as `most_blocks` gives for what it does, and at least one.
    pub fn next_piece(
        &mut self,
        most_blocks: impl FnOnce(Operation) -> u32,
        geometry: Geometry,
    ) -> Option<Piece> {
        let slot = self.waiting.front()?;
        let Life::Running(request) = &mut self.slots.get_mut(usize::from(slot))?.life else { return None };
        let operation = request.operation;
        let blocks = (request.blocks - request.issued).min(most_blocks(operation).max(1));
        let first_block = request.first_block + u64::from(request.issued);
        let block_bytes = if operation.moves_data() { u64::from(geometry.block_bytes) } else { 0 };
        let (start, bytes) = (u64::from(request.issued) * block_bytes, u64::from(blocks) * block_bytes);
        request.issued += blocks;
        if !request.wants_more() {
            self.waiting.pop();
        }
        let data = if bytes == 0 { Iova(0) } else { self.data(slot, start) };
        Some(Piece { slot, start, operation, first_block, blocks, data, bytes })
    }

    /// Where the data of a slot's request is, from byte `start` of it on.
    fn data(&self, slot: u16, start: u64) -> Iova {
        match self.lent(slot) {
            Some(lent) => lent.at(start),
            None => Iova(self.data.iova().0 + self.place(slot) as u64 + start),
        }
    }

    /// Where page `number` of a piece's data begins: 0 is that in which it begins, and nothing says
    /// that two pages lie behind each other.
    pub fn page(&self, piece: &Piece, number: u64) -> Iova {
        let before = piece.data.page_offset();
        match number.checked_mul(PAGE_BYTES).and_then(|bytes| bytes.checked_sub(before)) {
            Some(ahead) => self.data(piece.slot, piece.start.saturating_add(ahead)),
            None => piece.data.align_down(PAGE_BYTES),
        }
    }

    /// The command of `piece` is done.
    pub fn finish(&mut self, piece: Piece, outcome: Result<(), Fault>) {
        let Some(slot) = self.slots.get_mut(usize::from(piece.slot)) else { return };
        let Life::Running(request) = &mut slot.life else { return };
        let wanted_more = request.wants_more();
        request.finished = request.finished.saturating_add(piece.blocks);
        request.outcome = request.outcome.and(outcome);
        let wants_more = request.wants_more();
        // Once a command failed no more are made, and the request is over with the last of them.
        if request.finished >= request.issued && !wants_more {
            slot.life = Life::Over(*request);
            self.over.push(piece.slot);
        }
        if wanted_more && !wants_more {
            self.waiting.remove(piece.slot);
        }
    }

    /// No command will be completed any more: all that were submitted are over. But where the drive may
    /// still move data, as `is_quiet` denies, those that were lent memory are not: somebody waits for them
    /// with the memory. The next time that it is they will be.
    pub fn fail(&mut self, is_quiet: bool) {
        for ((slot, lent), number) in self.slots.iter_mut().zip(&self.lent).zip(0..) {
            if let Life::Running(request) = slot.life
                && (is_quiet || !lent.is_set())
            {
                let outcome = request.outcome.and(Err(Fault::Drive));
                slot.life = Life::Over(Request { outcome, ..request });
                self.over.push(number);
            }
        }
        let slots = &self.slots;
        self.waiting.retain(|number| {
            slots.get(usize::from(number)).is_some_and(|slot| matches!(slot.life, Life::Running(_)))
        });
    }

    /// See [`Drive::next_done`](crate::Drive::next_done).
    pub fn next_done(&self) -> Option<Done> {
        let number = self.over.front()?;
        let slot = self.slots.get(usize::from(number))?;
        let Life::Over(first) = slot.life else { return None };
        let tag = Tag { slot: number, turn: slot.turn };
        Some(Done { tag, operation: first.operation, bytes: first.bytes, outcome: first.outcome })
    }

    /// See [`Drive::get`](crate::Drive::get).
    pub fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        let Life::Over(request) = self.life(tag)? else { return None };
        let end = offset.checked_add(into.len())?;
        let has_it = request.operation == Operation::Read && request.outcome.is_ok() && end <= request.bytes;
        if !has_it || self.lent(tag.slot).is_some() {
            return None;
        }
        self.data.read(self.place(tag.slot) + offset, into).ok()
    }

    /// See [`Drive::release`](crate::Drive::release).
    pub fn release(&mut self, tag: Tag) {
        match self.life(tag) {
            Some(Life::Reserved) => {}
            Some(Life::Over(_)) => self.over.remove(tag.slot),
            _ => return,
        }
        if let Some(slot) = self.slots.get_mut(usize::from(tag.slot)) {
            slot.life = Life::Free;
            self.free.push(tag.slot);
        }
    }

    /// Where in its life the request is that `tag` names. `None` where it names none any more.
    fn life(&self, tag: Tag) -> Option<Life> {
        let slot = self.slots.get(usize::from(tag.slot)).filter(|slot| slot.turn == tag.turn)?;
        Some(slot.life)
    }

    /// The memory that a slot's request was lent, if it was.
    fn lent(&self, slot: u16) -> Option<&Lent> {
        self.lent.get(usize::from(slot)).filter(|lent| lent.is_set())
    }

    /// Where in the memory for data a slot's buffer begins.
    fn place(&self, slot: u16) -> usize {
        usize::from(slot) * self.request_bytes
    }
}

/// First block, blocks and bytes of a request that makes sense for a drive of this geometry whose requests
/// have `request_bytes` bytes at most. A flush has one block, so that it counts as one command.
///
/// # Errors
/// All of [`Refused`] but for `NotReady`, `Busy` and `NotReserved`.
pub fn check(
    operation: Operation,
    first_block: u64,
    blocks: u64,
    geometry: Geometry,
    request_bytes: usize,
) -> Result<(u64, u32, usize), Refused> {
    let is_supported = match operation {
        Operation::Flush => return Ok((0, 1, 0)),
        Operation::Read | Operation::Write => true,
        Operation::Discard => geometry.can_discard,
        Operation::WriteZeroes => geometry.can_write_zeroes,
    };
    if operation != Operation::Read && geometry.is_read_only {
        return Err(Refused::ReadOnly);
    }
    if !is_supported {
        return Err(Refused::Unsupported);
    }
    check_range(first_block, blocks, geometry)?;
    let too_large = Refused::TooLarge(request_bytes);
    let block_bytes = if operation.moves_data() { geometry.block_bytes } else { 0 };
    let bytes = blocks.checked_mul(block_bytes.into()).ok_or(too_large)?;
    let bytes = usize::try_from(bytes).ok().filter(|&bytes| bytes <= request_bytes);
    Ok((first_block, u32::try_from(blocks).map_err(|_| too_large)?, bytes.ok_or(too_large)?))
}

fn check_range(first_block: u64, blocks: u64, geometry: Geometry) -> Result<(), Refused> {
    match first_block.checked_add(blocks) {
        _ if blocks == 0 => Err(Refused::NoBlocks),
        Some(end) if end <= geometry.blocks => Ok(()),
        _ => Err(Refused::BeyondEnd),
    }
}

#[cfg(test)]
mod tests;
