//! The requests of a drive in a compartment, as ring 0 knows them: nothing that the compartment says of a
//! request is believed that was not in flight.

use crate::drive::area::{Completion, Submission};
use alloc::boxed::Box;
use block::{Done, Fault, Fifo, Geometry, Operation, Refused, Tag, check};
use compartment::Ended;

/// Where in its life a request is.
#[derive(Clone, Copy, Debug)]
enum Life {
    Free,
    Reserved,
    /// Submitted; `is_given` to the compartment or not.
    Running {
        request: Request,
        is_given: bool,
    },
    Over {
        request: Request,
        outcome: Result<(), Fault>,
    },
}

/// What was submitted.
#[derive(Clone, Copy, Debug)]
struct Request {
    operation: Operation,
    first_block: u64,
    blocks: u64,
    bytes: usize,
    /// How many requests had changed the medium when this was submitted.
    changes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    turn: u32,
    life: Life,
}

/// All requests of a drive.
pub(crate) struct Slots {
    slots: Box<[Slot]>,
    free: Fifo,
    /// Those that were submitted, in that order: that the compartment has not, and that it has.
    fresh: Fifo,
    given: Fifo,
    /// Those that are over, in the order in which they were.
    over: Fifo,
    request_bytes: usize,
    /// How many requests have changed the medium, and how many of them a flush has made sure of.
    changes: u64,
    flushed: u64,
}

impl Slots {
    pub fn new(requests: u16, request_bytes: usize) -> Self {
        Self {
            slots: core::iter::repeat_n(Slot { turn: 0, life: Life::Free }, requests.into()).collect(),
            free: Fifo::full(requests),
            fresh: Fifo::new(requests),
            given: Fifo::new(requests),
            over: Fifo::new(requests),
            request_bytes,
            changes: 0,
            flushed: 0,
        }
    }

    pub fn has_fresh(&self) -> bool {
        self.fresh.front().is_some()
    }

    pub fn has_given(&self) -> bool {
        self.given.front().is_some()
    }

    /// Whether the drive's cache may hold what somebody was told is written.
    pub const fn is_dirty(&self) -> bool {
        self.changes > self.flushed
    }

    /// Nothing is known any more of what the cache held.
    pub const fn forget_cache(&mut self) {
        self.flushed = self.changes;
    }

    pub fn reserve(&mut self) -> Result<Tag, Refused> {
        let number = self.free.pop().ok_or(Refused::Busy)?;
        let slot = self.slots.get_mut(usize::from(number)).ok_or(Refused::Busy)?;
        *slot = Slot { turn: slot.turn.wrapping_add(1), life: Life::Reserved };
        Ok(Tag::new(number, slot.turn))
    }

    pub fn release(&mut self, tag: Tag) {
        match self.life(tag) {
            Some(Life::Reserved) => {}
            Some(Life::Over { .. }) => self.over.remove(tag.slot()),
            _ => return,
        }
        if let Some(slot) = self.slots.get_mut(usize::from(tag.slot())) {
            slot.life = Life::Free;
            self.free.push(tag.slot());
        }
    }

    /// Where in the memory for data a request's `bytes` bytes from `offset` on are to be put.
    pub fn place_to_put(&self, tag: Tag, offset: usize, bytes: usize) -> Option<usize> {
        let Life::Reserved = self.life(tag)? else { return None };
        self.place(tag, offset, bytes, self.request_bytes)
    }

    /// Where those are that a read has read.
    pub fn place_to_get(&self, tag: Tag, offset: usize, bytes: usize) -> Option<usize> {
        let Life::Over { request, outcome: Ok(()) } = self.life(tag)? else { return None };
        let has_data = request.operation == Operation::Read;
        if has_data { self.place(tag, offset, bytes, request.bytes) } else { None }
    }

    fn place(&self, tag: Tag, offset: usize, bytes: usize, most: usize) -> Option<usize> {
        let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= most);
        is_inside.then(|| usize::from(tag.slot()) * self.request_bytes + offset)
    }

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
        let request = Request { operation, first_block, blocks: blocks.into(), bytes, changes: self.changes };
        if let Some(slot) = self.slots.get_mut(usize::from(tag.slot())) {
            slot.life = Life::Running { request, is_given: false };
            self.fresh.push(tag.slot());
        }
        Ok(())
    }

    /// The next request that the compartment has not, which it is given.
    pub fn give(&mut self) -> Option<Submission> {
        let number = self.fresh.pop()?;
        let slot = self.slots.get_mut(usize::from(number))?;
        let Life::Running { request, is_given } = &mut slot.life else { return None };
        *is_given = true;
        self.given.push(number);
        let Request { operation, first_block, blocks, .. } = *request;
        Some(Submission { slot: number, operation, first_block, blocks })
    }

    /// The compartment says that a request is over.
    ///
    /// # Errors
    /// It was not given such a request, or has said so before.
    pub fn complete(&mut self, completion: Completion) -> Result<(), Ended> {
        let Completion { slot: number, outcome } = completion;
        let stranger = Ended::Answer("a request that it was not given");
        let slot = self.slots.get_mut(usize::from(number)).ok_or(stranger)?;
        let Life::Running { request, is_given: true } = slot.life else { return Err(stranger) };
        slot.life = Life::Over { request, outcome };
        self.given.remove(number);
        self.over.push(number);
        match request.operation {
            _ if outcome.is_err() => {}
            Operation::Write | Operation::Discard | Operation::WriteZeroes => {
                self.changes = self.changes.saturating_add(1);
            }
            Operation::Flush => self.flushed = self.flushed.max(request.changes),
            Operation::Read => {}
        }
        Ok(())
    }

    /// All that was submitted is over, and nobody knows what became of it.
    pub fn fail(&mut self) {
        while let Some(number) = self.given.pop() {
            self.fail_one(number);
        }
        self.fail_fresh();
    }

    /// The same of what the compartment has not.
    pub fn fail_fresh(&mut self) {
        while let Some(number) = self.fresh.pop() {
            self.fail_one(number);
        }
    }

    fn fail_one(&mut self, number: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        if let Life::Running { request, .. } = slot.life {
            slot.life = Life::Over { request, outcome: Err(Fault::Drive) };
            self.over.push(number);
        }
    }

    /// What the compartment was given and has not said to be over is to be given again, in the order in which it was
    /// submitted, before what it was not given.
    pub fn take_back(&mut self) {
        while let Some(number) = self.fresh.pop() {
            self.given.push(number);
        }
        core::mem::swap(&mut self.fresh, &mut self.given);
        for slot in &mut self.slots {
            if let Life::Running { is_given, .. } = &mut slot.life {
                *is_given = false;
            }
        }
    }

    pub fn next_done(&self) -> Option<Done> {
        let number = self.over.front()?;
        let slot = self.slots.get(usize::from(number))?;
        let Life::Over { request, outcome } = slot.life else { return None };
        let tag = Tag::new(number, slot.turn);
        Some(Done { tag, operation: request.operation, bytes: request.bytes, outcome })
    }

    fn life(&self, tag: Tag) -> Option<Life> {
        let slot = self.slots.get(usize::from(tag.slot()))?;
        (Tag::new(tag.slot(), slot.turn) == tag).then_some(slot.life)
    }
}
