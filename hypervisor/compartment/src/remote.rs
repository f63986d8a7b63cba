//! Ring 0's side: a device whose model is in a compartment.

use crate::area::{ARGUMENTS, Answer, Area, Call, Done, Flags, Places, Sizes};
use crate::effects;
use crate::ended::Ended;
use crate::entered::Compartment;
use crate::frames;
use crate::operation::Operation;
use crate::publish;
use crate::restarts::{Counter, Restarts};
use crate::serve::{OUTCOMES, copy};
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use devices::Device;
use devices::device::{
    self, Accepts, Completion, Context, DeviceEffect, Doorbell, LINES, Reception, Request, Work,
};
use devices::effect::Effects;
use devices::ended::Account;
use devices::journal;
use devices::rest::Rest;
use network::{Frame, Parts};
use spec::{Gpa, Width};

mod register;

/// The context of a call that no access made.
macro_rules! nothing {
    () => {
        nothing!(0)
    };
    ($now:expr) => {
        &mut Context { memory: &Nowhere, now: $now, effects: &mut Effects::with_capacity(0) }
    };
}

/// What a device says of itself once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Described {
    effects: usize,
    requests: usize,
    resets_behind_requests: bool,
}

/// A device whose model is in a compartment.
///
/// # A call that was not answered
/// It is made once more, of a compartment that is made anew and has the state that was committed by the answer
/// before. The guest sees no difference, and nothing is lost or done twice:
/// - Nothing that the failed call wanted done was done: effects are taken from an answer alone.
/// - The guest was told of nothing: indexes and flags that it looks at ([`GuestMemory::publish`]) are written
///   here, from an answer. What else the call wrote is in buffers and ring entries that are the device's until
///   then, and the same call with the same state writes them again: the entry of a used ring before its index,
///   the first half of a completion before the one with the phase tag, the data of a frame, a status byte.
/// - Requests are the endpoint's, with their data; a completion finds its request in the committed state. Those
///   of the failed call were not submitted, and are submitted by the next one.
///
/// The state is in ring 0's own memory, where the compartment cannot reach it: an answer changes it, word by
/// word as its records say, once all of the answer was found sound. So there are no two copies of which one is
/// valid: what is kept is what was committed. The area has nothing that outlives a call.
pub struct Remote<C> {
    compartment: C,
    places: Places,
    described: Described,
    /// What it said of itself when it was entered last.
    lines: [bool; LINES],
    done: Done,
    /// It has rested since it was entered last, and what it said of that.
    rests: bool,
    rest: Rest,
    /// The committed state.
    state: Box<[u64]>,
    /// The device's buffer, as far as requests move data of it.
    buffer: Box<[u8]>,
    /// Requests that it made and that are not over.
    requests: usize,
    /// Requests that read into it and are not over.
    reads: Box<[Option<Request>]>,
    restarts: Counter,
    account: Account,
    is_killed: bool,
    /// What it published was not told of yet.
    is_untold: bool,
    /// When it was called last.
    now: u64,
}

/// No memory, and nobody who could give it.
struct Nowhere;

