//! What ring 0 keeps of a compartment with a driver: whether it can be entered, and what is done where not.

use crate::budget::Budget;
use crate::function::{Function, Renewal};
use crate::words::{Operation, Text, Words, at, state};
use compartment::Ended;

/// A deadline is no nearer than this: a driver that always wants its turn at once would have the
/// housekeeping CPU do nothing else.
const NEAREST_NS: u64 = 20_000;

/// What became of a compartment, for the log and the counts.
#[derive(Clone, Copy, Default, Debug)]
pub struct Account {
    /// How often it was entered.
    pub entries: u64,
    /// How often it was ended, and why the last time.
    pub ends: u64,
    /// Why it was ended the last time.
    pub ended: Option<Ended>,
    /// How often its function was renewed, after which its driver was started.
    pub renewals: u64,
}

/// Whether a compartment can be entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Lives,
    Renews { until_ns: u64 },
    Lost,
}

/// A compartment, and what it has said of its device.
pub(crate) struct Keeper<C> {
    compartment: C,
    phase: Phase,
    budget: Budget,
    account: Account,
    /// It masters the bus.
    has_bus: bool,
    /// Why the device is of no use, if it is not.
    pub text: Text,
    /// When it is to be entered at the latest.
    pub deadline_ns: Option<u64>,
    /// The time of the last call.
    pub now_ns: u64,
}

/// What [`Keeper::look`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Nothing: it is as it was.
    Nothing,
    /// The function was renewed; its driver is to be started.
    Renewed { keeps_cache: bool },
    /// It is lost.
    Lost,
}

impl<C: Function> Keeper<C> {
    pub fn new(compartment: C, restarts: u16) -> Self {
        Self {
            compartment,
            phase: Phase::Lives,
            budget: Budget::new(restarts),
            account: Account::default(),
            has_bus: false,
            text: Text::default(),
            deadline_ns: None,
            now_ns: 0,
        }
    }

    pub const fn account(&self) -> Account {
        self.account
    }

    pub const fn compartment_mut(&mut self) -> &mut C {
        &mut self.compartment
    }

    pub fn lives(&self) -> bool {
        self.phase == Phase::Lives
    }

    /// Whether it is on its way to be entered again.
    pub const fn renews(&self) -> bool {
        matches!(self.phase, Phase::Renews { .. })
    }

    pub fn words(&mut self) -> Words<'_> {
        Words(self.compartment.area())
    }

    /// Has the compartment do something; `fill` says what belongs to it. The state that its device is in
    /// then, as a number of [`state`].
    ///
    /// # Errors
    /// Why the compartment is to be [ended](Self::end).
    pub fn enter(
        &mut self,
        operation: Operation,
        messages: u64,
        now_ns: u64,
        fill: impl FnOnce(&mut Words<'_>),
    ) -> Result<u64, Ended> {
        self.now_ns = now_ns;
        let mut words = self.words();
        words.put(at::OPERATION, operation as u64);
        words.put(at::NOW, now_ns);
        words.put(at::MESSAGES, messages);
        words.put(at::ANSWERED, 0);
        words.put(at::STATE, 0);
        fill(&mut words);
        self.account.entries = self.account.entries.saturating_add(1);
        self.compartment.enter()?;
        let mut words = Words(self.compartment.area());
        if words.get(at::ANSWERED) != operation as u64 {
            return Err(Ended::Answer("none at all"));
        }
        let found = words.get(at::STATE);
        if !(state::OFF..=state::FAILED).contains(&found) {
            return Err(Ended::Answer("a state that there is not"));
        }
        if found == state::FAILED {
            self.text = words.text();
        }
        let (deadline, is_ours) = (words.get(at::DEADLINE), words.get(at::IS_OURS) == 1);
        let nearest = now_ns.saturating_add(NEAREST_NS);
        self.deadline_ns = (deadline != u64::MAX).then_some(deadline.max(nearest));
        if is_ours && !self.has_bus {
            self.has_bus = true;
            self.compartment.allow_bus();
        }
        Ok(found)
    }

    /// The compartment is entered no more. Its function is renewed where that was not done too often
    /// lately. Whether it is.
    pub fn end(&mut self, ended: Ended, now_ns: u64) -> bool {
        self.account.ends = self.account.ends.saturating_add(1);
        self.account.ended = Some(ended);
        let is_renewed = self.renew(now_ns);
        self.compartment.ended(ended, !is_renewed);
        is_renewed
    }

    /// Brings back one that is lost, where that was not done too often lately.
    pub fn revive(&mut self, now_ns: u64) -> bool {
        self.phase != Phase::Lost || self.renew(now_ns)
    }

    fn renew(&mut self, now_ns: u64) -> bool {
        (self.deadline_ns, self.has_bus) = (None, false);
        if !self.budget.take(now_ns) {
            self.phase = Phase::Lost;
            self.text = match self.account.ended {
                Some(ended) => Text::of(format_args!("its driver was ended too often: {ended}")),
                None => Text::of(format_args!("it was reset too often")),
            };
            return false;
        }
        self.compartment.begin_renewal(now_ns);
        self.phase = Phase::Renews { until_ns: now_ns };
        self.deadline_ns = Some(now_ns);
        true
    }

    /// Sees to a renewal that is under way.
    pub fn look(&mut self, now_ns: u64) -> Found {
        self.now_ns = now_ns;
        let Phase::Renews { .. } = self.phase else { return Found::Nothing };
        match self.compartment.renewal(now_ns) {
            Renewal::Waits { until_ns } => {
                let until_ns = until_ns.max(now_ns.saturating_add(NEAREST_NS));
                self.phase = Phase::Renews { until_ns };
                self.deadline_ns = Some(until_ns);
                Found::Nothing
            }
            Renewal::Done { keeps_cache } => {
                self.phase = Phase::Lives;
                self.account.renewals = self.account.renewals.saturating_add(1);
                Found::Renewed { keeps_cache }
            }
            Renewal::Failed(why) => {
                (self.phase, self.deadline_ns) = (Phase::Lost, None);
                self.text = Text::of(format_args!("it could not be reset: {why}"));
                Found::Lost
            }
        }
    }
}
