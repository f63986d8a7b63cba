//! Admin commands (NVM Express 1.4, section 5). All of them but the deletion of a queue with
//! commands in flight, and the requests for events, are answered at once.

use super::config::{EVENT_REQUESTS, IO_ENTRIES, IO_QUEUES};
use super::queues::{CompletionQueue, LEAST_ENTRIES, SubmissionQueue};
use super::transfer::Pieces;
use super::{Nvme, identify};
use crate::device::Context;
use access::GuestMemory;
use spec::Gpa;
use spec::nvme::command::{admin, create};
use spec::nvme::register::cc;
use spec::nvme::{Command, PAGE_BYTES, Status};

/// IOSQES and IOCQES: entries of 64 and 16 bytes.
const SUBMISSION_ENTRY_SHIFT: u32 = 6;
const COMPLETION_ENTRY_SHIFT: u32 = 4;

/// Abort: dword 0 of the answer where the command was not aborted.
const NOT_ABORTED: u32 = 1;

impl Nvme {
    pub(super) fn start_admin(&mut self, command: &Command, context: &mut Context<'_>) {
        let outcome = match self.do_admin(command, context.memory) {
            Ok(Some(result)) => Ok(result),
            Ok(None) => return,
            // It would be the same the next time.
            Err(status) => Err(status.final_answer()),
        };
        self.answer(0, command.identifier, outcome, context);
    }

    /// Dword 0 of the answer; `None` where the command is not answered now.
    fn do_admin(&mut self, command: &Command, memory: &dyn GuestMemory) -> Result<Option<u32>, Status> {
        // Nothing is fused, and data is described by PRPs.
        if command.flags != 0 {
            return Err(Status::INVALID_FIELD);
        }
        match command.opcode {
            admin::CREATE_COMPLETION_QUEUE => self.create_completion_queue(command)?,
            admin::CREATE_SUBMISSION_QUEUE => self.create_submission_queue(command)?,
            admin::DELETE_COMPLETION_QUEUE => self.delete_completion_queue(command)?,
            admin::DELETE_SUBMISSION_QUEUE => return self.delete_submission_queue(command),
            admin::IDENTIFY => {
                self.page.fill(0);
                identify::identify(command, &self.config, &mut self.page)?;
                Pieces::of(command, PAGE_BYTES, memory)?.fill(&self.page, memory)?;
            }
            admin::GET_LOG_PAGE => self.get_log_page(command, memory)?,
            admin::GET_FEATURES => return self.features.get(command, &self.config).map(Some),
            admin::SET_FEATURES => {
                let has_queues = self.completion.iter().skip(1).any(Option::is_some);
                return self.features.set(command, &self.config, has_queues).map(Some);
            }
            admin::DOORBELL_BUFFER_CONFIG if self.config.is_polled => {
                self.configure_doorbells(command, memory)?;
            }
            // Commands that can be aborted are done by the time that this one is taken, or at
            // the medium.
            admin::ABORT => return Ok(Some(NOT_ABORTED)),
            admin::ASYNCHRONOUS_EVENT_REQUEST => return self.keep_event_request(),
            _ => return Err(Status::INVALID_OPCODE),
        }
        Ok(Some(0))
    }

    fn get_log_page(&mut self, command: &Command, memory: &dyn GuestMemory) -> Result<(), Status> {
        self.page.fill(0);
        let length = identify::log_page(command, &mut self.page)?.min(command.log_bytes());
        let data = self.page.get(..length as usize).ok_or(Status::INTERNAL_ERROR)?;
        // The data pointer is that of all that was asked for, which may be more than there is.
        Pieces::of(command, command.log_bytes(), memory)?.fill(data, memory)
    }

    /// There are no events, so no request is ever answered; it takes no room in the queue.
    fn keep_event_request(&mut self) -> Result<Option<u32>, Status> {
        if self.event_requests == EVENT_REQUESTS {
            return Err(Status::EVENT_REQUEST_LIMIT);
        }
        self.event_requests += 1;
        if let Some(submission) = self.submission_mut(0) {
            submission.in_flight = submission.in_flight.saturating_sub(1);
        }
        if let Some(completion) = self.completion_mut(0) {
            completion.release();
        }
        Ok(None)
    }

