//! Ring 0's side: a drive whose driver is in a compartment.

use crate::drive::area::DriveSizes;
use crate::drive::slots::Slots;
use crate::function::Function;
use crate::keeper::{Account, Found, Keeper};
use crate::words::{Operation as Call, Text, state};
use access::DmaBuffer;
use block::{Done, Drive, Geometry, Identity, Operation, Refused, State, Status, Tag};
use compartment::Ended;
use core::fmt::Display;

/// Where in its life the drive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Off,
    Starting,
    Ready(Geometry),
    Failed,
}

/// A drive whose driver is in a compartment.
///
/// What is submitted is carried into the compartment by the next [`kick`](Drive::kick), which brings back what is
/// over too; a [`poll`](Drive::poll) that follows it needs no entry of its own then. So a turn costs one,
/// however many requests there are.
///
/// A compartment that was ended is renewed, and what was in flight is repeated: meanwhile the drive is
/// [`State::Starting`], and nothing that was submitted is over.
pub struct RemoteDrive<C, B> {
    keeper: Keeper<C>,
    sizes: DriveSizes,
    /// The data of all requests, which the compartment does not have.
    data: B,
    slots: Slots,
    life: Life,
    identity: Option<Identity>,
    /// What the drive was when what is in flight was submitted.
    before: Option<(Geometry, Option<Identity>)>,
    /// Messages that came since the compartment was entered, a bit for each; and whether some did.
    messages: u64,
    is_told: bool,
    /// The compartment was entered since the last poll.
    is_fresh: bool,
}

impl<C: Function, B: DmaBuffer> RemoteDrive<C, B> {
    /// The drive of a compartment that was just built, with memory for the data of its requests. It is renewed
    /// `restarts` times in any minute at most. `None` where the memory, or the area, has less bytes than the
    /// sizes say.
    pub fn new(mut compartment: C, sizes: DriveSizes, data: B, restarts: u16) -> Option<Self> {
        let has_room = compartment.area().len() >= sizes.words() && data.bytes() >= sizes.data_bytes();
        let is_right = matches!(sizes.requests, 1..=256);
        (has_room && is_right).then(|| Self {
            keeper: Keeper::new(compartment, restarts),
            sizes,
            data,
            slots: Slots::new(sizes.requests, sizes.request_bytes),
            life: Life::Off,
            identity: None,
            before: None,
            messages: 0,
            is_told: false,
            is_fresh: false,
        })
    }

    /// What became of the compartment.
    pub const fn account(&self) -> Account {
        self.keeper.account()
    }

    /// The compartment.
    pub const fn compartment_mut(&mut self) -> &mut C {
        self.keeper.compartment_mut()
    }

    const fn ready(&self) -> Result<Geometry, Refused> {
        match self.life {
            Life::Ready(geometry) => Ok(geometry),
            _ => Err(Refused::NotReady),
        }
    }

    /// Enters the compartment, and takes what it says. One that says what cannot be is ended.
    fn enter(&mut self, call: Call, now_ns: u64) {
        let taken = self.try_enter(call, now_ns);
        self.is_fresh = true;
        if let Err(ended) = taken {
            self.end(ended, now_ns);
        }
    }

    fn try_enter(&mut self, call: Call, now_ns: u64) -> Result<(), Ended> {
        let messages = core::mem::take(&mut self.messages);
        self.is_told = false;
        let gives = call == Call::Turn && self.ready().is_ok();
        let slots = &mut self.slots;
        let state = self.keeper.enter(call, messages, now_ns, |words| {
            let mut count = 0;
            words.set_completed(0);
            while let Some(submission) = if gives { slots.give() } else { None } {
                words.set_submission(count, &submission);
                count += 1;
            }
            words.set_submitted(count);
        })?;
        let words = self.keeper.words();
        for index in 0..words.completed(self.sizes)? {
            self.slots.complete(words.completion(index, self.sizes)?)?;
        }
        self.take_state(call, state)
    }

    /// The drive is in this state now.
    fn take_state(&mut self, call: Call, found: u64) -> Result<(), Ended> {
        let was_ready = self.ready().is_ok() && call == Call::Turn;
        if (call == Call::Start || found == state::FAILED) && self.slots.has_given() {
            return Err(Ended::Answer("a drive that forgot what was in flight"));
        }
        match found {
            state::READY if was_ready => {}
            state::READY => self.become_ready()?,
            state::FAILED => {
                self.life = Life::Failed;
                self.slots.fail();
            }
            _ if was_ready => return Err(Ended::Answer("a drive that starts by itself")),
            state::STARTING => self.life = Life::Starting,
            // It is entered to be started, or once it was.
            _ => return Err(Ended::Answer("a drive that was not started")),
        }
        Ok(())
    }