impl GuestMemory for Nowhere {
    fn read(&self, _: Gpa, _: &mut [u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn write(&self, _: Gpa, _: &[u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn contains(&self, _: Gpa, _: u64) -> bool {
        false
    }
}

/// Receptions by their number.
const RECEPTIONS: [Reception; 4] = [Reception::Taken, Reception::NoRoom, Reception::Down, Reception::Unfit];
const NO_AREA: Ended = Ended::Answer("no area");

impl<C: Compartment> Remote<C> {
    /// The device of this compartment, whose area has these sizes. It is not made anew where it fails.
    ///
    /// # Errors
    /// Where the compartment does not answer, or its device needs more than the sizes have.
    pub fn new(compartment: C, sizes: Sizes) -> Result<Self, Ended> {
        let described = Described { effects: 0, requests: 0, resets_behind_requests: false };
        let account = Account { own_bytes: compartment.own_bytes(), ..Account::default() };
        let mut remote = Self {
            compartment,
            places: Places::of(sizes),
            described,
            lines: [false; LINES],
            done: Done::default(),
            rests: false,
            rest: Rest::new(),
            state: core::iter::repeat_n(0, sizes.state_words).collect(),
            buffer: core::iter::repeat_n(0, sizes.buffer_bytes).collect(),
            requests: 0,
            reads: Box::default(),
            restarts: Counter::new(Restarts::NONE),
            account,
            is_killed: false,
            is_untold: false,
            now: 0,
        };
        let answer = remote.attempt(&Call::new(Operation::Describe, [0; ARGUMENTS]), &|_| {}, nothing!())?;
        let [effects, requests, buffer_bytes, resets_behind_requests, state_words] = answer.arguments;
        let fits = |value: u64, most: usize| usize::try_from(value).ok().filter(|value| *value <= most);
        let too_much = Ended::Answer("a device that needs more than there is");
        let requests = fits(requests, sizes.effects).ok_or(too_much)?;
        remote.described = Described {
            effects: fits(effects, sizes.effects).ok_or(too_much)?,
            requests,
            resets_behind_requests: resets_behind_requests != 0,
        };
        fits(buffer_bytes, sizes.buffer_bytes).ok_or(too_much)?;
        fits(state_words, sizes.state_words).ok_or(too_much)?;
        if sizes.buffer_bytes != 0 {
            remote.reads = core::iter::repeat_n(None, requests).collect();
        }
        Ok(remote)
    }

    /// The same, which is made anew so often where it fails.
    pub fn with_restarts(self, restarts: Restarts) -> Self {
        Self { restarts: Counter::new(restarts), ..self }
    }

    /// Why the compartment was ended for good, if it was.
    pub const fn ended(&self) -> Option<Ended> {
        if self.account.is_gone { self.account.last } else { None }
    }

    const fn sizes(&self) -> Sizes {
        self.places.sizes
    }

    /// The compartment.
    #[cfg(test)]
    pub(crate) const fn compartment_mut(&mut self) -> &mut C {
        &mut self.compartment
    }

    fn area(&mut self) -> Option<Area<'_>> {
        Area::new(self.compartment.area(), &self.places)
    }

    /// It is no more, for good.
    fn end(&mut self, ended: Ended) {
        self.compartment.ended(ended, true);
        (self.account.last, self.account.is_gone) = (Some(ended), true);
        (self.lines, self.done.accepts) = ([false; LINES], Accepts::default());
    }

    /// Enters with the context of an access, and takes over what that caused; twice where that fails.
    fn call(
        &mut self,
        operation: Operation,
        arguments: [u64; ARGUMENTS],
        bytes: usize,
        fill: &dyn Fn(&mut [u8]),
        context: &mut Context<'_>,
    ) -> Option<Answer> {
        if self.account.is_gone {
            return None;
        }
        let reaches_memory = context.memory.is_reachable();
        let room = context.effects.room();
        let call = Call { now: context.now, reaches_memory, room, bytes, ..Call::new(operation, arguments) };
        self.now = context.now;
        self.rests = false;
        match self.attempt(&call, fill, context) {
            Ok(answer) => Some(answer),
            Err(ended) => self.call_again(ended, &call, fill, context),
        }
    }

    /// Makes a call once more of a compartment that ended so.
    #[cold]
    fn call_again(
        &mut self,
        ended: Ended,
        call: &Call,
        fill: &dyn Fn(&mut [u8]),
        context: &mut Context<'_>,
    ) -> Option<Answer> {
        let began = self.compartment.now();
        let answered = self.revive(ended).and_then(|()| self.attempt(call, fill, context));
        let ticks = self.compartment.now().saturating_sub(began);
        self.account.longest_restart = self.account.longest_restart.max(ticks);
        answered.inspect_err(|ended| self.end(*ended)).ok()
    }

    /// Makes the compartment anew, which ended so, if it may be; its device is as it was committed.
    fn revive(&mut self, ended: Ended) -> Result<(), Ended> {
        if self.state.is_empty() || !self.restarts.take(self.now) {
            return Err(ended);
        }
        self.account.last = Some(ended);
        self.account.restarts += 1;
        self.compartment.ended(ended, false);
        self.restore()
    }

    fn restore(&mut self) -> Result<(), Ended> {
        self.compartment.restart()?;
        let mut area = Area::new(self.compartment.area(), &self.places).ok_or(NO_AREA)?;
        let place = area.records().get_mut(..self.state.len()).ok_or(NO_AREA)?;
        place.copy_from_slice(&self.state);
        let answer = self.attempt(&Call::new(Operation::Restore, [0; ARGUMENTS]), &|_| {}, nothing!())?;
        let [is_restored, ..] = answer.arguments;
        if is_restored == 1 { Ok(()) } else { Err(Ended::Answer("its state is not taken")) }
    }

    /// Enters once. Nothing but the area changes where that fails.
    fn attempt(
        &mut self,
        call: &Call,
        fill: &dyn Fn(&mut [u8]),
        context: &mut Context<'_>,
    ) -> Result<Answer, Ended> {
        if core::mem::take(&mut self.is_killed) {
            return Err(Ended::Killed);
        }
        self.account.entries += 1;
        let mut area = Area::new(self.compartment.area(), &self.places).ok_or(NO_AREA)?;
        area.set_call(call);
        if call.bytes != 0 {
            fill(area.data());
        }
        if call.operation == Operation::Complete as u64 {
            let [_, _, start, bytes, _] = call.arguments;
            copy((start, bytes), &self.buffer, area.buffer());
        }
        self.compartment.enter()?;
        self.take_over(call, context)
    }

    /// Takes over what was answered to a call. Nothing changes where that is no answer.
    fn take_over(&mut self, call: &Call, context: &mut Context<'_>) -> Result<Answer, Ended> {
        let mut area = Area::new(self.compartment.area(), &self.places).ok_or(NO_AREA)?;
        if call.is_access()
            && let Some(value) = area.value()
        {
            return Ok(Answer { arguments: [value, 0, 0, 0, 0], ..Answer::default() });
        }
        let answer = area.answer()?;
        let made = check(call, &answer, &area, context)?;
        let requests = self.requests.saturating_add(made);
        if requests > self.described.requests {
            return Err(Ended::Answer("more requests than it may have"));
        }
        let done = if answer.flags.has(Flags::SAYS_DONE) { area.done()? } else { self.done };
        if answer.counts.records != 0 {
            let records = area.records().get(..answer.counts.records).unwrap_or_default();
            journal::apply(records, &mut self.state).ok_or(Ended::Answer("changes of no state"))?;
        }
        self.requests = requests;
        (self.done, self.lines) = (done, answer.flags.lines());
        self.is_untold |= answer.flags.has(Flags::UNTOLD);
        self.rests = answer.flags.has(Flags::RESTS);
        if self.rests {
            area.rest(answer.counts, &mut self.rest);
        }
        if answer.counts.effects != 0 || answer.counts.published != 0 {
            self.commit(&answer, context);
        }
        Ok(answer)
    }

    /// Takes over what an answer wants done, all of which was found sound.
    fn commit(&mut self, answer: &Answer, context: &mut Context<'_>) {
        let Some(mut area) = Area::new(self.compartment.area(), &self.places) else { return };
        for entry in area.published(answer.counts.published) {
            // A place that the guest has no memory at is written as any other there.
            let _ = publish::write(*entry, context.memory);
        }
        for index in 0..answer.counts.effects {
            let Ok(effect) = effects::decode(area.effect(index)) else { continue };
            if let DeviceEffect::Submit(request) = effect
                && let Some(range) = effects::buffer_range(&request)
            {
                if request.operation == device::Operation::Write {
                    copy(range, area.buffer(), &mut self.buffer);
                } else if let Some(place) = self.reads.iter_mut().find(|read| read.is_none()) {
                    *place = Some(request);
                }
            }
            context.effects.push(effect);
        }
    }

    /// Whether it would do nothing now that it is polled for.
    fn rests(&self, context: &Context<'_>) -> bool {
        self.rests && self.rest.goes_on(context.memory)
    }

    /// Has the device tell of what it has published, where it could not yet ask whether it should.
    fn tell_late(&mut self, context: &mut Context<'_>) {
        if core::mem::take(&mut self.is_untold) {
            self.call(Operation::Tell, [0; ARGUMENTS], 0, &|_| {}, context);
            self.is_untold = false;
        }
    }

    fn ask(
        &mut self,
        operation: Operation,
        arguments: [u64; ARGUMENTS],
        context: &mut Context<'_>,
    ) -> Option<u64> {
        let answer = self.call(operation, arguments, 0, &|_| {}, context);
        self.tell_late(context);
        answer.map(|answer| answer.arguments[0])
    }

    /// Takes the frame of an answer. Whether there is one.
    fn take_frame(&mut self, answer: &Answer, frame: &mut Frame) -> bool {
        let [is_there, checksum, segmentation, ..] = answer.arguments;
        let offload = frames::decode([checksum, segmentation]).ok().filter(|_| is_there == 1);
        let mut area = self.area();
        let data = area.as_mut().and_then(|area| area.data().get(..answer.bytes)).unwrap_or_default();
        offload.is_some_and(|offload| frames::get(data, offload, frame).is_some())
    }

    /// Copies the data of an answer. How many bytes there were, which are no more than there is room for.
    fn take_data(&mut self, answer: &Answer, into: &mut [u8]) -> usize {
        let count = answer.bytes.min(into.len());
        let mut area = self.area();
        let data = area.as_mut().and_then(|area| area.data().get(..count));
        match (into.get_mut(..count), data) {
            (Some(into), Some(data)) => into.copy_from_slice(data),
            _ => return 0,
        }
        count
    }
}

impl<C: Compartment> Device for Remote<C> {
    fn most_effects(&self) -> usize {
        self.described.effects
    }

    fn most_requests(&self) -> usize {
        self.described.requests
    }

    fn resets_behind_requests(&self) -> bool {
        self.described.resets_behind_requests
    }

    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        self.access(Operation::Read, [offset, width.bytes(), 0], context).unwrap_or(width.mask())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.access(Operation::Write, [offset, width.bytes(), value], context);
    }

    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        let asked = bytes.len().min(self.sizes().data_bytes);
        let arguments = [offset, width.bytes(), 0, 0, 0];
        let answer = self.call(Operation::ReadString, arguments, asked, &|_| {}, context);
        let count = answer.map_or(0, |answer| self.take_data(&answer, bytes));
        self.tell_late(context);
        progress(count, bytes.len(), width).unwrap_or_else(|| {
            // One that makes no progress would never end.
            bytes.fill(u8::MAX);
            bytes.len()
        })
    }

    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let asked = bytes.len().min(self.sizes().data_bytes);
        let fill = |data: &mut [u8]| {
            if let (Some(data), Some(bytes)) = (data.get_mut(..asked), bytes.get(..asked)) {
                data.copy_from_slice(bytes);
            }
        };
        let arguments = [offset, width.bytes(), 0, 0, 0];
        let answer = self.call(Operation::WriteString, arguments, asked, &fill, context);
        self.tell_late(context);
        let count = answer.map_or(0, |answer| usize::try_from(answer.arguments[0]).unwrap_or(usize::MAX));
        progress(count, bytes.len(), width).unwrap_or(bytes.len())
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.requests = self.requests.saturating_sub(1);
        let outcome = OUTCOMES.iter().position(|outcome| *outcome == completion.outcome);
        let outcome = outcome.unwrap_or(OUTCOMES.len()) as u64;
        let is_it = |read: &&mut Option<Request>| read.is_some_and(|read| read.tag == completion.tag);
        let read = self.reads.iter_mut().find(is_it).and_then(Option::take);
        let (start, bytes) = read.and_then(|read| effects::buffer_range(&read)).unwrap_or_default();
        self.ask(Operation::Complete, [completion.tag.into(), outcome, start, bytes, 0], context);
    }

