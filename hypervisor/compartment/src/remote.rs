//! Ring 0's side: a device whose model is in a compartment.

use crate::area::{ARGUMENTS, Answer, Area, Call, Sizes};
use crate::effects;
use crate::ended::Ended;
use crate::frames;
use crate::operation::Operation;
use crate::serve::OUTCOMES;
use devices::Device;
use devices::device::{Accepts, Completion, Context, Doorbell, LINES, Reception, Work};
use network::{Frame, Parts};
use spec::{Gpa, Width};

/// A compartment that can be entered. It runs while [`enter`](Self::enter) does, and at no other time.
pub trait Compartment: Send {
    /// The words of its area.
    fn area(&mut self) -> &mut [u64];
    /// Has it do what the call in its area says.
    ///
    /// # Errors
    /// Why it is not entered again.
    fn enter(&mut self) -> Result<(), Ended>;
}

/// What a device says of itself once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Described {
    effects: usize,
    requests: usize,
    resets_behind_requests: bool,
}

/// A device whose model is in a compartment.
pub struct Remote<C> {
    compartment: C,
    sizes: Sizes,
    described: Described,
    /// What it said of itself when it was entered last.
    lines: [bool; LINES],
    accepts: Accepts,
    work: Work,
    /// Why it is no more, if it is not.
    ended: Option<Ended>,
}

/// Receptions by their number.
const RECEPTIONS: [Reception; 4] = [Reception::Taken, Reception::NoRoom, Reception::Down, Reception::Unfit];

impl<C: Compartment> Remote<C> {
    /// The device of this compartment, whose area has these sizes.
    ///
    /// # Errors
    /// Where the compartment does not answer, or its device needs more than the sizes have.
    pub fn new(compartment: C, sizes: Sizes) -> Result<Self, Ended> {
        let described = Described { effects: 0, requests: 0, resets_behind_requests: false };
        let mut remote = Self {
            compartment,
            sizes,
            described,
            lines: [false; LINES],
            accepts: Accepts::default(),
            work: Work::default(),
            ended: None,
        };
        let answer = remote.enter(Call::new(Operation::Describe, [0; ARGUMENTS]), |_| {})?;
        let [effects, requests, buffer_bytes, resets_behind_requests, _] = answer.arguments;
        let fits = |value: u64, most: usize| usize::try_from(value).ok().filter(|value| *value <= most);
        let too_much = Ended::Answer("a device that needs more than there is");
        remote.described = Described {
            effects: fits(effects, sizes.effects).ok_or(too_much)?,
            requests: fits(requests, sizes.effects).ok_or(too_much)?,
            resets_behind_requests: resets_behind_requests != 0,
        };
        fits(buffer_bytes, sizes.buffer_bytes).ok_or(too_much)?;
        Ok(remote)
    }

    /// Why the compartment was ended, if it was.
    pub const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// The compartment.
    #[cfg(test)]
    pub(crate) const fn compartment_mut(&mut self) -> &mut C {
        &mut self.compartment
    }