    fn become_ready(&mut self) -> Result<(), Ended> {
        let mut words = self.keeper.words();
        let found = (words.geometry()?, words.identity());
        self.identity = found.1;
        if self.slots.has_fresh() && self.before.is_some_and(|before| before != found) {
            self.fail(Text::of(format_args!("another drive is in its place")));
            return Ok(());
        }
        self.before = Some(found);
        self.life = Life::Ready(found.0);
        if self.slots.has_fresh() {
            // What is to be repeated waits for nobody.
            self.keeper.deadline_ns = Some(self.keeper.now_ns);
        }
        Ok(())
    }

    /// The drive is of no use.
    fn fail(&mut self, why: Text) {
        self.keeper.text = why;
        self.keeper.deadline_ns = None;
        self.life = Life::Failed;
        self.slots.fail();
    }

    /// The compartment is no more; a new one repeats what it had, if there is to be one.
    fn end(&mut self, ended: Ended, now_ns: u64) {
        if self.keeper.end(ended, now_ns) {
            self.slots.take_back();
            self.life = Life::Starting;
        } else {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.life = Life::Failed;
        self.slots.fail();
    }

    /// Sees to a function that is being renewed.
    fn look(&mut self, now_ns: u64) {
        match self.keeper.look(now_ns) {
            Found::Nothing => {}
            Found::Lost => self.lose(),
            Found::Renewed { keeps_cache } => {
                if !keeps_cache && self.slots.is_dirty() {
                    // A flush would confirm what is lost. Whoever starts the drive again knows that it failed.
                    self.fail(Text::of(format_args!("its reset may have cost what its cache held")));
                } else {
                    self.enter(Call::Start, now_ns);
                }
            }
        }
    }
}

impl<C: Function, B: DmaBuffer> Drive for RemoteDrive<C, B> {
    fn identity(&self) -> Option<Identity> {
        self.identity
    }

    fn start(&mut self, now_ns: u64) -> Status {
        if self.keeper.lives() {
            self.life = Life::Starting;
            // What was not given to it ends here; what was, by its word, as that of any driver.
            self.slots.fail_fresh();
            self.enter(Call::Start, now_ns);
        } else {
            self.slots.fail();
            self.life = if self.keeper.revive(now_ns) { Life::Starting } else { Life::Failed };
        }
        // What it is from now on nobody relied on before.
        self.slots.forget_cache();
        self.status()
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        if self.keeper.renews() {
            self.look(now_ns);
        } else if self.keeper.lives() && matches!(self.life, Life::Starting | Life::Ready(_)) {
            let has_work = self.life == Life::Starting || self.slots.has_given() || self.slots.has_fresh();
            let is_due = self.keeper.deadline_ns.is_some_and(|at_ns| at_ns <= now_ns);
            if self.is_told || is_due || has_work && !self.is_fresh {
                self.enter(Call::Turn, now_ns);
            }
        }
        self.is_fresh = false;
        self.status()
    }

    /// It is brought to the driver by the next [`poll`](Drive::poll), which is due at once.
    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.messages |= 1_u64.checked_shl(message.into()).unwrap_or(0);
        self.is_told = true;
        let status = self.status();
        Status { deadline_ns: Some(now_ns), ..status }
    }

    fn status(&self) -> Status {
        let state = match self.life {
            Life::Off => State::Off,
            Life::Starting => State::Starting,
            Life::Ready(geometry) => State::Ready(geometry),
            Life::Failed => State::Failed,
        };
        let is_watched = matches!(state, State::Starting | State::Ready(_));
        let deadline_ns = self.keeper.deadline_ns.filter(|_| is_watched);
        Status { state, deadline_ns }
    }

    fn error(&self) -> Option<&dyn Display> {
        (self.life == Life::Failed).then_some(&self.keeper.text as &dyn Display)
    }

    fn request_bytes(&self) -> usize {
        self.sizes.request_bytes
    }

    fn reserve(&mut self) -> Result<Tag, Refused> {
        self.ready()?;
        self.slots.reserve()
    }

    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        let place = self.slots.place_to_put(tag, offset, bytes.len())?;
        self.data.write(place, bytes).ok()
    }

    fn submit(
        &mut self,
        tag: Tag,
        operation: Operation,
        first_block: u64,
        blocks: u64,
    ) -> Result<(), Refused> {
        let geometry = self.ready()?;
        self.slots.submit(tag, operation, first_block, blocks, geometry)
    }

    fn kick(&mut self, now_ns: u64) -> Status {
        if self.keeper.lives() && self.ready().is_ok() && self.slots.has_fresh() {
            self.enter(Call::Turn, now_ns);
        }
        self.status()
    }

    fn next_done(&self) -> Option<Done> {
        self.slots.next_done()
    }

    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        let place = self.slots.place_to_get(tag, offset, into.len())?;
        self.data.read(place, into).ok()
    }

    fn release(&mut self, tag: Tag) {
        self.slots.release(tag);
    }
}
