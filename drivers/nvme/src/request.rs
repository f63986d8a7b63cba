//! Requests: what was asked for, cut into what a command can move.

use crate::error::{Error, Fault, Refused};
use crate::identify::Namespace;
use crate::prp;
use access::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use spec::nvme::command::nvm;
use spec::nvme::{Command, PAGE_BYTES, Status};

/// The namespace that the driver uses.
pub(crate) const NAMESPACE: u32 = 1;

/// The most blocks of one command (NLB has 16 bits).
const MOST_BLOCKS: u64 = 1 << 16;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// From the medium to the request's buffer.
    Read,
    /// From the request's buffer to the medium.
    Write,
    /// What was written by requests that were done before it survives a loss of power.
    Flush,
}

/// What a request is known by, from its submission to its release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    slot: u16,
    turn: u32,
}

/// A request that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Which one.
    pub tag: Tag,
    /// What it did.
    pub operation: Operation,
    /// Bytes of its data.
    pub bytes: usize,
    /// What came of it.
    pub outcome: Result<(), Fault>,
}

/// A request's state.
#[derive(Clone, Copy, Debug)]
struct Request {
    operation: Operation,
    first_block: u64,
    /// Blocks, or 1 for a flush; how many of them were given to the controller, and came back.
    blocks: u32,
    issued: u32,
    finished: u32,
    bytes: usize,
    /// The first thing that went wrong.
    outcome: Result<(), Fault>,
    /// Its place in the order of submission while it runs, then of those that are over.
    order: u64,
    is_over: bool,
}

impl Request {
    /// Whether commands for it may still be made.
    const fn wants_more(&self) -> bool {
        !self.is_over && self.outcome.is_ok() && self.issued < self.blocks
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    turn: u32,
    request: Option<Request>,
}

/// What the command of a slot of the queue is for.
#[derive(Clone, Copy, Debug)]
struct Piece {
    slot: usize,
    blocks: u32,
}

/// All requests, with the buffers for their data and for the lists of their commands.
#[derive(Debug)]
pub(crate) struct Requests<B> {
    slots: Box<[Slot]>,
    pieces: Box<[Option<Piece>]>,
    data: B,
    lists: B,
    request_bytes: usize,
    /// Counts submissions and ends.
    order: u64,
}

impl<B: DmaBuffer> Requests<B> {
    /// Room for `requests` requests of `request_bytes` bytes each, a multiple of 4096, and for
    /// `commands` commands.
    pub fn new<D: DmaMemory<Buffer = B>>(
        dma: &mut D,
        requests: u16,
        request_bytes: usize,
        commands: u16,
    ) -> Result<Self, Error> {
        let page = PAGE_BYTES as usize;
        let data = usize::from(requests).checked_mul(request_bytes).ok_or(Error::Sizes)?;
        Ok(Self {
            slots: core::iter::repeat_n(Slot::default(), requests.into()).collect(),
            pieces: core::iter::repeat_n(None, commands.into()).collect(),
            data: dma.allocate(data, page).ok_or(Error::NoMemory)?,
            lists: dma.allocate(usize::from(commands) * page, page).ok_or(Error::NoMemory)?,
            request_bytes,
            order: 0,
        })
    }

    /// Takes a request for `blocks` blocks of `namespace`, with `data` where it writes.
    pub fn submit(
        &mut self,
        operation: Operation,
        first_block: u64,
        blocks: u64,
        data: &[u8],
        namespace: Namespace,
    ) -> Result<Tag, Refused> {
        if operation == Operation::Write && namespace.is_read_only {
            return Err(Refused::ReadOnly);
        }
        let too_large = Refused::TooLarge(self.request_bytes);
        let (blocks, bytes) = if operation == Operation::Flush {
            (1, 0)
        } else {
            let bytes = blocks.checked_mul(namespace.block_bytes.into()).ok_or(too_large)?;
            let bytes = usize::try_from(bytes).map_err(|_| too_large)?;
            check_range(first_block, blocks, namespace)?;
            (u32::try_from(blocks).map_err(|_| too_large)?, bytes)
        };
        if bytes > self.request_bytes {
            return Err(too_large);
        }
        let free = self.slots.iter_mut().enumerate().find(|(_, slot)| slot.request.is_none());
        let (index, slot) = free.ok_or(Refused::Busy)?;
        self.data.write(index * self.request_bytes, data).map_err(|_| too_large)?;
        self.order += 1;
        slot.turn = slot.turn.wrapping_add(1);
        slot.request = Some(Request {
            operation,
            first_block,
            blocks,
            issued: 0,
            finished: 0,
            bytes,
            outcome: Ok(()),
            order: self.order,
            is_over: false,
        });
        Ok(Tag { slot: index as u16, turn: slot.turn })
    }

