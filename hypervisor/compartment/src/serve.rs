//! The compartment's side: it has the model do what a call says.

use crate::area::{Answer, Area, Call, Done, Flags};
use crate::effects::{self, buffer_range};
use crate::frames;
use crate::operation::Operation;
use crate::publish::{Late, Published};
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use devices::Device;
use devices::device::{self, Completion, Context, DeviceEffect, Reception, RequestFault};
use devices::effect::Effects;
use devices::journal::Journal;
use devices::rest::Rest;
use network::{Frame, Tagging};
use spec::{Gpa, Width};

/// A device and what it takes to serve it.
pub struct Server {
    device: Box<dyn Device>,
    effects: Effects<DeviceEffect>,
    /// Where frames are put together; of none where the device is no network interface.
    frame: Option<Frame>,
    published: Published,
    rest: Rest,
    /// The device's committed state as it was said.
    said: Box<[u64]>,
}

/// No memory, for a device that may not reach its guest's.
struct Unreachable;

impl GuestMemory for Unreachable {
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

impl Server {
    /// A server of this device, which carries frames or does not.
    pub fn new(device: Box<dyn Device>, carries_frames: bool) -> Self {
        Self {
            effects: Effects::with_capacity(device.most_effects()),
            frame: carries_frames.then(Frame::new),
            published: Published::new(),
            rest: Rest::new(),
            said: core::iter::repeat_n(0, device.state_words()).collect(),
            device,
        }
    }

    /// Does what the call in the area says, and answers there.
    #[inline]
    pub fn serve(&mut self, memory: &dyn GuestMemory, area: &mut Area<'_>) {
        let Some((is_read, access)) = area.access() else { return self.serve_any(memory, area) };
        let memory = if access.reaches_memory { memory } else { &Unreachable };
        self.effects.limit(access.room);
        let late = Late { memory, published: &self.published };
        let reached: &dyn GuestMemory = if self.said.is_empty() { memory } else { &late };
        let context = &mut Context { memory: reached, now: access.now, effects: &mut self.effects };
        let [offset, width, value] = access.arguments;
        let width = width_of(width);
        let value = if is_read {
            self.device.read(offset, width, context)
        } else {
            self.device.write(offset, width, value, context);
            0
        };
        if self.effects.is_untouched() && self.published.is_empty() && self.device.is_committed() {
            return area.set_value(value);
        }
        self.answer_access(is_read, value, area);
    }

    /// Answers an access that had consequences.
    #[inline(never)]
    fn answer_access(&mut self, is_read: bool, value: u64, area: &mut Area<'_>) {
        let mut answer = Answer { arguments: [value, 0, 0, 0, 0], ..Answer::default() };
        let is_committed = self.after(&mut answer, area);
        if !is_read && !is_committed {
            self.say_done(&mut answer, area);
        }
        area.set_answer(&answer);
    }

    /// As [`serve`](Self::serve), whatever the call is.
    #[inline(never)]
    fn serve_any(&mut self, memory: &dyn GuestMemory, area: &mut Area<'_>) {
        let call = area.call();
        let memory = if call.reaches_memory { memory } else { &Unreachable };
        let operation = Operation::of(call.operation);
        self.effects.limit(call.room);
        if operation == Some(Operation::Complete) {
            self.before(&call, area);
        }
        let mut answer = self.perform(operation, &call, memory, area);
        let is_committed = self.after(&mut answer, area);
        self.describe(operation, &mut answer, memory, area);
        if !is_committed {
            self.say_done(&mut answer, area);
        }
        area.set_answer(&answer);
    }

    /// Brings what was read into the buffer to the device, before it hears of it.
    fn before(&mut self, call: &Call, area: &mut Area<'_>) {
        let [_, _, start, bytes, _] = call.arguments;
        if bytes != 0 {
            copy((start, bytes), area.buffer(), self.device.buffer());
        }
    }

    /// Becomes as the device was whose state is in the area.
    fn restore(&mut self, area: &mut Area<'_>) -> bool {
        let said = area.records().get(..self.said.len()).unwrap_or_default();
        if said.len() != self.said.len() {
            return false;
        }
        self.said.copy_from_slice(said);
        self.device.restore_words(&self.said).is_ok()
    }