    fn create_completion_queue(&mut self, command: &Command) -> Result<(), Status> {
        let place = self.completion.get_mut(usize::from(command.queue()));
        let place = new_queue(command, place)?;
        if cc::completion_entry_shift(self.configuration) != COMPLETION_ENTRY_SHIFT {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        let flags = command.dword11();
        let vector = create::upper(flags);
        if vector >= self.config.messages {
            return Err(Status::INVALID_INTERRUPT_VECTOR);
        }
        let vector = (flags & create::INTERRUPTS != 0).then_some(vector);
        *place = Some(CompletionQueue::new(Gpa(command.prp1), command.queue_entries(), vector));
        Ok(())
    }

    fn create_submission_queue(&mut self, command: &Command) -> Result<(), Status> {
        let completions = create::upper(command.dword11());
        let place = self.submission.get_mut(usize::from(command.queue()));
        let place = new_queue(command, place)?;
        if cc::submission_entry_shift(self.configuration) != SUBMISSION_ENTRY_SHIFT {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        if completions == 0 || completions > IO_QUEUES {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        if !matches!(self.completion.get(usize::from(completions)), Some(Some(_))) {
            return Err(Status::COMPLETION_QUEUE_INVALID);
        }
        *place = Some(SubmissionQueue::new(Gpa(command.prp1), command.queue_entries(), completions));
        Ok(())
    }

    fn delete_completion_queue(&mut self, command: &Command) -> Result<(), Status> {
        let queue = command.queue();
        if queue == 0 || self.completion_mut(queue).is_none() {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        if self.submission.iter().flatten().any(|submission| submission.completions == queue) {
            return Err(Status::INVALID_QUEUE_DELETION);
        }
        if let Some(place) = self.completion.get_mut(usize::from(queue)) {
            *place = None;
        }
        Ok(())
    }

    /// Commands that were not taken yet never are; those at the medium are answered before
    /// the deletion is.
    fn delete_submission_queue(&mut self, command: &Command) -> Result<Option<u32>, Status> {
        let queue = command.queue();
        let submission = match self.submission_mut(queue) {
            Some(submission) if queue != 0 && submission.deletion.is_none() => submission,
            _ => return Err(Status::INVALID_QUEUE_IDENTIFIER),
        };
        if submission.in_flight != 0 {
            submission.deletion = Some(command.identifier);
            return Ok(None);
        }
        if let Some(place) = self.submission.get_mut(usize::from(queue)) {
            *place = None;
        }
        Ok(Some(0))
    }

    /// The last command of a queue that is being deleted was answered.
    pub(super) fn finish_deletion(&mut self, queue: u16, identifier: u16, context: &mut Context<'_>) {
        self.touched.registers = true;
        if let Some(place) = self.submission.get_mut(usize::from(queue)) {
            *place = None;
        }
        self.answer(0, identifier, Ok(0), context);
    }
}

/// The place of a queue to be created, where its identifier, size and address allow it.
fn new_queue<'a, Q>(
    command: &Command,
    place: Option<&'a mut Option<Q>>,
) -> Result<&'a mut Option<Q>, Status> {
    let place = match place {
        Some(place) if place.is_none() && command.queue() != 0 => place,
        _ => return Err(Status::INVALID_QUEUE_IDENTIFIER),
    };
    if command.queue_entries() < LEAST_ENTRIES || command.queue_entries() > u32::from(IO_ENTRIES) {
        return Err(Status::INVALID_QUEUE_SIZE);
    }
    if command.dword11() & create::CONTIGUOUS == 0 {
        return Err(Status::INVALID_FIELD);
    }
    if !command.prp1.is_multiple_of(PAGE_BYTES) {
        return Err(Status::PRP_OFFSET_INVALID);
    }
    Ok(place)
}
