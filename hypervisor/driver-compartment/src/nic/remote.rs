//! Ring 0's side: a network interface whose driver is in a compartment.

use crate::function::Function;
use crate::keeper::{Account, Found, Keeper};
use crate::nic::area::{Ask, Facts, NicSizes, Progress};
use crate::nic::patience::{Patience, SteadyLink};
use crate::words::{Operation as Call, state};
use alloc::boxed::Box;
use compartment::{Ended, frames};
use core::fmt::Display;
use network::{Checksum, Frame, MacAddress, Offload, Parts};
use nic::{Capabilities, Counters, Link, Nic, Queue, Refused, State, Status};
use spec::ethernet::HEADER_BYTES;

/// How long frames wait for a driver that is being made anew, and for a link. What waited longer is old.
const KEEP_NS: u64 = 5_000_000_000;

/// Where an entry found nothing, the next is so much later, but for what is told or given: who is polled is so for many
/// turns that find nothing.
const IDLE_NS: u64 = 50_000;

/// Places of frames, one behind the other and round about.
#[derive(Clone, Copy, Default, Debug)]
struct Ring {
    first: usize,
    count: usize,
}

/// A network interface whose driver is in a compartment.
///
/// Frames that are given to it wait in the area, and are carried into the compartment by the next
/// [`kick`](Nic::kick), which brings those that came too; a [`poll`](Nic::poll) that follows it needs no
/// entry of its own then.
///
/// While a compartment that was ended is renewed, the interface is [`State::Ready`] as it was: frames wait for the new
/// driver and its link. What the device had of them is lost, as on a wire.
pub struct RemoteNic<C> {
    keeper: Keeper<C>,
    sizes: NicSizes,
    state: State,
    facts: Facts,
    counters: Counters,
    link: SteadyLink,
    /// Frames that the driver has and of which nothing was heard.
    outstanding: u64,
    patience: Patience,
    /// Frames that it has not; how many bytes the one at each place has, and what its sender left to do.
    to_send: Ring,
    headers: Box<[(usize, Offload)]>,
    /// Frames that came and were not given to anybody.
    came: Ring,
    messages: u64,
    is_told: bool,
    is_quiet: bool,
    /// The compartment was entered since the last poll.
    is_fresh: bool,
    /// When it is entered again to look for what came, where there was nothing.
    idle_until_ns: u64,
    /// Until when what waits is kept, and the link is what it was.
    keeps_until_ns: Option<u64>,
}

