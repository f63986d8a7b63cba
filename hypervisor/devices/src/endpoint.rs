//! The device behind the BAR of an emulated function: the model with its MSI-X table and its
//! backend, and the one place where the model's effects are applied.
//!
//! One lock around an endpoint serves every vCPU of its guest; the guest's bus is not locked
//! meanwhile. The effects of one endpoint apply in order.

use crate::device::{
    CONFIG_REGISTERS, Completion, Context, DEVICE_BUFFER, Device, DeviceEffect, Doorbell, LINES, Request,
    RequestFault, Work,
};
use crate::effect::Effects;
use crate::ended::Account;
use crate::msix::Messages;
use access::{GuestMemory, OutOfBounds};
use alloc::boxed::Box;
use spec::apic::InterruptMessage;
use spec::{Gpa, Width};

mod backend;
mod frames;
mod group;
mod reach;
mod shown;

use backend::Second;
pub use backend::{Backend, Which};
pub use group::Group;
pub(crate) use reach::Own;
use reach::Reach;

/// What an endpoint needs for the time of one call.
pub struct Surroundings<'a> {
    /// The guest's memory.
    pub memory: &'a dyn GuestMemory,
    /// Guest time, in ticks of the time-stamp counter.
    pub now: u64,
    /// Takes an interrupt message to the guest's local APICs.
    pub send: &'a mut dyn FnMut(InterruptMessage),
    /// Shows what the guest prints by the device.
    pub print: &'a mut dyn FnMut(&[u8]),
}

/// The most bytes that are printed at once.
const PIECE_BYTES: usize = 256;

/// What a guest's use of a device cost it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Activity {
    /// Its accesses to the BAR, each an exit; a string instruction counts as one for each piece that
    /// was moved at once.
    pub accesses: u64,
    /// Messages that were sent.
    pub messages: u64,
}

/// An emulated device, whole but for its configuration space.
pub struct Endpoint {
    activity: Activity,
    /// What its medium did.
    done: Work,
    device: Box<dyn Device>,
    backend: Backend,
    /// What is behind it on the device's medium.
    second: Option<Second>,
    effects: Effects<DeviceEffect>,
    /// Requests that nobody has taken yet.
    requests: Effects<Request>,
    /// Requests that are taken and not done.
    taken: usize,
    /// How many of all of them there may be.
    most_requests: usize,
    /// Groups whose data a drive reads or writes in the guest's memory itself.
    lent: usize,
    messages: Messages,
    /// Bytes from the start of the BAR to the MSI-X table.
    table: u64,
    /// Bytes from the start of the BAR to the pending bits.
    pending: u64,
    /// The guest's global system interrupts that the device's lines are.
    lines: [Option<u8>; LINES],
    /// The function may assert them.
    line_enabled: bool,
    /// A bit for each global system interrupt that it asserts, as was told.
    asserted: u32,
    bus_master: bool,
    failed: bool,
    /// Whoever polls the device, or serves its backend, has something to do.
    wants_service: bool,
    /// Something is printed that nobody has taken yet.
    has_output: bool,
    /// Counts resets: what was taken before one is nobody's any more.
    life: u32,
    /// Frames were carried of which the device has not told its guest.
    untold: bool,
    /// Messages of what is being finished wait.
    holds: bool,
    /// Those that wait, a bit each.
    held: u64,
}

impl Endpoint {
    /// The endpoint of `device`, as after reset. Its registers take the first `table` bytes of
    /// the BAR; the table of its `messages` messages is there, and `pending` bytes into the
    /// BAR are their pending bits.
    pub fn new(device: Box<dyn Device>, backend: Backend, messages: u16, table: u64, pending: u64) -> Self {
        let most_requests = device.most_requests();
        Self {
            activity: Activity::default(),
            done: Work::default(),
            effects: Effects::with_capacity(device.most_effects()),
            device,
            requests: backend.requests(most_requests),
            backend,
            second: None,
            taken: 0,
            most_requests,
            lent: 0,
            messages: Messages::new(messages),
            table,
            pending,
            lines: [None; LINES],
            line_enabled: true,
            asserted: 0,
            bus_master: false,
            failed: false,
            wants_service: false,
            has_output: false,
            life: 0,
            untold: false,
            holds: false,
            held: 0,
        }
    }

