//! The controller's state, as it is saved: all that its guest can tell, while nothing is at the medium.

use super::committed::Touched;
use super::config::{EVENT_REQUESTS, IO_ENTRIES};
use super::features::Features;
use super::queues::{CompletionQueue, SubmissionQueue};
use super::shadow::Shadow;
use super::{Config, Nvme, QUEUES, Shutdown};
use crate::snapshot::{self, RestoreFault, SaveFault, has};
use serde::{Deserialize, Serialize};
use spec::nvme::PAGE_BYTES;
use spec::nvme::register::{aqa, cc, csts};

/// Changes with each change of [`State`] or of what it holds.
pub(super) const VERSION: u16 = 2;
/// Every state fits in so many bytes.
pub const STATE_BYTES: usize = 512;
/// The most entries of an admin queue: AQA says no more.
const ADMIN_ENTRIES: u32 = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) configuration: u32,
    pub(super) status: u32,
    pub(super) shutdown: Shutdown,
    pub(super) admin_attributes: u32,
    pub(super) admin_submission: u64,
    pub(super) admin_completion: u64,
    pub(super) masked: u32,
    pub(super) submission: [Option<SubmissionQueue>; QUEUES],
    pub(super) completion: [Option<CompletionQueue>; QUEUES],
    pub(super) shadow: Option<Shadow>,
    pub(super) features: Features,
    pub(super) event_requests: u8,
    pub(super) turn: u8,
    pub(super) unsent: u32,
}

impl Nvme {
    /// Writes the state into `into`, of which [`STATE_BYTES`] are enough, and says how many
    /// bytes it has. It goes with the guest's memory and the medium as they are at this moment.
    ///
    /// # Errors
    /// While requests are at the medium there is none.
    pub fn save(&self, into: &mut [u8]) -> Result<usize, SaveFault> {
        let is_shutting_down = matches!(self.shutdown, Shutdown::Draining | Shutdown::Flushing);
        if !self.slots.is_idle() || self.resetting || is_shutting_down {
            return Err(SaveFault::Busy);
        }
        snapshot::encode(VERSION, &self.state(), into)
    }

    /// Becomes as the controller was that `from` was saved of; both are made of the same. Requests that
    /// are at the medium are forgotten. Whoever calls this looks at the line afterwards.
    ///
    /// # Errors
    /// This controller is as it was.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), RestoreFault> {
        let state: State = snapshot::decode(VERSION, from)?;
        if state.config != self.config {
            return Err(RestoreFault::Configuration);
        }
        state.check(false).map_err(RestoreFault::Impossible)?;
        let is_over = matches!(state.shutdown, Shutdown::None | Shutdown::Done);
        has(is_over, "a shutdown waits for nothing")?;
        self.slots.forget();
        self.resetting = false;
        self.become_as(&state);
        self.told = self.level();
        Ok(())
    }

    pub(super) fn become_as(&mut self, state: &State) {
        self.touched = Touched::ALL;
        self.configuration = state.configuration;
        self.status = state.status;
        self.shutdown = state.shutdown;
        self.admin_attributes = state.admin_attributes;
        self.admin_submission = state.admin_submission;
        self.admin_completion = state.admin_completion;
        self.masked = state.masked;
        self.submission = state.submission;
        self.completion = state.completion;
        self.shadow = state.shadow;
        self.features = state.features;
        self.event_requests = state.event_requests;
        self.turn = state.turn.into();
        self.unsent = state.unsent;
    }

    pub(super) const fn state(&self) -> State {
        State {
            config: self.config,
            configuration: self.configuration,
            status: self.status,
            shutdown: self.shutdown,
            admin_attributes: self.admin_attributes,
            admin_submission: self.admin_submission,
            admin_completion: self.admin_completion,
            masked: self.masked,
            submission: self.submission,
            completion: self.completion,
            shadow: self.shadow,
            features: self.features,
            event_requests: self.event_requests,
            turn: self.turn as u8,
            unsent: self.unsent,
        }
    }
}

impl State {
    /// What cannot be, if there is something. In the middle of a reset CSTS is as before, and the queues are gone.
    pub(super) fn check(&self, is_resetting: bool) -> Result<(), &'static str> {
        let is_enabled = self.configuration & cc::ENABLE != 0;
        let is_ready = self.status & csts::READY != 0;
        let has = |is_so: bool, otherwise| if is_so { Ok(()) } else { Err(otherwise) };
        has(self.configuration & !cc::FIELDS == 0, "a reserved bit of CC is set")?;
        has(self.admin_attributes & !aqa::FIELDS == 0, "a reserved bit of AQA is set")?;
        has(self.admin_submission.is_multiple_of(PAGE_BYTES), "ASQ is not the address of a page")?;
        has(self.admin_completion.is_multiple_of(PAGE_BYTES), "ACQ is not the address of a page")?;
        has(self.status & !(csts::READY | csts::FATAL) == 0, "a reserved bit of CSTS is set")?;
        has(is_resetting || is_enabled == (self.status != 0), "CSTS says another thing than CC.EN")?;
        has(
            self.shadow.is_none_or(|shadow| self.config.is_polled && is_ready && shadow.is_possible()),
            "doorbells are in memory where they cannot be",
        )?;
        has(self.event_requests <= EVENT_REQUESTS, "too many requests for events are kept")?;
        has(usize::from(self.turn) <= QUEUES, "it is the turn of a queue that is not there")?;
        has(self.is_message(self.unsent), "a message is due that is not there")?;
        has(self.features.is_possible(&self.config), "a feature has a value that it cannot have")?;
        has(
            self.submission[0].is_some() == (is_ready && !is_resetting),
            "there is an admin queue or none, unlike CSTS.RDY says",
        )?;
        for queue in 0..QUEUES {
            has(self.is_submission_possible(queue).unwrap_or(true), "a submission queue cannot be as it is")?;
            has(self.is_completion_possible(queue).unwrap_or(true), "a completion queue cannot be as it is")?;
        }
        Ok(())
    }

    /// Whether all these vectors are messages of the function.
    fn is_message(&self, vectors: u32) -> bool {
        vectors.checked_shr(self.config.messages.into()).unwrap_or(0) == 0
    }

    /// `None` where the queue is not there.
    fn is_submission_possible(&self, place: usize) -> Option<bool> {
        let queue = self.submission.get(place)?.as_ref()?;
        let completions = usize::from(queue.completions);
        let is_admin = place == 0;
        Some(
            queue.is_possible(most_entries(place))
                && is_admin == (completions == 0)
                && self.submission[0].is_some()
                && matches!(self.completion.get(completions), Some(Some(_))),
        )
    }

    /// `None` where the queue is not there.
    fn is_completion_possible(&self, place: usize) -> Option<bool> {
        let queue = self.completion.get(place)?.as_ref()?;
        let has_message = queue.vector.is_none_or(|vector| vector < self.config.messages);
        let is_admin = place == 0;
        Some(
            queue.is_possible(most_entries(place))
                && has_message
                && (!is_admin || queue.vector == Some(0))
                && self.submission[0].is_some(),
        )
    }
}

/// The most entries of the queue at `place`.
const fn most_entries(place: usize) -> u32 {
    if place == 0 { ADMIN_ENTRIES } else { IO_ENTRIES as u32 }
}
