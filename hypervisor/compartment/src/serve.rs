//! The compartment's side: it has the model do what a call says.

use crate::area::{Answer, Area, Call};
use crate::effects::{self, buffer_range};
use crate::frames;
use crate::operation::Operation;
use crate::publish::{Late, Published};
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use devices::Device;
use devices::device::{self, Completion, Context, DeviceEffect, LINES, Reception, RequestFault};
use devices::effect::Effects;
use devices::journal::Journal;
use network::{Frame, Tagging};
use spec::{Gpa, Width};

/// A device and what it takes to serve it.
pub struct Server {
    device: Box<dyn Device>,
    effects: Effects<DeviceEffect>,
    /// Where frames are put together; of none where the device is no network interface.
    frame: Option<Frame>,
    published: Published,
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
            said: core::iter::repeat_n(0, device.state_words()).collect(),
            device,
        }
    }

    /// Does what the call in the area says, and answers there.
    pub fn serve(&mut self, memory: &dyn GuestMemory, area: &mut Area<'_>) {
        let call = area.call();
        let memory = if call.reaches_memory { memory } else { &Unreachable };
        self.effects.limit(call.room);
        self.before(&call, area);
        let mut answer = self.perform(&call, memory, area);
        self.after(&mut answer, area);
        area.set_answer(&answer);
    }

    /// Brings what was read into the buffer to the device, before it hears of it.
    fn before(&mut self, call: &Call, area: &mut Area<'_>) {
        let [_, _, start, bytes, _] = call.arguments;
        if Operation::of(call.operation) == Some(Operation::Complete) && bytes != 0 {
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

    fn perform(&mut self, call: &Call, memory: &dyn GuestMemory, area: &mut Area<'_>) -> Answer {
        if Operation::of(call.operation) == Some(Operation::Restore) {
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
        let asked = area.data().len().min(call.bytes);
        let result = &mut answer.arguments;
        match Operation::of(call.operation) {
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
            Some(Operation::Build | Operation::Restore) | None => {}
        }
        answer
    }

    /// Puts effects where ring 0 finds them, with what requests write of the device's buffer, and what the device
    /// can be asked without being entered.
    fn after(&mut self, answer: &mut Answer, area: &mut Area<'_>) {
        while let Some(effect) = self.effects.pop() {
            if let DeviceEffect::Submit(request) = effect
                && let Some(range) = buffer_range(&request)
                && request.operation == device::Operation::Write
            {
                copy(range, self.device.buffer(), area.buffer());
            }
            if answer.effects < area.sizes().effects {
                area.set_effect(answer.effects, effects::encode(effect));
                answer.effects += 1;
            } else {
                answer.has_overflowed = true;
            }
        }
        answer.has_overflowed |= self.effects.take_overflow();
        let lines: [bool; LINES] = self.device.lines();
        answer.lines = (0..).zip(lines).map(|(line, level)| u64::from(level) << line).sum();
        answer.accepts = self.device.accepts();
        answer.work = self.device.work();
        (answer.published, answer.is_untold) =
            self.published.take(|index, entry| area.set_published(index, entry));
        let mut journal = Journal::new(&mut self.said, area.records());
        self.device.journal(&mut journal);
        match journal.finish() {
            Some(records) => answer.records = records,
            None => answer.has_overflowed = true,
        }
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