impl<C: Function> RemoteNic<C> {
    /// The interface of a compartment that was just built. It is renewed `restarts` times in any minute at most.
    /// `None` where its area has less words than the sizes say.
    pub fn new(mut compartment: C, sizes: NicSizes, restarts: u16) -> Option<Self> {
        let is_right = matches!(sizes.frames, 1..=1024) && sizes.frame_bytes <= network::LARGEST_BYTES;
        if !is_right || compartment.area().len() < sizes.words() {
            return None;
        }
        let capabilities = Capabilities { checksum: false, segmentation: false, largest_bytes: 0 };
        Some(Self {
            keeper: Keeper::new(compartment, restarts),
            sizes,
            state: State::Off,
            facts: Facts { link: Link::Down, capabilities, mac: None, room: 0 },
            counters: Counters::default(),
            link: SteadyLink::default(),
            outstanding: 0,
            patience: Patience::default(),
            to_send: Ring::default(),
            headers: core::iter::repeat_n((0, Offload::default()), sizes.frames.into()).collect(),
            came: Ring::default(),
            messages: 0,
            is_told: false,
            is_quiet: false,
            is_fresh: false,
            idle_until_ns: 0,
            keeps_until_ns: None,
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

    fn place(&self, ring: Ring, ahead: usize) -> usize {
        let place = ring.first.saturating_add(ahead);
        let all = usize::from(self.sizes.frames);
        if place < all { place } else { place - all }
    }

    /// Enters the compartment, and takes what it says. One that says what cannot be is ended.
    fn enter(&mut self, call: Call, now_ns: u64) {
        let taken = self.try_enter(call, now_ns);
        self.is_fresh = true;
        if let Err(ended) = taken {
            self.end(ended, now_ns);
        }
        self.link.hear(self.is_said_up(), now_ns);
    }

    fn try_enter(&mut self, call: Call, now_ns: u64) -> Result<(), Ended> {
        let messages = core::mem::take(&mut self.messages);
        (self.is_told, self.idle_until_ns) = (false, 0);
        let is_turn = call == Call::Turn;
        let ask = Ask {
            first_to_send: self.to_send.first,
            to_send: if is_turn { self.to_send.count } else { 0 },
            first_free: self.place(self.came, self.came.count),
            free: if is_turn { usize::from(self.sizes.frames) - self.came.count } else { 0 },
            is_quiet: self.is_quiet,
        };
        let (sizes, headers) = (self.sizes, &self.headers);
        let found = self.keeper.enter(call, messages, now_ns, |words| {
            words.set_ask(&ask);
            let mut place = ask.first_to_send;
            for _ in 0..ask.to_send {
                if let Some((bytes, offload)) = headers.get(place) {
                    words.set_header(sizes.sent_at(place), *bytes, offload);
                }
                place = sizes.next(place);
            }
        })?;
        let words = self.keeper.words();
        let (taken, came) = words.moved(&ask)?;
        let (progress, facts) = (words.progress(), words.facts(self.sizes));
        let before = self.outstanding;
        let over = self.take_progress(taken, &progress)?;
        self.to_send =
            Ring { first: self.place(self.to_send, taken), count: self.to_send.count.saturating_sub(taken) };
        self.came.count += came;
        self.patience.hear(before, over, self.outstanding, now_ns)?;
        let is_idle =
            is_turn && found == state::READY && came == 0 && taken == 0 && over == 0 && self.outstanding == 0;
        self.idle_until_ns = if is_idle { now_ns.saturating_add(IDLE_NS) } else { 0 };
        if found == state::OFF {
            // It is entered to be started, or once it was.
            return Err(Ended::Answer("an interface that was not started"));
        }
        self.take_state(found, facts, taken, now_ns);
        Ok(())
    }

    /// Counts what became of frames, as far as there can have been so many. Of how many something was told.
    fn take_progress(&mut self, taken: usize, progress: &Progress) -> Result<u64, Ended> {
        let Progress { sent, lost, damaged, missed, resets, unfit } = *progress;
        let most = self.outstanding.saturating_add(taken as u64);
        let over = sent.frames.checked_add(lost).and_then(|over| over.checked_add(unfit));
        let over = over.filter(|over| *over <= most && unfit <= taken as u64);
        let over = over.ok_or(Ended::Answer("frames that it was not given"))?;
        if sent.bytes > sent.frames.saturating_mul(self.sizes.frame_bytes as u64) {
            return Err(Ended::Answer("frames larger than any"));
        }
        self.outstanding = most.saturating_sub(over);
        let counters = &mut self.counters;
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut counters.sent.frames, sent.frames);
        add(&mut counters.sent.bytes, sent.bytes);
        add(&mut counters.lost, lost.saturating_add(unfit));
        add(&mut counters.damaged, damaged);
        add(&mut counters.missed, missed);
        add(&mut counters.resets, resets);
        Ok(over)
    }

    /// The interface is in this state now, and says this of itself.
    fn take_state(&mut self, found: u64, facts: Facts, taken: usize, now_ns: u64) {
        let is_kept = self.keeps_until_ns.is_some_and(|until_ns| now_ns < until_ns);
        let is_back = found == state::READY && facts.link != Link::Down;
        if is_back || !is_kept || found == state::FAILED {
            self.keeps_until_ns = None;
            self.state = match found {
                state::STARTING => State::Starting,
                state::READY => State::Ready,
                _ => State::Failed,
            };
            self.facts = facts;
        }
        let waits = facts.link != Link::Down && found == state::READY || self.keeps_until_ns.is_some();
        if taken == 0 && !waits {
            // It takes none now, and what it takes later is old.
            self.drop_waiting();
        }
    }

    /// What was not given to the driver is lost.
    fn drop_waiting(&mut self) {
        self.counters.lost = self.counters.lost.saturating_add(self.to_send.count as u64);
        self.to_send = Ring::default();
    }

    /// What the driver has is lost.
    const fn drop_outstanding(&mut self) {
        self.counters.lost = self.counters.lost.saturating_add(self.outstanding);
        self.outstanding = 0;
    }

    /// The compartment is no more; what it had of frames is lost, and the others wait for a new one, if there
    /// is to be one.
    fn end(&mut self, ended: Ended, now_ns: u64) {
        self.drop_outstanding();
        self.came = Ring::default();
        if !self.keeper.end(ended, now_ns) {
            self.lose();
        } else if self.state == State::Ready {
            self.keeps_until_ns.get_or_insert(now_ns.saturating_add(KEEP_NS));
        } else {
            self.state = State::Starting;
        }
    }

    fn lose(&mut self) {
        self.state = State::Failed;
        self.keeps_until_ns = None;
        self.drop_waiting();
    }

    fn is_said_up(&self) -> bool {
        self.state == State::Ready && self.facts.link != Link::Down
    }

    fn is_up(&self) -> bool {
        self.is_said_up() && !self.link.is_held()
    }

    /// How many more frames are taken: as many as the driver said, or while there is none as there are places.
    fn room(&self) -> usize {
        let places = usize::from(self.sizes.frames);
        let most = if self.keeps_until_ns.is_some() { places } else { self.facts.room.min(places) };
        most.saturating_sub(self.to_send.count)
    }
}

impl<C: Function> Nic for RemoteNic<C> {
    fn start(&mut self, now_ns: u64) -> Status {
        self.drop_waiting();
        self.keeps_until_ns = None;
        if self.keeper.lives() {
            self.state = State::Starting;
            self.enter(Call::Start, now_ns);
            // What the driver has not counted itself.
            self.drop_outstanding();
        } else {
            self.state = if self.keeper.revive(now_ns) { State::Starting } else { State::Failed };
        }
        // It was its user who took the link down.
        self.link = SteadyLink::default();
        self.status()
    }

    fn poll(&mut self, now_ns: u64) -> Status {
        self.keeper.now_ns = now_ns;
        self.link.pass(now_ns);
        if self.keeper.renews() {
            match self.keeper.look(now_ns) {
                Found::Nothing => {}
                Found::Lost => {
                    self.lose();
                    self.link.hear(false, now_ns);
                }
                Found::Renewed { .. } => self.enter(Call::Start, now_ns),
            }
        } else if self.keeper.lives() && matches!(self.state, State::Starting | State::Ready) {
            let is_due = self.keeper.deadline_ns.is_some_and(|at_ns| at_ns <= now_ns);
            if self.is_told || is_due || !self.is_fresh && now_ns >= self.idle_until_ns {
                self.enter(Call::Turn, now_ns);
            }
        }
        self.is_fresh = false;
        self.status()
    }

    /// It is brought to the driver by the next [`poll`](Nic::poll), which is due at once.
    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.messages |= 1_u64.checked_shl(message.into()).unwrap_or(0);
        self.is_told = true;
        let status = self.status();
        Status { deadline_ns: Some(now_ns), ..status }
    }

    fn status(&self) -> Status {
        let is_watched = matches!(self.state, State::Starting | State::Ready);
        let of_frames = (self.outstanding > 0).then(|| self.patience.end_ns());
        // What came and nobody has taken is due at once: no message will tell of it.
        let waits = (self.came.count > 0).then_some(self.keeper.now_ns);
        let all = [self.keeper.deadline_ns, of_frames, self.link.deadline_ns(), waits];
        let deadline_ns = all.into_iter().flatten().min().filter(|_| is_watched);
        Status { state: self.state, deadline_ns }
    }

    fn error(&self) -> Option<&dyn Display> {
        (self.state == State::Failed).then_some(&self.keeper.text as &dyn Display)
    }

    fn mac(&self) -> Option<MacAddress> {
        self.facts.mac
    }

    fn link(&self) -> Link {
        if self.is_up() { self.facts.link } else { Link::Down }
    }

    fn capabilities(&self) -> Capabilities {
        self.facts.capabilities
    }

    fn transmit(&mut self, parts: &Parts<'_>) -> Result<(), Refused> {
        if self.state != State::Ready {
            return Err(Refused::NotReady);
        }
        if !self.is_up() {
            return Err(Refused::Down);
        }
        let (bytes, most) = (parts.bytes(), self.facts.capabilities.largest_bytes);
        if bytes < HEADER_BYTES {
            return Err(Refused::TooShort);
        }
        if bytes > most {
            return Err(Refused::TooLong(most));
        }
        match parts.offload {
            Offload { segmentation: Some(_), .. } => return Err(Refused::Offload),
            Offload { checksum: Checksum::Missing { start, offset }, .. } => {
                if !self.facts.capabilities.checksum {
                    return Err(Refused::Offload);
                }
                if usize::from(start) + usize::from(offset) + 2 > bytes {
                    return Err(Refused::Senseless);
                }
            }
            Offload { .. } => {}
        }
        if self.room() == 0 {
            return Err(Refused::Full);
        }
        let (place, sizes) = (self.place(self.to_send, self.to_send.count), self.sizes);
        let mut words = self.keeper.words();
        frames::put(parts, words.frame_room(sizes.sent_at(place), sizes)).ok_or(Refused::TooLong(most))?;
        if let Some(header) = self.headers.get_mut(place) {
            *header = (bytes, parts.offload);
        }
        self.to_send.count += 1;
        Ok(())
    }

    fn queue(&self) -> Queue {
        if self.state != State::Ready {
            return Queue::default();
        }
        let driver = usize::try_from(self.outstanding).unwrap_or(usize::MAX);
        Queue { waiting: driver.saturating_add(self.to_send.count), room: self.room() }
    }

    fn kick(&mut self, now_ns: u64) -> Status {
        self.keeper.now_ns = now_ns;
        if self.keeper.lives() && self.state == State::Ready && self.to_send.count > 0 {
            self.enter(Call::Turn, now_ns);
        }
        self.status()
    }

    /// The driver hears of it with the next [`poll`](Nic::poll), which whoever ends the quiet has due.
    fn set_quiet(&mut self, is_quiet: bool) {
        self.is_told |= is_quiet != self.is_quiet;
        self.is_quiet = is_quiet;
    }

    fn receive(&mut self, into: &mut Frame) -> bool {
        into.clear();
        while self.came.count > 0 {
            let (place, sizes) = (self.came.first, self.sizes);
            self.came = Ring { first: self.place(self.came, 1), count: self.came.count - 1 };
            let mut words = self.keeper.words();
            let taken = words.frame(sizes.came_at(place), sizes);
            let taken = taken.map(|(data, offload)| {
                let is_frame = data.len() >= HEADER_BYTES && is_from_a_wire(&offload);
                is_frame && frames::get(data, offload, into).is_some()
            });
            match taken {
                Ok(true) => {
                    self.counters.received.frames = self.counters.received.frames.saturating_add(1);
                    let bytes = into.len() as u64;
                    self.counters.received.bytes = self.counters.received.bytes.saturating_add(bytes);
                    return true;
                }
                Ok(false) => self.counters.damaged = self.counters.damaged.saturating_add(1),
                Err(ended) => {
                    let now_ns = self.keeper.now_ns;
                    self.end(ended, now_ns);
                }
            }
            into.clear();
        }
        false
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

/// Whether a frame can have come like this: what a wire carries is whole, and its checksums are in it.
const fn is_from_a_wire(offload: &Offload) -> bool {
    offload.segmentation.is_none() && matches!(offload.checksum, Checksum::InPlace | Checksum::Good)
}