    /// The endpoint of a `device` without messages, as after reset. Its lines are these of the
    /// guest's global system interrupts.
    pub fn with_lines(device: Box<dyn Device>, backend: Backend, lines: [Option<u8>; LINES]) -> Self {
        Self { lines, ..Self::new(device, backend, 0, u64::MAX, u64::MAX) }
    }

    /// The same with another backend, for what is from byte `start` of the device's medium on.
    pub fn with_second(self, start: u64, backend: Backend) -> Self {
        Self { second: Some(Second::new(start, backend, self.most_requests)), ..self }
    }

    /// Lets the function assert its lines, or not.
    pub const fn enable_lines(&mut self, enabled: bool) {
        self.line_enabled = enabled;
    }

    /// The global system interrupts that the device asserts (a bit each) where they are others than
    /// when this was asked last, and what they were then.
    pub fn take_line_change(&mut self) -> Option<(u32, u32)> {
        let levels = self.lines.iter().zip(self.device.lines());
        let asserted = levels.filter(|(_, level)| *level && self.line_enabled);
        let asserted = asserted.filter_map(|(gsi, _)| 1_u32.checked_shl((*gsi)?.into()));
        let asserted = asserted.fold(0, |bits, bit| bits | bit);
        let was = core::mem::replace(&mut self.asserted, asserted);
        (was != asserted).then_some((was, asserted))
    }

    /// Reads `width` bytes, `offset` bytes into the BAR.
    pub fn read(&mut self, offset: u64, width: Width, around: &mut Surroundings<'_>) -> u64 {
        self.activity.accesses += 1;
        if offset >= self.table && offset < CONFIG_REGISTERS {
            return match offset.checked_sub(self.pending) {
                Some(offset) => self.messages.read_pending(offset, width),
                None => self.messages.read(offset - self.table, width),
            };
        }
        let value = self.with_device(around, |device, context| device.read(offset, width, context));
        self.apply(around);
        value
    }

    /// Writes `width` bytes, `offset` bytes into the BAR.
    pub fn write(&mut self, offset: u64, width: Width, value: u64, around: &mut Surroundings<'_>) {
        self.activity.accesses += 1;
        if offset >= self.table && offset < CONFIG_REGISTERS {
            if offset < self.pending {
                self.messages.write(offset - self.table, width, value, &mut *around.send);
            }
            return;
        }
        self.with_device(around, |device, context| device.write(offset, width, value, context));
        self.apply(around);
    }

