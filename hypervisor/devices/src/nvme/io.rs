//! NVM commands (NVM Express 1.4, section 6), which go to the medium.

use super::config::NAMESPACE;
use super::transfer::Pieces;
use super::work::Work;
use super::{Nvme, Shutdown};
use crate::device::{Context, DeviceEffect, Operation, Request, RequestFault};
use access::GuestMemory;
use spec::Gpa;
use spec::nvme::command::nvm;
use spec::nvme::{ALL_NAMESPACES, Command, Status};

/// FUA of read and write: dword 12, bit 30. The data survives a loss of power once the command is
/// answered.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;

/// What a command asks of the medium.
struct Plan {
    operation: Operation,
    /// Bytes from the medium's start.
    at: u64,
    pieces: Pieces,
    then_flush: bool,
}

impl Nvme {
    pub(super) fn start_io(&mut self, queue: u16, command: &Command, context: &mut Context<'_>) {
        let identifier = command.identifier;
        let started = match self.plan(command, context.memory) {
            Ok(Some(plan)) => self.submit(queue, identifier, &plan, context),
            // There is nothing to do.
            Ok(None) => return self.answer(queue, identifier, Ok(0), context),
            Err(status) => Err(status.final_answer()),
        };
        if let Err(status) = started {
            self.answer(queue, identifier, Err(status), context);
        }
    }

    fn plan(&self, command: &Command, memory: &dyn GuestMemory) -> Result<Option<Plan>, Status> {
        // Nothing is fused, and data is described by PRPs.
        if command.flags != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let operation = match command.opcode {
            nvm::READ => Operation::Read,
            nvm::WRITE => Operation::Write,
            nvm::FLUSH => Operation::Flush,
            _ => return Err(Status::INVALID_OPCODE),
        };
        let is_flush = operation == Operation::Flush;
        if command.namespace != NAMESPACE && !(is_flush && command.namespace == ALL_NAMESPACES) {
            return Err(Status::INVALID_NAMESPACE);
        }
        if is_flush {
            let plan = Plan { operation, at: 0, pieces: Pieces::NONE, then_flush: false };
            return Ok(self.config.writable.then_some(plan));
        }
        let shift = self.config.block.shift();
        let first = command.first_block();
        let end = first.checked_add(command.blocks().into());
        if end.is_none_or(|end| end > self.config.blocks()) {
            return Err(Status::BLOCK_OUT_OF_RANGE);
        }
        let is_write = operation == Operation::Write;
        if is_write && !self.config.writable {
            return Err(Status::WRITE_PROTECTED);
        }
        let pieces = Pieces::of(command, u64::from(command.blocks()) << shift, memory)?;
        let is_forced = command.dword12() & FORCE_UNIT_ACCESS != 0 || !self.features.write_cache();
        Ok(Some(Plan { operation, at: first << shift, pieces, then_flush: is_write && is_forced }))
    }

    /// Gives the medium all requests of a command. Whoever took the command knows that there is room.
    fn submit(
        &mut self,
        queue: u16,
        identifier: u16,
        plan: &Plan,
        context: &mut Context<'_>,
    ) -> Result<(), Status> {
        let Plan { operation, mut at, ref pieces, then_flush } = *plan;
        let requests = pieces.count().max(1);
        if context.effects.room() < requests {
            return Err(Status::INTERNAL_ERROR);
        }
        let work = Work::Command { queue, identifier, operation, then_flush };
        let tag = self.slots.take(work, requests as u32).ok_or(Status::INTERNAL_ERROR)?;
        if operation == Operation::Flush {
            context.effects.push(flush(tag));
        }
        for piece in pieces.iter() {
            let request = Request { tag, operation, at, gpa: piece.gpa, bytes: piece.bytes };
            context.effects.push(DeviceEffect::Submit(request));
            at = at.saturating_add(piece.bytes.into());
        }
        Ok(())
    }

    /// Starts the flush that a shutdown ends with, and says how far that is.
    pub(super) fn submit_flush(&mut self, context: &mut Context<'_>) -> Shutdown {
        if context.effects.room() == 0 {
            return Shutdown::Draining;
        }
        let Some(tag) = self.slots.take(Work::Shutdown, 1) else { return Shutdown::Draining };
        context.effects.push(flush(tag));
        Shutdown::Flushing
    }

    /// All requests of a tag are done.
    pub(super) fn finish_work(&mut self, work: Work, fault: Option<RequestFault>, context: &mut Context<'_>) {
        // A shutdown has no word for a flush that failed, and goes on.
        let Work::Command { queue, identifier, operation, then_flush } = work else { return };
        let mut outcome = match fault {
            Some(fault) => Err(status_of(fault, operation)),
            None => Ok(0),
        };
        if outcome.is_ok() && then_flush {
            let operation = Operation::Flush;
            let plan = Plan { operation, at: 0, pieces: Pieces::NONE, then_flush: false };
            match self.submit(queue, identifier, &plan, context) {
                Ok(()) => return,
                Err(status) => outcome = Err(status),
            }
        }
        self.answer(queue, identifier, outcome, context);
    }
}

/// The effect that flushes.
const fn flush(tag: u32) -> DeviceEffect {
    DeviceEffect::Submit(Request { tag, operation: Operation::Flush, at: 0, gpa: Gpa(0), bytes: 0 })
}

const fn status_of(fault: RequestFault, operation: Operation) -> Status {
    match (fault, operation) {
        (RequestFault::Memory, _) => Status::DATA_TRANSFER_ERROR.final_answer(),
        (RequestFault::Range, _) => Status::BLOCK_OUT_OF_RANGE.final_answer(),
        (RequestFault::ReadOnly, _) => Status::WRITE_PROTECTED.final_answer(),
        (RequestFault::NoSpace, _) => Status::CAPACITY_EXCEEDED.final_answer(),
        (RequestFault::Medium, Operation::Read) => Status::READ_ERROR,
        (RequestFault::Medium, _) => Status::WRITE_FAULT,
    }
}