    fn line(&self) -> bool {
        self.lines.first().copied().unwrap_or(false)
    }

    fn lines(&self) -> [bool; LINES] {
        self.lines
    }

    fn reset(&mut self) {
        // What was not over is nobody's any more.
        self.requests = 0;
        self.reads.fill(None);
        let context = nothing!(self.now);
        self.call(Operation::Reset, [0; ARGUMENTS], 0, &|_| {}, context);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        !self.rests(context) && self.ask(Operation::Poll, [0; ARGUMENTS], context) == Some(1)
    }

    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        if self.rests
            && let Ok(missed) = self.rest.want_notifications(wanted, context.memory)
        {
            return missed;
        }
        self.ask(Operation::WantNotifications, [wanted.into(), 0, 0, 0, 0], context) == Some(1)
    }

    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        frame.clear();
        if self.rests(context) {
            return false;
        }
        let answer = self.call(Operation::Transmit, [0; ARGUMENTS], 0, &|_| {}, context);
        let is_there = answer.is_some_and(|answer| self.take_frame(&answer, frame));
        self.tell_late(context);
        is_there
    }

    fn accepts(&self) -> Accepts {
        self.done.accepts
    }

    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        if parts.bytes() > self.sizes().data_bytes {
            return Reception::Unfit;
        }
        let [checksum, segmentation] = frames::encode(&parts.offload);
        let arguments = [checksum, segmentation, 0, 0, 0];
        let fill = |data: &mut [u8]| {
            frames::put(parts, data);
        };
        let answer = self.call(Operation::Receive, arguments, parts.bytes(), &fill, context);
        self.tell_late(context);
        let reception = answer.and_then(|answer| RECEPTIONS.get(usize::try_from(answer.arguments[0]).ok()?));
        reception.copied().unwrap_or(Reception::Down)
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        self.ask(Operation::Tell, [0; ARGUMENTS], context);
    }

    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        let arguments = [into.len() as u64, 0, 0, 0, 0];
        let answer = self.call(Operation::Output, arguments, 0, &|_| {}, context);
        let count = answer.map_or(0, |answer| self.take_data(&answer, into));
        self.tell_late(context);
        count
    }

    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        // What is typed to one that is gone is gone.
        self.ask(Operation::Input, [byte.into(), 0, 0, 0, 0], context).is_none_or(|taken| taken == 1)
    }

    fn work(&self) -> Work {
        self.done.work
    }

    fn take_doorbell(&mut self) -> Option<Doorbell> {
        if self.rests && self.rest.goes_on(&Nowhere) {
            return None;
        }
        let context = nothing!(self.now);
        let answer = self.call(Operation::TakeDoorbell, [0; ARGUMENTS], 0, &|_| {}, context)?;
        let [is_there, peer, vector, ..] = answer.arguments;
        let narrow = |value: u64| u16::try_from(value).ok();
        if is_there == 1 { Some(Doorbell { peer: narrow(peer)?, vector: narrow(vector)? }) } else { None }
    }

    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.ask(Operation::SetLink, [is_up.into(), 0, 0, 0, 0], context);
    }

    fn compartment(&self) -> Option<Account> {
        Some(self.account)
    }

    fn kill(&mut self) {
        self.is_killed = true;
    }
}