    fn area(&mut self) -> Option<Area<'_>> {
        Area::new(self.compartment.area(), self.sizes)
    }

    fn enter(&mut self, call: Call, fill: impl FnOnce(&mut [u8])) -> Result<Answer, Ended> {
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        let entered = self.try_enter(call, fill);
        if let Err(ended) = entered {
            self.ended = Some(ended);
            (self.lines, self.accepts) = ([false; LINES], Accepts::default());
        }
        entered
    }

    fn try_enter(&mut self, call: Call, fill: impl FnOnce(&mut [u8])) -> Result<Answer, Ended> {
        const NO_AREA: Ended = Ended::Answer("no area");
        let mut area = self.area().ok_or(NO_AREA)?;
        area.set_call(&call);
        fill(area.data());
        self.compartment.enter()?;
        let answer = self.area().ok_or(NO_AREA)?.answer()?;
        self.lines = core::array::from_fn(|line| answer.lines >> line & 1 != 0);
        (self.accepts, self.work) = (answer.accepts, answer.work);
        Ok(answer)
    }

    /// Enters with the context of an access, and takes over what that caused.
    fn call(
        &mut self,
        operation: Operation,
        arguments: [u64; ARGUMENTS],
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
        context: &mut Context<'_>,
    ) -> Option<Answer> {
        // A guest has memory from 0 on, and a device that may not reach it has none.
        let reaches_memory = context.memory.contains(Gpa(0), 1);
        let call = Call { now: context.now, reaches_memory, bytes, ..Call::new(operation, arguments) };
        let answer = self.enter(call, fill).ok()?;
        let taken = self.take_effects(&answer, context);
        if let Err(ended) = taken {
            self.ended = Some(ended);
            return None;
        }
        Some(answer)
    }

    fn take_effects(&mut self, answer: &Answer, context: &mut Context<'_>) -> Result<(), Ended> {
        if answer.has_overflowed {
            return Err(Ended::Answer("effects that were lost"));
        }
        let buffer_bytes = self.sizes.buffer_bytes;
        let Some(area) = self.area() else { return Ok(()) };
        for index in 0..answer.effects {
            let effect = effects::decode(area.effect(index), buffer_bytes)?;
            if context.effects.room() == 0 {
                return Err(Ended::Answer("more effects than there is room for"));
            }
            context.effects.push(effect);
        }
        Ok(())
    }

    fn ask(
        &mut self,
        operation: Operation,
        arguments: [u64; ARGUMENTS],
        context: &mut Context<'_>,
    ) -> Option<u64> {
        self.call(operation, arguments, 0, |_| {}, context).map(|answer| answer.arguments[0])
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
        self.ask(Operation::Read, [offset, width.bytes(), 0, 0, 0], context).unwrap_or(width.mask())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.ask(Operation::Write, [offset, width.bytes(), value, 0, 0], context);
    }

    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        let asked = bytes.len().min(self.sizes.data_bytes);
        let arguments = [offset, width.bytes(), 0, 0, 0];
        let answer = self.call(Operation::ReadString, arguments, asked, |_| {}, context);
        let count = answer.map_or(0, |answer| self.take_data(&answer, bytes));
        progress(count, bytes.len(), width).unwrap_or_else(|| {
            // One that makes no progress would never end.
            bytes.fill(u8::MAX);
            bytes.len()
        })
    }

    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let asked = bytes.len().min(self.sizes.data_bytes);
        let fill = |data: &mut [u8]| {
            if let (Some(data), Some(bytes)) = (data.get_mut(..asked), bytes.get(..asked)) {
                data.copy_from_slice(bytes);
            }
        };
        let arguments = [offset, width.bytes(), 0, 0, 0];
        let answer = self.call(Operation::WriteString, arguments, asked, fill, context);
        let count = answer.map_or(0, |answer| usize::try_from(answer.arguments[0]).unwrap_or(usize::MAX));
        progress(count, bytes.len(), width).unwrap_or(bytes.len())
    }

    fn buffer(&mut self) -> &mut [u8] {
        let sizes = self.sizes;
        Area::new(self.compartment.area(), sizes).map(Area::into_buffer).unwrap_or_default()
    }

    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        let outcome = OUTCOMES.iter().position(|outcome| *outcome == completion.outcome);
        let outcome = outcome.unwrap_or(OUTCOMES.len()) as u64;
        self.ask(Operation::Complete, [completion.tag.into(), outcome, 0, 0, 0], context);
    }

    fn line(&self) -> bool {
        self.lines.first().copied().unwrap_or(false)
    }

    fn lines(&self) -> [bool; LINES] {
        self.lines
    }

    fn reset(&mut self) {
        // What it does not say, ring 0 finds out with the next call.
        let _ = self.enter(Call::new(Operation::Reset, [0; ARGUMENTS]), |_| {});
    }

    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.ask(Operation::Poll, [0; ARGUMENTS], context) == Some(1)
    }

    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        self.ask(Operation::WantNotifications, [wanted.into(), 0, 0, 0, 0], context) == Some(1)
    }

    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        let Some(answer) = self.call(Operation::Transmit, [0; ARGUMENTS], 0, |_| {}, context) else {
            return false;
        };
        let [is_there, checksum, segmentation, ..] = answer.arguments;
        frame.clear();
        if is_there != 1 {
            return false;
        }
        let offload = match frames::decode([checksum, segmentation]) {
            Ok(offload) => offload,
            Err(ended) => {
                self.ended = Some(ended);
                return false;
            }
        };
        let mut area = self.area();
        let data = area.as_mut().and_then(|area| area.data().get(..answer.bytes)).unwrap_or_default();
        frames::get(data, offload, frame).is_some()
    }

    fn accepts(&self) -> Accepts {
        self.accepts
    }

    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        if parts.bytes() > self.sizes.data_bytes {
            return Reception::Unfit;
        }
        let [checksum, segmentation] = frames::encode(&parts.offload);
        let arguments = [checksum, segmentation, 0, 0, 0];
        let fill = |data: &mut [u8]| {
            frames::put(parts, data);
        };
        let answer = self.call(Operation::Receive, arguments, parts.bytes(), fill, context);
        let reception = answer.and_then(|answer| RECEPTIONS.get(usize::try_from(answer.arguments[0]).ok()?));
        reception.copied().unwrap_or(Reception::Down)
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        self.ask(Operation::Tell, [0; ARGUMENTS], context);
    }

    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        let arguments = [into.len() as u64, 0, 0, 0, 0];
        let answer = self.call(Operation::Output, arguments, 0, |_| {}, context);
        answer.map_or(0, |answer| self.take_data(&answer, into))
    }

    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        // What is typed to one that is gone is gone.
        self.ask(Operation::Input, [byte.into(), 0, 0, 0, 0], context).is_none_or(|taken| taken == 1)
    }

    fn work(&self) -> Work {
        self.work
    }

    fn take_doorbell(&mut self) -> Option<Doorbell> {
        let call = Call::new(Operation::TakeDoorbell, [0; ARGUMENTS]);
        let [is_there, peer, vector, ..] = self.enter(call, |_| {}).ok()?.arguments;
        let narrow = |value: u64| u16::try_from(value).ok();
        if is_there == 1 { Some(Doorbell { peer: narrow(peer)?, vector: narrow(vector)? }) } else { None }
    }

    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.ask(Operation::SetLink, [is_up.into(), 0, 0, 0, 0], context);
    }
}

/// How far a string instruction came, if that is some accesses of its own and no more.
fn progress(count: usize, most: usize, width: Width) -> Option<usize> {
    let width = width.bytes() as usize;
    (count > 0 && count <= most && count.is_multiple_of(width)).then_some(count)
}
