//! The commands of a queue, and which piece of a request each is.

use crate::error::{Error, fault};
use crate::prp;
use access::{DmaBuffer, DmaMemory};
use alloc::boxed::Box;
use block::{Geometry, Operation, Piece, Requests};
use spec::nvme::command::{dataset, nvm};
use spec::nvme::{Command, PAGE_BYTES, Status};

/// The namespace that the driver uses.
pub(crate) const NAMESPACE: u32 = 1;

/// The most blocks of one command (NLB has 16 bits).
const MOST_BLOCKS: u64 = 1 << 16;

/// Requests, and what the commands in flight are for.
#[derive(Debug)]
pub(crate) struct Commands<B> {
    pub requests: Requests<B>,
    /// What the command of each slot of the queue carries out.
    pieces: Box<[Option<Piece>]>,
    /// A page for each of them, for its list or range.
    lists: B,
}

impl<B: DmaBuffer> Commands<B> {
    /// Room for `requests` requests of `request_bytes` bytes each, a multiple of 4096, and for
    /// `commands` commands.
    pub fn new<D: DmaMemory<Buffer = B>>(
        dma: &mut D,
        requests: u16,
        request_bytes: usize,
        commands: u16,
    ) -> Result<Self, Error> {
        let page = PAGE_BYTES as usize;
        let lists = usize::from(commands) * page;
        Ok(Self {
            requests: Requests::new(dma, requests, request_bytes, page).ok_or(Error::NoMemory)?,
            pieces: core::iter::repeat_n(None, commands.into()).collect(),
            lists: dma.allocate(lists, page).ok_or(Error::NoMemory)?,
        })
    }

    /// The next command, for the slot `queue_slot` of the queue: the next piece, of at most
    /// `most_bytes` bytes, of the request that was submitted first.
    pub fn next(
        &mut self,
        queue_slot: usize,
        most_bytes: u64,
        geometry: Geometry,
    ) -> Result<Option<Command>, Error> {
        let most_moved =
            most_bytes.checked_div(geometry.block_bytes.into()).unwrap_or(0).min(MOST_BLOCKS) as u32;
        // A range of dataset management has 32 bits for them.
        let most = |operation| if operation == Operation::Discard { u32::MAX } else { most_moved };
        let Some(piece) = self.requests.next_piece(most, geometry) else { return Ok(None) };
        *self.pieces.get_mut(queue_slot).ok_or(Error::Buffer)? = Some(piece);
        let Piece { first_block, blocks, .. } = piece;
        let page = queue_slot * PAGE_BYTES as usize;
        let transfer = |opcode, prps| Command::transfer(opcode, 0, NAMESPACE, first_block, blocks, prps);
        let requests = &self.requests;
        let prps = || {
            prp::entries(piece.data, piece.bytes, |number| requests.page(&piece, number), &self.lists, page)
        };
        Ok(Some(match piece.operation {
            Operation::Read => transfer(nvm::READ, prps()?),
            Operation::Write => transfer(nvm::WRITE, prps()?),
            Operation::WriteZeroes => transfer(nvm::WRITE_ZEROES, [0; 2]),
            Operation::Flush => Command { opcode: nvm::FLUSH, namespace: NAMESPACE, ..Command::default() },
            Operation::Discard => {
                self.lists.write64(page, u64::from(blocks) << 32)?;
                self.lists.write64(page + 8, first_block)?;
                let range = self.lists.iova().checked_add(page as u64).ok_or(Error::Buffer)?;
                Command {
                    opcode: nvm::DATASET_MANAGEMENT,
                    namespace: NAMESPACE,
                    prp1: range.0,
                    dwords: [0, dataset::DEALLOCATE, 0, 0, 0, 0],
                    ..Command::default()
                }
            }
        }))
    }

    /// The command of `queue_slot` is done.
    pub fn finish(&mut self, queue_slot: usize, status: Status) {
        if let Some(piece) = self.pieces.get_mut(queue_slot).and_then(Option::take) {
            let outcome = if status.is(Status::SUCCESS) { Ok(()) } else { Err(fault(status)) };
            self.requests.finish(piece, outcome);
        }
    }

    /// No command will be completed any more; see [`Requests::fail`].
    pub fn fail(&mut self, is_quiet: bool) {
        self.pieces.fill(None);
        self.requests.fail(is_quiet);
    }
}