/// How many requests there are in an answer, where all of it can be taken over.
fn check(call: &Call, answer: &Answer, area: &Area<'_>, context: &Context<'_>) -> Result<usize, Ended> {
    if answer.flags.has(Flags::OVERFLOW) {
        return Err(Ended::Answer("effects that were lost"));
    }
    if answer.counts.effects > context.effects.room() {
        return Err(Ended::Answer("more effects than there is room for"));
    }
    let mut requests = 0_usize;
    for index in 0..answer.counts.effects {
        let effect = effects::decode(area.effect(index))?;
        requests = requests.saturating_add(usize::from(matches!(effect, DeviceEffect::Submit(_))));
    }
    let published = answer.counts.published;
    if published != 0 && !area.published(published).iter().all(|entry| publish::is_sound(*entry)) {
        return Err(Ended::Answer("something to publish that is too large"));
    }
    let [is_there, checksum, segmentation, ..] = answer.arguments;
    match Operation::of(call.operation) {
        Some(Operation::Transmit) if is_there == 1 => {
            frames::decode([checksum, segmentation])?;
            Ok(requests)
        }
        Some(Operation::ReadString) if answer.bytes == 0 || answer.bytes > call.bytes => {
            Err(Ended::Answer("a string that goes on nowhere"))
        }
        _ => Ok(requests),
    }
}

/// How far a string instruction came, if that is some accesses of its own and no more.
fn progress(count: usize, most: usize, width: Width) -> Option<usize> {
    let width = width.bytes() as usize;
    (count > 0 && count <= most && count.is_multiple_of(width)).then_some(count)
}