    /// The next command, for the slot `queue_slot` of the queue: the next piece, of at most
    /// `most_bytes` bytes, of the request that was submitted first.
    pub fn next_command(
        &mut self,
        queue_slot: usize,
        most_bytes: u64,
        namespace: Namespace,
    ) -> Result<Option<Command>, Error> {
        let requests = self.slots.iter_mut().enumerate();
        let running = requests.filter_map(|(index, slot)| Some((index, slot.request.as_mut()?)));
        let first = running.filter(|(_, r)| r.wants_more()).min_by_key(|(_, r)| r.order);
        let Some((index, request)) = first else { return Ok(None) };

        let block_bytes = u64::from(namespace.block_bytes);
        let most_blocks = (most_bytes / block_bytes).min(MOST_BLOCKS) as u32;
        let blocks = (request.blocks - request.issued).min(most_blocks);
        let opcode = match request.operation {
            Operation::Read => nvm::READ,
            Operation::Write => nvm::WRITE,
            Operation::Flush => nvm::FLUSH,
        };
        let command = if request.operation == Operation::Flush {
            Command { opcode, namespace: NAMESPACE, ..Command::default() }
        } else {
            let done_bytes = u64::from(request.issued) * block_bytes;
            let start = (index * self.request_bytes) as u64 + done_bytes;
            let data = self.data.iova().checked_add(start).ok_or(Error::Buffer)?;
            let bytes = u64::from(blocks) * block_bytes;
            let prps = prp::entries(data, bytes, &self.lists, queue_slot * PAGE_BYTES as usize)?;
            let first_block = request.first_block + u64::from(request.issued);
            Command::transfer(opcode, 0, NAMESPACE, first_block, blocks, prps)
        };
        request.issued += blocks;
        *self.pieces.get_mut(queue_slot).ok_or(Error::Buffer)? = Some(Piece { slot: index, blocks });
        Ok(Some(command))
    }

    /// The command of `queue_slot` is done.
    pub fn finish(&mut self, queue_slot: usize, status: Status) {
        let Some(piece) = self.pieces.get_mut(queue_slot).and_then(Option::take) else { return };
        let Some(slot) = self.slots.get_mut(piece.slot) else { return };
        let Some(request) = &mut slot.request else { return };
        request.finished += piece.blocks;
        if !status.is(Status::SUCCESS) {
            request.outcome = request.outcome.and(Err(Fault::Command(status)));
        }
        // Once a command failed no more are made, and the request is over with the last of them.
        if request.finished == request.issued && !request.wants_more() {
            self.order += 1;
            (request.is_over, request.order) = (true, self.order);
        }
    }

    /// No command will be completed any more.
    pub fn fail(&mut self) {
        self.pieces.fill(None);
        for request in self.slots.iter_mut().filter_map(|slot| slot.request.as_mut()) {
            if !request.is_over {
                self.order += 1;
                request.outcome = request.outcome.and(Err(Fault::Controller));
                (request.is_over, request.order) = (true, self.order);
            }
        }
    }

    /// The request that was over first of those that are over and not released.
    pub fn next_done(&self) -> Option<Done> {
        let requests = self.slots.iter().enumerate();
        let over = requests.filter_map(|(index, slot)| Some((index, slot.turn, slot.request?)));
        let (index, turn, first) = over.filter(|(.., r)| r.is_over).min_by_key(|(.., r)| r.order)?;
        let tag = Tag { slot: index as u16, turn };
        Some(Done { tag, operation: first.operation, bytes: first.bytes, outcome: first.outcome })
    }

    /// Copies data of a read that is over, from `offset` on. `None`, and nothing is copied, where
    /// there is no such data.
    pub fn copy(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        let request = self.over(tag)?;
        let end = offset.checked_add(into.len())?;
        if request.operation != Operation::Read || request.outcome.is_err() || end > request.bytes {
            return None;
        }
        self.data.read(usize::from(tag.slot) * self.request_bytes + offset, into).ok()
    }

    /// Has its room for another one. Nothing happens where it is not over.
    pub fn release(&mut self, tag: Tag) {
        if self.over(tag).is_some()
            && let Some(slot) = self.slots.get_mut(usize::from(tag.slot))
        {
            slot.request = None;
        }
    }

    fn over(&self, tag: Tag) -> Option<Request> {
        let slot = self.slots.get(usize::from(tag.slot)).filter(|slot| slot.turn == tag.turn)?;
        slot.request.filter(|request| request.is_over)
    }
}

fn check_range(first_block: u64, blocks: u64, namespace: Namespace) -> Result<(), Refused> {
    match first_block.checked_add(blocks) {
        _ if blocks == 0 => Err(Refused::NoBlocks),
        Some(end) if end <= namespace.blocks => Ok(()),
        _ => Err(Refused::BeyondEnd),
    }
}
