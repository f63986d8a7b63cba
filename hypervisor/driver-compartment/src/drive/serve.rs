//! The compartment's side of a drive.

use crate::drive::area::{Completion, DriveSizes};
use crate::words::{Operation, Words, at, state};
use alloc::boxed::Box;
use block::{Drive, Fault, State, Tag};

/// The drives of one function, counted from 0. Each has an area of its own.
pub trait Drives {
    /// One of them.
    fn drive(&mut self, index: usize) -> Option<&mut dyn Drive>;

    /// Brings it up, from whatever state it is in.
    fn start(&mut self, index: usize, now_ns: u64) {
        if let Some(drive) = self.drive(index) {
            drive.start(now_ns);
        }
    }

    /// Sees to what is due. When that is to be done again, beside what the drive itself says.
    fn poll(&mut self, index: usize, now_ns: u64) -> Option<u64> {
        self.drive(index)?.poll(now_ns).deadline_ns
    }

    /// Whether the function does nothing more of what it was told before its driver had it.
    fn is_ours(&self) -> bool {
        true
    }
}

/// A function that is one drive.
pub struct One<D>(pub D);

impl<D: Drive> Drives for One<D> {
    fn drive(&mut self, index: usize) -> Option<&mut dyn Drive> {
        (index == 0).then_some(&mut self.0 as &mut dyn Drive)
    }
}

/// The drives of a function, and what it takes to serve each.
pub struct DriveServer<S: ?Sized = dyn Drives> {
    sizes: DriveSizes,
    /// What each drive's requests are known by while they are reserved, which all are that are not in flight:
    /// so a request's slot, and where its data is, is ring 0's to choose.
    tags: Box<[Box<[Option<Tag>]>]>,
    drives: Box<S>,
}

impl<S: Drives + ?Sized> DriveServer<S> {
    /// A server of `count` drives whose drivers were made with these sizes.
    pub fn new(drives: Box<S>, count: usize, sizes: DriveSizes) -> Self {
        let tags = || core::iter::repeat_n(None, sizes.requests.into()).collect();
        Self { sizes, tags: (0..count).map(|_| tags()).collect(), drives }
    }

    /// How many drives it serves.
    pub const fn drives(&self) -> usize {
        self.tags.len()
    }

    /// Does what the area of drive `index` says, and answers there.
    pub fn serve(&mut self, index: usize, area: &mut [u64]) {
        let mut words = Words(area);
        let (now_ns, operation) = (words.get(at::NOW), Operation::of(words.get(at::OPERATION)));
        let mut completed = 0;
        let mut own_ns = None;
        match operation {
            Some(Operation::Start) => self.drives.start(index, now_ns),
            Some(Operation::Turn) => own_ns = self.turn(index, now_ns, &mut words, &mut completed),
            // It is built.
            None => {}
        }
        self.complete(index, &mut words, &mut completed);
        words.set_completed(completed);
        words.put(at::IS_OURS, self.drives.is_ours().into());
        if let Some(drive) = self.drives.drive(index) {
            tell(drive, own_ns, &mut words);
        }
        words.put(at::ANSWERED, operation.map_or(0, |operation| operation as u64));
    }

    fn turn(
        &mut self,
        index: usize,
        now_ns: u64,
        words: &mut Words<'_>,
        completed: &mut usize,
    ) -> Option<u64> {
        let messages = words.get(at::MESSAGES);
        let count = words.submitted().min(self.sizes.requests.into());
        if let Some(drive) = self.drives.drive(index) {
            for message in (0..64_u16).filter(|message| messages >> message & 1 != 0) {
                drive.interrupt(message, now_ns);
            }
        }
        for place in 0..count {
            let Some(submission) = words.submission(place) else { continue };
            let tag = self.tags.get_mut(index).and_then(|tags| tags.get_mut(usize::from(submission.slot)));
            let taken = tag.and_then(|tag| {
                let (first, blocks) = (submission.first_block, submission.blocks);
                let drive = self.drives.drive(index)?;
                // Its tag is told again when it is over.
                drive.submit((*tag)?, submission.operation, first, blocks).ok()?;
                tag.take()
            });
            if taken.is_none() {
                // It failed meanwhile: what is in flight with it ends in the same way.
                let over = Completion { slot: submission.slot, outcome: Err(Fault::Drive) };
                words_completion(words, completed, &over, self.sizes);
            }
        }
        if count > 0
            && let Some(drive) = self.drives.drive(index)
        {
            drive.kick(now_ns);
        }
        self.drives.poll(index, now_ns)
    }

    /// Tells of what is over, and reserves it again.
    fn complete(&mut self, index: usize, words: &mut Words<'_>, completed: &mut usize) {
        let (Some(drive), Some(tags)) = (self.drives.drive(index), self.tags.get_mut(index)) else { return };
        for _ in 0..self.sizes.requests {
            let Some(done) = drive.next_done() else { break };
            let over = Completion { slot: done.tag.slot(), outcome: done.outcome };
            words_completion(words, completed, &over, self.sizes);
            drive.release(done.tag);
        }
        // Of slots that are free one that was freed first is reserved first: all are in the end.
        while tags.iter().any(Option::is_none) {
            let Ok(tag) = drive.reserve() else { break };
            match tags.get_mut(usize::from(tag.slot())) {
                Some(place) => *place = Some(tag),
                None => break,
            }
        }
    }
}

fn words_completion(words: &mut Words<'_>, completed: &mut usize, over: &Completion, sizes: DriveSizes) {
    words.set_completion(*completed, over, sizes);
    *completed += 1;
}

/// Says how the drive is.
fn tell(drive: &dyn Drive, own_ns: Option<u64>, words: &mut Words<'_>) {
    let status = drive.status();
    let state = match status.state {
        State::Off => state::OFF,
        State::Starting => state::STARTING,
        State::Ready(geometry) => {
            words.set_geometry(&geometry);
            state::READY
        }
        State::Failed => state::FAILED,
    };
    words.put(at::STATE, state);
    let deadline_ns = status.deadline_ns.into_iter().chain(own_ns).min();
    words.put(at::DEADLINE, deadline_ns.unwrap_or(u64::MAX));
    words.set_identity(drive.identity().as_ref());
    if status.state == State::Failed {
        words.put_text(drive.error());
    }
}