    fn perform(
        &mut self,
        operation: Option<Operation>,
        call: &Call,
        memory: &dyn GuestMemory,
        area: &mut Area<'_>,
    ) -> Answer {
        if operation == Some(Operation::Restore) {
            let arguments = [self.restore(area).into(), 0, 0, 0, 0];
            return Answer { arguments, ..Answer::default() };
        }
        let device = &mut *self.device;
        let late = Late { memory, published: &self.published };
        // One that is not made anew need not hide how far it came.
        let memory: &dyn GuestMemory = if self.said.is_empty() { memory } else { &late };
        let context = &mut Context { memory, now: call.now, effects: &mut self.effects };
        let mut answer = Answer::default();
        let [first, second, third, ..] = call.arguments;
        let width = width_of(second);
        let asked = area.sizes().data_bytes.min(call.bytes);
        let result = &mut answer.arguments;
        match operation {
            Some(Operation::Describe) => {
                *result = [
                    device.most_effects() as u64,
                    device.most_requests() as u64,
                    device.buffer().len() as u64,
                    device.resets_behind_requests().into(),
                    device.state_words() as u64,
                ];
            }
            Some(Operation::Read) => result[0] = device.read(first, width, context),
            Some(Operation::Write) => device.write(first, width, third, context),
            Some(Operation::ReadString) => {
                let data = area.data().get_mut(..asked).unwrap_or_default();
                answer.bytes = device.read_string(first, width, data, context);
            }
            Some(Operation::WriteString) => {
                let data = area.data().get(..asked).unwrap_or_default();
                result[0] = device.write_string(first, width, data, context) as u64;
            }
            Some(Operation::Complete) => {
                device.complete(Completion { tag: first as u32, outcome: outcome_of(second) }, context);
            }
            Some(Operation::Reset) => device.reset(),
            Some(Operation::Poll) => result[0] = device.poll(context).into(),
            Some(Operation::WantNotifications) => {
                result[0] = device.want_notifications(first != 0, context).into();
            }
            Some(Operation::Transmit) => {
                if let Some(frame) = &mut self.frame {
                    frame.clear();
                    let is_there = device.transmit(frame, context);
                    if let Some(place) = area.data().get_mut(..frame.len()) {
                        place.copy_from_slice(frame.bytes());
                    }
                    let [checksum, segmentation] = frames::encode(&frame.offload);
                    (*result, answer.bytes) = ([is_there.into(), checksum, segmentation, 0, 0], frame.len());
                }
            }
            Some(Operation::Receive) => {
                let offload = frames::decode([first, second]).unwrap_or_default();
                let data = area.data().get(..asked).unwrap_or_default();
                let reception = match &mut self.frame {
                    None => Reception::Down,
                    Some(frame) => {
                        let is_frame = frames::get(data, offload, frame).is_some();
                        let parts = frame.parts(Tagging::Keep).filter(|_| is_frame);
                        parts.map_or(Reception::Unfit, |parts| device.receive(&parts, context))
                    }
                };
                result[0] = reception as u64;
            }
            Some(Operation::Tell) => device.tell(context),
            Some(Operation::Output) => {
                let room = area.data().len().min(first as usize);
                let data = area.data().get_mut(..room).unwrap_or_default();
                answer.bytes = device.output(data, context);
            }
            Some(Operation::Input) => result[0] = device.input(first as u8, context).into(),
            Some(Operation::TakeDoorbell) => {
                if let Some(bell) = device.take_doorbell() {
                    *result = [1, bell.peer.into(), bell.vector.into(), 0, 0];
                }
            }
            Some(Operation::SetLink) => device.set_link(first != 0, context),
            Some(Operation::Restore) | None => {}
        }
        answer
    }

    /// Puts effects where ring 0 finds them, with what requests write of the device's buffer, what is published, and
    /// the changes of the device's state. Whether there were none, so that it says the same of itself as before.
    fn after(&mut self, answer: &mut Answer, area: &mut Area<'_>) -> bool {
        let mut has_overflowed = false;
        while let Some(effect) = self.effects.pop() {
            if let DeviceEffect::Submit(request) = effect
                && let Some(range) = buffer_range(&request)
                && request.operation == device::Operation::Write
            {
                copy(range, self.device.buffer(), area.buffer());
            }
            if answer.counts.effects < area.sizes().effects {
                area.set_effect(answer.counts.effects, effects::encode(effect));
                answer.counts.effects += 1;
            } else {
                has_overflowed = true;
            }
        }
        has_overflowed |= self.effects.take_overflow();
        let (published, is_untold) = self.published.take(|index, entry| area.set_published(index, entry));
        answer.counts.published = published;
        let is_committed = self.device.is_committed();
        if !is_committed && !self.said.is_empty() {
            let mut journal = Journal::new(&mut self.said, area.records());
            self.device.journal(&mut journal);
            match journal.finish() {
                Some(records) => answer.counts.records = records,
                None => has_overflowed = true,
            }
        }
        answer.flags = Flags::new(self.device.lines());
        answer.flags.set(Flags::UNTOLD, is_untold);
        answer.flags.set(Flags::OVERFLOW, has_overflowed);
        is_committed
    }

    /// Says whether the device need be polled.
    fn describe(
        &mut self,
        operation: Option<Operation>,
        answer: &mut Answer,
        memory: &dyn GuestMemory,
        area: &mut Area<'_>,
    ) {
        let is_poll = matches!(
            operation,
            Some(
                Operation::Poll
                    | Operation::Transmit
                    | Operation::TakeDoorbell
                    | Operation::Tell
                    | Operation::WantNotifications,
            )
        );
        let rest = &mut self.rest;
        rest.clear();
        if is_poll && self.device.rests(rest, memory) {
            answer.flags.set(Flags::RESTS, true);
            (answer.counts.watches, answer.counts.wishes) = (rest.watches().len(), rest.wishes().len());
            area.set_rest(rest);
        }
    }

    /// Says what the device accepts and has done, which ring 0 keeps until it is said again.
    fn say_done(&self, answer: &mut Answer, area: &mut Area<'_>) {
        answer.flags.set(Flags::SAYS_DONE, true);
        area.set_done(&Done { accepts: self.device.accepts(), work: self.device.work() });
    }
}

/// Copies so many bytes from there on between one copy of the device's buffer and the other.
pub(crate) fn copy((start, bytes): (u64, u64), from: &[u8], to: &mut [u8]) {
    let range = start as usize..(start as usize).saturating_add(bytes as usize);
    if let (Some(from), Some(to)) = (from.get(range.clone()), to.get_mut(range)) {
        to.copy_from_slice(from);
    }
}

/// The width of so many bytes.
fn width_of(bytes: u64) -> Width {
    match bytes {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Dword,
        _ => Width::Qword,
    }
}

/// Outcomes by number.
pub(crate) const OUTCOMES: [Result<(), RequestFault>; 6] = [
    Ok(()),
    Err(RequestFault::Memory),
    Err(RequestFault::Range),
    Err(RequestFault::ReadOnly),
    Err(RequestFault::NoSpace),
    Err(RequestFault::Medium),
];

fn outcome_of(number: u64) -> Result<(), RequestFault> {
    OUTCOMES.get(number as usize).copied().unwrap_or(Err(RequestFault::Medium))
}