    /// Reads as a string instruction does, by accesses of `width`: at `offset` of the BAR each of
    /// them. `bytes` are a multiple of the width.
    pub fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        around: &mut Surroundings<'_>,
    ) {
        self.activity.accesses += 1;
        if offset >= self.table {
            return bytes.fill(0xff);
        }
        let mut rest = bytes;
        // Every call moves at least one of them.
        while !rest.is_empty() {
            let done =
                self.with_device(around, |device, context| device.read_string(offset, width, rest, context));
            self.apply(around);
            rest = rest.get_mut(done.max(1)..).unwrap_or_default();
        }
    }

    /// Writes as a string instruction does; see [`read_string`](Self::read_string).
    pub fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], around: &mut Surroundings<'_>) {
        self.activity.accesses += 1;
        if offset >= self.table {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let done =
                self.with_device(around, |device, context| device.write_string(offset, width, rest, context));
            self.apply(around);
            self.print(around);
            rest = rest.get(done.max(1)..).unwrap_or_default();
        }
    }

    /// What the function's configuration space lets the device do: master the bus, and send
    /// messages, which wait while all of them are `masked`.
    pub fn set_enables(
        &mut self,
        bus_master: bool,
        messages: bool,
        masked: bool,
        around: &mut Surroundings<'_>,
    ) {
        self.bus_master = bus_master;
        self.messages.set_enables(messages, masked || !bus_master, &mut *around.send);
    }

    /// As after power-up.
    pub fn reset(&mut self) {
        self.device.reset();
        self.messages.reset();
        self.effects.clear();
        self.requests.clear();
        self.second.iter_mut().for_each(Second::clear);
        self.taken = 0;
        self.bus_master = false;
        self.line_enabled = true;
        self.failed = false;
        self.wants_service = false;
        self.has_output = false;
        self.life = self.life.wrapping_add(1);
        self.held = 0;
    }

    /// What its guest's use of it cost since the machine was started.
    pub const fn activity(&self) -> Activity {
        self.activity
    }

    /// What the device or its media have done of that themselves.
    pub fn work(&self) -> Work {
        match self.backend {
            Backend::Served if self.second.is_none() => self.device.work(),
            Backend::Medium(_) | Backend::Served => self.done,
        }
    }

    /// What became of the compartment that the model is in, if it is in one.
    pub fn compartment(&self) -> Option<Account> {
        self.device.compartment()
    }

    /// Has that compartment end.
    pub fn kill(&mut self) {
        self.device.kill();
    }

    /// Whether the model caused more effects than it said: the guest has lost something.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether whoever polls the device, or serves its backend, has to be woken: something came
    /// since this was last asked.
    pub const fn take_wants_service(&mut self) -> bool {
        core::mem::replace(&mut self.wants_service, false)
    }

    /// Has the device take what waits in its queues. Whether it took something.
    pub fn poll(&mut self, around: &mut Surroundings<'_>) -> bool {
        let took = self.with_device(around, |device, context| device.poll(context));
        self.apply(around);
        took
    }

    /// See [`Device::want_notifications`].
    pub fn want_notifications(&mut self, wanted: bool, around: &mut Surroundings<'_>) -> bool {
        let missed = self.with_device(around, |device, context| device.want_notifications(wanted, context));
        self.apply(around);
        missed
    }

    /// Prints a piece of what the guest has given the device for that. Whether there may be more.
    #[inline]
    pub fn print(&mut self, around: &mut Surroundings<'_>) -> bool {
        self.has_output && self.print_piece(around)
    }

    #[inline(never)]
    fn print_piece(&mut self, around: &mut Surroundings<'_>) -> bool {
        let mut piece = [0; PIECE_BYTES];
        let bytes = self.with_device(around, |device, context| device.output(&mut piece, context));
        self.has_output = bytes == PIECE_BYTES;
        self.apply(around);
        (around.print)(piece.get(..bytes).unwrap_or_default());
        self.has_output
    }

    /// Gives the device a byte that was typed; see [`Device::input`].
    pub fn input(&mut self, byte: u8, around: &mut Surroundings<'_>) -> bool {
        let taken = self.with_device(around, |device, context| device.input(byte, context));
        self.apply(around);
        taken
    }

    /// Whether requests wait for whoever serves this backend.
    pub fn has_requests(&self, of: Which) -> bool {
        match (of, &self.second) {
            (Which::First, _) => !self.requests.is_empty(),
            (Which::Second, second) => second.as_ref().is_some_and(|second| !second.requests.is_empty()),
        }
    }

    /// Takes the oldest request to this backend, and those behind it that go on where it ends, up to
    /// `most_bytes` (at least [`MOST_REQUEST_BYTES`](crate::device::MOST_REQUEST_BYTES)) and to the room
    /// of `group`, which is empty if none waits.
    pub fn take_requests(&mut self, of: Which, most_bytes: usize, group: &mut Group) {
        (group.count, group.life) = (0, self.life);
        let requests = match (of, &mut self.second) {
            (Which::First, _) => &mut self.requests,
            (Which::Second, Some(second)) => &mut second.requests,
            (Which::Second, None) => return,
        };
        let mut bytes = 0;
        while let Some(next) = requests.peek() {
            bytes += next.bytes as usize;
            let last = group.requests().last();
            let goes_on = last.is_none_or(|last| follows(last, &next) && bytes <= most_bytes);
            if !goes_on || !group.push(next) {
                break;
            }
            requests.pop();
            self.taken += 1;
        }
    }

    /// Copies `bytes` bytes of the guest's that a request of `group` is to write, from `gpa` on.
    ///
    /// # Errors
    /// Where the device does not reach all of them, or was reset since.
    pub fn copy_from_guest(
        &mut self,
        group: &Group,
        gpa: Gpa,
        bytes: &mut [u8],
        around: &Surroundings<'_>,
    ) -> Result<(), OutOfBounds> {
        if gpa < DEVICE_BUFFER {
            return self.reach(group, around).read(gpa, bytes);
        }
        if !self.is_current(group) {
            return Err(OutOfBounds);
        }
        Own::of(&mut *self.device).read(gpa, bytes)
    }

    /// Copies what a request of `group` has read to the guest, to `gpa` and on.
    ///
    /// # Errors
    /// Where the device does not reach all of that, or was reset since.
    pub fn copy_to_guest(
        &mut self,
        group: &Group,
        gpa: Gpa,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<(), OutOfBounds> {
        if gpa < DEVICE_BUFFER {
            return self.reach(group, around).write(gpa, bytes);
        }
        if !self.is_current(group) {
            return Err(OutOfBounds);
        }
        Own::of(&mut *self.device).write(gpa, bytes)
    }

    /// Has whoever serves the backend read or write the data of `group` in the guest's memory itself, from
    /// now until [`take_back`](Self::take_back), whatever becomes of the device meanwhile. Whether it may:
    /// all of that is memory that the device reaches, and the device's reset waits for its requests.
    pub fn lend(&mut self, group: &Group, around: &Surroundings<'_>) -> bool {
        let reach = self.reach(group, around);
        let is_there = |request: &Request| {
            request.gpa < DEVICE_BUFFER && reach.contains(request.gpa, request.bytes.into())
        };
        let may = self.device.resets_behind_requests() && group.requests().iter().all(is_there);
        self.lent += usize::from(may);
        may
    }

    /// The data of a group is not read or written any more; see [`lend`](Self::lend).
    pub const fn take_back(&mut self) {
        self.lent = self.lent.saturating_sub(1);
    }

    /// Whether a drive may still read or write the guest's memory.
    pub const fn is_lent(&self) -> bool {
        self.lent != 0
    }

    /// The life of the device: another one after each reset.
    pub const fn life(&self) -> u32 {
        self.life
    }

    /// Whether `group` was taken since the device was reset last.
    pub const fn is_current(&self, group: &Group) -> bool {
        group.life == self.life
    }

    fn reach<'a>(&self, group: &Group, around: &'a Surroundings<'_>) -> Reach<'a> {
        Reach { memory: around.memory, bus_master: self.bus_master && self.is_current(group) }
    }

    /// The requests of `group` are done, all with one outcome. Those from before a reset are
    /// forgotten.
    pub fn finish(
        &mut self,
        group: &Group,
        outcome: Result<(), RequestFault>,
        around: &mut Surroundings<'_>,
    ) {
        self.finish_for(group, outcome, false, around);
    }

    /// As [`finish`](Self::finish); where it `waits`, the guest is interrupted for it by the next one that
    /// does not, or by [`send_held`](Self::send_held).
    pub fn finish_for(
        &mut self,
        group: &Group,
        outcome: Result<(), RequestFault>,
        waits: bool,
        around: &mut Surroundings<'_>,
    ) {
        if self.is_current(group) {
            self.holds = true;
            for request in group.requests() {
                self.taken = self.taken.saturating_sub(1);
                let completion = Completion { tag: request.tag, outcome };
                self.with_device(around, |device, context| device.complete(completion, context));
                self.apply(around);
            }
            self.holds = false;
        }
        if !waits {
            self.send_held(around);
        }
    }

    /// See [`Device::take_doorbell`].
    pub fn take_doorbell(&mut self) -> Option<Doorbell> {
        self.device.take_doorbell()
    }

    /// A peer rang: sends this message.
    pub fn ring(&mut self, vector: u16, around: &mut Surroundings<'_>) {
        self.send(vector, around);
    }

    /// Whether messages wait, or frames of which there may be some.
    pub const fn has_held(&self) -> bool {
        self.held != 0 || self.untold
    }

    /// Sends the messages that wait.
    pub fn send_held(&mut self, around: &mut Surroundings<'_>) {
        self.tell_of_frames(around);
        let mut held = core::mem::take(&mut self.held);
        while held != 0 {
            self.send(held.trailing_zeros() as u16, around);
            held &= held - 1;
        }
    }

    fn send(&mut self, index: u16, around: &mut Surroundings<'_>) {
        if let Some(message) = self.messages.raise(index) {
            self.activity.messages += 1;
            (around.send)(message);
        }
    }

    fn with_device<R>(
        &mut self,
        around: &Surroundings<'_>,
        access: impl FnOnce(&mut dyn Device, &mut Context<'_>) -> R,
    ) -> R {
        let reach = Reach { memory: around.memory, bus_master: self.bus_master };
        let mut context = Context { memory: &reach, now: around.now, effects: &mut self.effects };
        access(&mut *self.device, &mut context)
    }

    fn apply(&mut self, around: &mut Surroundings<'_>) {
        while let Some(effect) = self.effects.pop() {
            match effect {
                DeviceEffect::Msi(index) => match 1_u64.checked_shl(index.into()) {
                    Some(bit) if self.holds => self.held |= bit,
                    _ => self.send(index, around),
                },
                DeviceEffect::Submit(request) => self.submit(request, around),
                DeviceEffect::Wake => self.wants_service = true,
                DeviceEffect::Output => self.has_output = true,
                // Whoever called looks at the lines once everything is done.
                DeviceEffect::Line => {}
            }
        }
        self.failed |= self.effects.take_overflow();
    }

    fn submit(&mut self, mut request: Request, around: &mut Surroundings<'_>) {
        let behind = self.second.as_ref().map_or(0, |second| second.requests.len());
        let waiting = self.requests.len() + behind;
        let (backend, requests) = match &mut self.second {
            Some(second) if request.at >= second.start => {
                request.at -= second.start;
                (&mut second.backend, &mut second.requests)
            }
            _ => (&mut self.backend, &mut self.requests),
        };
        let outcome = match backend {
            Backend::Medium(medium) if request.gpa >= DEVICE_BUFFER => {
                medium.perform(&request, &Own::of(&mut *self.device))
            }
            Backend::Medium(medium) => {
                let reach = Reach { memory: around.memory, bus_master: self.bus_master };
                medium.perform(&request, &reach)
            }
            Backend::Served => {
                self.failed |= waiting + self.taken >= self.most_requests;
                if !self.failed {
                    requests.push(request);
                    self.wants_service = true;
                }
                return;
            }
        };
        self.done.requests += 1;
        self.done.errors += u64::from(outcome.is_err());
        if outcome.is_ok() && request.operation.moves_data() {
            self.done.bytes += u64::from(request.bytes);
        }
        let completion = Completion { tag: request.tag, outcome };
        self.with_device(around, |device, context| device.complete(completion, context));
    }
}

/// Whether `next` is a part of the same command, and goes on where `last` ends.
fn follows(last: &Request, next: &Request) -> bool {
    last.tag == next.tag
        && last.operation == next.operation
        && last.at.checked_add(last.bytes.into()) == Some(next.at)
}

#[cfg(test)]
mod tests;
